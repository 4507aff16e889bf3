package train

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
)

func TestSameBytesForAnyNumberOfThreads(t *testing.T) {
	for _, c := range []struct {
		name  string
		table *Table
		o     Options
	}{
		{"two classes", synthetic(t, 30_000, 6, 2, color), options(GBDT, func(o *Options) { o.Rounds = 10 })},
		{"four classes", synthetic(t, 3000, 5, 4, color), options(GBDT, func(o *Options) { o.Rounds = 5 })},
		{"sampled", synthetic(t, 20_000, 6, 2, strconv.Itoa), options(GBDT, func(o *Options) {
			o.Rounds, o.Subsample, o.ColumnSample, o.Seed = 10, 0.5, 0.5, 9
		})},
		{"logistic", synthetic(t, 30_000, 6, 3, color), options(Logistic, nil)},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Threads = 1
			one := artifact(t, fit(t, c.table, c.o))
			for _, threads := range []int{1, 2, 3, 8} {
				c.o.Threads = threads
				if !bytes.Equal(one, artifact(t, fit(t, c.table, c.o))) {
					t.Errorf("%d threads give another model than one", threads)
				}
			}
		})
	}
}

func TestSeedDecidesTheDraws(t *testing.T) {
	table := synthetic(t, 2000, 5, 2, color)
	model := func(seed uint64, share float64) string {
		m := fit(t, table, options(GBDT, func(o *Options) { o.Rounds, o.Seed, o.Subsample = 5, seed, share }))
		return string(m.treeNode())
	}
	if model(1, 0.5) == model(2, 0.5) {
		t.Error("two seeds draw the same rows")
	}
	if model(1, 1) != model(2, 1) {
		t.Error("the seed matters although nothing is drawn")
	}
}

func TestEveryRoundLowersTheTrainingLoss(t *testing.T) {
	for name, table := range map[string]*Table{
		"two classes": synthetic(t, 2000, 5, 2, color), "four classes": synthetic(t, 2000, 5, 4, color),
		"a quantity": synthetic(t, 2000, 5, 4, func(k int) string { return strconv.Itoa(k) + ".5" }),
	} {
		t.Run(name, func(t *testing.T) {
			m := fit(t, table, options(GBDT, func(o *Options) { o.Rounds, o.Holdout = 30, 0 }))
			goal, err := newTarget(table, Auto, table.Rows())
			if err != nil {
				t.Fatal(err)
			}
			all, last := m.trees.trees, math.Inf(1)
			for n := 0; n <= len(all); n += len(m.trees.base) {
				m.trees.trees = all[:n]
				out := map[string]float64{}
				key := "log_loss"
				if m.task == Regression {
					key = "rmse"
					regressionMetrics(m.predictTable(table, 0), goal.value, out)
				} else {
					classMetrics(m.predictTable(table, 0), goal.class, len(m.classes), out)
				}
				if out[key] >= last {
					t.Fatalf("%s is %v after %d trees, %v before", key, out[key], n, last)
				}
				last = out[key]
			}
		})
	}
}

func TestTreesKeepTheirBounds(t *testing.T) {
	table := synthetic(t, 5000, 5, 2, color)
	for _, o := range []Options{
		options(GBDT, func(o *Options) { o.MaxDepth, o.MaxLeaves, o.Rounds = 3, 100, 5 }),
		options(GBDT, func(o *Options) { o.MaxDepth, o.MaxLeaves, o.Rounds = 0, 7, 5 }),
		options(GBDT, func(o *Options) { o.MinDataInLeaf, o.Rounds = 700, 5 }),
	} {
		o.Holdout = 0
		m := fit(t, table, o)
		for _, tr := range m.trees.trees {
			counts := make([]int, len(tr))
			for i := range table.Rows() {
				counts[tr.leafOf(func(f int32) float32 { return table.Columns[f][i] })]++
			}
			depth, leaves := make([]int, len(tr)), 0
			for i, n := range tr {
				if n.feature < 0 {
					leaves++
					if counts[i] < o.MinDataInLeaf {
						t.Errorf("a leaf has %d rows, at least %d were asked for", counts[i], o.MinDataInLeaf)
					}
					continue
				}
				depth[n.left], depth[n.right] = depth[i]+1, depth[i]+1
			}
			for _, d := range depth {
				if o.MaxDepth > 0 && d > o.MaxDepth {
					t.Errorf("a node has depth %d, at most %d were asked for", d, o.MaxDepth)
				}
			}
			if leaves > o.MaxLeaves {
				t.Errorf("%d leaves, at most %d were asked for", leaves, o.MaxLeaves)
			}
		}
	}
}

