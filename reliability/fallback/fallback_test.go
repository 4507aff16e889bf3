package fallback

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/stoaproject/stoa"
)

// targetFunc is a target made of a function.
type targetFunc func(ctx context.Context, call *stoa.Call) (*stoa.Answer, error)

func (f targetFunc) Infer(ctx context.Context, call *stoa.Call) (*stoa.Answer, error) {
	return f(ctx, call)
}

// answering answers with its name.
func answering(name string) stoa.Target {
	return targetFunc(func(context.Context, *stoa.Call) (*stoa.Answer, error) {
		return &stoa.Answer{Target: name, Role: stoa.RoleChampion}, nil
	})
}

// failing fails for a reason and counts.
func failing(reason stoa.Reason, count *atomic.Int64) stoa.Target {
	return targetFunc(func(context.Context, *stoa.Call) (*stoa.Answer, error) {
		count.Add(1)
		return nil, &stoa.Refusal{Reason: reason, Message: "on purpose"}
	})
}

// hanging never looks at its context and returns when it is let go.
func hanging(let <-chan struct{}) stoa.Target {
	return targetFunc(func(context.Context, *stoa.Call) (*stoa.Answer, error) {
		<-let
		return &stoa.Answer{}, nil
	})
}

func policy(t testing.TB, c Config) *Policy {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func reason(err error) stoa.Reason {
	var r *stoa.Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	return "no refusal"
}

func TestTheFirstCandidateAnswers(t *testing.T) {
	p := policy(t, Config{Candidates: []Candidate{{Name: "a", Target: answering("a")}, {Name: "b", Target: answering("b")}}})
	a, err := p.Infer(t.Context(), &stoa.Call{ID: "1"})
	if err != nil || a.Target != "a" || a.Role != stoa.RoleChampion || a.Fallback != "" || a.Attempts != 1 {
		t.Errorf("got %+v, %v", a, err)
	}
}

// Every reason is either the client's, and ends the call, or a candidate's, and reaches the next one.
func TestFaults(t *testing.T) {
	for _, r := range []stoa.Reason{
		stoa.ReasonMalformed, stoa.ReasonTooLarge, stoa.ReasonBadShape, stoa.ReasonBadDatatype, stoa.ReasonBadInput,
		stoa.ReasonNotFinite, stoa.ReasonUnsupported, stoa.ReasonConflict,
	} {
		var count atomic.Int64
		p := policy(t, Config{
			Candidates: []Candidate{{Name: "a", Target: failing(r, &count)}, {Name: "b", Target: answering("b")}},
			Rules:      Rules{Retries: 3, RetryBudget: 1, Breaker: Breaker{Window: 1}},
		})
		for range 5 {
			if _, err := p.Infer(t.Context(), &stoa.Call{}); reason(err) != r {
				t.Errorf("%s: the call ended with %v", r, err)
			}
		}
		if s := p.States()[0]; count.Load() != 5 || s.Breaker != Closed || s.Failures != 0 {
			t.Errorf("%s: %d attempts for 5 calls, %+v", r, count.Load(), s)
		}
	}
	for r, fault := range Faults {
		synctest.Test(t, func(t *testing.T) {
			var count atomic.Int64
			p := policy(t, Config{
				Candidates: []Candidate{{Name: "a", Target: failing(r, &count)}, {Name: "b", Target: answering("b")}},
				Rules:      Rules{Retries: 2, RetryBudget: 1},
			})
			a, err := p.Infer(t.Context(), &stoa.Call{})
			if err != nil || a.Target != "b" || a.Fallback != r || a.Role != stoa.RoleFallback {
				t.Errorf("%s: got %+v, %v", r, a, err)
			}
			want := int64(1)
			if fault.Retry {
				want = 3
			}
			if count.Load() != want || a.Attempts != int(want)+1 {
				t.Errorf("%s: %d attempts, want %d; the answer says %d", r, count.Load(), want, a.Attempts)
			}
			if failures := p.States()[0].Failures; fault.Trip != (failures > 0) {
				t.Errorf("%s: the breaker counts %d failures", r, failures)
			}
		})
	}
}

// A target's errors and panics have reasons, and what a target cannot know is its own failure.
func TestErrorsOfATarget(t *testing.T) {
	for name, c := range map[string]struct {
		target targetFunc
		reason stoa.Reason
	}{
		"error": {func(context.Context, *stoa.Call) (*stoa.Answer, error) { return nil, errors.New("boom") }, stoa.ReasonTargetError},
		"panic": {func(context.Context, *stoa.Call) (*stoa.Answer, error) { panic("boom") }, stoa.ReasonTargetError},
		"nil":   {func(context.Context, *stoa.Call) (*stoa.Answer, error) { return nil, nil }, stoa.ReasonTargetError},
		"deadline": {func(context.Context, *stoa.Call) (*stoa.Answer, error) {
			return nil, fmt.Errorf("dial: %w", context.DeadlineExceeded)
		}, stoa.ReasonTimeout},
		"forbidden": {func(context.Context, *stoa.Call) (*stoa.Answer, error) {
			return nil, &stoa.Refusal{Reason: stoa.ReasonForbidden}
		}, stoa.ReasonTargetError},
	} {
		for _, timeout := range []time.Duration{time.Minute, -1} {
			p := policy(t, Config{Candidates: []Candidate{{Name: "a", Target: c.target, Timeout: timeout}}})
			if _, err := p.Infer(t.Context(), &stoa.Call{}); reason(err) != c.reason {
				t.Errorf("%s: got %v, want %s", name, err, c.reason)
			}
		}
	}
}

func TestAHangingTargetTimesOutAndIsPassedOverWhenItHoldsTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		var events []Event
		p := policy(t, Config{
			Name:       "e",
			Candidates: []Candidate{{Name: "wedged", Target: hanging(let)}, {Name: "b", Target: answering("b"), Timeout: -1}},
			Rules:      Rules{Timeout: time.Second, Abandoned: 3, Breaker: Breaker{Window: 100}},
			Observe:    func(e Event) { events = append(events, e) },
		})
		start := time.Now()
		for i := range 5 {
			a, err := p.Infer(t.Context(), &stoa.Call{})
			want := stoa.ReasonTimeout
			if i >= 3 {
				want = stoa.ReasonBreakerOpen
			}
			if err != nil || a.Target != "b" || a.Fallback != want {
				t.Fatalf("call %d: %+v, %v, want fallback %s", i, a, err, want)
			}
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("5 calls took %v, want three timeouts of 1s", took)
		}
		if s := p.States()[0]; s.Abandoned != 3 || !s.Full {
			t.Errorf("state %+v", s)
		}
		close(let)
		synctest.Wait()
		if s := p.States()[0]; s.Abandoned != 0 || s.Full {
			t.Errorf("state after they ended: %+v", s)
		}
		if a, err := p.Infer(t.Context(), &stoa.Call{}); err != nil || a.Fallback != "" {
			t.Errorf("after they ended: %+v, %v", a, err)
		}
		if events[0].Kind != Abandoned || events[1].Kind != FellBack || events[1].Reason != stoa.ReasonTimeout {
			t.Errorf("events %+v", events)
		}
	})
}

