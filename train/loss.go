package train

import "math"

// A loss gives the derivatives that boosting follows. Scores are held by output, then by row.
type loss interface {
	// initial returns the best constant score of each output; LightGBM's boost_from_average.
	initial() []float64
	// gradients derives the loss of the rows from (inclusive) to (exclusive) by each output's score.
	gradients(scores [][]float64, out [][]gradient, from, to int)
}

// newLoss returns the loss of the first rows of a target.
func newLoss(t *target, rows int) loss {
	switch {
	case t.task == Regression:
		return squaredLoss{t.value[:rows]}
	case len(t.classes) == 2:
		return logLoss{t.class[:rows]}
	}
	return softmaxLoss{t.class[:rows], len(t.classes)}
}

// squaredLoss is half the squared error.
type squaredLoss struct{ value []float32 }

func (l squaredLoss) initial() []float64 {
	sum := 0.0
	for _, v := range l.value {
		sum += float64(v)
	}
	return []float64{sum / float64(len(l.value))}
}

func (l squaredLoss) gradients(scores [][]float64, out [][]gradient, from, to int) {
	for i := from; i < to; i++ {
		out[0][i] = gradient{float32(scores[0][i] - float64(l.value[i])), 1}
	}
}

// logLoss is the negative log likelihood of two classes, the score being the log odds of the second.
type logLoss struct{ class []int32 }

func (l logLoss) initial() []float64 {
	ones := 0
	for _, c := range l.class {
		ones += int(c)
	}
	p := float64(ones) / float64(len(l.class))
	return []float64{math.Log(p / (1 - p))}
}

func (l logLoss) gradients(scores [][]float64, out [][]gradient, from, to int) {
	s, o := scores[0][from:to], out[0][from:to]
	for i, c := range l.class[from:to] {
		p := sigmoid(s[i])
		o[i] = gradient{float32(p - float64(c)), float32(p * (1 - p))}
	}
}

// softmaxLoss is the negative log likelihood of more than two classes.
type softmaxLoss struct {
	class   []int32
	classes int
}

func (l softmaxLoss) initial() []float64 {
	counts := make([]float64, l.classes)
	for _, c := range l.class {
		counts[c]++
	}
	for k, n := range counts {
		counts[k] = math.Log(n / float64(len(l.class)))
	}
	return counts
}

func (l softmaxLoss) gradients(scores [][]float64, out [][]gradient, from, to int) {
	// The bound on the softmax hessian that LightGBM takes: K/(K-1) p (1-p).
	factor := float64(l.classes) / float64(l.classes-1)
	p := make([]float64, l.classes)
	for i := from; i < to; i++ {
		for k := range p {
			p[k] = scores[k][i]
		}
		softmax(p)
		for k, q := range p {
			g := q
			if int32(k) == l.class[i] {
				g--
			}
			out[k][i] = gradient{float32(g), float32(factor * q * (1 - q))}
		}
	}
}

// sigmoid is the logistic function.
func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// softmax turns scores into probabilities in place.
func softmax(x []float64) {
	top := x[0]
	for _, v := range x[1:] {
		top = max(top, v)
	}
	sum := 0.0
	for i, v := range x {
		x[i] = math.Exp(v - top)
		sum += x[i]
	}
	for i := range x {
		x[i] /= sum
	}
}
