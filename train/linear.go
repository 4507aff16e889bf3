package train

import (
	"context"
	"math"
)

// A linear model scores a standardised row: weights·(x-mean)·scale + intercept per output. A missing value counts as
// the mean.
type linear struct {
	mean      []float32 // per feature
	scale     []float32 // per feature: one over the standard deviation; 0 for a constant feature
	weights   [][]float64
	intercept []float64
}

// predict writes the scores of one row into out.
func (l *linear) predict(row []float32, out []float64) {
	copy(out, l.intercept)
	for f, v := range row {
		if v != v {
			continue
		}
		z := float64((v - l.mean[f]) * l.scale[f]) // in FP32, as the ONNX Scaler does
		for k := range out {
			out[k] += l.weights[k][f] * z
		}
	}
}

// standardise finds the mean and the scale of each column's first rows, missing values aside.
func standardise(columns [][]float32, rows, workers int) *linear {
	l := &linear{mean: make([]float32, len(columns)), scale: make([]float32, len(columns))}
	parallel(workers, len(columns), func(f int) {
		n, mean := 0.0, 0.0
		for _, v := range columns[f][:rows] {
			if v == v {
				n++
				mean += (float64(v) - mean) / n
			}
		}
		spread := 0.0
		for _, v := range columns[f][:rows] {
			if v == v {
				spread += (float64(v) - mean) * (float64(v) - mean)
			}
		}
		l.mean[f] = float32(mean)
		// A spread that is only the rounding of the mean is that of a constant column.
		if deviation := math.Sqrt(spread / math.Max(n, 1)); deviation > 1e-7*math.Abs(mean) && deviation > 0 {
			l.scale[f] = float32(1 / deviation)
		}
	})
	return l
}

// fitLinear minimises ½ L2 |weights|² + Σ log loss over the first rows, the intercepts unpenalised: scikit-learn's
// LogisticRegression with C = 1/L2 on standardised features. Two classes have one set of weights, more have one each.
func fitLinear(ctx context.Context, columns [][]float32, t *target, rows int, o Options) (*linear, error) {
	workers := o.workers()
	l := standardise(columns, rows, workers)
	p := &logisticProblem{linear: l, columns: columns, target: t, rows: rows, l2: o.L2, workers: workers,
		outputs: t.outputs()}
	start := make([]float64, p.outputs*(len(columns)+1))
	for k, b := range newLoss(t, rows).initial() {
		start[k*(len(columns)+1)+len(columns)] = b
	}
	// The mean loss is minimised rather than the sum, so that the tolerance does not depend on the number of rows.
	best, err := minimise(ctx, p.evaluate, start, o.Rounds, o.Progress)
	if err != nil {
		return nil, err
	}
	for k := range p.outputs {
		w := best[k*(len(columns)+1) : (k+1)*(len(columns)+1)]
		l.weights = append(l.weights, w[:len(columns)])
		l.intercept = append(l.intercept, w[len(columns)])
	}
	return l, nil
}

// A logisticProblem evaluates the penalised log loss and its gradient. Parameters are, per output, the weights and
// then the intercept.
type logisticProblem struct {
	linear  *linear
	columns [][]float32
	target  *target
	rows    int
	l2      float64
	workers int
	outputs int
}

// evaluate returns the mean loss at x and writes its gradient into out.
func (p *logisticProblem) evaluate(x, out []float64) float64 {
	count := (p.rows + blockRows - 1) / blockRows
	losses := make([]float64, count)
	gradients := make([][]float64, count)
	blocks(p.workers, p.rows, func(b, from, to int) {
		gradients[b] = make([]float64, len(x))
		losses[b] = p.block(x, gradients[b], from, to)
	})
	clear(out)
	total := 0.0
	for b := range losses {
		total += losses[b]
		for i, g := range gradients[b] {
			out[i] += g
		}
	}
	stride := len(p.columns) + 1
	for i, w := range x {
		if i%stride != stride-1 {
			total += p.l2 / 2 * w * w
			out[i] += p.l2 * w
		}
		out[i] /= float64(p.rows)
	}
	return total / float64(p.rows)
}

// block adds the gradient of the rows from (inclusive) to (exclusive) to out and returns their loss.
func (p *logisticProblem) block(x, out []float64, from, to int) float64 {
	n, stride := to-from, len(p.columns)+1
	scores := make([]float64, p.outputs*n)
	for k := range p.outputs {
		for i := range n {
			scores[k*n+i] = x[k*stride+stride-1]
		}
	}
	z := make([]float64, n)
	for f := range p.columns {
		p.standard(f, from, to, z)
		for k := range p.outputs {
			w, s := x[k*stride+f], scores[k*n:(k+1)*n]
			for i, v := range z {
				s[i] += w * v
			}
		}
	}
	loss := p.residuals(scores, n, from)
	for k := range p.outputs {
		for _, r := range scores[k*n : (k+1)*n] {
			out[k*stride+stride-1] += r
		}
	}
	for f := range p.columns {
		p.standard(f, from, to, z)
		for k := range p.outputs {
			sum, s := 0.0, scores[k*n:(k+1)*n]
			for i, v := range z {
				sum += s[i] * v
			}
			out[k*stride+f] = sum
		}
	}
	return loss
}

// standard writes the standardised values of a column's rows into z.
func (p *logisticProblem) standard(f, from, to int, z []float64) {
	mean, scale := p.linear.mean[f], p.linear.scale[f]
	for i, v := range p.columns[f][from:to] {
		if v != v {
			z[i] = 0
		} else {
			z[i] = float64((v - mean) * scale)
		}
	}
}

// residuals turns scores into the derivative of the loss by them, and returns the loss.
func (p *logisticProblem) residuals(scores []float64, n, from int) float64 {
	loss := 0.0
	if p.outputs == 1 {
		for i, s := range scores {
			y := float64(p.target.class[from+i])
			loss += math.Max(s, 0) - s*y + math.Log1p(math.Exp(-math.Abs(s)))
			scores[i] = sigmoid(s) - y
		}
		return loss
	}
	q := make([]float64, p.outputs)
	for i := range n {
		for k := range q {
			q[k] = scores[k*n+i]
		}
		softmax(q)
		truth := p.target.class[from+i]
		loss -= math.Log(math.Max(q[truth], math.SmallestNonzeroFloat64))
		q[truth]--
		for k := range q {
			scores[k*n+i] = q[k]
		}
	}
	return loss
}
