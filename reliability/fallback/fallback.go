// Package fallback keeps an endpoint answering when what should answer fails.
//
// A [Policy] is a [stoa.Target] over candidates. For each call it
//
//  1. picks the first candidate by weight, from a hash of the prediction's id, so that the same prediction always goes
//     to the same candidate, and the others follow in their order;
//  2. passes over a candidate whose circuit breaker is open, or that holds too many attempts that were given up on;
//  3. makes an attempt within the timeout; when it fails by the candidate's fault and a retry may help, tries again
//     after a backoff, up to the limit of retries and within the retry budget;
//  4. goes to the next candidate, and marks its answer with the reason why the first did not answer;
//  5. ends with one answer or one error. A client's fault and a cancelled call end it at once, at any step.
//
// Which reasons are a candidate's fault is one table, [Faults].
//
// # Timeouts
//
// A model in this process cannot be killed, so an attempt that hangs must be left behind. Each attempt with a timeout
// runs on a goroutine of a small pool that belongs to the policy, while the caller waits for it, for the timer and for
// the call's context. The hand-over costs about 1.5 µs when the candidate answers (BenchmarkInfer) and starts no
// goroutine. A candidate without a timeout runs on the caller's own goroutine; rules and fixed answers are such.
//
// An attempt that was given up on finds its context ended, and its answer is thrown away when it comes. Until then it
// holds its goroutine and may still read the call, so that a call must never be reused. Each candidate may hold
// [Rules.Abandoned] such attempts; beyond that it counts as open until some have ended, however its breaker stands.
//
// # Breaker
//
// The breaker looks at the last [Breaker.Window] attempts. When so many have failed that a full window could not be
// below [Breaker.FailureRate], it opens for [Breaker.OpenFor]. Then it is half open: one attempt goes first, and after
// it a share of the calls that grows with every success, to all of them after [Breaker.Ramp], so that a candidate that
// is warming up is not struck by the whole load at once. There it closes; should the share of failures reach the rate
// before, it opens again.
package fallback

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/stoaproject/stoa"
)

// A Candidate is something that can answer.
type Candidate struct {
	Name   string      // unique within the policy, e.g. "champion"
	Target stoa.Target // what it sends to

	// Weight is the candidate's share of the calls that it gets first, relative to the sum of all weights. Without a
	// weight it is asked only when others fail. When no candidate has a weight, the first gets all calls.
	Weight int

	// Primary keeps the candidate from answering in place of others: it gets its share of first calls and no more. A
	// challenger on trial is one.
	Primary bool

	// Timeout is the limit of one attempt; 0 means that of the rules. A negative one means none: the target runs on the
	// caller's goroutine and has to return promptly. A [Rule] or [Fixed] target has none unless one is set.
	Timeout time.Duration
}

// Rules are the policy's numbers.
type Rules struct {
	Timeout time.Duration // limit of one attempt; 0 means 1 s
	Retries int           // further attempts at a candidate after its first; 0 means none

	// Backoff is the mean wait before the first retry; 0 means 10 ms. The wait before retry n, from 0, is a random time
	// between 0 and 2 × Backoff × 2^n, at most 5 s ("full jitter", M. Brooker, "Exponential Backoff And Jitter", AWS
	// Architecture Blog, 2015).
	Backoff time.Duration

	// RetryBudget is the number of retries per call in the long run, over all calls, so that retries do not multiply the
	// load on a candidate that fails because of load. Up to 10 can be saved up. 0 means no retries at all.
	RetryBudget float64

	Breaker   Breaker // when to leave a candidate alone
	Abandoned int     // attempts given up on that a candidate may hold; 0 means 64
}

// A Breaker is the setting of every candidate's circuit breaker.
type Breaker struct {
	Window      int           // attempts looked at; 0 means 20
	FailureRate float64       // share of failures in a full window that opens it; 0 means 0.5
	OpenFor     time.Duration // how long it stays open; 0 means 5 s
	Ramp        int           // successes after which the candidate takes its full share again; 0 means 10
}

// Config is what a policy is made of.
type Config struct {
	Name       string // of the endpoint; keeps endpoints from splitting their traffic alike
	Candidates []Candidate
	Rules      Rules

	// Inherit is the policy that this one takes the place of, if any: candidates of the same name keep the faults
	// injected into them, their count of abandoned attempts and, unless its settings have changed, their breaker.
	Inherit *Policy

	// Rand returns a number in [0, 1) for the jitter; default is math/rand.
	Rand func() float64

	// Observe is told what happens. It is called from the request path and must not block. It may be nil.
	Observe func(Event)
}

// A Kind is what an [Event] is about.
type Kind string

// The kinds of events.
const (
	BreakerOpened     Kind = "breaker_opened"
	BreakerHalfOpened Kind = "breaker_half_opened"
	BreakerClosed     Kind = "breaker_closed"
	FellBack          Kind = "fell_back"      // a candidate other than the first answered; Reason says why
	RetryDenied       Kind = "retry_denied"   // the retry budget is spent
	Abandoned         Kind = "abandoned"      // an attempt was given up on while its target was still busy
	FaultInjected     Kind = "fault_injected" // [Policy.Break] was called
	FaultRemoved      Kind = "fault_removed"
)

// An Event is something that happened in a policy.
type Event struct {
	Kind      Kind
	Endpoint  string
	Candidate string      // which it happened to; for fell_back, which answered
	Reason    stoa.Reason // why, where there is a reason
	At        time.Time
}

// A Policy is a [stoa.Target] over candidates. Its methods may be called from several goroutines.
type Policy struct {
	name       string
	rules      Rules
	candidates []*candidate
	weights    int // sum of the candidates' weights
	budget     *budget
	workers    *workers
	rand       func() float64
	observe    func(Event)
}

