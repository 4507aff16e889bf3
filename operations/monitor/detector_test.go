package monitor

import (
	"encoding/json"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stoaproject/stoa"
)

func newDetector(t testing.TB, o DetectorOptions) *Detector {
	t.Helper()
	d, err := NewDetector("price", 1, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDetectorIsMartingale checks the property that the bound on the run time rests on, exactly: with error rate q the
// expectation of the statistic after n labels is n (Shin, Ramdas and Rinaldo 2022; Pollak 1985 for Shiryaev-Roberts).
// All 2^n sequences are enumerated.
func TestDetectorIsMartingale(t *testing.T) {
	const n = 12
	for _, p := range []float64{0.05, 0.2, 0.45} {
		mean := 0.0
		for sequence := range 1 << n {
			d := newDetector(t, DetectorOptions{ERT: 1e300, Tolerance: 0.02, Reference: &Rate{Value: p - 0.02}})
			for i := range n {
				d.Observe(sequence>>i&1 == 1, start)
			}
			wrong := bits.OnesCount(uint(sequence))
			mean += d.Statistic() * math.Pow(p, float64(wrong)) * math.Pow(1-p, float64(n-wrong))
		}
		if math.Abs(mean-n) > 1e-9 {
			t.Errorf("at an error rate of %g the mean after %d labels is %.12f; want %d", p, n, mean, n)
		}
	}
}

// runLength feeds errors until an alarm, at most most of them.
func runLength(d *Detector, most int, next func() bool) (int, *stoa.Alarm) {
	for i := range most {
		if a := d.Observe(next(), start.Add(time.Duration(i)*time.Minute)); a != nil {
			return i + 1, a
		}
	}
	return most, nil
}

// meanRunLength returns the mean run length of fresh detectors and its standard error.
func meanRunLength(t *testing.T, o DetectorOptions, runs, most int, next func(*rand.Rand) func() bool) (mean, se float64) {
	t.Helper()
	random := rand.New(rand.NewPCG(7, 11))
	sum, squares := 0.0, 0.0
	for range runs {
		n, _ := runLength(newDetector(t, o), most, next(random))
		sum += float64(n)
		squares += float64(n) * float64(n)
	}
	mean = sum / float64(runs)
	return mean, math.Sqrt((squares/float64(runs) - mean*mean) / float64(runs))
}

func independent(p float64) func(*rand.Rand) func() bool {
	return func(r *rand.Rand) func() bool { return func() bool { return r.Float64() < p } }
}

// TestDetectorRunLength measures the mean number of labels between false alarms at the edge of the null hypothesis
// (p0 + tolerance) and inside it (p0).
func TestDetectorRunLength(t *testing.T) {
	const ert = 1000
	for _, p0 := range []float64{0.02, 0.15, 0.3} {
		o := DetectorOptions{ERT: ert, Tolerance: 0.02, Reference: &Rate{Value: p0}}
		edge, se := meanRunLength(t, o, 300, 50*ert, independent(p0+0.02))
		inside, _ := meanRunLength(t, o, 60, 50*ert, independent(p0))
		t.Logf("p0 %.2f, ERT %d: %.0f ± %.0f labels between false alarms at p0 + tolerance, %.0f or more at p0",
			p0, ert, edge, se, inside)
		if edge+3*se < ert {
			t.Errorf("p0 %g: a false alarm every %.0f ± %.0f labels; want %d or more", p0, edge, se, ert)
		}
		if inside < edge {
			t.Errorf("p0 %g: more false alarms without a rise than with the tolerated one", p0)
		}
	}
}

// TestDetectorRunLengthWithEstimatedReference measures the same when the reference is learnt or comes from a hold-out:
// the share of samples whose bound fails must not exceed 1 - Confidence.
func TestDetectorRunLengthWithEstimatedReference(t *testing.T) {
	const p0, ert, samples = 0.15, 500, 60
	random := rand.New(rand.NewPCG(3, 5))
	missed := 0
	total := 0.0
	for range samples {
		first := newDetector(t, DetectorOptions{ERT: ert, Tolerance: 0.02, Learn: 500})
		for first.Learning() {
			first.Observe(random.Float64() < p0, start)
		}
		if first.Q < p0+0.02 {
			missed++
		}
		d := *first
		d.Bets = slices.Clone(first.Bets)
		n, _ := runLength(&d, 50*ert, func() bool { return random.Float64() < p0+0.02 })
		total += float64(n)
	}
	t.Logf("reference learnt from 500 labels: the bound failed in %d of %d samples; %.0f labels between false alarms over all",
		missed, samples, total/samples)
	if missed > 8 { // P(Binomial(60, 0.05) > 8) = 0.003
		t.Errorf("the bound failed in %d of %d samples; want about 5%%", missed, samples)
	}
	if total/samples < ert {
		t.Errorf("a false alarm every %.0f labels; want %d or more", total/samples, ert)
	}
}

// TestDetectorDelay prints how many labels a rise of the error rate takes to be seen, the change coming after 1,000.
func TestDetectorDelay(t *testing.T) {
	const p0 = 0.15
	for _, c := range []struct {
		rise      float64
		reference Rate
		at        int // mean delay that must not be exceeded
	}{
		{0.05, Rate{Value: p0}, 1500}, {0.10, Rate{Value: p0}, 330}, {0.20, Rate{Value: p0}, 90},
		{0.05, Rate{p0, 2000}, 4000}, {0.10, Rate{p0, 2000}, 500}, {0.20, Rate{p0, 2000}, 110},
	} {
		random := rand.New(rand.NewPCG(1, 2))
		var delays, off []float64
		for range 100 {
			d := newDetector(t, DetectorOptions{ERT: 20_000, Reference: &c.reference})
			n, alarm := runLength(d, 50_000, func() bool {
				if d.Seen <= 1000 {
					return random.Float64() < p0
				}
				return random.Float64() < p0+c.rise
			})
			if n <= 1000 {
				continue // a false alarm
			}
			delays = append(delays, float64(n-1000))
			off = append(off, alarm.Since.Sub(start).Minutes()-1000)
		}
		mean := 0.0
		for _, d := range delays {
			mean += d / float64(len(delays))
		}
		slices.Sort(off)
		t.Logf("error rate %.2f + %.2f, reference from %d labels, ERT 20000: %.0f labels; Since is off by %.0f (median)",
			p0, c.rise, c.reference.Labels, mean, off[len(off)/2])
		if len(delays) < 95 || mean > float64(c.at) {
			t.Errorf("+%.2f: %d runs were not false alarms, mean delay %.0f; want at most %d", c.rise, len(delays), mean, c.at)
		}
	}
}

// TestDetectorAutocorrelated documents what errors that cluster do. They come from a two-state Markov chain with the
// error rate tolerated and a given correlation of neighbours, which is outside the null hypothesis: there P(error | past)
// exceeds the rate after every error. The run time falls below the bound; this is what it falls to.
func TestDetectorAutocorrelated(t *testing.T) {
	const p, ert = 0.17, 1000
	o := DetectorOptions{ERT: ert, Tolerance: 0.02, Reference: &Rate{Value: p - 0.02}}
	for _, edge := range []bool{true, false} {
		rate := p
		if !edge {
			rate = p - 0.02
		}
		last := math.Inf(1)
		for _, correlation := range []float64{0, 0.2, 0.5} {
			mean, se := meanRunLength(t, o, 150, 20*ert, func(r *rand.Rand) func() bool {
				wrong := r.Float64() < rate
				return func() bool {
					was := wrong
					if r.Float64() >= correlation {
						wrong = r.Float64() < rate
					}
					return was
				}
			})
			t.Logf("error rate %.2f, correlation of neighbours %.1f, ERT %d: %.0f ± %.0f labels between false alarms",
				rate, correlation, ert, mean, se)
			if mean > last+3*se {
				t.Errorf("correlation %g: %.0f labels; want fewer than without", correlation, mean)
			}
			last = mean
		}
	}
}

func TestDetectorAlarm(t *testing.T) {
	d := newDetector(t, DetectorOptions{ERT: 100, Reference: &Rate{Value: 0.1}})
	judgement := stoa.Judgement{Model: "price", Version: 1, Role: stoa.RoleChampion, Decision: "UP", Truth: "UP"}
	for i := range 200 {
		judgement.At = start.Add(time.Duration(i) * time.Minute)
		if i%10 == 0 {
			judgement.Truth = "DOWN"
		} else {
			judgement.Truth = "UP"
		}
		if a := d.Fold(judgement); a != nil {
			t.Fatalf("alarm %+v at the rate expected", a)
		}
	}
	judgement.Truth = "DOWN"
	for _, ignored := range []stoa.Judgement{
		{Model: "load", Version: 1, Role: stoa.RoleChampion}, {Model: "price", Version: 2, Role: stoa.RoleChampion},
		{Model: "price", Version: 1, Role: stoa.RolePinned}, {Model: "price", Version: 1, Role: stoa.RoleFallback},
	} {
		if d.Fold(ignored); d.Seen != 200 {
			t.Fatalf("%+v was counted", ignored)
		}
	}
	var alarm *stoa.Alarm
	for i := 200; alarm == nil && i < 300; i++ {
		judgement.At = start.Add(time.Duration(i) * time.Minute)
		alarm = d.Fold(judgement)
	}
	if alarm == nil {
		t.Fatal("no alarm although every prediction was wrong")
	}
	if alarm.Signal != SignalErrorRate || alarm.Reference != 0.1 || alarm.Threshold != 100 || alarm.Statistic < 100 {
		t.Errorf("alarm %+v", alarm)
	}
	if alarm.Observed != 1 || alarm.Since != start.Add(200*time.Minute) || alarm.Labels > 10 {
		t.Errorf("alarm %+v; want the change found at label 200", alarm)
	}
	if d.Statistic() != 0 || d.Alarms != 1 || d.P0 != 0.1 {
		t.Errorf("detector %+v; want it to begin anew with the same reference", d)
	}
}

// TestDetectorStateIsItsJSON checks that a detector goes on from its JSON as if nothing had happened.
func TestDetectorStateIsItsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := DetectorOptions{ERT: 50, Learn: 20}
		if rapid.Bool().Draw(t, "given") {
			options.Reference = &Rate{Value: 0.2, Labels: 100}
		}
		a, err := NewDetector("price", 1, options)
		if err != nil {
			t.Fatal(err)
		}
		for i, wrong := range rapid.SliceOfN(rapid.Bool(), 1, 200).Draw(t, "errors") {
			at := start.Add(time.Duration(i) * time.Second)
			text, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			b := new(Detector)
			if err := json.Unmarshal(text, b); err != nil {
				t.Fatal(err)
			}
			x, y := a.Observe(wrong, at), b.Observe(wrong, at)
			if (x == nil) != (y == nil) || x != nil && *x != *y {
				t.Fatalf("alarms %+v and %+v differ", x, y)
			}
			if a.Statistic() != b.Statistic() || a.Q != b.Q {
				t.Fatalf("states differ after %d labels: %v and %v", i, a.Statistic(), b.Statistic())
			}
			a = b
		}
	})
}