func TestACancelledCallEndsAtOnce(t *testing.T) {
	for name, target := range map[string]func(let chan struct{}) stoa.Target{
		"while a target hangs": func(let chan struct{}) stoa.Target { return hanging(let) },
		"while waiting to retry": func(chan struct{}) stoa.Target {
			return failing(stoa.ReasonUnreachable, new(atomic.Int64))
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			let := make(chan struct{})
			defer close(let)
			var later atomic.Int64
			p := policy(t, Config{
				Candidates: []Candidate{
					{Name: "a", Target: target(let)}, {Name: "b", Target: failing(stoa.ReasonTargetError, &later)},
				},
				Rules: Rules{Timeout: time.Hour, Retries: 5, RetryBudget: 1, Backoff: 5 * time.Second},
				Rand:  func() float64 { return 0.999 },
			})
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			start := time.Now()
			_, err := p.Infer(ctx, &stoa.Call{})
			if took := time.Since(start); reason(err) != stoa.ReasonCanceled || took != time.Second || later.Load() != 0 {
				t.Errorf("%s: ended after %v with %v; the next candidate got %d", name, took, err, later.Load())
			}
			if s := p.States()[0]; s.Breaker != Closed {
				t.Errorf("%s: %+v", name, s)
			}
		})
	}
}

