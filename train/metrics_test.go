package train

import (
	"cmp"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// The area is the share of pairs of a positive and a negative row that are in the right order, ties counting half.
func TestAreaUnderCurveIsTheShareOfOrderedPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 30).Draw(t, "n")
		scores := rapid.SliceOfN(rapid.Map(rapid.IntRange(0, 8), func(i int) float64 { return float64(i) }), n, n).Draw(t, "scores")
		positive := rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "positive")
		sum, pairs := 0.0, 0.0
		for i := range scores {
			for j := range scores {
				if positive[i] && !positive[j] {
					pairs++
					sum += float64(1+cmp.Compare(scores[i], scores[j])) / 2
				}
			}
		}
		got, ok := areaUnderCurve(scores, positive)
		if ok != (pairs > 0) || (ok && math.Abs(got-sum/pairs) > 1e-12) {
			t.Fatalf("area is %v, %v, want %v of %v", got, ok, sum, pairs)
		}
	})
}

func TestClassMetrics(t *testing.T) {
	// The class of the last row was never seen in training: it is wrong, with the least probability.
	out := map[string]float64{}
	classMetrics([]float64{0.9, 0.1, 0.2, 0.8, 0.6, 0.4, 0.5, 0.5}, []int32{0, 1, 1, -1}, 2, out)
	wantLoss := -(math.Log(0.9) + math.Log(0.8) + math.Log(0.4) + math.Log(minProbability)) / 4
	if out["accuracy"] != 0.5 || math.Abs(out["log_loss"]-wantLoss) > 1e-12 || math.Abs(out["auc"]-0.75) > 1e-12 {
		t.Errorf("metrics are %v, want accuracy 0.5, log_loss %v, auc 0.75", out, wantLoss)
	}
	out = map[string]float64{}
	classMetrics([]float64{0.7, 0.2, 0.1, 0.1, 0.8, 0.1}, []int32{0, 1}, 3, out)
	if _, ok := out["auc"]; ok {
		t.Error("auc is given although a class is absent")
	}
	out = map[string]float64{}
	classMetrics([]float64{0.7, 0.2, 0.1, 0.1, 0.8, 0.1, 0.3, 0.3, 0.4}, []int32{0, 1, 2}, 3, out)
	if out["auc"] != 1 || out["accuracy"] != 1 {
		t.Errorf("metrics of a perfect model are %v", out)
	}
}

func TestRegressionMetrics(t *testing.T) {
	out := map[string]float64{}
	regressionMetrics([]float64{1, 2, 5}, []float32{1, 2, 3}, out)
	if math.Abs(out["rmse"]-math.Sqrt(4.0/3)) > 1e-12 || math.Abs(out["mae"]-2.0/3) > 1e-12 || math.Abs(out["r2"]+1) > 1e-12 {
		t.Errorf("metrics are %v", out)
	}
}
