package delivery

import (
	"fmt"
	"time"
)

// An Action is what a decision asks for.
type Action string

// The actions.
const (
	ActionHold     Action = "hold"     // stay in the phase
	ActionCanary   Action = "canary"   // give the challenger its share of live traffic
	ActionPromote  Action = "promote"  // make the challenger champion
	ActionWithdraw Action = "withdraw" // take the challenger out; the champion stays
	ActionNone     Action = "none"     // the rollout is over
)

// A Reason says why, from a closed set.
type Reason string

// The reasons of decisions.
const (
	ReasonOver         Reason = "over"         // the rollout has ended
	ReasonStrikes      Reason = "strikes"      // the challenger failed several times in a row
	ReasonWorse        Reason = "worse"        // pairs show that the challenger is less accurate
	ReasonErrors       Reason = "errors"       // the canary's answers are wrong more often than the champion's
	ReasonFaults       Reason = "faults"       // the challenger fails more often than the champion
	ReasonBetter       Reason = "better"       // pairs show that the challenger is more accurate
	ReasonNotInferior  Reason = "not_inferior" // the bound on the difference is within the margin
	ReasonInconclusive Reason = "inconclusive" // labels or time ran out
	ReasonNoLabels     Reason = "no_labels"    // nothing has been judged yet
	ReasonCollecting   Reason = "collecting"   // the evidence does not decide yet
)

// A Decision is what to do now, and why.
type Decision struct {
	Action     Action     `json:"action"`
	Phase      Phase      `json:"phase"` // phase after the action
	Reason     Reason     `json:"reason"`
	Why        string     `json:"why"` // a sentence with the numbers
	Statistics Statistics `json:"statistics"`
}

// Statistics are the numbers that a decision rests on.
type Statistics struct {
	Pairs           Pairs   `json:"pairs"`            // of the whole rollout
	Difference      float64 `json:"difference"`       // challenger's error rate minus the champion's
	UpperDifference float64 `json:"upper_difference"` // anytime bound of it at level 1 - Alpha
	Better          float64 `json:"better"`           // e-value, pairs made in shadow
	WorseShadow     float64 `json:"worse_shadow"`     // e-value, pairs made in shadow
	WorseCanary     float64 `json:"worse_canary"`     // e-value, pairs made since the canary began
	Errors          float64 `json:"errors"`           // e-value, wrong answers of the arms
	Faults          float64 `json:"faults"`           // e-value, failures of the arms
	Harm            float64 `json:"harm"`             // e-value of the phase that would withdraw the challenger
	BetterAt        float64 `json:"better_at"`        // value of Better that makes a canary
	HarmAt          float64 `json:"harm_at"`          // value of Harm that withdraws
	Control         Judged  `json:"control"`
	Canary          Judged  `json:"canary"`
	Streak          int     `json:"streak"`
}

// Statistics returns the evidence so far.
func (r *Rollout) Statistics() Statistics {
	pairs := r.ShadowPairs.Plus(r.CanaryPairs)
	s := Statistics{
		Pairs:           pairs,
		Difference:      pairs.Difference(),
		UpperDifference: pairs.UpperDifference(r.Policy.Alpha),
		Better:          r.ShadowPairs.Better(),
		WorseShadow:     r.ShadowPairs.Worse(),
		WorseCanary:     r.CanaryPairs.Worse(),
		Errors:          r.Errors.Worse(),
		Faults:          r.Faults.Worse(),
		BetterAt:        1 / r.Policy.Alpha,
		HarmAt:          2 / r.Policy.Alpha,
		Control:         r.Control,
		Canary:          r.Canary,
		Streak:          r.Streak,
	}
	if r.Phase == PhaseShadow {
		s.Harm = (s.WorseShadow + s.Faults) / 2
	} else {
		s.Harm = (s.WorseCanary + s.Errors + s.Faults) / 3
	}
	return s
}

// Decide says what to do at a time. It changes nothing; see [Rollout.Advance].
//
//  1. The rollout is over: none.
//  2. The challenger failed Strikes times in a row: withdraw at once, no statistics needed.
//  3. The e-value of harm reaches 2/Alpha: withdraw. In shadow it is the mean of the pairs' and the faults' e-values,
//     in canary the mean of those of the pairs since it began, of the arms' errors and of the arms' faults. A mean of
//     e-values is an e-value.
//  4. In shadow:
//     a. MinPairs pairs, and the e-value for better reaches 1/Alpha: canary.
//     b. MaxPairs pairs or the timeout: withdraw as inconclusive, which keeps the champion.
//     c. Otherwise hold.
//  5. In canary:
//     a. MinLabels labels of the canary's own answers, and the bound on the difference of the error rates is within
//     Margin: promote.
//     b. MaxPairs labels or the timeout: withdraw as inconclusive.
//     c. Otherwise hold. Without labels or traffic this is all that happens.
func (r *Rollout) Decide(now time.Time) Decision {
	d := Decision{Action: ActionHold, Phase: r.Phase, Statistics: r.Statistics()}
	s := &d.Statistics
	switch {
	case r.Phase.Final(): // 1
		d.Action, d.Reason, d.Why = ActionNone, ReasonOver, "the rollout is over: "+string(r.Phase)
	case r.Streak >= r.Policy.Strikes: // 2
		d.withdraw(ReasonStrikes, "version %d failed %d times in a row", r.Challenger, r.Streak)
	case s.Harm >= s.HarmAt: // 3
		r.withdrawForHarm(&d)
	case r.Phase == PhaseShadow:
		r.decideShadow(&d, now) // 4
	default:
		r.decideCanary(&d, now) // 5
	}
	return d
}

