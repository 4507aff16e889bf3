package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/storetest"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newRollout(t testing.TB, policy Policy) *Rollout {
	t.Helper()
	r, err := New(7, "price", 1, 2, policy, start)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name   string
		canary bool
		change func(*Rollout)
		after  time.Duration
		action Action
		reason Reason
	}{
		{name: "1 over", change: func(r *Rollout) { r.Phase = PhaseWithdrawn }, action: ActionNone, reason: ReasonOver},
		{name: "2 strikes in shadow", change: func(r *Rollout) { r.Streak = 5 }, action: ActionWithdraw, reason: ReasonStrikes},
		{name: "2 strikes in canary", canary: true, change: func(r *Rollout) { r.Streak = 6 },
			action: ActionWithdraw, reason: ReasonStrikes},
		{name: "3 worse in shadow", change: func(r *Rollout) { r.ShadowPairs = Pairs{Won: 2, Lost: 30, Tied: 10} },
			action: ActionWithdraw, reason: ReasonWorse},
		{name: "3 worse in canary", canary: true, change: func(r *Rollout) { r.CanaryPairs = Pairs{Won: 2, Lost: 40} },
			action: ActionWithdraw, reason: ReasonWorse},
		{name: "3 errors in canary", canary: true, change: func(r *Rollout) {
			for range 10 {
				r.Errors.Add(true, 0.1)
			}
		}, action: ActionWithdraw, reason: ReasonErrors},
		{name: "3 faults in canary", canary: true, change: func(r *Rollout) {
			for range 10 {
				r.Fault(stoa.RoleCanary)
				r.Served(stoa.RoleCanary)
			}
		}, action: ActionWithdraw, reason: ReasonFaults},
		{name: "4a better", change: func(r *Rollout) { r.ShadowPairs = Pairs{Won: 20, Lost: 2, Tied: 100} },
			action: ActionCanary, reason: ReasonBetter},
		{name: "4a better but too few pairs", change: func(r *Rollout) { r.ShadowPairs = Pairs{Won: 20} },
			action: ActionHold, reason: ReasonCollecting},
		{name: "4b labels exhausted", change: func(r *Rollout) { r.ShadowPairs = Pairs{Tied: 20_000} },
			action: ActionWithdraw, reason: ReasonInconclusive},
		{name: "4b time out without a label", after: 15 * 24 * time.Hour, change: func(*Rollout) {},
			action: ActionWithdraw, reason: ReasonInconclusive},
		{name: "4c silence", after: 13 * 24 * time.Hour, change: func(*Rollout) {},
			action: ActionHold, reason: ReasonNoLabels},
		{name: "5a not inferior", canary: true, change: func(r *Rollout) { r.Canary.Labels = 50; r.Control.Labels = 450 },
			action: ActionPromote, reason: ReasonNotInferior},
		{name: "5a not inferior but too few labels", canary: true, change: func(r *Rollout) { r.Canary.Labels = 49 },
			action: ActionHold, reason: ReasonCollecting},
		{name: "5a enough labels but inferior", canary: true, change: func(r *Rollout) {
			r.Canary.Labels, r.ShadowPairs = 50, Pairs{Won: 20, Lost: 20, Tied: 100}
		}, action: ActionHold, reason: ReasonCollecting},
		{name: "5b labels exhausted", canary: true, change: func(r *Rollout) { r.Control.Labels = 20_000 },
			action: ActionWithdraw, reason: ReasonInconclusive},
		{name: "5b time out", canary: true, after: 15 * 24 * time.Hour, change: func(*Rollout) {},
			action: ActionWithdraw, reason: ReasonInconclusive},
		{name: "5c silence", canary: true, after: 13 * 24 * time.Hour, change: func(*Rollout) {},
			action: ActionHold, reason: ReasonNoLabels},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRollout(t, Policy{})
			if c.canary {
				r.ShadowPairs = Pairs{Won: 60, Lost: 10, Tied: 500}
				r.Advance(r.Decide(start), start)
			}
			c.change(r)
			before, phase := marshal(t, r), r.Phase
			d := r.Decide(start.Add(c.after))
			if d.Action != c.action || d.Reason != c.reason || d.Why == "" {
				t.Errorf("decision %s because %s (%s); want %s because %s", d.Action, d.Reason, d.Why, c.action, c.reason)
			}
			if (d.Action == ActionHold || d.Action == ActionNone) != (d.Phase == phase) {
				t.Errorf("action %s leads from %s to %s", d.Action, phase, d.Phase)
			}
			if marshal(t, r) != before {
				t.Error("deciding changed the rollout")
			}
			marshal(t, d) // has no infinity
			r.Advance(d, start.Add(c.after))
			if r.Phase != d.Phase || r.Phase.Final() && c.action != ActionNone && (r.EndedAt.IsZero() || r.Reason != c.reason) {
				t.Errorf("rollout %+v after the decision %+v", r, d)
			}
		})
	}
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func judgement(version int, role stoa.Role, id string, right bool, at time.Time) stoa.Judgement {
	j := stoa.Judgement{ID: id, Model: "price", Version: version, Role: role, Decision: "UP", Truth: "UP", At: at}
	if !right {
		j.Truth = "DOWN"
	}
	return j
}

