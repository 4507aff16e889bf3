// Package delivery decides what becomes of a challenger: shadow, then canary, then promoted or withdrawn.
//
// # The decider is pure
//
// A [Rollout] is a value. It is fed judgements ([Rollout.Fold]) and operational events ([Rollout.Operate]), and asked
// what to do ([Rollout.Decide]); it reads no clock and no database. Its JSON is its whole state, which [Store] saves in
// the caller's transaction beside the cursor over the judgements. Deciding may happen after every judgement or after
// many: all tests are anytime-valid e-processes, so that looking often costs nothing (Ramdas, Grünwald, Vovk and Shafer,
// "Game-theoretic statistics and safe anytime-valid inference", 2023).
//
// # Shadow
//
// The challenger answers everything the champion answers, and nobody receives it. Each label then judges a pair of
// decisions about the same row, and only rows where exactly one of the two is right say anything: w won and l lost by
// the challenger. Under equal accuracy a discordant pair is a fair coin. The test is McNemar's, made sequential by a
// Beta(1,1) mixture over the side of the coin that is claimed ([Pairs.Better], [Pairs.Worse]). Pairs need 3 to 5 times
// fewer labels than two arms, because the difficulty of the row cancels.
//
// # Canary
//
// The challenger answers a share of the live traffic, chosen by [Assign] from a hash of the prediction id. The pairs go
// on: on the champion's share the challenger shadows, and on the challenger's share the champion does, so every labelled
// row still is a pair, and which of the two answered does not matter to the comparison. What the canary adds is what a
// shadow cannot show: faults under live conditions, and errors of the arms as they were served. Both are tested by a
// conditional-binomial e-process ([Arms]): given that an error or a fault happened, under the null it came from the
// canary with the probability of its share at that moment.
//
// # Error rates
//
// With Alpha the number of the policy, over a whole rollout and however often it is looked at:
//
//   - a challenger that is no more accurate than the champion reaches the canary, and so is promoted, with probability
//     at most Alpha;
//   - a challenger that is worse by Margin or more is declared not inferior with probability at most Alpha;
//   - a challenger that is as accurate and as healthy as the champion is withdrawn for harm with probability at most
//     Alpha: half of it is spent in shadow, half in canary on the mean of three e-processes.
//
// These hold while a label arrives or not regardless of which version was asked, and for errors that are exchangeable
// between the versions given the past. Silence is never success: without labels a rollout holds and then times out,
// which keeps the champion.
package delivery

import (
	"errors"
	"fmt"
	"time"

	"github.com/stoaproject/stoa"
)

// A Phase is where a rollout is.
type Phase string

// The phases of a rollout. The last two are final.
const (
	PhaseShadow    Phase = "shadow"
	PhaseCanary    Phase = "canary"
	PhasePromoted  Phase = "promoted"
	PhaseWithdrawn Phase = "withdrawn"
)

// Final reports whether a rollout in this phase is over.
func (p Phase) Final() bool { return p == PhasePromoted || p == PhaseWithdrawn }

// A Policy says how much evidence a rollout needs. Zero fields take their defaults.
type Policy struct {
	Alpha         float64       `json:"alpha"`          // bound of each error rate of the package comment; 0.05
	Share         float64       `json:"share"`          // of live traffic that a canary gets; 0.10
	Margin        float64       `json:"margin"`         // error rate the challenger may have above the champion's; 0.01
	MinPairs      int64         `json:"min_pairs"`      // labelled pairs before a shadow may become a canary; 50
	MinLabels     int64         `json:"min_labels"`     // labels of the canary's own answers before it is promoted; 50
	MaxPairs      int64         `json:"max_pairs"`      // labelled pairs in a phase before it is inconclusive; 20,000
	ShadowTimeout time.Duration `json:"shadow_timeout"` // 14 days
	CanaryTimeout time.Duration `json:"canary_timeout"` // 14 days
	Strikes       int           `json:"strikes"`        // consecutive failures of the challenger that end it at once; 5
}

