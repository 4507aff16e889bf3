package train

import (
	"cmp"
	"math"
	"slices"
)

// minProbability keeps the log loss finite, as scikit-learn's log_loss does for float64.
const minProbability = 2.220446049250313e-16

// measure returns the metrics on the rows from rows on.
func (m *Model) measure(t *Table, goal *target, rows int) map[string]float64 {
	out := map[string]float64{"rows_train": float64(rows), "rows_holdout": float64(t.Rows() - rows)}
	if m.task == Classification {
		out["classes"] = float64(len(m.classes))
	}
	if rows == t.Rows() {
		return out
	}
	predicted := m.predictTable(t, rows)
	if m.task == Regression {
		regressionMetrics(predicted, goal.value[rows:], out)
	} else {
		classMetrics(predicted, goal.class[rows:], len(m.classes), out)
	}
	return out
}

// classMetrics adds accuracy, log_loss and, where it is defined, auc. A row whose class the model does not know is
// wrong.
func classMetrics(probabilities []float64, truth []int32, classes int, out map[string]float64) {
	right, loss := 0, 0.0
	for i, k := range truth {
		p := probabilities[i*classes : (i+1)*classes]
		best := 0
		for j := range p {
			if p[j] > p[best] {
				best = j
			}
		}
		if int32(best) == k {
			right++
		}
		q := 0.0
		if k >= 0 {
			q = p[k]
		}
		loss -= math.Log(min(max(q, minProbability), 1-minProbability))
	}
	out["accuracy"] = float64(right) / float64(len(truth))
	out["log_loss"] = loss / float64(len(truth))
	sum, counted := 0.0, 0
	for k := range classes {
		if classes == 2 && k == 0 {
			continue
		}
		scores := make([]float64, len(truth))
		positive := make([]bool, len(truth))
		for i := range truth {
			scores[i] = probabilities[i*classes+k]
			positive[i] = truth[i] == int32(k)
		}
		if a, ok := areaUnderCurve(scores, positive); ok {
			sum += a
			counted++
		}
	}
	if wanted := max(classes, 2); counted > 0 && (classes == 2 || counted == wanted) {
		out["auc"] = sum / float64(counted)
	}
}

// areaUnderCurve is the area under the receiver operating characteristic, by the rank sum of Mann and Whitney with ties
// sharing their mean rank. It is undefined, and ok false, unless both kinds of rows are there.
func areaUnderCurve(scores []float64, positive []bool) (area float64, ok bool) {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(scores[a], scores[b]) })
	positives, ranks := 0, 0.0
	for i := 0; i < len(order); {
		j, tied := i, 0
		for ; j < len(order) && scores[order[j]] == scores[order[i]]; j++ {
			if positive[order[j]] {
				tied++
			}
		}
		ranks += float64(tied) * float64(i+j+1) / 2 // ranks i+1 to j
		positives += tied
		i = j
	}
	negatives := len(order) - positives
	if positives == 0 || negatives == 0 {
		return 0, false
	}
	return (ranks - float64(positives)*float64(positives+1)/2) / (float64(positives) * float64(negatives)), true
}

// regressionMetrics adds rmse, mae and, unless the truth is constant, r2.
func regressionMetrics(predicted []float64, truth []float32, out map[string]float64) {
	n := float64(len(truth))
	mean := 0.0
	for _, v := range truth {
		mean += float64(v) / n
	}
	var squares, absolute, spread float64
	for i, v := range truth {
		e := predicted[i] - float64(v)
		squares += e * e
		absolute += math.Abs(e)
		spread += (float64(v) - mean) * (float64(v) - mean)
	}
	out["rmse"] = math.Sqrt(squares / n)
	out["mae"] = absolute / n
	if spread > 0 {
		out["r2"] = 1 - squares/spread
	}
}