func TestFoldPairsAndArms(t *testing.T) {
	r := newRollout(t, Policy{})
	fold := func(version int, role stoa.Role, id string, right bool, at time.Duration) {
		r.Fold(judgement(version, role, id, right, start.Add(at)))
	}
	fold(1, stoa.RoleChampion, "a", true, time.Second)
	fold(1, stoa.RoleChampion, "b", false, time.Second)
	fold(2, stoa.RoleShadow, "b", true, time.Second) // completes b before a
	fold(2, stoa.RoleShadow, "a", true, time.Second)
	fold(2, stoa.RoleShadow, "c", false, time.Second) // the shadow first
	fold(2, stoa.RoleShadow, "c", false, time.Second) // again
	fold(1, stoa.RoleChampion, "c", true, time.Second)
	fold(1, stoa.RoleChampion, "old", true, -time.Second) // before the rollout
	fold(1, stoa.RolePinned, "d", true, time.Second)
	fold(3, stoa.RoleChampion, "d", true, time.Second)
	if want := (Pairs{Won: 1, Lost: 1, Tied: 1}); r.ShadowPairs != want || len(r.Halves) != 0 {
		t.Fatalf("pairs %+v, halves %+v; want %+v and none", r.ShadowPairs, r.Halves, want)
	}
	r.Advance(Decision{Phase: PhaseCanary}, start.Add(time.Minute))
	fold(1, stoa.RoleChampion, "late", false, 2*time.Second) // predicted in shadow, judged in canary
	fold(2, stoa.RoleShadow, "late", true, 2*time.Second)
	fold(2, stoa.RoleCanary, "e", false, 2*time.Minute)
	fold(1, stoa.RoleShadow, "e", true, 2*time.Minute) // the champion shadows the canary's share
	fold(1, stoa.RoleChampion, "f", false, 2*time.Minute)
	fold(2, stoa.RoleShadow, "f", false, 2*time.Minute)
	if want := (Pairs{Won: 2, Lost: 1, Tied: 1}); r.ShadowPairs != want {
		t.Errorf("pairs of the shadow %+v; want %+v", r.ShadowPairs, want)
	}
	if want := (Pairs{Lost: 1, Tied: 1}); r.CanaryPairs != want {
		t.Errorf("pairs of the canary %+v; want %+v", r.CanaryPairs, want)
	}
	if r.Canary != (Judged{1, 1}) || r.Control != (Judged{1, 1}) || r.Errors.Canary != 1 || r.Errors.Control != 1 {
		t.Errorf("arms %+v and %+v, errors %+v; want one wrong answer of each", r.Canary, r.Control, r.Errors)
	}
	for i := range 2 * halves {
		fold(1, stoa.RoleChampion, "alone-"+strconv.Itoa(i), true, 3*time.Minute)
	}
	if len(r.Halves) != halves {
		t.Errorf("%d halves wait; want them bounded by %d", len(r.Halves), halves)
	}
}