// Where a value is missing decides the class: the side that missing values take must have been learned.
func TestMissingValuesAreLearnedFrom(t *testing.T) {
	column, labels := make([]float32, 400), make([]string, 400)
	for i := range column {
		column[i], labels[i] = float32(i%10), "present"
		if i%4 == 0 {
			column[i], labels[i] = float32(math.NaN()), "absent"
		}
	}
	table, err := NewTable("y", []string{"x"}, [][]float32{column}, labels)
	if err != nil {
		t.Fatal(err)
	}
	m := fit(t, table, Defaults(GBDT))
	if a := m.Metrics()["accuracy"]; a != 1 {
		t.Errorf("accuracy is %v, want 1", a)
	}
}

func TestEdgeCases(t *testing.T) {
	nan := float32(math.NaN())
	repeat := func(n int, v ...float32) []float32 {
		var out []float32
		for len(out) < n {
			out = append(out, v...)
		}
		return out[:n]
	}
	labels := strings.Split(strings.Repeat("a,b,", 50), ",")[:100]
	for _, c := range []struct {
		name    string
		columns [][]float32
		labels  []string
		want    string // within the error, or empty
	}{
		{"constant feature", [][]float32{repeat(100, 3)}, labels, ""},
		{"all missing", [][]float32{repeat(100, nan)}, labels, ""},
		{"all missing beside a good one", [][]float32{repeat(100, nan), repeat(100, 1, 2)}, labels, ""},
		{"one value and missing", [][]float32{repeat(100, nan, 1)}, labels, ""},
		{"largest numbers", [][]float32{repeat(100, -math.MaxFloat32, math.MaxFloat32)}, labels, ""},
		{"adjacent numbers", [][]float32{repeat(100, 1, math.Nextafter32(1, 2))}, labels, ""},
		{"one row", [][]float32{{1}}, []string{"a"}, "one class only"},
		{"one class", [][]float32{repeat(100, 1, 2)}, strings.Split(strings.Repeat("a,", 100), ",")[:100], `one class only, "a"`},
		{"no features", nil, labels, "0 features"},
	} {
		for _, algorithm := range []string{GBDT, Logistic} {
			t.Run(c.name+"/"+algorithm, func(t *testing.T) {
				names := []string{"f", "g"}[:len(c.columns)]
				table, err := NewTable("y", names, c.columns, c.labels)
				if err != nil {
					t.Fatal(err)
				}
				m, err := Fit(t.Context(), table, Defaults(algorithm))
				if c.want != "" {
					if err == nil || !strings.Contains(err.Error(), c.want) {
						t.Fatalf("error is %v, want %q", err, c.want)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				artifact(t, m)
				p, err := m.Predict(rowAt(table, 0))
				if err != nil || math.Abs(p[0]+p[1]-1) > 1e-12 {
					t.Errorf("predicts %v, %v", p, err)
				}
			})
		}
	}
}

func TestClasses(t *testing.T) {
	for _, c := range []struct {
		name, labels, want string
		integers           bool
	}{
		{"whole numbers", "10,9,-1", "-1,9,10", true},
		{"whole numbers written twice", "1.0,1,0", "0,1", true},
		{"text", "b,a,10", "10,a,b", false},
		{"truth values", "true,false", "false,true", false},
		{"too large for float64", "9007199254740993,1", "1,9007199254740993", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			labels := strings.Split(c.labels, ",")
			column := make([]float32, len(labels))
			table, err := NewTable("y", []string{"x"}, [][]float32{column}, labels)
			if err != nil {
				t.Fatal(err)
			}
			m := fit(t, table, options(GBDT, func(o *Options) { o.Holdout = 0 }))
			if got := strings.Join(m.Classes(), ","); got != c.want || (m.integers != nil) != c.integers {
				t.Errorf("classes are %s (integers %v), want %s (integers %v)", got, m.integers, c.want, c.integers)
			}
		})
	}
}

func TestFitRefuses(t *testing.T) {
	table := synthetic(t, 100, 3, 2, color)
	quantity := synthetic(t, 100, 3, 4, func(k int) string { return strconv.Itoa(k) + ".5" })
	for _, c := range []struct {
		name   string
		table  *Table
		change func(o *Options)
		want   string
	}{
		{"algorithm", table, func(o *Options) { o.Algorithm = "forest" }, `unknown algorithm "forest"`},
		{"task", table, func(o *Options) { o.Task = "rank" }, `unknown task "rank"`},
		{"rounds", table, func(o *Options) { o.Rounds = 0 }, "rounds is 0, but must be from 1"},
		{"bins", table, func(o *Options) { o.MaxBins = 256 }, "bins is 256"},
		{"NaN", table, func(o *Options) { o.LearningRate = math.NaN() }, "learning-rate is NaN"},
		{"holdout", table, func(o *Options) { o.Holdout = 1 }, "holdout is 1"},
		{"quantity by logistic", quantity, func(o *Options) { o.Algorithm = Logistic }, "looks like a quantity"},
		{"regression by logistic", quantity, func(o *Options) { o.Algorithm, o.Task = Logistic, Regression }, "predicts classes"},
		{"regression of text", table, func(o *Options) { o.Task = Regression }, "no finite numbers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Fit(t.Context(), c.table, options(GBDT, c.change)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestFitStopsWithItsContext(t *testing.T) {
	cause := errors.New("enough")
	for _, algorithm := range []string{GBDT, Logistic} {
		ctx, cancel := context.WithCancelCause(t.Context())
		o := Defaults(algorithm)
		last := 0
		o.Progress = func(done, _ int) {
			last = done
			if done == 3 {
				cancel(cause)
			}
		}
		if _, err := Fit(ctx, synthetic(t, 1000, 5, 2, color), o); !errors.Is(err, cause) || last != 3 {
			t.Errorf("%s: error is %v after round %d, want the cause after round 3", algorithm, err, last)
		}
	}
}

func TestNewTableRefuses(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		features []string
		columns  [][]float32
		labels   []string
		want     string
	}{
		{[]string{"a"}, nil, nil, "1 feature names for 0 columns"},
		{[]string{"a", "a"}, [][]float32{{1}, {1}}, []string{"x"}, "two columns are named"},
		{[]string{"y"}, [][]float32{{1}}, []string{"x"}, "two columns are named"},
		{[]string{"a"}, [][]float32{{1, 2}}, []string{"x"}, "has 2 rows, the target 1"},
		{[]string{"a"}, [][]float32{{inf}}, []string{"x"}, "infinite in row 1"},
		{[]string{"a"}, [][]float32{{1}}, []string{"NaN"}, "the target is missing in row 1"},
	} {
		if _, err := NewTable("y", c.features, c.columns, c.labels); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error is %v, want %q", err, c.want)
		}
	}
}

func TestPredictRefusesAnotherWidth(t *testing.T) {
	m := fit(t, synthetic(t, 200, 3, 2, color), options(GBDT, func(o *Options) { o.Rounds = 1 }))
	if _, err := m.Predict([]float32{1}); err == nil {
		t.Error("a row of one value was predicted by a model of three features")
	}
}

func BenchmarkFit(b *testing.B) {
	table := synthetic(b, 5000, 6, 2, color)
	o := options(GBDT, func(o *Options) { o.Rounds, o.MaxDepth = 100, 5 })
	for b.Loop() {
		fit(b, table, o)
	}
}
