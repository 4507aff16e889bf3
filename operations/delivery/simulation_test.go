package delivery

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stoaproject/stoa"
)

// drawPair returns whether challenger and champion are right on a row, when only the one is with probability won, only
// the other with probability lost.
func drawPair(r *rand.Rand, won, lost float64) (challenger, champion bool) {
	switch u := r.Float64(); {
	case u < won:
		return true, false
	case u < won+lost:
		return false, true
	case u < won+lost+(1-won-lost)*0.95:
		return true, true
	}
	return false, false
}

// TestPairsNeedFewLabels checks the median number of labels until a verdict against the table of the rollout design
// notes: champion 0.90, two-sided test at 0.05.
func TestPairsNeedFewLabels(t *testing.T) {
	for _, c := range []struct {
		challenger, discordant float64
		published              float64
	}{
		{0.92, 0.06, 1134}, {0.93, 0.07, 549}, {0.95, 0.09, 257}, {0.88, 0.06, 1168},
	} {
		won := (c.discordant + c.challenger - 0.90) / 2
		lost := c.discordant - won
		random := rand.New(rand.NewPCG(1, 9))
		two, one := make([]float64, 0, 500), make([]float64, 0, 500)
		for range 500 {
			var p Pairs
			n, fired := 0, 0
			for fired != 3 {
				n++
				before := p
				p.Add(drawPair(random, won, lost))
				if p.Tied != before.Tied {
					continue
				}
				if fired&1 == 0 && p.LogDifferent() >= math.Log(20) {
					fired |= 1
					two = append(two, float64(n))
				}
				if fired&2 == 0 && max(p.LogBetter(), p.LogWorse()) >= math.Log(20) {
					fired |= 2
					one = append(one, float64(n))
				}
			}
		}
		slices.Sort(two)
		slices.Sort(one)
		t.Logf("champion 0.90, challenger %.2f, %.0f %% discordant: %.0f labels two-sided (published %.0f), %.0f one-sided",
			c.challenger, 100*c.discordant, two[250], c.published, one[250])
		if math.Abs(two[250]/c.published-1) > 0.15 {
			t.Errorf("challenger %.2f: a median of %.0f labels; published is %.0f", c.challenger, two[250], c.published)
		}
	}
}

// TestArmsNeedFewRequests checks the arms against the same notes: error rate 0.02, at most 3,000 canary requests.
func TestArmsNeedFewRequests(t *testing.T) {
	for _, c := range []struct {
		ratio, share, alpha float64
		published           float64 // median canary requests; 0 for the null
	}{
		{1, 0.1, 0.05, 0}, {1, 0.5, 0.05, 0}, {3, 0.1, 0.05, 145}, {5, 0.1, 0.05, 49}, {3, 0.1, 0.01, 235}, {2, 0.1, 0.05, 468},
	} {
		random := rand.New(rand.NewPCG(5, 6))
		const runs = 300
		var requests []float64
		for range runs {
			var a Arms
			for n := 0; n < 3000; {
				canary := random.Float64() < c.share
				rate := 0.02
				if canary {
					n++
					rate *= c.ratio
				}
				if random.Float64() < rate {
					if a.Add(canary, c.share); a.Worse() >= 1/c.alpha {
						requests = append(requests, float64(n))
						break
					}
				}
			}
		}
		fired := float64(len(requests)) / runs
		if c.published == 0 {
			t.Logf("equal arms, share %.1f: %.1f %% withdrawn (bound 5 %%)", c.share, 100*fired)
			if fired > c.alpha+3*math.Sqrt(c.alpha*(1-c.alpha)/runs) {
				t.Errorf("equal arms, share %g: %.3f withdrawn; want %g at most", c.share, fired, c.alpha)
			}
			continue
		}
		slices.Sort(requests)
		median := requests[len(requests)/2]
		t.Logf("ratio %.0f, share %.1f, alpha %.2f: %.0f %% withdrawn, after %.0f canary requests (published %.0f)",
			c.ratio, c.share, c.alpha, 100*fired, median, c.published)
		if math.Abs(median/c.published-1) > 0.25 {
			t.Errorf("ratio %g: a median of %.0f requests; published is %.0f", c.ratio, median, c.published)
		}
	}
}