func TestTheCallsOwnDeadlineIsNotTheCandidatesFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		defer close(let)
		p := policy(t, Config{
			Candidates: []Candidate{{Name: "a", Target: hanging(let)}, {Name: "b", Target: answering("b")}},
			Rules:      Rules{Timeout: time.Hour, Breaker: Breaker{Window: 1}},
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Infer(ctx, &stoa.Call{}); reason(err) != stoa.ReasonTimeout {
			t.Errorf("got %v", err)
		}
		if s := p.States()[0]; s.Breaker != Closed || s.Failures != 0 {
			t.Errorf("state %+v", s)
		}
	})
}

func TestBackoffIsExponentialWithFullJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, jitter := range []float64{0, 0.5, 0.999} {
			var at []time.Duration
			start := time.Now()
			target := targetFunc(func(context.Context, *stoa.Call) (*stoa.Answer, error) {
				at = append(at, time.Since(start))
				return nil, &stoa.Refusal{Reason: stoa.ReasonUnreachable}
			})
			p := policy(t, Config{
				Candidates: []Candidate{{Name: "a", Target: target, Timeout: -1}},
				Rules:      Rules{Retries: 9, RetryBudget: 1, Backoff: 100 * time.Millisecond},
				Rand:       func() float64 { return jitter },
			})
			if _, err := p.Infer(t.Context(), &stoa.Call{}); reason(err) != stoa.ReasonUnreachable {
				t.Fatal(err)
			}
			if len(at) != 10 {
				t.Fatalf("%d attempts, want 10", len(at))
			}
			for i := 1; i < len(at); i++ {
				ceiling := min(200*time.Millisecond<<(i-1), 5*time.Second)
				if want := time.Duration(jitter * float64(ceiling)); at[i]-at[i-1] != want {
					t.Errorf("jitter %v: wait %d is %v, want %v", jitter, i, at[i]-at[i-1], want)
				}
			}
		}
	})
}

func TestTheRetryBudgetBoundsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var count atomic.Int64
		denied := 0
		p := policy(t, Config{
			Candidates: []Candidate{{Name: "a", Target: failing(stoa.ReasonUnreachable, &count), Timeout: -1}},
			Rules:      Rules{Retries: 3, RetryBudget: 0.1, Breaker: Breaker{Window: 100000}},
			Observe: func(e Event) {
				if e.Kind == RetryDenied {
					denied++
				}
			},
		})
		const calls = 1000
		for range calls {
			_, _ = p.Infer(t.Context(), &stoa.Call{})
		}
		if retries := count.Load() - calls; retries < 100 || retries > burst+calls/10 {
			t.Errorf("%d retries for %d calls", retries, calls)
		}
		if denied == 0 {
			t.Error("no event tells that retries were denied")
		}
	})
}

func TestBreakInjectsAFault(t *testing.T) {
	p := policy(t, Config{
		Candidates: []Candidate{{Name: "a", Target: answering("a")}, {Name: "b", Target: answering("b")}},
	})
	if _, err := p.Break("z", stoa.ReasonTimeout); reason(err) != stoa.ReasonNotFound {
		t.Errorf("unknown candidate: %v", err)
	}
	if _, err := p.Break("a", stoa.ReasonBadShape); reason(err) != stoa.ReasonInvalid {
		t.Errorf("a client's reason: %v", err)
	}
	first, err := p.Break("a", stoa.ReasonTimeout)
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.Break("a", stoa.ReasonUnreachable)
	if err != nil {
		t.Fatal(err)
	}
	first()
	heir := policy(t, Config{
		Candidates: []Candidate{{Name: "b", Target: answering("b")}, {Name: "a", Target: answering("a"), Weight: 1}},
		Inherit:    p,
	})
	for _, p := range []*Policy{p, heir} {
		if a, err := p.Infer(t.Context(), &stoa.Call{}); err != nil || a.Target != "b" || a.Fallback != stoa.ReasonUnreachable {
			t.Errorf("broken: %+v, %v", a, err)
		}
	}
	second()
	second()
	if a, err := p.Infer(t.Context(), &stoa.Call{}); err != nil || a.Target != "a" || p.States()[0].Broken != "" {
		t.Errorf("restored: %+v, %v", a, err)
	}
}

