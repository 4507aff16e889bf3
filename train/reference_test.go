package train

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// readReference reads a fixture of testdata, made by bench/lightgbm/fixtures.sh.
func readReference(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", path))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// readData reads a committed data set.
func readData(t *testing.T, path string) *Table {
	t.Helper()
	table, err := ReadFile(t.Context(), path, Columns{Target: "target"})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestTreesAgreeWithLightGBM holds the AUC to LightGBM's on real data at equal settings, and the predictions near its
// own. bench/lightgbm/run.sh does the same on more data, with times.
func TestTreesAgreeWithLightGBM(t *testing.T) {
	for _, c := range []struct {
		name, path  string
		auc, spread float64 // bounds on the difference of the AUC and the mean one of predictions
	}{
		{"breast_cancer", filepath.Join("testdata", "breast_cancer.csv.gz"), 0.005, 0.02},
		{"electricity", filepath.Join("..", "examples", "electricity", "elec.csv.gz"), 0.005, 0.02},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want struct {
				Settings struct {
					Rounds       int     `json:"rounds"`
					Depth        int     `json:"depth"`
					Leaves       int     `json:"leaves"`
					LearningRate float64 `json:"learning_rate"`
					MinData      int     `json:"min_data"`
					Bins         int     `json:"bins"`
					L2           float64 `json:"l2"`
				} `json:"settings"`
				Holdout     float64   `json:"holdout"`
				AUC         float64   `json:"auc"`
				LogLoss     float64   `json:"log_loss"`
				Predictions []float64 `json:"predictions"`
			}
			readReference(t, filepath.Join("lightgbm", c.name+".json"), &want)
			table := readData(t, c.path)
			s := want.Settings
			m := fit(t, table, options(GBDT, func(o *Options) {
				o.Rounds, o.MaxDepth, o.MaxLeaves, o.LearningRate = s.Rounds, s.Depth, s.Leaves, s.LearningRate
				o.MinDataInLeaf, o.MaxBins, o.L2, o.Holdout = s.MinData, s.Bins, s.L2, want.Holdout
			}))
			got := m.Metrics()
			t.Logf("AUC %.5f, LightGBM %.5f; log loss %.5f, LightGBM %.5f", got["auc"], want.AUC, got["log_loss"], want.LogLoss)
			if math.Abs(got["auc"]-want.AUC) > c.auc {
				t.Errorf("AUC is %v, LightGBM's %v", got["auc"], want.AUC)
			}
			if math.Abs(got["log_loss"]-want.LogLoss) > 0.02 {
				t.Errorf("log loss is %v, LightGBM's %v", got["log_loss"], want.LogLoss)
			}
			sum, first := 0.0, int(got["rows_train"])
			for i, p := range want.Predictions {
				mine, err := m.Predict(rowAt(table, first+i))
				if err != nil {
					t.Fatal(err)
				}
				sum += math.Abs(mine[1] - p)
			}
			if mean := sum / float64(len(want.Predictions)); mean > c.spread {
				t.Errorf("predictions differ by %v on average from LightGBM's", mean)
			}
		})
	}
}

// TestLogisticAgreesWithSklearn holds the weights to those of scikit-learn on standardised features.
func TestLogisticAgreesWithSklearn(t *testing.T) {
	for _, name := range []string{"breast_cancer", "wine"} {
		t.Run(name, func(t *testing.T) {
			var want struct {
				L2           float64     `json:"l2"`
				Coefficients [][]float64 `json:"coefficients"`
				Intercepts   []float64   `json:"intercepts"`
			}
			readReference(t, filepath.Join("sklearn", name+".json"), &want)
			table := readData(t, filepath.Join("testdata", name+".csv.gz"))
			m := fit(t, table, options(Logistic, func(o *Options) { o.L2, o.Holdout, o.Rounds = want.L2, 0, 1000 }))
			if len(m.linear.weights) != len(want.Coefficients) {
				t.Fatalf("%d sets of weights, scikit-learn has %d", len(m.linear.weights), len(want.Coefficients))
			}
			for k := range want.Coefficients {
				for f, w := range want.Coefficients[k] {
					if got := m.linear.weights[k][f]; math.Abs(got-w) > 1e-4 {
						t.Errorf("class %d feature %d has the weight %v, scikit-learn's is %v", k, f, got, w)
					}
				}
				// With one intercept per class their common part is free: compare differences.
				got, wanted := m.linear.intercept[k], want.Intercepts[k]
				if k > 0 {
					got, wanted = got-m.linear.intercept[0], wanted-want.Intercepts[0]
				} else if len(want.Intercepts) > 1 {
					continue
				}
				if math.Abs(got-wanted) > 1e-4 {
					t.Errorf("class %d has the intercept %v, scikit-learn's is %v", k, got, wanted)
				}
			}
		})
	}
}