// TestPairsAreMartingale checks exactly that the e-values of pairs have mean 1 under a fair coin, and the one of
// non-inferiority at its margin.
func TestPairsAreMartingale(t *testing.T) {
	const n = 14
	better, worse, different := 0.0, 0.0, 0.0
	for won := range int64(n + 1) {
		p := Pairs{Won: won, Lost: n - won}
		chance := math.Exp(logChoose(n, won) - n*math.Ln2)
		better += chance * p.Better()
		worse += chance * p.Worse()
		different += chance * math.Exp(p.LogDifferent())
	}
	for name, mean := range map[string]float64{"better": better, "worse": worse, "different": different} {
		if math.Abs(mean-1) > 1e-12 {
			t.Errorf("%s: mean %.15f under the null; want 1", name, mean)
		}
	}
	const margin, discordant = 0.02, 0.1
	lose, win := (discordant+margin)/2, (discordant-margin)/2
	mean := 0.0
	for won := range int64(n + 1) {
		for lost := range n + 1 - won {
			p := Pairs{Won: won, Lost: lost, Tied: n - won - lost}
			logChance := logChoose(n, won) + logChoose(n-won, lost) + float64(won)*math.Log(win) +
				float64(lost)*math.Log(lose) + float64(p.Tied)*math.Log(1-discordant)
			mean += math.Exp(logChance + p.LogNotInferior(margin))
		}
	}
	if math.Abs(mean-1) > 1e-12 {
		t.Errorf("not inferior: mean %.15f at the margin; want 1", mean)
	}
}

func logChoose(n, k int64) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}

func TestEvidenceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.Int64Range(0, 100_000)
		p := Pairs{Won: count.Draw(t, "won"), Lost: count.Draw(t, "lost"), Tied: count.Draw(t, "tied")}
		for name, v := range map[string]float64{"better": p.Better(), "worse": p.Worse()} {
			if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
				t.Fatalf("%s of %+v is %v", name, p, v)
			}
		}
		upper := p.UpperDifference(0.05)
		if !(upper >= lowestBound && upper <= 1) {
			t.Fatalf("bound of %+v is %v", p, upper)
		}
		if d := p.Difference(); upper < d && d > lowestBound {
			t.Fatalf("bound %v of %+v is below the estimate %v", upper, p, d)
		}
	})
}

// TestRolloutStateIsItsJSON checks that a rollout that is saved and loaded decides as one that is not.
func TestRolloutStateIsItsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, err := New(1, "price", 1, 2, Policy{MinPairs: 5, MinLabels: 2, Share: 0.5, Margin: 0.2}, start)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rapid.IntRange(1, 150).Draw(t, "events") {
			b := new(Rollout)
			text, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, b); err != nil {
				t.Fatal(err)
			}
			at := start.Add(time.Duration(i) * time.Second)
			version := rapid.IntRange(1, 2).Draw(t, "version")
			role := rapid.SampledFrom([]stoa.Role{stoa.RoleChampion, stoa.RoleCanary, stoa.RoleShadow}).Draw(t, "role")
			right := rapid.Bool().Draw(t, "right") || version == 2
			fault := rapid.IntRange(0, 20).Draw(t, "fault") == 0
			for _, r := range []*Rollout{a, b} {
				r.Fold(judgement(version, role, strconv.Itoa(i/2), right, at))
				if fault {
					r.Fault(role)
				}
				r.Advance(r.Decide(at), at)
			}
			if !reflect.DeepEqual(a.Decide(at), b.Decide(at)) {
				t.Fatalf("decisions differ:\n%+v\n%+v", a.Decide(at), b.Decide(at))
			}
			a = b
		}
	})
}

func TestAssign(t *testing.T) {
	const n = 100_000
	for _, share := range []float64{0, 0.01, 0.1, 0.5, 1} {
		got, both, moved := 0, 0, 0
		for i := range n {
			id := fmt.Sprintf("%08d", i)
			canary := Assign(1, id, share)
			if canary {
				got++
				if Assign(2, id, share) {
					both++
				}
				if !Assign(1, id, math.Min(1, share*2)) {
					moved++
				}
			}
			if canary != Assign(1, id, share) {
				t.Fatal("an assignment changed")
			}
		}
		if se := math.Sqrt(share * (1 - share) / n); math.Abs(float64(got)/n-share) > 4*se {
			t.Errorf("share %g: %d of %d assigned", share, got, n)
		}
		if want := share * share * n; math.Abs(float64(both)-want) > 5*math.Sqrt(want+1) {
			t.Errorf("share %g: %d are in the canaries of two rollouts; want about %.0f", share, both, want)
		}
		if moved > 0 {
			t.Errorf("share %g: %d left when the share grew", share, moved)
		}
	}
	if allocs := testing.AllocsPerRun(100, func() { Assign(1, "0190a7f1-3c2b", 0.1) }); allocs != 0 {
		t.Errorf("%g allocations", allocs)
	}
}

