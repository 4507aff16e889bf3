package train

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// A Model is a fitted model. It is safe for concurrent use.
type Model struct {
	task     string
	table    *Table // its names and digest only
	options  Options
	classes  []string
	integers []int64 // the classes as numbers, or nil when they are text
	trees    *ensemble
	linear   *linear
	metrics  map[string]float64
}

// Fit fits a model to the table's first rows and measures it on the last, the hold-out. The context's end stops it with
// the context's cause.
func Fit(ctx context.Context, t *Table, o Options) (*Model, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	rows := t.Rows() - int(math.Round(o.Holdout*float64(t.Rows())))
	if rows < 1 || len(t.Columns) == 0 {
		return nil, fmt.Errorf("nothing to train on: %d rows and %d features, hold-out excluded", rows, len(t.Columns))
	}
	goal, err := newTarget(t, o.Task, rows)
	if err != nil {
		return nil, err
	}
	if goal.task == Regression && o.Algorithm == Logistic {
		return nil, fmt.Errorf("the target %q looks like a quantity, which logistic regression cannot predict: "+
			"take the algorithm %s or the task %s", t.Target, GBDT, Classification)
	}
	m := &Model{
		task: goal.task, options: o, classes: goal.classes, integers: goal.integers,
		table: &Table{Source: t.Source, Digest: t.Digest, Target: t.Target, Features: slices.Clone(t.Features)},
	}
	m.options.Progress = nil
	if o.Algorithm == Logistic {
		m.linear, err = fitLinear(ctx, t.Columns, goal, rows, o)
	} else {
		m.trees, err = boost(ctx, t.slice(0, rows).Columns, goal, rows, o)
	}
	if err != nil {
		return nil, err
	}
	m.metrics = m.measure(t, goal, rows)
	return m, nil
}

// Task is Classification or Regression.
func (m *Model) Task() string { return m.task }

// Features are the names of the features, in the order of the input.
func (m *Model) Features() []string { return slices.Clone(m.table.Features) }

// Classes are the classes in the order of the probabilities; nil for regression.
func (m *Model) Classes() []string { return slices.Clone(m.classes) }

// Rounds is the number of boosting rounds that are in the model; 0 for logistic regression.
func (m *Model) Rounds() int {
	if m.trees == nil {
		return 0
	}
	return len(m.trees.trees) / len(m.trees.base)
}

// Metrics measured on the hold-out: auc (for more than two classes the mean over one class against the rest),
// accuracy and log_loss for classification; rmse, mae and r2 for regression. One that is undefined on these rows is
// absent. Always there: rows_train, rows_holdout, and classes for classification.
func (m *Model) Metrics() map[string]float64 {
	out := make(map[string]float64, len(m.metrics))
	for k, v := range m.metrics {
		out[k] = v
	}
	return out
}

// Predict returns the probabilities of the classes for one row of features, or the one value of a regression. NaN is a
// missing value.
func (m *Model) Predict(row []float32) ([]float64, error) {
	if len(row) != len(m.table.Features) {
		return nil, fmt.Errorf("the row has %d values, the model %d features", len(row), len(m.table.Features))
	}
	out := make([]float64, m.width())
	m.predict(row, out)
	return out, nil
}

// width is the number of values that a prediction has.
func (m *Model) width() int { return max(1, len(m.classes)) }

// predict fills out, of m.width elements.
func (m *Model) predict(row []float32, out []float64) {
	scores := out
	if len(m.classes) == 2 {
		scores = out[1:]
	}
	if m.trees != nil {
		m.trees.predict(row, scores)
	} else {
		m.linear.predict(row, scores)
	}
	switch {
	case len(m.classes) == 2:
		out[0], out[1] = sigmoid(-out[1]), sigmoid(out[1])
	case len(m.classes) > 2:
		softmax(out)
	}
}

// predictTable predicts the rows of a table, in parallel; row i's values start at i times m.width.
func (m *Model) predictTable(t *Table, from int) []float64 {
	width := m.width()
	n := t.Rows() - from
	out := make([]float64, n*width)
	blocks(m.options.workers(), n, func(_, first, last int) {
		row := make([]float32, len(t.Columns))
		for i := first; i < last; i++ {
			for f, c := range t.Columns {
				row[f] = c[from+i]
			}
			m.predict(row, out[i*width:(i+1)*width])
		}
	})
	return out
}