func (d *Decision) withdraw(reason Reason, format string, args ...any) {
	d.Action, d.Phase, d.Reason, d.Why = ActionWithdraw, PhaseWithdrawn, reason, fmt.Sprintf(format, args...)
}

// withdrawForHarm names the largest part of the evidence.
func (r *Rollout) withdrawForHarm(d *Decision) {
	s := &d.Statistics
	pairs, worse, errors := r.ShadowPairs, s.WorseShadow, 0.0
	if r.Phase == PhaseCanary {
		pairs, worse, errors = r.CanaryPairs, s.WorseCanary, s.Errors
	}
	switch max(worse, errors, s.Faults) {
	case worse:
		d.withdraw(ReasonWorse, "version %d alone was right on %d rows and version %d alone on %d (harm %.3g of %.3g)",
			r.Champion, pairs.Lost, r.Challenger, pairs.Won, s.Harm, s.HarmAt)
	case errors:
		d.withdraw(ReasonErrors, "the canary was wrong on %d of %d rows and the champion on %d of %d (harm %.3g of %.3g)",
			r.Canary.Errors, r.Canary.Labels, r.Control.Errors, r.Control.Labels, s.Harm, s.HarmAt)
	default:
		d.withdraw(ReasonFaults, "version %d failed %d times and version %d %d times (harm %.3g of %.3g)",
			r.Challenger, r.Faults.Canary, r.Champion, r.Faults.Control, s.Harm, s.HarmAt)
	}
}

func (r *Rollout) decideShadow(d *Decision, now time.Time) {
	s, p, n := &d.Statistics, r.Policy, r.ShadowPairs.N()
	switch {
	case n >= p.MinPairs && s.Better >= s.BetterAt: // 4a
		d.Action, d.Phase, d.Reason = ActionCanary, PhaseCanary, ReasonBetter
		d.Why = fmt.Sprintf("on %d rows version %d alone was right on %d and version %d alone on %d (e-value %.3g of %.3g)",
			n, r.Challenger, r.ShadowPairs.Won, r.Champion, r.ShadowPairs.Lost, s.Better, s.BetterAt)
	case n >= p.MaxPairs: // 4b
		d.withdraw(ReasonInconclusive, "%d labelled pairs did not show version %d to be better", n, r.Challenger)
	case now.Sub(r.StartedAt) >= p.ShadowTimeout:
		d.withdraw(ReasonInconclusive, "%d labelled pairs in %s did not show version %d to be better",
			n, p.ShadowTimeout, r.Challenger)
	case n == 0: // 4c
		d.Reason, d.Why = ReasonNoLabels, "no row that both versions decided has a label yet"
	default:
		d.Reason = ReasonCollecting
		d.Why = fmt.Sprintf("%d pairs, e-value for better %.3g of %.3g", n, s.Better, s.BetterAt)
	}
}

func (r *Rollout) decideCanary(d *Decision, now time.Time) {
	s, p := &d.Statistics, r.Policy
	n := max(r.CanaryPairs.N(), r.Canary.Labels+r.Control.Labels)
	switch {
	case r.Canary.Labels >= p.MinLabels && s.UpperDifference <= p.Margin: // 5a
		d.Action, d.Phase, d.Reason = ActionPromote, PhasePromoted, ReasonNotInferior
		d.Why = fmt.Sprintf("the error rate of version %d is at most %+.3f from that of version %d (margin %.3f; %d rows)",
			r.Challenger, s.UpperDifference, r.Champion, p.Margin, s.Pairs.N())
	case n >= p.MaxPairs: // 5b
		d.withdraw(ReasonInconclusive, "%d labels did not show version %d to be within the margin of %.3f",
			n, r.Challenger, p.Margin)
	case now.Sub(r.CanarySince) >= p.CanaryTimeout:
		d.withdraw(ReasonInconclusive, "%d labels of the canary's answers in %s are not enough",
			r.Canary.Labels, p.CanaryTimeout)
	case n == 0: // 5c
		d.Reason, d.Why = ReasonNoLabels, "no answer since the canary began has a label yet"
	default:
		d.Reason = ReasonCollecting
		d.Why = fmt.Sprintf("%d labels of the canary's own answers of %d, difference at most %+.3f (margin %.3f)",
			r.Canary.Labels, p.MinLabels, s.UpperDifference, p.Margin)
	}
}