// A world is the traffic of a simulated rollout.
type world struct {
	won, lost float64 // of the pairs in shadow
	// in canary, when they differ
	canaryWon, canaryLost float64
	fault, canaryFault    float64 // chances that a version fails on a request
}

// simulate runs a rollout to its end, one labelled row at a time, and returns it with the number of rows.
func simulate(t *testing.T, random *rand.Rand, w world, policy Policy) (r *Rollout, rows int) {
	t.Helper()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r, err := New(1, "price", 1, 2, policy, at)
	if err != nil {
		t.Fatal(err)
	}
	for !r.Phase.Final() {
		rows++
		at = at.Add(time.Second)
		step(r, random, w, strconv.Itoa(rows), at)
		if rows%5 == 0 {
			r.Advance(r.Decide(at), at)
		}
	}
	return r, rows
}

// step is one request and its label.
func step(r *Rollout, random *rand.Rand, w world, id string, at time.Time) {
	won, lost := w.won, w.lost
	championRole, challengerRole := stoa.RoleChampion, stoa.RoleShadow
	if r.Phase == PhaseCanary {
		if w.canaryWon+w.canaryLost > 0 {
			won, lost = w.canaryWon, w.canaryLost
		}
		if Assign(r.ID, id, r.Policy.Share) {
			championRole, challengerRole = stoa.RoleShadow, stoa.RoleCanary
		}
	}
	failed := false
	if championRole != stoa.RoleShadow && random.Float64() < w.fault {
		r.Fault(championRole)
		failed = true
	}
	if (challengerRole == stoa.RoleCanary || r.Phase == PhaseShadow) && random.Float64() < w.canaryFault {
		r.Fault(challengerRole)
		failed = true
	}
	if failed {
		return
	}
	r.Served(challengerRole)
	challenger, champion := drawPair(random, won, lost)
	judgement := func(version int, role stoa.Role, right bool) stoa.Judgement {
		j := stoa.Judgement{ID: id, Model: r.Model, Version: version, Role: role, Decision: "UP", Truth: "UP", At: at}
		if !right {
			j.Truth = "DOWN"
		}
		return j
	}
	r.Fold(judgement(r.Champion, championRole, champion))
	r.Fold(judgement(r.Challenger, challengerRole, challenger))
}

// TestRolloutErrorRates measures whole rollouts against the bounds of the package comment.
func TestRolloutErrorRates(t *testing.T) {
	const alpha = 0.05
	policy := Policy{Alpha: alpha, MaxPairs: 2000, ShadowTimeout: 1000 * time.Hour, CanaryTimeout: 1000 * time.Hour}
	for _, c := range []struct {
		name               string
		world              world
		runs               int
		promoted, withdraw float64 // bounds of the share promoted and of the share withdrawn for harm
		atLeast            float64 // bound below of the share promoted
	}{
		{name: "equal", world: world{won: 0.05, lost: 0.05, fault: 0.01, canaryFault: 0.01},
			runs: 200, promoted: alpha, withdraw: alpha},
		{name: "a little worse", world: world{won: 0.04, lost: 0.05}, runs: 100, promoted: alpha, withdraw: 1},
		{name: "much worse", world: world{won: 0.02, lost: 0.06}, runs: 100, promoted: alpha, withdraw: 1},
		{name: "better", world: world{won: 0.06, lost: 0.02, fault: 0.01, canaryFault: 0.01},
			runs: 100, promoted: 1, withdraw: alpha, atLeast: 0.95},
		{name: "better in shadow, equal in canary", runs: 100, promoted: 1, withdraw: alpha,
			world: world{won: 0.08, lost: 0.02, canaryWon: 0.05, canaryLost: 0.05, fault: 0.01, canaryFault: 0.01}},
	} {
		random := rand.New(rand.NewPCG(2, 3))
		promoted, harmed := 0, 0
		var rows []int
		for range c.runs {
			r, n := simulate(t, random, c.world, policy)
			rows = append(rows, n)
			switch {
			case r.Phase == PhasePromoted:
				promoted++
			case r.Reason != ReasonInconclusive:
				harmed++
			}
		}
		slices.Sort(rows)
		n := float64(c.runs)
		t.Logf("%s: %.1f %% promoted, %.1f %% withdrawn for harm, %.1f %% inconclusive; %d labels (median)", c.name,
			100*float64(promoted)/n, 100*float64(harmed)/n, 100*(n-float64(promoted+harmed))/n, rows[len(rows)/2])
		slack := 3 * math.Sqrt(alpha*(1-alpha)/n)
		if got := float64(promoted) / n; got > c.promoted+slack || got < c.atLeast-slack {
			t.Errorf("%s: %.3f promoted; want %g to %g", c.name, got, c.atLeast, c.promoted)
		}
		if got := float64(harmed) / n; got > c.withdraw+slack {
			t.Errorf("%s: %.3f withdrawn for harm; want %g at most", c.name, got, c.withdraw)
		}
	}
}

