package monitor

import (
	"errors"
	"fmt"
	"math"
	"time"

	"gonum.org/v1/gonum/mathext"

	"github.com/stoaproject/stoa"
)

// Names that a Detector puts in its alarms.
const (
	SignalErrorRate = "error_rate"
	TestEDetector   = "shiryaev-roberts e-detector"
)

// Defaults of [DetectorOptions].
const (
	DefaultERT        = 20_000
	DefaultTolerance  = 0.02
	DefaultLearn      = 500
	DefaultConfidence = 0.95
)

// DetectorOptions say what a Detector should call decay. The zero value of each field but Reference takes its default.
type DetectorOptions struct {
	// ERT is the expected run time: the mean number of labels between false alarms is at least this.
	ERT float64 `json:"ert"`
	// Tolerance is the rise of the error rate above its reference that does not matter, e.g. 0.02 for 2 points.
	Tolerance float64 `json:"tolerance"`
	// Reference is the error rate to expect, when it is known. Without it the detector learns it from the version's
	// own first labels.
	Reference *Rate `json:"reference,omitempty"`
	// Learn is how many labels it learns from.
	Learn int64 `json:"learn"`
	// Confidence is the probability with which the bound on a reference that was estimated holds.
	Confidence float64 `json:"confidence"`
}

// A Rate is an error rate as it was seen: Errors of Labels. Labels is 0 when Value is known and not estimated.
type Rate struct {
	Value  float64 `json:"value"`
	Labels int64   `json:"labels"`
}

// bets are the alternatives that the detector bets on, as shares of the way from the null rate q to 1: it bets that the
// error rate is q + share·(1-q). They cover rises from a point or two to a collapse; the mixture costs at most ln(6)
// over the best of them.
func bets() [6]float64 { return [6]float64{1. / 64, 1. / 32, 1. / 16, 1. / 8, 1. / 4, 1. / 2} }

// A Detector is a sequential test that the error rate of one version has risen above p0 + tolerance. It is a value
// without input or output; its JSON is its whole state.
//
// The test is the Shiryaev-Roberts e-detector of Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for
// sequential change detection" (2022). With q = p0 + tolerance, and x = 1 for a wrong prediction and 0 for a right one,
//
//	e(λ) = 1 + λ·(x - q)        has mean at most 1 while P(x = 1 | past) ≤ q
//	M    ← (1 + M)·e(λ)         for each λ of a grid, from M = 0
//	alarm when the mean of M over the grid reaches ERT.
//
// M - n is then a supermartingale, so that E[labels until a false alarm] ≥ ERT (their Theorem 2.4 with α = 1/ERT). The
// bound is for errors that are not more likely than q given the past. Errors that cluster, as in a market where one bad
// day makes many, shorten the run: with a correlation of neighbours of 0.2 to 0.54 of ERT, and of 0.5 to 0.17 of it
// (TestDetectorAutocorrelated, error rate at q = 0.17). Ask for an ERT larger by as much where that matters.
//
// An alarm is thus both significant (ERT) and large enough to matter (tolerance): the null hypothesis contains every
// rise up to the tolerance.
//
// A reference that was estimated from n labels is replaced by its upper Clopper-Pearson bound, so that with probability
// Confidence over the sample the bound on the run time still holds. The price is delay: at n = 500 and an error rate of
// 0.15 the bound is 2.9 points above the estimate.
//
// Since is estimated as the start of the largest CUSUM of the same bets, the maximum-likelihood start of the change.
type Detector struct {
	Model   string          `json:"model"`
	Version int             `json:"version"`
	Options DetectorOptions `json:"options"`

	Seen   int64   `json:"seen"`   // labels folded in all
	Learnt Rate    `json:"learnt"` // sample of the learning phase so far, Value being its errors divided by Labels
	P0     float64 `json:"p0"`     // reference in use; meaningless while learning
	Q      float64 `json:"q"`      // null rate: bound of the reference + tolerance; 0 while learning
	Bets   []Bet   `json:"bets,omitempty"`
	Alarms int64   `json:"alarms"` // raised so far
}

// A Bet is the state of one λ of the grid.
type Bet struct {
	Lambda float64   `json:"lambda"`
	M      float64   `json:"m"`      // Shiryaev-Roberts sum
	W      float64   `json:"w"`      // CUSUM: the largest product of e-values that ends now
	Labels int64     `json:"labels"` // labels in that product
	Errors int64     `json:"errors"` // wrong predictions in it
	Since  time.Time `json:"since"`  // prediction that begins it
}