// New returns a policy over at least one candidate. Close it when it is no longer used.
func New(c Config) (*Policy, error) {
	if len(c.Candidates) == 0 {
		return nil, errors.New("fallback: a policy needs at least one candidate")
	}
	rules, err := c.Rules.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Policy{
		name: c.Name, rules: rules, budget: newBudget(rules.RetryBudget), workers: newWorkers(),
		rand: c.Rand, observe: c.Observe,
	}
	if p.rand == nil {
		p.rand = rand.Float64
	}
	if p.observe == nil {
		p.observe = func(Event) {}
	}
	for _, def := range c.Candidates {
		if def.Name == "" || def.Target == nil || def.Weight < 0 {
			return nil, fmt.Errorf("fallback: candidate %q needs a name, a target and a weight that is not negative", def.Name)
		}
		if p.find(def.Name) != nil {
			return nil, fmt.Errorf("fallback: candidate %q is given twice", def.Name)
		}
		p.candidates = append(p.candidates, p.newCandidate(def, c.Inherit))
		p.weights += def.Weight
	}
	return p, nil
}

// Close lets the policy's idle goroutines end. Calls under way, and even later ones, are still answered.
func (p *Policy) Close() { p.workers.close() }

// Infer answers a call by the first candidate that can.
func (p *Policy) Infer(ctx context.Context, call *stoa.Call) (*stoa.Answer, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	p.budget.deposit()
	first := p.pick(call.ID)
	c := p.candidates[first]
	answer, failure, attempts := p.try(ctx, c, call)
	if failure == nil {
		answer.Attempts = attempts
		return answer, nil
	}
	if !Faults[failure.Reason].Next || len(p.candidates) == 1 || ctx.Err() != nil {
		return nil, failure
	}
	return p.fallBack(ctx, call, first, failure, attempts)
}

// fallBack asks the other candidates in their order.
func (p *Policy) fallBack(ctx context.Context, call *stoa.Call, first int, why *stoa.Refusal, attempts int) (
	*stoa.Answer, error,
) {
	failures := []error{fmt.Errorf("%s: %w", p.candidates[first].Name, why)}
	for i, c := range p.candidates {
		if i == first || c.Primary {
			continue
		}
		answer, failure, n := p.try(ctx, c, call)
		attempts += n
		if failure == nil {
			answer.Fallback, answer.Role, answer.Attempts = why.Reason, stoa.RoleFallback, attempts
			p.tell(FellBack, c, why.Reason)
			return answer, nil
		}
		if !Faults[failure.Reason].Next || ctx.Err() != nil {
			return nil, failure
		}
		failures = append(failures, fmt.Errorf("%s: %w", c.Name, failure))
	}
	if len(failures) == 1 || absent[why.Reason] {
		return nil, why
	}
	return nil, &stoa.Refusal{
		Reason: stoa.ReasonNoCandidate, Message: "no candidate of the endpoint can answer: the first failed with " +
			string(why.Reason),
		Hint: "try again later", RetryAfter: time.Second, Err: errors.Join(failures...),
	}
}

// try asks one candidate, with retries, and returns how many attempts it made.
func (p *Policy) try(ctx context.Context, c *candidate, call *stoa.Call) (*stoa.Answer, *stoa.Refusal, int) {
	for attempt := 0; ; attempt++ {
		pass, ok := c.admit(p)
		if !ok {
			return nil, &stoa.Refusal{
				Reason: stoa.ReasonBreakerOpen, Message: "the candidate " + c.Name + " is left alone after failures",
				Hint: "try again later", RetryAfter: time.Second,
			}, attempt
		}
		answer, failure := p.attempt(ctx, c, call)
		over := failure != nil && ctx.Err() != nil
		fault := Faults[reasonOf(failure)]
		switch {
		case failure == nil:
			c.record(p, pass, succeeded, "")
		case fault.Trip && !over:
			c.record(p, pass, failed, failure.Reason)
		default:
			c.record(p, pass, undecided, "")
		}
		if failure == nil || over || !fault.Retry || attempt >= p.rules.Retries {
			return answer, failure, attempt + 1
		}
		if !p.budget.withdraw() {
			p.tell(RetryDenied, c, stoa.ReasonRetriesExhausted)
			return nil, failure, attempt + 1
		}
		if err := p.wait(ctx, attempt, failure.RetryAfter); err != nil {
			return nil, err, attempt + 1
		}
	}
}

// longest is the limit of a wait before a retry.
const longest = 5 * time.Second

// wait sleeps before a retry, and at least as long as the target asked for, within the limit.
func (p *Policy) wait(ctx context.Context, retry int, asked time.Duration) *stoa.Refusal {
	ceiling := longest
	if retry < 20 && p.rules.Backoff<<(retry+1) < longest {
		ceiling = p.rules.Backoff << (retry + 1)
	}
	pause := max(time.Duration(p.rand()*float64(ceiling)), min(asked, longest))
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

func (p *Policy) tell(kind Kind, c *candidate, reason stoa.Reason) {
	p.observe(Event{Kind: kind, Endpoint: p.name, Candidate: c.Name, Reason: reason, At: time.Now()})
}

// pick returns the index of the candidate that a prediction goes to first.
func (p *Policy) pick(id string) int {
	if p.weights == 0 || len(p.candidates) == 1 {
		return 0
	}
	at := spread(p.name, id, p.weights)
	for i, c := range p.candidates {
		if at -= c.Weight; at < 0 {
			return i
		}
	}
	return 0
}

func (p *Policy) find(name string) *candidate {
	for _, c := range p.candidates {
		if c.Name == name {
			return c
		}
	}
	return nil
}
