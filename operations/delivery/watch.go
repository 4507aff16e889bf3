package delivery

import (
	"sync"

	"github.com/stoaproject/stoa"
)

// Operations are what happened to the answers of a rollout's versions between two looks.
type Operations struct {
	Served map[stoa.Role]int64 `json:"served,omitempty"`
	Faults map[stoa.Role]int64 `json:"faults,omitempty"`
	Streak map[stoa.Role]int   `json:"streak,omitempty"` // longest run of consecutive faults that reaches into this look
}

// Operate takes what happened since the last look.
func (r *Rollout) Operate(o Operations) {
	if r.Phase.Final() {
		return
	}
	for role, n := range o.Faults {
		for range n {
			r.fault(role)
		}
	}
	for _, role := range []stoa.Role{stoa.RoleCanary, stoa.RoleShadow} {
		if r.isChallenger(role) && o.Served[role]+o.Faults[role] > 0 {
			r.Streak = o.Streak[role]
		}
	}
}

// A Watch counts answers and faults in the request path until the lifecycle drains them. It is safe for concurrent use.
type Watch struct {
	mu      sync.Mutex
	now     Operations
	current map[stoa.Role]int // consecutive faults up to now, across drains
}

// NewWatch returns an empty Watch.
func NewWatch() *Watch {
	return &Watch{now: emptyOperations(), current: make(map[stoa.Role]int)}
}

func emptyOperations() Operations {
	return Operations{
		Served: make(map[stoa.Role]int64), Faults: make(map[stoa.Role]int64), Streak: make(map[stoa.Role]int),
	}
}

// Served counts an answer in a role.
func (w *Watch) Served(role stoa.Role) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Served[role]++
	w.current[role] = 0
}

// Fault counts a failure to answer in a role.
func (w *Watch) Fault(role stoa.Role) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Faults[role]++
	w.current[role]++
	w.now.Streak[role] = max(w.now.Streak[role], w.current[role])
}

// Drain returns what happened since the last Drain.
func (w *Watch) Drain() Operations {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.now
	w.now = emptyOperations()
	return o
}

// Reset forgets everything, for when another rollout begins or a phase ends.
func (w *Watch) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = emptyOperations()
	clear(w.current)
}