func (p Policy) withDefaults() Policy {
	set(&p.Alpha, 0.05)
	set(&p.Share, 0.10)
	set(&p.Margin, 0.01)
	set(&p.MinPairs, 50)
	set(&p.MinLabels, 50)
	set(&p.MaxPairs, 20_000)
	set(&p.ShadowTimeout, 14*24*time.Hour)
	set(&p.CanaryTimeout, 14*24*time.Hour)
	set(&p.Strikes, 5)
	return p
}

func set[T comparable](field *T, fallback T) {
	var zero T
	if *field == zero {
		*field = fallback
	}
}

func (p Policy) check() error {
	switch {
	case !(p.Alpha > 0 && p.Alpha < 1):
		return fmt.Errorf("alpha %g; give a probability between 0 and 1", p.Alpha)
	case !(p.Share > 0 && p.Share < 1):
		return fmt.Errorf("share %g; give a share of the traffic between 0 and 1", p.Share)
	case !(p.Margin >= 0 && p.Margin < 1):
		return fmt.Errorf("margin %g; give a share of predictions from 0 to below 1", p.Margin)
	case p.MinPairs < 0, p.MinLabels < 0, p.MaxPairs < 0, p.ShadowTimeout < 0, p.CanaryTimeout < 0, p.Strikes < 0:
		return errors.New("a number of the policy is negative")
	case p.MinPairs > p.MaxPairs, p.MinLabels > p.MaxPairs:
		return fmt.Errorf("no rollout could succeed: at least %d pairs and %d labels are needed, and %d end it",
			p.MinPairs, p.MinLabels, p.MaxPairs)
	}
	return nil
}

// halves is how many judgements wait for the other version's judgement of the same row. The monitor writes both side by
// side; only a shadow that was late leaves a gap.
const halves = 256

// A Rollout is the state of one challenger's way into service.
type Rollout struct {
	ID          int64     `json:"id"` // of the ledger entry
	Model       string    `json:"model"`
	Champion    int       `json:"champion"`
	Challenger  int       `json:"challenger"`
	Policy      Policy    `json:"policy"`
	Phase       Phase     `json:"phase"`
	Reason      Reason    `json:"reason,omitempty"` // of the decision that made the phase
	StartedAt   time.Time `json:"started_at"`
	CanarySince time.Time `json:"canary_since,omitzero"`
	EndedAt     time.Time `json:"ended_at,omitzero"`

	ShadowPairs Pairs  `json:"shadow_pairs"` // of predictions made in shadow
	CanaryPairs Pairs  `json:"canary_pairs"` // of predictions made since the canary began
	Errors      Arms   `json:"errors"`       // wrong answers of the arms of the canary
	Faults      Arms   `json:"faults"`       // answers that failed
	Control     Judged `json:"control"`      // the champion's own answers since the canary began
	Canary      Judged `json:"canary"`       // the canary's own answers
	Streak      int    `json:"streak"`       // consecutive failures of the challenger up to now
	Halves      []Half `json:"halves,omitempty"`
}

// Judged counts labelled answers.
type Judged struct {
	Labels int64 `json:"labels"`
	Errors int64 `json:"errors"`
}

// A Half is the judgement of one version about a row that the other has not been judged on.
type Half struct {
	ID         string `json:"id"`
	Row        int    `json:"row,omitempty"`
	Challenger bool   `json:"challenger,omitempty"` // whose judgement it is
	Right      bool   `json:"right,omitempty"`
}

// New begins a rollout in shadow. id is that of its ledger entry.
func New(id int64, model string, champion, challenger int, policy Policy, at time.Time) (*Rollout, error) {
	policy = policy.withDefaults()
	if err := policy.check(); err != nil {
		return nil, fmt.Errorf("rollout of %s: %w", model, err)
	}
	if model == "" || champion < 1 || challenger < 1 || champion == challenger {
		return nil, fmt.Errorf("rollout of %q: champion %d and challenger %d must be two versions", model, champion, challenger)
	}
	return &Rollout{
		ID: id, Model: model, Champion: champion, Challenger: challenger, Policy: policy, Phase: PhaseShadow, StartedAt: at,
	}, nil
}