func TestAPrimaryCandidateDoesNotStandIn(t *testing.T) {
	var count atomic.Int64
	p := policy(t, Config{Candidates: []Candidate{
		{Name: "champion", Target: failing(stoa.ReasonTargetError, &count), Weight: 1},
		{Name: "canary", Target: answering("canary"), Primary: true},
		{Name: "previous", Target: answering("previous")},
	}})
	if a, err := p.Infer(t.Context(), &stoa.Call{}); err != nil || a.Target != "previous" {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestNoCandidateTellsWhyEachFailed(t *testing.T) {
	var count atomic.Int64
	p := policy(t, Config{Candidates: []Candidate{
		{Name: "a", Target: failing(stoa.ReasonInternal, &count)}, {Name: "b", Target: failing(stoa.ReasonInvalid, &count)},
	}})
	_, err := p.Infer(t.Context(), &stoa.Call{})
	if reason(err) != stoa.ReasonNoCandidate || count.Load() != 2 {
		t.Fatalf("got %v after %d attempts", err, count.Load())
	}
	var r *stoa.Refusal
	if errors.As(err, &r); r.RetryAfter == 0 || r.Err == nil {
		t.Errorf("got %+v", r)
	}
}

func TestAnEndpointWithoutAVersionSaysSo(t *testing.T) {
	var count atomic.Int64
	p := policy(t, Config{Candidates: []Candidate{
		{Name: "a", Target: failing(stoa.ReasonNoVersion, &count)},
		{Name: "b", Target: failing(stoa.ReasonUnknownVersion, &count)},
	}})
	if _, err := p.Infer(t.Context(), &stoa.Call{}); reason(err) != stoa.ReasonNoVersion || count.Load() != 2 {
		t.Errorf("got %v after %d attempts", err, count.Load())
	}
}

func TestANewPolicyInheritsWhatIsKnown(t *testing.T) {
	var count atomic.Int64
	bad := Candidate{Name: "bad", Target: failing(stoa.ReasonTargetError, &count), Timeout: -1}
	p := policy(t, Config{Candidates: []Candidate{bad}, Rules: Rules{Breaker: Breaker{Window: 1}}})
	_, _ = p.Infer(t.Context(), &stoa.Call{})
	if _, err := p.Break("bad", stoa.ReasonTimeout); err != nil {
		t.Fatal(err)
	}
	for window, want := range map[int]State{1: Open, 2: Closed} {
		heir := policy(t, Config{Candidates: []Candidate{bad}, Rules: Rules{Breaker: Breaker{Window: window}}, Inherit: p})
		if s := heir.States()[0]; s.Breaker != want || s.Broken != stoa.ReasonTimeout {
			t.Errorf("window %d: %+v", window, s)
		}
	}
}

// A target that derives contexts of its own from the attempt's sees its deadline, its values and its end.
func TestTheContextOfAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		var kept context.Context
		target := targetFunc(func(ctx context.Context, call *stoa.Call) (*stoa.Answer, error) {
			kept = ctx
			if at, ok := ctx.Deadline(); !ok || time.Until(at) != time.Second || ctx.Err() != nil || ctx.Value(key{}) != "v" {
				t.Errorf("deadline %v, error %v, value %v", at, ctx.Err(), ctx.Value(key{}))
			}
			if call.ID == "lazy" {
				return &stoa.Answer{}, nil
			}
			own, cancel := context.WithCancel(ctx)
			defer cancel()
			<-own.Done()
			return nil, own.Err()
		})
		p := policy(t, Config{Candidates: []Candidate{{Name: "a", Target: target}}})
		ctx := context.WithValue(t.Context(), key{}, "v")
		if _, err := p.Infer(ctx, &stoa.Call{ID: "lazy"}); err != nil {
			t.Error(err)
		}
		if <-kept.Done(); kept.Err() == nil {
			t.Error("the context of an attempt outlives it")
		}
		start := time.Now()
		if _, err := p.Infer(ctx, &stoa.Call{}); reason(err) != stoa.ReasonTimeout || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		synctest.Wait()
		if !errors.Is(kept.Err(), context.DeadlineExceeded) {
			t.Errorf("got %v", kept.Err())
		}
	})
}

