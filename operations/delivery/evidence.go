package delivery

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// grid is the number of alternatives in a mixture.
const grid = 6

// Pairs counts rows that both versions decided and whose truth is known.
type Pairs struct {
	Won  int64 `json:"won"`  // only the challenger was right
	Lost int64 `json:"lost"` // only the champion was right
	Tied int64 `json:"tied"` // both were right, or both wrong
}

// Add counts one pair.
func (p *Pairs) Add(challengerRight, championRight bool) {
	switch {
	case challengerRight == championRight:
		p.Tied++
	case challengerRight:
		p.Won++
	default:
		p.Lost++
	}
}

// N returns the number of pairs.
func (p Pairs) N() int64 { return p.Won + p.Lost + p.Tied }

// Plus returns the pairs of both.
func (p Pairs) Plus(o Pairs) Pairs { return Pairs{p.Won + o.Won, p.Lost + o.Lost, p.Tied + o.Tied} }

// Difference returns the challenger's error rate minus the champion's, 0 without pairs.
func (p Pairs) Difference() float64 {
	if p.N() == 0 {
		return 0
	}
	return float64(p.Lost-p.Won) / float64(p.N())
}

// LogDifferent returns the log of McNemar's two-sided e-process: the Beta(1,1) mixture over the chance θ that a
// discordant pair is won, against θ = 1/2:
//
//	log E = ln B(w+1, l+1) + (w+l)·ln 2
func (p Pairs) LogDifferent() float64 {
	w, l := float64(p.Won), float64(p.Lost)
	return mathext.Lbeta(w+1, l+1) + (w+l)*math.Ln2
}

// LogBetter returns the log of the one-sided e-process for the challenger being more accurate: the same mixture
// restricted to θ > 1/2,
//
//	log E = ln 2 + ln B(w+1, l+1) + (w+l)·ln 2 + ln P(Beta(w+1, l+1) > 1/2)
//
// Under every θ ≤ 1/2 it is a supermartingale that begins at 1, so that it ever reaches 1/α with probability at most α
// (Ville's inequality).
func (p Pairs) LogBetter() float64 {
	w, l := float64(p.Won), float64(p.Lost)
	return math.Ln2 + p.LogDifferent() + math.Log(mathext.RegIncBeta(l+1, w+1, 0.5))
}

// LogWorse is LogBetter for the champion.
func (p Pairs) LogWorse() float64 { return Pairs{Won: p.Lost, Lost: p.Won}.LogBetter() }

// Better returns the e-value for the challenger being more accurate, Worse the one for the champion.
func (p Pairs) Better() float64 { return exp(p.LogBetter()) }

// Worse returns the e-value for the challenger being less accurate.
func (p Pairs) Worse() float64 { return exp(p.LogWorse()) }

// stakes are the bets λ of the test of non-inferiority. The best one is near (margin - difference) / discordance.
func stakes() [grid]float64 { return [grid]float64{0.05, 0.1, 0.2, 0.4, 0.6, 0.8} }

// LogNotInferior returns the log of the e-process against the hypothesis that the challenger's error rate is higher by
// margin or more. With d = 1 for a pair lost, -1 for one won and 0 for one tied it is the mean over λ of the products of
//
//	1 - λ·(d - margin)
//
// each of which has mean at most 1 under the hypothesis and is positive for λ < 1/(1 - margin) (a betting confidence
// sequence, Waudby-Smith and Ramdas 2024). It depends on the counts only.
func (p Pairs) LogNotInferior(margin float64) float64 {
	var logs [grid]float64
	for i, s := range stakes() {
		logs[i] = float64(p.Lost)*math.Log1p(-s*(1-margin)) +
			float64(p.Won)*math.Log1p(s*(1+margin)) +
			float64(p.Tied)*math.Log1p(s*margin)
	}
	return logMean(logs[:])
}

// lowestBound is the least upper bound that [Pairs.UpperDifference] reports; beyond it a stake would exceed its limit.
const lowestBound = -0.2

// UpperDifference returns an upper bound of the challenger's error rate minus the champion's that holds at all times
// with probability 1 - alpha, and 1 while nothing is known. It reports no bound below -0.2.
func (p Pairs) UpperDifference(alpha float64) float64 {
	need := -math.Log(alpha)
	if p.LogNotInferior(lowestBound) >= need {
		return lowestBound
	}
	low, high := lowestBound, 1.0
	for range 24 { // to 1e-7; LogNotInferior rises with the margin
		middle := (low + high) / 2
		if p.LogNotInferior(middle) >= need {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

// ratios are the alternatives of [Arms]: how many times the control's rate the canary's is.
func ratios() [grid]float64 { return [grid]float64{1.25, 1.5, 2, 3, 5, 10} }

// Arms is a conditional-binomial e-process for the canary having a higher rate of bad events than the control. Given
// that a bad event happened, it came from the canary with probability s when the rates are equal, s being the canary's
// share at that moment, and with probability ρs/(ρs+1-s) when the canary's rate is ρ times the control's. The e-value is
// the mean over ρ in 1.25, 1.5, 2, 3, 5, 10 of the likelihood ratios. Neither the number of requests nor a constant rate
// is needed, so that ramps and daily patterns do no harm (Lindon and Malek, "Anytime-valid inference for multinomial
// count data", 2022).
type Arms struct {
	Canary  int64         `json:"canary"`  // bad events of the canary
	Control int64         `json:"control"` // bad events of the control
	Logs    [grid]float64 `json:"logs"`    // log likelihood ratio of each alternative
}

// Add counts a bad event, at a moment when the canary had a share of the traffic.
func (a *Arms) Add(canary bool, share float64) {
	for i, r := range ratios() {
		total := r*share + 1 - share
		if canary {
			a.Logs[i] += math.Log(r / total) // (ρs/total) / s
		} else {
			a.Logs[i] -= math.Log(total) // ((1-s)/total) / (1-s)
		}
	}
	if canary {
		a.Canary++
	} else {
		a.Control++
	}
}

// Worse returns the e-value for the canary having the higher rate.
func (a *Arms) Worse() float64 { return exp(logMean(a.Logs[:])) }

// logMean returns the log of the mean of numbers given by their logs.
func logMean(logs []float64) float64 {
	most := logs[0]
	for _, l := range logs {
		most = max(most, l)
	}
	sum := 0.0
	for _, l := range logs {
		sum += math.Exp(l - most)
	}
	return most + math.Log(sum/float64(len(logs)))
}

// exp is e to the power of x, but never infinite, which JSON cannot hold.
func exp(x float64) float64 { return math.Exp(min(x, 690)) }