func TestWatch(t *testing.T) {
	r, w := newRollout(t, Policy{Strikes: 3}), NewWatch()
	w.Fault(stoa.RoleShadow)
	w.Served(stoa.RoleShadow)
	w.Fault(stoa.RoleShadow)
	w.Fault(stoa.RoleShadow)
	r.Operate(w.Drain())
	if r.Streak != 2 || r.Faults.Canary != 3 {
		t.Errorf("streak %d, faults %+v; want 2 in a row of 3", r.Streak, r.Faults)
	}
	r.Operate(w.Drain())
	if r.Streak != 2 {
		t.Errorf("streak %d after silence; want it unchanged", r.Streak)
	}
	w.Fault(stoa.RoleShadow)  // the third in a row
	w.Served(stoa.RoleShadow) // and an answer before anybody looks
	r.Operate(w.Drain())
	if d := r.Decide(start); d.Reason != ReasonStrikes {
		t.Errorf("decision %+v; want strikes", d)
	}
	r.Operate(Operations{Served: map[stoa.Role]int64{stoa.RoleShadow: 1}})
	if r.Streak != 0 {
		t.Errorf("streak %d after an answer; want 0", r.Streak)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, p := range []Policy{
		{Alpha: 1}, {Alpha: -1}, {Alpha: math.NaN()}, {Share: 1.5}, {Margin: -0.1}, {MinPairs: -1}, {MaxPairs: 10},
	} {
		if _, err := New(1, "price", 1, 2, p, start); err == nil {
			t.Errorf("%+v was taken", p)
		}
	}
	for _, c := range [][2]int{{1, 1}, {0, 1}, {1, 0}} {
		if _, err := New(1, "price", c[0], c[1], Policy{}, start); err == nil {
			t.Errorf("versions %v were taken", c)
		}
	}
}

func TestStore(t *testing.T) {
	ctx := t.Context()
	db := storetest.Open(t)
	s, err := NewStore(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	save := func(r *Rollout) error {
		return db.Write(ctx, func(tx *store.Tx) error { return s.SaveTx(ctx, tx, r) })
	}
	if _, err := s.Active(ctx, "price"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("error %v; want %v", err, store.ErrNotFound)
	}
	r := newRollout(t, Policy{})
	r.Fold(judgement(1, stoa.RoleChampion, "a", true, start))
	if err := save(r); err != nil {
		t.Fatal(err)
	}
	got, err := s.Active(ctx, "price")
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("loaded %+v, %v; want %+v", got, err, r)
	}
	second := newRollout(t, Policy{})
	second.ID = 8
	var refusal *stoa.Refusal
	if err := save(second); !errors.As(err, &refusal) || refusal.Reason != stoa.ReasonConflict {
		t.Errorf("a second rollout of the model: %v; want %s", err, stoa.ReasonConflict)
	}
	r.Advance(Decision{Phase: PhaseWithdrawn, Reason: ReasonWorse}, start)
	if err := errors.Join(save(r), save(second)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Active(ctx, "price"); err != nil || got.ID != 8 {
		t.Errorf("active %+v, %v; want the second", got, err)
	}
	if got, err := s.Load(ctx, 7); err != nil || got.Phase != PhaseWithdrawn || got.Reason != ReasonWorse {
		t.Errorf("loaded %+v, %v; want the first, withdrawn", got, err)
	}
	if list, err := s.List(ctx, "", 10); err != nil || len(list) != 2 || list[0].ID != 8 {
		t.Errorf("list %+v, %v; want both, newest first", list, err)
	}
}
