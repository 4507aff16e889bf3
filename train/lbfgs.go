package train

import (
	"context"
	"math"
)

const (
	memory            = 10    // pairs of steps that L-BFGS keeps
	gradientTolerance = 1e-8  // largest element of the gradient at which it has converged
	lossTolerance     = 1e-14 // relative decrease below which nothing more is gained in float64
	maxHalvings       = 40    // of a step
)

// A correction is a step and the change of the gradient that it brought.
type correction struct {
	step, change []float64
	curvature    float64 // 1 / step·change
}

// minimise finds the minimum of a smooth convex function by L-BFGS with a backtracking line search (Nocedal and Wright,
// Numerical Optimization, algorithms 7.5 and 3.1). evaluate returns the value at x and writes the gradient into out. It
// stops at convergence or after most iterations.
func minimise(ctx context.Context, evaluate func(x, out []float64) float64, x []float64, most int,
	progress func(done, total int),
) ([]float64, error) {
	gradient := make([]float64, len(x))
	value := evaluate(x, gradient)
	var history []correction
	for i := 0; i < most && largest(gradient) > gradientTolerance; i++ {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		direction := descent(history, gradient)
		slope := dot(direction, gradient)
		if slope >= 0 { // rounding has spoilt the history
			history = nil
			direction = descent(nil, gradient)
			slope = dot(direction, gradient)
		}
		nextX, nextGradient := make([]float64, len(x)), make([]float64, len(x))
		next, ok := search(evaluate, x, direction, value, slope, nextX, nextGradient)
		if !ok {
			break // no step along the steepest descent lowers the value: it is at its minimum in float64
		}
		history = remember(history, x, nextX, gradient, nextGradient)
		done := value-next <= lossTolerance*math.Max(1, math.Abs(value))
		x, gradient, value = nextX, nextGradient, next
		if progress != nil {
			progress(i+1, most)
		}
		if done {
			break
		}
	}
	if progress != nil {
		progress(most, most)
	}
	return x, nil
}

// search halves the step along direction until it lowers the value enough (Armijo's condition).
func search(evaluate func(x, out []float64) float64, x, direction []float64, value, slope float64,
	nextX, nextGradient []float64,
) (next float64, ok bool) {
	step := 1.0
	for range maxHalvings {
		for i := range x {
			nextX[i] = x[i] + step*direction[i]
		}
		if next = evaluate(nextX, nextGradient); next <= value+1e-4*step*slope {
			return next, true
		}
		step /= 2
	}
	return 0, false
}

// remember appends a correction, unless it has no curvature, and drops the oldest.
func remember(history []correction, x, nextX, gradient, nextGradient []float64) []correction {
	c := correction{step: make([]float64, len(x)), change: make([]float64, len(x))}
	for i := range x {
		c.step[i] = nextX[i] - x[i]
		c.change[i] = nextGradient[i] - gradient[i]
	}
	product := dot(c.step, c.change)
	if product <= 1e-300 {
		return history
	}
	c.curvature = 1 / product
	if history = append(history, c); len(history) > memory {
		history = history[1:]
	}
	return history
}

// descent returns the direction to go from the two-loop recursion.
func descent(history []correction, gradient []float64) []float64 {
	d := make([]float64, len(gradient))
	for i, g := range gradient {
		d[i] = -g
	}
	weights := make([]float64, len(history))
	for i := len(history) - 1; i >= 0; i-- {
		weights[i] = history[i].curvature * dot(history[i].step, d)
		for j, c := range history[i].change {
			d[j] -= weights[i] * c
		}
	}
	if n := len(history); n > 0 {
		last := history[n-1]
		scale := 1 / (last.curvature * dot(last.change, last.change))
		for j := range d {
			d[j] *= scale
		}
	}
	for i, c := range history {
		beta := c.curvature * dot(c.change, d)
		for j, s := range c.step {
			d[j] += (weights[i] - beta) * s
		}
	}
	return d
}

// dot is the scalar product.
func dot(a, b []float64) float64 {
	sum := 0.0
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}

// largest is the largest absolute value.
func largest(x []float64) float64 {
	top := 0.0
	for _, v := range x {
		top = math.Max(top, math.Abs(v))
	}
	return top
}
