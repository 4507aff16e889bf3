package runtime

import (
	"fmt"
)

// affine computes y = x · coefficientsᵀ + intercepts for rows of width features, each target's coefficients together.
// Sums are in single precision with four partial sums, which is both quicker and closer than one.
func affine(x, coefficients, intercepts, y []float32, rows, width, targets int) {
	for r := range rows {
		row := x[r*width : (r+1)*width]
		for k := range targets {
			s := dot(row, coefficients[k*width:(k+1)*width])
			if intercepts != nil {
				s += intercepts[k]
			}
			y[r*targets+k] = s
		}
	}
}

func dot[T float32 | float64](x, c []T) T {
	c = c[:len(x)]
	var a0, a1, a2, a3 T
	i := 0
	for ; i+4 <= len(x); i += 4 {
		a0 += x[i] * c[i]
		a1 += x[i+1] * c[i+1]
		a2 += x[i+2] * c[i+2]
		a3 += x[i+3] * c[i+3]
	}
	for ; i < len(x); i++ {
		a0 += x[i] * c[i]
	}
	return (a0 + a1) + (a2 + a3)
}

// buildLinearRegressor builds LinearRegressor.
func buildLinearRegressor(n *nodeProto) (kernel, error) {
	a := attributes{n}
	coefficients, intercepts := a.floats("coefficients"), a.floats("intercepts")
	targets := int(min(a.integer("targets", 1), maxTargets+1))
	name := a.str("post_transform", "NONE")
	if err := checkTransform(name); err != nil {
		return nil, err
	}
	if targets < 1 || targets > maxTargets || len(coefficients) == 0 || len(coefficients)%targets != 0 {
		return nil, fmt.Errorf("it has %d coefficients for %d targets", len(coefficients), targets)
	}
	if len(intercepts) != targets {
		intercepts = nil
	}
	return func(in, out []*value) error {
		x, rows, width, err := linearInput(in[0], len(coefficients)/targets)
		if err != nil {
			return err
		}
		y, err := fill[float32](out[0], rows, targets)
		if err != nil {
			return err
		}
		affine(x, coefficients, intercepts, y, rows, width, targets)
		for r := range rows {
			transformTargets(name, y[r*targets:(r+1)*targets])
		}
		return nil
	}, nil
}

// transformTargets applies post_transform to one row. A single target takes part in PROBIT only.
func transformTargets(name string, s []float32) {
	if len(s) > 1 || name == "PROBIT" {
		transform(name, s)
	}
}

// linearInput reads v as a matrix of the given width in single precision.
func linearInput(v *value, want int) (x []float32, rows, width int, err error) {
	if rows, width, err = v.rowsAndColumns(); err != nil {
		return nil, 0, 0, err
	}
	if width != want {
		return nil, 0, 0, badShape("it takes %d features, the tensor has shape %v", want, v.shape)
	}
	x, err = floatsOf(v)
	return x, rows, width, err
}

// buildLinearClassifier builds LinearClassifier.
func buildLinearClassifier(n *nodeProto) (kernel, *labels, error) {
	a := attributes{n}
	coefficients, intercepts := a.floats("coefficients"), a.floats("intercepts")
	l := &labels{strs: a.strs("classlabels_strings"), ints: a.ints("classlabels_ints")}
	name := a.str("post_transform", "NONE")
	if err := checkTransform(name); err != nil {
		return nil, nil, err
	}
	if len(l.strs) > 0 && len(l.ints) > 0 {
		return nil, nil, invalid("it has both classlabels_strings and classlabels_ints")
	}
	targets := len(intercepts)
	if targets < 1 || targets > maxTargets || len(coefficients) == 0 || len(coefficients)%targets != 0 {
		return nil, nil, fmt.Errorf("it has %d coefficients for %d intercepts", len(coefficients), targets)
	}
	if targets > 1 && l.count() < targets {
		return nil, nil, fmt.Errorf("it has %d labels for %d scores", l.count(), targets)
	}
	binary := targets == 1 && l.count() == 2
	if targets == 1 && !binary {
		// With one score and no pair of labels, the labels are 0 and 1.
		if len(l.strs) > 0 {
			l = &labels{strs: []string{"0", "1"}}
		} else {
			l = &labels{ints: []int64{0, 1}}
		}
	}
	columns := targets
	if binary {
		columns = 2
	}
	return func(in, out []*value) error {
		x, rows, width, err := linearInput(in[0], len(coefficients)/targets)
		if err != nil {
			return err
		}
		if err := l.open(out[0], rows); err != nil {
			return err
		}
		y, err := fill[float32](out[1], rows, columns)
		if err != nil {
			return err
		}
		affine(x, coefficients, intercepts, y[:rows*targets], rows, width, targets)
		for r := rows - 1; r >= 0; r-- { // backwards, since rows of two scores grow over those of one
			s := y[r*targets : (r+1)*targets]
			l.set(out[0], r, winner(s))
			if binary {
				spread(name, s[0], secondComplement, y[2*r:2*r+2])
				continue
			}
			transformTargets(name, s)
		}
		return nil
	}, l, nil
}