// NewDetector returns a detector for one version.
func NewDetector(model string, version int, o DetectorOptions) (*Detector, error) {
	if o.ERT == 0 {
		o.ERT = DefaultERT
	}
	if o.Tolerance == 0 {
		o.Tolerance = DefaultTolerance
	}
	if o.Learn == 0 {
		o.Learn = DefaultLearn
	}
	if o.Confidence == 0 {
		o.Confidence = DefaultConfidence
	}
	switch {
	case !(o.ERT >= 1):
		return nil, fmt.Errorf("detector: expected run time of %g labels; give at least 1", o.ERT)
	case !(o.Tolerance > 0 && o.Tolerance < 1):
		return nil, fmt.Errorf("detector: tolerance %g; give a share of predictions between 0 and 1", o.Tolerance)
	case o.Learn < 1:
		return nil, fmt.Errorf("detector: cannot learn from %d labels", o.Learn)
	case !(o.Confidence > 0 && o.Confidence < 1):
		return nil, fmt.Errorf("detector: confidence %g; give a probability between 0 and 1", o.Confidence)
	}
	d := &Detector{Model: model, Version: version, Options: o}
	if r := o.Reference; r != nil {
		if !(r.Value >= 0 && r.Value <= 1) || r.Labels < 0 {
			return nil, errors.New("detector: the reference is not an error rate")
		}
		d.arm(*r)
	}
	return d, nil
}

// Fold takes the next judgement and returns an alarm when it completes one. Judgements of other versions are ignored,
// and so are those in roles that see only part of the traffic by choice (pinned, fallback). After an alarm the test
// begins anew, with the same reference.
func (d *Detector) Fold(j stoa.Judgement) *stoa.Alarm {
	if j.Model != d.Model || j.Version != d.Version {
		return nil
	}
	if j.Role != stoa.RoleChampion && j.Role != stoa.RoleShadow && j.Role != stoa.RoleCanary {
		return nil
	}
	return d.Observe(j.Decision != j.Truth, j.At)
}

// Observe takes the next prediction, right or wrong. at is when it was made and is used for Since only.
func (d *Detector) Observe(wrong bool, at time.Time) *stoa.Alarm {
	d.Seen++
	if d.Q == 0 {
		d.learn(wrong)
		return nil
	}
	x := 0.0
	if wrong {
		x = 1
	}
	for i := range d.Bets {
		b := &d.Bets[i]
		e := 1 + b.Lambda*(x-d.Q)
		b.M = (1 + b.M) * e
		if b.W <= 1 { // the product so far argues against a change: the best one starts here
			b.W, b.Labels, b.Errors, b.Since = 1, 0, 0, at
		}
		b.W *= e
		b.Labels++
		if wrong {
			b.Errors++
		}
	}
	if d.Statistic() < d.Options.ERT {
		return nil
	}
	alarm := d.alarm(at)
	d.Alarms++
	d.restart()
	return alarm
}

// Learning reports whether the reference is still being learnt.
func (d *Detector) Learning() bool { return d.Q == 0 }

// Statistic returns the value of the test, which alarms when it reaches [DetectorOptions.ERT].
func (d *Detector) Statistic() float64 {
	if len(d.Bets) == 0 {
		return 0
	}
	sum := 0.0
	for i := range d.Bets {
		sum += d.Bets[i].M
	}
	return sum / float64(len(d.Bets))
}

func (d *Detector) alarm(at time.Time) *stoa.Alarm {
	best := &d.Bets[0]
	for i := range d.Bets {
		if d.Bets[i].W > best.W {
			best = &d.Bets[i]
		}
	}
	return &stoa.Alarm{
		Model: d.Model, Version: d.Version, Signal: SignalErrorRate, Test: TestEDetector,
		Statistic: d.Statistic(), Threshold: d.Options.ERT, Reference: d.P0,
		Observed: float64(best.Errors) / float64(best.Labels), Labels: best.Labels, Since: best.Since, At: at,
	}
}

// learn adds a label to the sample of the reference, and arms the test when the sample is complete.
func (d *Detector) learn(wrong bool) {
	r := &d.Learnt
	errors := math.Round(r.Value * float64(r.Labels))
	if wrong {
		errors++
	}
	r.Labels++
	r.Value = errors / float64(r.Labels)
	if r.Labels >= d.Options.Learn {
		d.arm(*r)
	}
}

// arm begins the test with a reference.
func (d *Detector) arm(r Rate) {
	d.P0 = r.Value
	d.Q = min(upperBound(r, d.Options.Confidence)+d.Options.Tolerance, 1-1e-6)
	d.restart()
}

func (d *Detector) restart() {
	d.Bets = d.Bets[:0]
	for _, share := range bets() {
		// The likelihood ratio of p1 = q + share·(1-q) against q is 1 + λ(x-q) with λ = (p1-q)/(q(1-q)) = share/q.
		d.Bets = append(d.Bets, Bet{Lambda: share / d.Q})
	}
}

// upperBound returns the one-sided Clopper-Pearson bound of a rate at a confidence, and the rate itself when it is
// known.
func upperBound(r Rate, confidence float64) float64 {
	if r.Labels == 0 {
		return r.Value
	}
	n := float64(r.Labels)
	k := math.Round(r.Value * n)
	if k >= n {
		return 1
	}
	return mathext.InvRegIncBeta(k+1, n-k, confidence)
}