// Fold takes the next judgement. Those of other models and versions, of predictions made before the rollout, and in
// roles that see only part of the traffic by choice (pinned, fallback) are ignored.
func (r *Rollout) Fold(j stoa.Judgement) {
	if r.Phase.Final() || j.Model != r.Model || j.At.Before(r.StartedAt) {
		return
	}
	if j.Version != r.Champion && j.Version != r.Challenger {
		return
	}
	if j.Role != stoa.RoleChampion && j.Role != stoa.RoleCanary && j.Role != stoa.RoleShadow {
		return
	}
	right := j.Decision == j.Truth
	inCanary := r.Phase == PhaseCanary && !j.At.Before(r.CanarySince)
	if inCanary {
		r.foldArm(j, right)
	}
	r.foldPair(j, right, inCanary)
}

// foldArm counts a judgement of an answer that somebody received.
func (r *Rollout) foldArm(j stoa.Judgement, right bool) {
	var arm *Judged
	switch {
	case j.Role == stoa.RoleCanary && j.Version == r.Challenger:
		arm = &r.Canary
	case j.Role == stoa.RoleChampion && j.Version == r.Champion:
		arm = &r.Control
	default:
		return
	}
	arm.Labels++
	if !right {
		arm.Errors++
		r.Errors.Add(arm == &r.Canary, r.Policy.Share)
	}
}

// foldPair completes a pair, or keeps the half for when its other half comes.
func (r *Rollout) foldPair(j stoa.Judgement, right, inCanary bool) {
	challenger := j.Version == r.Challenger
	for i, h := range r.Halves {
		if h.ID != j.ID || h.Row != j.Row {
			continue
		}
		if h.Challenger == challenger { // the same version again, e.g. for a request that was sent twice
			return
		}
		r.Halves = append(r.Halves[:i], r.Halves[i+1:]...)
		pairs := &r.ShadowPairs
		if inCanary {
			pairs = &r.CanaryPairs
		}
		if challenger {
			pairs.Add(right, h.Right)
		} else {
			pairs.Add(h.Right, right)
		}
		return
	}
	if len(r.Halves) == halves {
		r.Halves = append(r.Halves[:0], r.Halves[1:]...)
	}
	r.Halves = append(r.Halves, Half{ID: j.ID, Row: j.Row, Challenger: challenger, Right: right})
}

// Served says that a version answered in a role.
func (r *Rollout) Served(role stoa.Role) {
	if r.isChallenger(role) {
		r.Streak = 0
	}
}

// Fault says that a version failed to answer in a role: an error, a timeout or an answer that is not valid.
//
// In shadow both versions are asked about every row, so a fault is as likely to come from either; in canary it comes
// from the canary with the probability of its share.
func (r *Rollout) Fault(role stoa.Role) {
	if r.Phase.Final() {
		return
	}
	if r.isChallenger(role) {
		r.Streak++
	}
	r.fault(role)
}

// fault adds to the evidence about faults.
func (r *Rollout) fault(role stoa.Role) {
	switch {
	case r.Phase == PhaseCanary && (role == stoa.RoleCanary || role == stoa.RoleChampion):
		r.Faults.Add(role == stoa.RoleCanary, r.Policy.Share)
	case r.Phase == PhaseShadow && (role == stoa.RoleShadow || role == stoa.RoleChampion):
		r.Faults.Add(role == stoa.RoleShadow, 0.5)
	}
}

// isChallenger reports whether it is the challenger that acts in a role. In canary the shadow may be either.
func (r *Rollout) isChallenger(role stoa.Role) bool {
	return role == stoa.RoleCanary || role == stoa.RoleShadow && r.Phase == PhaseShadow
}

// Advance carries out a decision: it moves the rollout into the decision's phase. Holding changes nothing.
func (r *Rollout) Advance(d Decision, at time.Time) {
	if d.Phase == r.Phase || r.Phase.Final() {
		return
	}
	r.Phase, r.Reason = d.Phase, d.Reason
	switch {
	case d.Phase == PhaseCanary:
		r.CanarySince, r.Streak, r.Faults = at, 0, Arms{}
	case d.Phase.Final():
		r.EndedAt, r.Halves = at, nil
	}
}
