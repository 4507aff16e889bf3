package fallback

import (
	"sync"
	"time"
)

// A State is where a circuit breaker stands.
type State string

// The states of a circuit breaker.
const (
	Closed   State = "closed"    // every attempt passes
	Open     State = "open"      // none does
	HalfOpen State = "half_open" // a growing share does
)

// A verdict is what an attempt says of its candidate.
type verdict int

const (
	undecided verdict = iota // the client's fault, or the client's end
	succeeded
	failed
)

// A pass lets one attempt through a breaker and has to be handed back with its verdict. One from before a change of
// state counts for nothing: what began while the breaker was closed says nothing about a candidate on trial.
type pass struct{ era uint64 }

// A breaker is a circuit breaker over a window of attempts. Times are given to it, so that it has no clock.
type breaker struct {
	set Breaker

	mu       sync.Mutex
	state    State
	era      uint64    // number of changes of state
	since    time.Time // of the state
	window   []bool    // of attempts in this state, true for a failure; a ring
	next     int       // where the ring goes on
	count    int       // attempts in the ring
	failures int       // failures in the ring
	probing  bool      // half open: the first attempt is under way
	streak   int       // half open: successes
	credit   float64   // half open: share of an attempt saved up
}

func newBreaker(set Breaker) *breaker {
	return &breaker{set: set, state: Closed, window: make([]bool, set.Window)}
}

// admit asks to make an attempt. Changed is the state that the breaker went to meanwhile, if any.
func (b *breaker) admit(now func() time.Time) (p pass, ok bool, changed State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == Open && now().Sub(b.since) >= b.set.OpenFor {
		b.become(HalfOpen, now())
		changed = HalfOpen
	}
	switch b.state {
	case Closed:
		ok = true
	case HalfOpen:
		ok = b.ramp()
	}
	return pass{b.era}, ok, changed
}

// ramp decides whether a half-open breaker lets an attempt through: the first one alone, and after k successes a share
// of k+1 in Ramp+1, evenly spaced.
func (b *breaker) ramp() bool {
	if b.streak == 0 {
		if b.probing {
			return false
		}
		b.probing = true
		return true
	}
	b.credit += float64(b.streak+1) / float64(b.set.Ramp+1)
	if b.credit < 1 {
		return false
	}
	b.credit--
	return true
}

// record takes back a pass with the verdict on its attempt. Changed is the state that the breaker went to, if any.
func (b *breaker) record(p pass, v verdict, now func() time.Time) (changed State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.era != b.era {
		return ""
	}
	if v == undecided {
		b.probing = false
		return ""
	}
	b.push(v == failed)
	switch b.state {
	case Closed:
		if v == failed && float64(b.failures) >= b.set.FailureRate*float64(b.set.Window) {
			changed = Open
		}
	case HalfOpen:
		b.probing = false
		if v == succeeded {
			b.streak++
		}
		switch {
		case v == failed && float64(b.failures) >= b.set.FailureRate*float64(b.count):
			changed = Open
		case b.streak >= b.set.Ramp:
			changed = Closed
		}
	}
	if changed != "" {
		b.become(changed, now())
	}
	return changed
}

// push puts an attempt into the window.
func (b *breaker) push(failure bool) {
	if b.count == len(b.window) {
		if b.window[b.next] {
			b.failures--
		}
	} else {
		b.count++
	}
	b.window[b.next] = failure
	if failure {
		b.failures++
	}
	b.next = (b.next + 1) % len(b.window)
}

// become changes the state and forgets the attempts of the one before.
func (b *breaker) become(s State, now time.Time) {
	b.state, b.since, b.era = s, now, b.era+1
	b.next, b.count, b.failures = 0, 0, 0
	b.probing, b.streak, b.credit = false, 0, 0
}

// look returns the state and the window's counts.
func (b *breaker) look() (s State, attempts, failures int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state, b.count, b.failures
}
