package train

import (
	"fmt"
	"runtime"
)

// Version is the version of the trainer, written into every model. It changes when the same options and data would give
// another model.
const Version = "1"

// The algorithms.
const (
	GBDT     = "gbdt"     // gradient-boosted trees
	Logistic = "logistic" // logistic regression
)

// The tasks.
const (
	Auto           = "auto"           // regression for a target of many or fractional numbers, else classification
	Classification = "classification" // the target is a class
	Regression     = "regression"     // the target is a number; squared loss, trees only
)

// maxAutoClasses is the number of distinct numeric targets above which [Auto] takes the target for a quantity.
const maxAutoClasses = 100

// Options say how to fit. Start from [Defaults]: a zero is a value here, not a wish for the default.
type Options struct {
	Task      string // Auto, Classification or Regression
	Algorithm string // GBDT or Logistic

	Rounds        int     // boosting rounds; for Logistic, the most iterations
	MaxDepth      int     // most splits from root to leaf; 0 is no bound
	MaxLeaves     int     // most leaves of a tree
	MinDataInLeaf int     // fewest rows of a leaf
	MaxBins       int     // most bins of a feature, missing values included; 2 to 255
	LearningRate  float64 // shrinkage of every tree
	L2            float64 // GBDT: added to the hessian of a leaf; Logistic: penalty on the standardised weights (1/C)
	Subsample     float64 // share of the rows that each round sees, drawn by Seed
	ColumnSample  float64 // share of the features that each tree sees, drawn by Seed

	Seed    uint64  // seed of every draw: rows for bins (above 200,000 rows), Subsample and ColumnSample
	Threads int     // workers; 0 is one per CPU. It never changes the result
	Holdout float64 // share of the rows, the last ones, kept from training and measured on; 0 is none

	Progress func(done, total int) // called from Fit's goroutine after each round or iteration; may be nil
}

// Defaults returns the options that LightGBM (for [GBDT]) or scikit-learn (for [Logistic]) would take, with a fifth
// of the rows held out.
func Defaults(algorithm string) Options {
	o := Options{
		Task: Auto, Algorithm: algorithm, Rounds: 100, MaxLeaves: 31, MinDataInLeaf: 20, MaxBins: 255,
		LearningRate: 0.1, Subsample: 1, ColumnSample: 1, Holdout: 0.2,
	}
	if algorithm == Logistic {
		o.L2 = 1
	}
	return o
}

// Check reports the first option that is out of range.
func (o Options) Check() error {
	switch {
	case o.Algorithm != GBDT && o.Algorithm != Logistic:
		return fmt.Errorf("unknown algorithm %q: take %s or %s", o.Algorithm, GBDT, Logistic)
	case o.Task != Auto && o.Task != Classification && o.Task != Regression:
		return fmt.Errorf("unknown task %q: take %s, %s or %s", o.Task, Auto, Classification, Regression)
	case o.Task == Regression && o.Algorithm == Logistic:
		return fmt.Errorf("logistic regression predicts classes: take the algorithm %s for regression", GBDT)
	}
	for _, r := range []struct {
		name      string
		value     float64
		low, high float64
	}{
		{"rounds", float64(o.Rounds), 1, 100_000},
		{"depth", float64(o.MaxDepth), 0, 1000},
		{"leaves", float64(o.MaxLeaves), 2, 131_072},
		{"min-data", float64(o.MinDataInLeaf), 1, 1 << 31},
		{"bins", float64(o.MaxBins), 2, 255},
		{"learning-rate", o.LearningRate, 1e-9, 10},
		{"l2", o.L2, 0, 1e12},
		{"subsample", o.Subsample, 1e-6, 1},
		{"column-sample", o.ColumnSample, 1e-6, 1},
		{"holdout", o.Holdout, 0, 0.9},
		{"threads", float64(o.Threads), 0, 4096},
	} {
		if !(r.value >= r.low && r.value <= r.high) { // written so that NaN fails
			return fmt.Errorf("%s is %v, but must be from %v to %v", r.name, r.value, r.low, r.high)
		}
	}
	return nil
}

// workers returns the number of goroutines to use.
func (o Options) workers() int {
	if o.Threads > 0 {
		return o.Threads
	}
	return runtime.GOMAXPROCS(0)
}