// winner returns the number of the class that the scores of one row choose.
func winner(s []float32) int {
	if len(s) == 1 {
		if s[0] > 0 {
			return 1
		}
		return 0
	}
	best := 0
	for k, v := range s {
		if v > s[best] {
			best = k
		}
	}
	return best
}

// matMul is MatMul for operands of up to two dimensions, and for stacks of matrices times one matrix.
func matMul(in, out []*value) error {
	if err := sameKind(in); err != nil {
		return err
	}
	switch in[0].kind {
	case kindFloat:
		return multiplyMatrices[float32](in[0], in[1], out[0])
	case kindDouble:
		return multiplyMatrices[float64](in[0], in[1], out[0])
	}
	return kindMismatch(in[0])
}

func multiplyMatrices[T float32 | float64](a, b, out *value) error {
	if len(a.shape) < 1 || len(b.shape) < 1 || len(b.shape) > 2 {
		return badShape("tensors of shapes %v and %v cannot be multiplied", a.shape, b.shape)
	}
	inner := a.shape[len(a.shape)-1]
	if b.shape[0] != inner {
		return badShape("tensors of shapes %v and %v cannot be multiplied", a.shape, b.shape)
	}
	var dims [maxRank + 1]int
	shape := append(dims[:0], a.shape[:len(a.shape)-1]...)
	columns := 1
	if len(b.shape) == 2 {
		columns = b.shape[1]
		shape = append(shape, columns)
	}
	rows := product(a.shape[:len(a.shape)-1])
	y, err := fill[T](out, shape...)
	if err != nil {
		return err
	}
	gemm(elements[T](a), elements[T](b), y, rows, inner, columns)
	return nil
}

// gemm computes y = a · b for row-major matrices, column by column of b's rows so that memory is read in order.
func gemm[T float32 | float64](a, b, y []T, rows, inner, columns int) {
	clear(y)
	for r := range rows {
		to := y[r*columns : (r+1)*columns]
		for k := range inner {
			x := a[r*inner+k]
			for c, w := range b[k*columns : (k+1)*columns] {
				to[c] += x * w
			}
		}
	}
}

// buildGemm builds Gemm: alpha · a · b + beta · c, with a and b transposed or not.
func buildGemm(n *nodeProto) (kernel, error) {
	at := attributes{n}
	alpha, beta := at.float("alpha", 1), at.float("beta", 1)
	flipA, flipB := at.integer("transA", 0) != 0, at.integer("transB", 0) != 0
	return func(in, out []*value) error {
		if err := sameKind(in); err != nil {
			return err
		}
		switch in[0].kind {
		case kindFloat:
			return generalMultiply(in, out[0], alpha, beta, flipA, flipB)
		case kindDouble:
			return generalMultiply(in, out[0], float64(alpha), float64(beta), flipA, flipB)
		}
		return kindMismatch(in[0])
	}, nil
}

func generalMultiply[T float32 | float64](in []*value, out *value, alpha, beta T, flipA, flipB bool) error {
	a, rows, inner, err := matrix[T](in[0], flipA)
	if err != nil {
		return err
	}
	b, same, columns, err := matrix[T](in[1], flipB)
	if err != nil {
		return err
	}
	if same != inner {
		return badShape("tensors of shapes %v and %v cannot be multiplied", in[0].shape, in[1].shape)
	}
	y, err := fill[T](out, rows, columns)
	if err != nil {
		return err
	}
	gemm(a, b, y, rows, inner, columns)
	if alpha != 1 {
		for i := range y {
			y[i] *= alpha
		}
	}
	if len(in) < 3 || in[2] == nil {
		return nil
	}
	c := in[2]
	var into [maxRank]int
	shape, err := broadcast(out.shape, c.shape, &into)
	if err != nil || product(shape) != len(y) || len(shape) != 2 {
		return badShape("a tensor of shape %v cannot be added to one of shape %v", c.shape, out.shape)
	}
	data := elements[T](c)
	count := cursor{shape: shape}
	s := [3][maxRank]int{strides(c.shape, shape)}
	var pos [3]int
	for i := range y {
		y[i] += beta * data[pos[0]]
		count.next(&pos, &s)
	}
	return nil
}

// matrix reads v as a matrix, transposed when flip is set.
func matrix[T float32 | float64](v *value, flip bool) (data []T, rows, columns int, err error) {
	if len(v.shape) != 2 {
		return nil, 0, 0, badShape("a tensor of shape %v stands where a matrix is needed", v.shape)
	}
	data, rows, columns = elements[T](v), v.shape[0], v.shape[1]
	if !flip {
		return data, rows, columns, nil
	}
	turned := make([]T, len(data))
	for r := range rows {
		for c := range columns {
			turned[c*rows+r] = data[r*columns+c]
		}
	}
	return turned, columns, rows, nil
}