func TestNewRefuses(t *testing.T) {
	a := Candidate{Name: "a", Target: answering("a")}
	for name, c := range map[string]Config{
		"no candidates": {}, "twice": {Candidates: []Candidate{a, a}}, "no name": {Candidates: []Candidate{{Target: a.Target}}},
		"no target": {Candidates: []Candidate{{Name: "a"}}},
		"weight":    {Candidates: []Candidate{{Name: "a", Target: a.Target, Weight: -1}}},
		"rate":      {Candidates: []Candidate{a}, Rules: Rules{Breaker: Breaker{FailureRate: 1.5}}},
		"budget":    {Candidates: []Candidate{a}, Rules: Rules{RetryBudget: math.NaN()}},
		"retries":   {Candidates: []Candidate{a}, Rules: Rules{Retries: -1}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Shares converge to the weights, and a prediction goes to the same candidate every time.
func TestSharesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(0, 100), 1, 5).Draw(t, "weights")
		name := rapid.String().Draw(t, "name")
		var candidates []Candidate
		sum := 0
		for i, w := range weights {
			n := fmt.Sprint(i)
			candidates = append(candidates, Candidate{Name: n, Target: answering(n), Weight: w})
			sum += w
		}
		p, err := New(Config{Name: name, Candidates: candidates})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		const n = 4000
		got := make([]int, len(weights))
		for i := range n {
			id := fmt.Sprintf("7f0c-%016x", i)
			first, again := p.pick(id), p.pick(id)
			if first != again {
				t.Fatal("not sticky")
			}
			got[first]++
		}
		for i, w := range weights {
			share := float64(w) / float64(max(sum, 1))
			if sum == 0 && i == 0 {
				share = 1
			}
			// Five standard errors: one false alarm in a million.
			if d := math.Abs(float64(got[i])/n - share); d > 5*math.Sqrt(share*(1-share)/n) {
				t.Errorf("candidate %d of %v got %d of %d", i, weights, got[i], n)
			}
		}
	})
}

// Whatever candidates do, a call ends with exactly one answer or one error, no candidate gets more than retries+1
// attempts, and the answer tells the truth about who gave it.
func TestOutcomeProperty(t *testing.T) {
	reasons := []stoa.Reason{"", stoa.ReasonTimeout, stoa.ReasonTargetError, stoa.ReasonBadShape, stoa.ReasonNoVersion,
		stoa.ReasonCanceled, stoa.ReasonInternal, "panic", "hang"}
	rapid.Check(t, func(rt *rapid.T) {
		scripts := rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom(reasons), 1, 6), 1, 4).Draw(rt, "scripts")
		retries := rapid.IntRange(0, 3).Draw(rt, "retries")
		calls := rapid.IntRange(1, 8).Draw(rt, "calls")
		synctest.Test(t, func(t *testing.T) {
			// An attempt that is given up on has no other order to what follows it than this lock.
			var mu sync.Mutex
			attempts := make([]int, len(scripts))
			total := make([]int, len(scripts))
			var candidates []Candidate
			for i, script := range scripts {
				target := targetFunc(func(ctx context.Context, _ *stoa.Call) (*stoa.Answer, error) {
					mu.Lock()
					step := script[total[i]%len(script)]
					attempts[i]++
					total[i]++
					mu.Unlock()
					switch step {
					case "":
						return &stoa.Answer{Target: fmt.Sprint(i)}, nil
					case "panic":
						panic("on purpose")
					case "hang":
						<-ctx.Done()
						return nil, ctx.Err()
					}
					return nil, &stoa.Refusal{Reason: step}
				})
				candidates = append(candidates, Candidate{Name: fmt.Sprint(i), Target: target})
			}
			p := policy(t, Config{Candidates: candidates, Rules: Rules{Retries: retries, RetryBudget: 0.5}})
			for range calls {
				a, err := p.Infer(t.Context(), &stoa.Call{})
				if (a == nil) == (err == nil) {
					rt.Fatalf("answer %v and error %v", a, err)
				}
				synctest.Wait()
				sum := 0
				mu.Lock()
				for i, n := range attempts {
					if sum += n; n > retries+1 {
						rt.Errorf("candidate %d got %d attempts", i, n)
					}
				}
				clear(attempts)
				mu.Unlock()
				if a != nil && (a.Attempts != sum || (a.Target != "0") != (a.Fallback != "")) {
					rt.Errorf("the answer %+v after %d attempts", a, sum)
				}
				if err != nil && reason(err) == "no refusal" {
					rt.Errorf("the error has no reason: %v", err)
				}
			}
		})
	})
}
