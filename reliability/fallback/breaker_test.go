package fallback

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stoaproject/stoa"
)

// always is a clock that stands still.
func always(t time.Time) func() time.Time { return func() time.Time { return t } }

// run makes one attempt with a verdict, if the breaker lets it through.
func run(b *breaker, now time.Time, v verdict) bool {
	p, ok, _ := b.admit(always(now))
	if ok {
		b.record(p, v, always(now))
	}
	return ok
}

func TestTheBreakerOpensWhenAFullWindowCouldNotBeBelowItsRate(t *testing.T) {
	now := time.Now()
	b := newBreaker(Breaker{Window: 10, FailureRate: 0.3, OpenFor: time.Second, Ramp: 4})
	for range 20 {
		run(b, now, succeeded)
	}
	run(b, now, failed)
	run(b, now, failed)
	for range 8 {
		run(b, now, succeeded)
	}
	run(b, now, undecided)
	if s, _, failures := b.look(); s != Closed || failures != 2 {
		t.Fatalf("%s with %d failures", s, failures)
	}
	run(b, now, succeeded) // pushes the first failure out of the window
	run(b, now, failed)    // and this one the second
	if s, n, failures := b.look(); s != Closed || n != 10 || failures != 1 {
		t.Fatalf("%s with %d failures of %d", s, failures, n)
	}
	run(b, now, failed)
	run(b, now, failed)
	if s, _, _ := b.look(); s != Open {
		t.Fatalf("%s after three failures in ten", s)
	}
	if run(b, now.Add(time.Second-1), succeeded) {
		t.Error("an open breaker let an attempt through")
	}
}

func TestTheHalfOpenRamp(t *testing.T) {
	now := time.Now()
	b := newBreaker(Breaker{Window: 2, FailureRate: 0.5, OpenFor: time.Second, Ramp: 9})
	run(b, now, failed)
	now = now.Add(time.Second)
	probe, ok, changed := b.admit(always(now))
	if !ok || changed != HalfOpen {
		t.Fatalf("first attempt %v, %s", ok, changed)
	}
	if run(b, now, succeeded) {
		t.Fatal("a second attempt went before the first had ended")
	}
	b.record(probe, undecided, always(now))
	if probe, ok, _ = b.admit(always(now)); !ok {
		t.Fatal("an attempt that decides nothing must leave room for another")
	}
	b.record(probe, succeeded, always(now))
	var waits []int // calls turned away before each that passed
	for turned := 0; ; {
		if !run(b, now, succeeded) {
			turned++
			continue
		}
		waits, turned = append(waits, turned), 0
		if s, _, _ := b.look(); s == Closed {
			break
		}
	}
	if len(waits) != 8 {
		t.Errorf("closed after %d more successes, want 8", len(waits))
	}
	if !slices.IsSortedFunc(waits, func(a, b int) int { return b - a }) || waits[0] != 4 || waits[len(waits)-1] != 0 {
		t.Errorf("calls turned away before each that passed: %v, want 4 first and ever fewer", waits)
	}
}

func TestAHalfOpenBreakerOpensAgainAndIgnoresTheAttemptsFromBefore(t *testing.T) {
	now := time.Now()
	b := newBreaker(Breaker{Window: 2, FailureRate: 1, OpenFor: time.Second, Ramp: 3})
	late, _, _ := b.admit(always(now))
	run(b, now, failed)
	run(b, now, failed)
	if s, _, _ := b.look(); s != Open {
		t.Fatal(s)
	}
	now = now.Add(time.Second)
	probe, _, _ := b.admit(always(now))
	if changed := b.record(late, succeeded, always(now)); changed != "" {
		t.Errorf("an attempt from before changed the state to %s", changed)
	}
	if changed := b.record(probe, failed, always(now)); changed != Open {
		t.Errorf("the first attempt failed and the breaker went to %q", changed)
	}
	if run(b, now.Add(time.Second/2), succeeded) {
		t.Error("an open breaker let an attempt through")
	}
}

// An hour of failure and recovery, as a policy goes through it.
func TestThePolicyComesBackToACandidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		var count atomic.Int64
		good, bad := answering("a"), failing(stoa.ReasonUnreachable, &count)
		var kinds []Kind
		p := policy(t, Config{
			Candidates: []Candidate{
				{Name: "a", Target: targetFunc(func(ctx context.Context, c *stoa.Call) (*stoa.Answer, error) {
					if broken.Load() {
						return bad.Infer(ctx, c)
					}
					return good.Infer(ctx, c)
				})},
				{Name: "b", Target: answering("b"), Timeout: -1},
			},
			Rules: Rules{Breaker: Breaker{Window: 10, FailureRate: 0.5, OpenFor: time.Minute, Ramp: 10}},
			Observe: func(e Event) {
				if e.Kind != FellBack {
					kinds = append(kinds, e.Kind)
				}
			},
		})
		second := func(n int) (first int) {
			for range n {
				a, err := p.Infer(t.Context(), &stoa.Call{})
				if err != nil {
					t.Fatal(err)
				}
				if a.Target == "a" {
					first++
				}
				<-time.After(time.Second)
			}
			return first
		}
		if n := second(100); n != 100 {
			t.Fatalf("%d of 100 while all was well", n)
		}
		broken.Store(true)
		if n := second(3600); n != 0 || count.Load() > 5+60 {
			t.Errorf("%d answers and %d attempts in an hour of failure", n, count.Load())
		}
		broken.Store(false)
		if n := second(180); n < 100 {
			t.Errorf("%d of 180 after the recovery", n)
		}
		if kinds[0] != BreakerOpened || kinds[len(kinds)-2] != BreakerHalfOpened || kinds[len(kinds)-1] != BreakerClosed {
			t.Errorf("events %v", kinds)
		}
	})
}
