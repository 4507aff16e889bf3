package runtime

import (
	"math"
	"slices"
)

// An axesSource says along which dimensions an operator works: by its attribute axes or axis, or by its second input.
type axesSource struct {
	fixed   []int64
	present bool
}

// axesOf reads the attribute axes.
func axesOf(a attributes) axesSource {
	_, ok := a.get("axes")
	return axesSource{a.ints("axes"), ok}
}

// list returns the axes for a tensor of the given rank, sorted, each once. No axes given at all is nil.
func (s axesSource) list(in []*value, rank int) ([]int, error) {
	axes := s.fixed
	if !s.present && len(in) > 1 && in[1] != nil {
		if in[1].kind != kindInt64 {
			return nil, kindMismatch(in[1])
		}
		axes = in[1].i64
	}
	if len(axes) > maxRank {
		return nil, badShape("%d axes are given", len(axes))
	}
	var out []int
	for _, a := range axes {
		i, err := axis(a, rank)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, i) {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out, nil
}

// axis resolves an axis that may count from the end.
func axis(a int64, rank int) (int, error) {
	if a < int64(-rank) || a >= int64(rank) {
		return 0, badShape("axis %d is outside a tensor of %d dimensions", a, rank)
	}
	if a < 0 {
		a += int64(rank)
	}
	return int(a), nil
}

// A reduction folds numbers into one.
type reduction struct {
	start func() float64
	step  func(acc, x float64) float64
	end   func(acc float64, n int) float64 // nil for none
}

// reductionByName returns the reduction that an operator stands for.
func reductionByName(op string) (reduction, bool) {
	zero := func() float64 { return 0 }
	sum := func(acc, x float64) float64 { return acc + x }
	switch op {
	case "ReduceSum":
		return reduction{zero, sum, nil}, true
	case "ReduceMean":
		return reduction{zero, sum, func(acc float64, n int) float64 { return acc / float64(n) }}, true
	case "ReduceProd":
		return reduction{func() float64 { return 1 }, func(acc, x float64) float64 { return acc * x }, nil}, true
	case "ReduceMax":
		return reduction{func() float64 { return math.Inf(-1) }, math.Max, nil}, true
	case "ReduceMin":
		return reduction{func() float64 { return math.Inf(1) }, math.Min, nil}, true
	case "ReduceSumSquare":
		return reduction{zero, func(acc, x float64) float64 { return acc + x*x }, nil}, true
	case "ReduceL1":
		return reduction{zero, func(acc, x float64) float64 { return acc + math.Abs(x) }, nil}, true
	case "ReduceL2":
		return reduction{zero, func(acc, x float64) float64 { return acc + x*x },
			func(acc float64, _ int) float64 { return math.Sqrt(acc) }}, true
	case "ReduceLogSumExp":
		return reduction{func() float64 { return math.Inf(-1) }, logAddExp, nil}, true
	}
	return reduction{}, false
}

// logAddExp returns log(exp(a) + exp(b)) without overflow.
func logAddExp(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	if math.IsInf(b, -1) || math.IsInf(a, 1) {
		return a
	}
	return a + math.Log1p(math.Exp(b-a))
}

// buildReduce builds the operators of reductionByName.
func buildReduce(n *nodeProto, r reduction) (kernel, error) {
	a := attributes{n}
	axes, keep := axesOf(a), a.integer("keepdims", 1) != 0
	noop := a.integer("noop_with_empty_axes", 0) != 0
	return func(in, out []*value) error {
		list, err := axes.list(in, len(in[0].shape))
		if err != nil {
			return err
		}
		if len(list) == 0 {
			if noop {
				out[0].view(in[0])
				return nil
			}
			for i := range in[0].shape {
				list = append(list, i)
			}
		}
		switch in[0].kind {
		case kindFloat:
			return reduce[float32](in[0], out[0], list, keep, r)
		case kindDouble:
			return reduce[float64](in[0], out[0], list, keep, r)
		case kindInt64:
			return reduce[int64](in[0], out[0], list, keep, r)
		case kindInt32:
			return reduce[int32](in[0], out[0], list, keep, r)
		}
		return kindMismatch(in[0])
	}, nil
}

func reduce[T number](in, out *value, axes []int, keep bool, r reduction) error {
	var dims, kept [maxRank]int
	shape, full := dims[:0], append(kept[:0], in.shape...)
	n := 1
	for d, size := range in.shape {
		if slices.Contains(axes, d) {
			n *= size
			full[d] = 1
			if keep {
				shape = append(shape, 1)
			}
			continue
		}
		shape = append(shape, size)
	}
	y, err := fill[T](out, shape...)
	if err != nil {
		return err
	}
	acc := make([]float64, len(y))
	for i := range acc {
		acc[i] = r.start()
	}
	s := [3][maxRank]int{strides(full, in.shape)}
	c := cursor{shape: in.shape}
	var at [3]int
	for _, x := range elements[T](in) {
		acc[at[0]] = r.step(acc[at[0]], float64(x))
		c.next(&at, &s)
	}
	for i, v := range acc {
		if r.end != nil {
			v = r.end(v, n)
		}
		y[i] = toNumber[T](v)
	}
	return nil
}

// buildArgExtreme builds ArgMax, and ArgMin with least set.
func buildArgExtreme(n *nodeProto, least bool) (kernel, error) {
	a := attributes{n}
	along, keep := a.integer("axis", 0), a.integer("keepdims", 1) != 0
	last := a.integer("select_last_index", 0) != 0
	return func(in, out []*value) error {
		switch in[0].kind {
		case kindFloat:
			return argExtreme[float32](in[0], out[0], along, keep, last, least)
		case kindDouble:
			return argExtreme[float64](in[0], out[0], along, keep, last, least)
		case kindInt64:
			return argExtreme[int64](in[0], out[0], along, keep, last, least)
		case kindInt32:
			return argExtreme[int32](in[0], out[0], along, keep, last, least)
		}
		return kindMismatch(in[0])
	}, nil
}

func argExtreme[T number](in, out *value, along int64, keep, last, least bool) error {
	d, err := axis(along, len(in.shape))
	if err != nil {
		return err
	}
	outer, n, inner := around(in.shape, d)
	if n == 0 {
		return badShape("there is no greatest element in a tensor of shape %v", in.shape)
	}
	var dims [maxRank]int
	shape := append(dims[:0], in.shape[:d]...)
	if keep {
		shape = append(shape, 1)
	}
	y, err := fill[int64](out, append(shape, in.shape[d+1:]...)...)
	if err != nil {
		return err
	}
	x := elements[T](in)
	for o := range outer {
		for i := range inner {
			best := 0
			for k := 1; k < n; k++ {
				v, b := x[(o*n+k)*inner+i], x[(o*n+best)*inner+i]
				if least {
					v, b = b, v
				}
				if v > b || (last && v == b) {
					best = k
				}
			}
			y[o*inner+i] = int64(best)
		}
	}
	return nil
}

// around splits a shape into the sizes before, of and after dimension d.
func around(shape []int, d int) (outer, n, inner int) {
	return product(shape[:d]), shape[d], product(shape[d+1:])
}

// buildSoftmax builds Softmax and LogSoftmax. Before version 13 of the operator set the dimensions from axis on count
// as one.
func buildSoftmax(n *nodeProto, version int64, log bool) (kernel, error) {
	a := attributes{n}
	flat := version < 13
	absent := int64(-1)
	if flat {
		absent = 1
	}
	along := a.integer("axis", absent)
	return alongAxis(along, flat, func(s []float64) {
		most, sum := math.Inf(-1), 0.0
		for _, x := range s {
			most = max(most, x)
		}
		for _, x := range s {
			sum += math.Exp(x - most)
		}
		for i, x := range s {
			if log {
				s[i] = x - most - math.Log(sum)
			} else {
				s[i] = math.Exp(x-most) / sum
			}
		}
	}), nil
}

// buildLpNormalization builds LpNormalization, which divides by the L1 or L2 norm along an axis.
func buildLpNormalization(n *nodeProto) (kernel, error) {
	a := attributes{n}
	order := a.integer("p", 2)
	if order != 1 && order != 2 {
		return nil, invalid("p is %d instead of 1 or 2", order)
	}
	return alongAxis(a.integer("axis", -1), false, func(s []float64) {
		norm := 0.0
		for _, x := range s {
			if order == 1 {
				norm += math.Abs(x)
			} else {
				norm += x * x
			}
		}
		if order == 2 {
			norm = math.Sqrt(norm)
		}
		for i := range s {
			if norm == 0 {
				s[i] = 0
			} else {
				s[i] /= norm
			}
		}
	}), nil
}

// alongAxis builds a kernel that changes each run of elements along an axis in place, in double precision. With flat
// set, the axis and all behind it are one run.
func alongAxis(along int64, flat bool, f func(s []float64)) kernel {
	return func(in, out []*value) error {
		switch in[0].kind {
		case kindFloat:
			return eachRun[float32](in[0], out[0], along, flat, f)
		case kindDouble:
			return eachRun[float64](in[0], out[0], along, flat, f)
		}
		return kindMismatch(in[0])
	}
}

func eachRun[T float32 | float64](in, out *value, along int64, flat bool, f func(s []float64)) error {
	d, err := axis(along, len(in.shape))
	if err != nil {
		return err
	}
	outer, n, inner := around(in.shape, d)
	if flat {
		n, inner = n*inner, 1
	}
	x := elements[T](in)
	y, err := fill[T](out, in.shape...)
	if err != nil {
		return err
	}
	run := make([]float64, n)
	for o := range outer {
		for i := range inner {
			for k := range run {
				run[k] = float64(x[(o*n+k)*inner+i])
			}
			f(run)
			for k := range run {
				y[(o*n+k)*inner+i] = T(run[k])
			}
		}
	}
	return nil
}