func TestUpperBound(t *testing.T) {
	// One-sided 95 % Clopper-Pearson bounds: 0 of n is 1 - 0.05^(1/n); the others as R's binom.test(alternative = "less").
	for _, c := range []struct{ errors, labels, want float64 }{
		{0, 10, 0.2588656}, {0, 59, 0.0495}, {1, 10, 0.3941633}, {5, 10, 0.7775589}, {75, 500, 0.179}, {10, 10, 1},
	} {
		if got := upperBound(Rate{c.errors / c.labels, int64(c.labels)}, 0.95); math.Abs(got-c.want) > 5e-4 {
			t.Errorf("%g of %g: %.7f; want %.7f", c.errors, c.labels, got, c.want)
		}
	}
	if got := upperBound(Rate{Value: 0.3}, 0.95); got != 0.3 {
		t.Errorf("a known rate became %g", got)
	}
}

func TestDetectorRefusesOptions(t *testing.T) {
	for _, o := range []DetectorOptions{
		{ERT: -1}, {ERT: math.NaN()}, {Tolerance: -0.1}, {Tolerance: 1}, {Learn: -1}, {Confidence: 1.5},
		{Reference: &Rate{Value: 2}}, {Reference: &Rate{Value: math.NaN()}}, {Reference: &Rate{Labels: -1}},
	} {
		if _, err := NewDetector("price", 1, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}
