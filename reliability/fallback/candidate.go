package fallback

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stoaproject/stoa"
)

// A candidate is a [Candidate] with its health.
type candidate struct {
	Candidate
	breaker *breaker
	health  *health
	limit   int64 // abandoned attempts that it may hold
}

// health is what is known of a candidate beside its breaker. It outlives the policy when another inherits it.
type health struct {
	broken    atomic.Pointer[injected]
	abandoned atomic.Int64
}

// injected is a fault that is there on purpose.
type injected struct{ reason stoa.Reason }

// newCandidate prepares a candidate, with the health it had in the policy before.
func (p *Policy) newCandidate(def Candidate, before *Policy) *candidate {
	if def.Timeout == 0 {
		switch def.Target.(type) {
		case *Rule, *Fixed: // cannot hang
			def.Timeout = -1
		default:
			def.Timeout = p.rules.Timeout
		}
	}
	c := &candidate{
		Candidate: def, breaker: newBreaker(p.rules.Breaker), health: new(health), limit: int64(p.rules.Abandoned),
	}
	if before == nil {
		return c
	}
	if old := before.find(def.Name); old != nil {
		c.health = old.health
		if old.breaker.set == c.breaker.set {
			c.breaker = old.breaker
		}
	}
	return c
}

// admit asks whether an attempt may be made.
func (c *candidate) admit(p *Policy) (pass, bool) {
	if c.health.abandoned.Load() >= c.limit {
		return pass{}, false
	}
	pass, ok, changed := c.breaker.admit(time.Now)
	c.report(p, changed, "")
	return pass, ok
}

// record hands back a pass.
func (c *candidate) record(p *Policy, pass pass, v verdict, why stoa.Reason) {
	c.report(p, c.breaker.record(pass, v, time.Now), why)
}

func (c *candidate) report(p *Policy, changed State, why stoa.Reason) {
	switch changed {
	case Open:
		p.tell(BreakerOpened, c, why)
	case HalfOpen:
		p.tell(BreakerHalfOpened, c, why)
	case Closed:
		p.tell(BreakerClosed, c, why)
	}
}

// A CandidateState is what is known of a candidate, for metrics and for people.
type CandidateState struct {
	Name      string      `json:"name"`
	Weight    int         `json:"weight"`
	Breaker   State       `json:"breaker"`
	Attempts  int         `json:"attempts"`         // in the breaker's window
	Failures  int         `json:"failures"`         // among them
	Abandoned int         `json:"abandoned"`        // attempts given up on that still run
	Full      bool        `json:"full"`             // it holds too many of these and is passed over
	Broken    stoa.Reason `json:"broken,omitempty"` // fault injected, if any
}

// States returns the state of every candidate, in order.
func (p *Policy) States() []CandidateState {
	states := make([]CandidateState, 0, len(p.candidates))
	for _, c := range p.candidates {
		s := CandidateState{Name: c.Name, Weight: c.Weight, Abandoned: int(c.health.abandoned.Load())}
		s.Breaker, s.Attempts, s.Failures = c.breaker.look()
		s.Full = int64(s.Abandoned) >= c.limit
		if broken := c.health.broken.Load(); broken != nil {
			s.Broken = broken.reason
		}
		states = append(states, s)
	}
	return states
}

// Break makes every attempt at a candidate fail at once with a reason, until restore is called; restoring twice does no
// harm. The reason must be a candidate's fault (see [Faults]); timeout too fails at once, without the wait. A later
// Break of the same candidate takes the place of an earlier one, whose restore then does nothing.
func (p *Policy) Break(name string, reason stoa.Reason) (restore func(), err error) {
	c := p.find(name)
	if c == nil {
		return nil, &stoa.Refusal{Reason: stoa.ReasonNotFound, Message: fmt.Sprintf("no candidate %q", name)}
	}
	if !Faults[reason].Next {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonInvalid, Message: fmt.Sprintf("%q is no reason for which a candidate fails", reason),
			Hint: "use one such as timeout, unreachable or target_error",
		}
	}
	fault := &injected{reason}
	c.health.broken.Store(fault)
	p.tell(FaultInjected, c, reason)
	return func() {
		if c.health.broken.CompareAndSwap(fault, nil) {
			p.tell(FaultRemoved, c, reason)
		}
	}, nil
}

// burst is the number of retries that a budget saves up, and has at first.
const burst = 10

// A budget is a bucket of retries.
type budget struct {
	mu    sync.Mutex
	share float64 // added by every call
	saved float64
}

func newBudget(share float64) *budget {
	b := &budget{share: share}
	if share > 0 {
		b.saved = burst
	}
	return b
}

func (b *budget) deposit() {
	b.mu.Lock()
	b.saved = min(b.saved+b.share, burst)
	b.mu.Unlock()
}

func (b *budget) withdraw() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.saved < 1 {
		return false
	}
	b.saved--
	return true
}

// withDefaults fills in the fields for which zero stands for a default, and refuses numbers that make no sense.
func (r Rules) withDefaults() (Rules, error) {
	fill(&r.Timeout, time.Second)
	fill(&r.Backoff, 10*time.Millisecond)
	fill(&r.Abandoned, 64)
	fill(&r.Breaker.Window, 20)
	fill(&r.Breaker.FailureRate, 0.5)
	fill(&r.Breaker.OpenFor, 5*time.Second)
	fill(&r.Breaker.Ramp, 10)
	switch b := r.Breaker; {
	case r.Timeout < 0 || r.Retries < 0 || r.Abandoned < 0 || r.Backoff < 0 || r.Backoff > longest:
		return r, fmt.Errorf("fallback: a timeout, a number of retries or a backoff is out of range: %+v", r)
	case !(r.RetryBudget >= 0): // NaN too
		return r, fmt.Errorf("fallback: the retry budget %v is negative", r.RetryBudget)
	case b.Window < 0 || !(b.FailureRate > 0 && b.FailureRate <= 1) || b.OpenFor < 0 || b.Ramp < 0:
		return r, fmt.Errorf("fallback: the breaker is out of range: %+v", b)
	}
	return r, nil
}

// fill sets a field that is zero.
func fill[T comparable](field *T, def T) {
	var zero T
	if *field == zero {
		*field = def
	}
}

// spread maps an id evenly onto 0 … n-1: FNV-1a over the name and the id, then the finaliser of MurmurHash3, because
// the upper bits of FNV differ little between ids that differ in their last letters.
func spread(name, id string, n int) int {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := 0; i < len(name); i++ {
		h = (h ^ uint64(name[i])) * prime
	}
	h = (h ^ 0xff) * prime // no name and id run together
	for i := 0; i < len(id); i++ {
		h = (h ^ uint64(id[i])) * prime
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return int((h >> 32) * uint64(n) >> 32)
}