// TestRolloutWithdraws measures how soon a canary that turns bad is taken out.
func TestRolloutWithdraws(t *testing.T) {
	good := world{won: 0.08, lost: 0.02, fault: 0.01, canaryFault: 0.01}
	for _, c := range []struct {
		name   string
		change func(*world)
		most   float64 // median rows from the start of the canary
	}{
		{"a tenth more errors than the champion", func(w *world) { w.canaryWon, w.canaryLost = 0.02, 0.12 }, 200},
		{"a third more errors than the champion", func(w *world) { w.canaryWon, w.canaryLost = 0.02, 0.35 }, 40},
		{"fails on a tenth of requests", func(w *world) { w.canaryFault = 0.1 }, 2000},
		{"fails on half of requests", func(w *world) { w.canaryFault = 0.5 }, 200},
		{"always fails", func(w *world) { w.canaryFault = 1 }, 100},
	} {
		random := rand.New(rand.NewPCG(8, 9))
		const runs = 60
		withdrawn := 0
		var rows []float64
		for range runs {
			r, n := canaryOf(t, random, good), 0
			w := good
			c.change(&w)
			at := r.CanarySince
			for ; !r.Phase.Final() && n < 20_000; n++ {
				at = at.Add(time.Second)
				step(r, random, w, "c"+strconv.Itoa(n), at)
				r.Advance(r.Decide(at), at)
			}
			if r.Phase == PhaseWithdrawn && r.Reason != ReasonInconclusive {
				withdrawn++
				rows = append(rows, float64(n))
			}
		}
		slices.Sort(rows)
		if withdrawn == 0 {
			t.Errorf("%s: never withdrawn", c.name)
			continue
		}
		median := rows[len(rows)/2]
		t.Logf("canary %s: %d of %d withdrawn, after %.0f rows (median)", c.name, withdrawn, runs, median)
		if withdrawn < runs*8/10 || median > c.most {
			t.Errorf("canary %s: %d of %d withdrawn after a median of %.0f rows; want it within %.0f",
				c.name, withdrawn, runs, median, c.most)
		}
	}
}

// canaryOf returns a rollout that has just become a canary, and needs many labels to be promoted.
func canaryOf(t *testing.T, random *rand.Rand, w world) *Rollout {
	t.Helper()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r, err := New(random.Int64N(1<<40)+1, "price", 1, 2, Policy{MinLabels: 2000}, at)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; r.Phase == PhaseShadow; n++ {
		at = at.Add(time.Second)
		step(r, random, w, strconv.Itoa(n), at)
		r.Advance(r.Decide(at), at)
	}
	if r.Phase != PhaseCanary {
		t.Fatalf("the rollout went to %s: %s", r.Phase, r.Reason)
	}
	return r
}
