package runtime

import "math"

// The functions of post_transform, as ONNX Runtime computes them in single precision.

func logistic(x float32) float32 {
	a := x
	if a > 0 {
		a = -a
	}
	v := 1 / (1 + float32(math.Exp(float64(a))))
	if x < 0 {
		return 1 - v
	}
	return v
}

// probit is the quantile of the normal distribution by Winitzki's approximation of the inverse error function.
func probit(p float32) float32 {
	const a = 0.147
	x := 2*p - 1
	sign := float32(1)
	if x < 0 {
		sign = -1
	}
	log := float32(math.Log(float64((1 - x) * (1 + x))))
	v := 2/(float32(3.14159)*a) + 0.5*log
	root := -v + float32(math.Sqrt(float64(v*v-1/float32(a)*log)))
	return float32(1.41421356) * sign * float32(math.Sqrt(float64(root)))
}

func softmax(s []float32) {
	most := float32(-math.MaxFloat32)
	for _, x := range s {
		most = max(most, x)
	}
	var sum float32
	for i, x := range s {
		s[i] = float32(math.Exp(float64(x - most)))
		sum += s[i]
	}
	for i := range s {
		s[i] /= sum
	}
}

// softmaxZero is softmax that leaves scores of zero out of the exponential.
func softmaxZero(s []float32) {
	most := float32(-math.MaxFloat32)
	for _, x := range s {
		most = max(most, x)
	}
	scale := float32(math.Exp(float64(-most)))
	var sum float32
	for i, x := range s {
		if x > 0.0000001 || x < -0.0000001 {
			s[i] = float32(math.Exp(float64(x - most)))
			sum += s[i]
		} else {
			s[i] = x * scale
		}
	}
	for i := range s {
		s[i] /= sum
	}
}

// transform applies post_transform to the scores of one row with two or more targets.
func transform(name string, s []float32) {
	switch name {
	case "SOFTMAX":
		softmax(s)
	case "SOFTMAX_ZERO":
		softmaxZero(s)
	case "LOGISTIC":
		for i, x := range s {
			s[i] = logistic(x)
		}
	case "PROBIT":
		for i, x := range s {
			s[i] = probit(x)
		}
	}
}

// A second says how the score of the other class follows from the one score of a binary classifier.
type second int

const (
	secondNone       second = iota // there is no other class
	secondComplement               // the score is a probability
	secondOpposite                 // the score is signed
)

// spread writes the scores of both classes, of which only one was computed, to out. An out of one score gets that.
func spread(name string, s float32, how second, out []float32) {
	low, high := float32(0), s
	switch {
	case name == "PROBIT":
		low, high = probit(s), 0
	case how == secondComplement:
		low = 1 - s
	case how == secondNone:
		low, high = s, 0
	case name == "LOGISTIC":
		low, high = logistic(-s), logistic(s)
	default:
		low = -s
	}
	if len(out) == 1 {
		out[0] = low
		return
	}
	out[0], out[1] = low, high
}
