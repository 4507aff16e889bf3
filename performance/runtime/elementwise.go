package runtime

import (
	"math"
)

// broadcast returns the shape that a and b stretch to under the rules of NumPy.
func broadcast(a, b []int, into *[maxRank]int) ([]int, error) {
	n := max(len(a), len(b))
	out := into[:n]
	for i := 1; i <= n; i++ {
		x, y := 1, 1
		if i <= len(a) {
			x = a[len(a)-i]
		}
		if i <= len(b) {
			y = b[len(b)-i]
		}
		switch {
		case x == y || y == 1:
			out[n-i] = x
		case x == 1:
			out[n-i] = y
		default:
			return nil, badShape("shapes %v and %v do not broadcast", append([]int(nil), a...), append([]int(nil), b...))
		}
	}
	return out, nil
}

// strides returns how far apart the elements of a tensor of shape dims are along each dimension of shape out, 0 where
// it is stretched.
func strides(dims, out []int) (s [maxRank]int) {
	step := 1
	for i := 1; i <= len(dims); i++ {
		d := dims[len(dims)-i]
		if d != 1 {
			s[len(out)-i] = step
		}
		step *= d
	}
	return s
}

// A cursor counts through the elements of a shape, keeping the position in tensors that are stretched to it.
type cursor struct {
	shape []int
	at    [maxRank]int
}

// next advances the cursor and the positions p along the strides s.
func (c *cursor) next(p *[3]int, s *[3][maxRank]int) {
	for d := len(c.shape) - 1; d >= 0; d-- {
		c.at[d]++
		for k := range p {
			p[k] += s[k][d]
		}
		if c.at[d] < c.shape[d] {
			return
		}
		for k := range p {
			p[k] -= s[k][d] * c.shape[d]
		}
		c.at[d] = 0
	}
}

// zip writes f(a, b) for each element, stretching a and b to a common shape. f may refuse.
func zip[T, R element](a, b, out *value, f func(x, y T) R) error {
	var into [maxRank]int
	shape, err := broadcast(a.shape, b.shape, &into)
	if err != nil {
		return err
	}
	y, err := fill[R](out, shape...)
	if err != nil {
		return err
	}
	p, q := elements[T](a), elements[T](b)
	switch {
	case len(p) == len(y) && len(q) == len(y):
		for i := range y {
			y[i] = f(p[i], q[i])
		}
	case len(p) == len(y) && len(q) == 1:
		for i := range y {
			y[i] = f(p[i], q[0])
		}
	default:
		c := cursor{shape: shape}
		s := [3][maxRank]int{strides(a.shape, shape), strides(b.shape, shape)}
		var at [3]int
		for i := range y {
			y[i] = f(p[at[0]], q[at[1]])
			c.next(&at, &s)
		}
	}
	return nil
}

// sameKind refuses operands of different kinds.
func sameKind(in []*value) error {
	for _, v := range in[1:] {
		if v != nil && v.kind != in[0].kind {
			return badDatatype("its operands are %s and %s", in[0].kind.datatype(), v.kind.datatype())
		}
	}
	return nil
}

// arithmetic builds Add, Sub, Mul, Div, Min, Max and their like.
func arithmetic(f32 func(x, y float32) float32, f64 func(x, y float64) float64, whole func(x, y int64) int64) kernel {
	return func(in, out []*value) error {
		if err := sameKind(in); err != nil {
			return err
		}
		switch in[0].kind {
		case kindFloat:
			return zip(in[0], in[1], out[0], f32)
		case kindDouble:
			return zip(in[0], in[1], out[0], f64)
		case kindInt64:
			return zip(in[0], in[1], out[0], whole)
		case kindInt32:
			return zip(in[0], in[1], out[0], func(x, y int32) int32 { return int32(whole(int64(x), int64(y))) })
		}
		return kindMismatch(in[0])
	}
}

func add[T number](x, y T) T      { return x + y }
func subtract[T number](x, y T) T { return x - y }
func multiply[T number](x, y T) T { return x * y }
func divide[T number](x, y T) T   { return x / y }

// divideWhole divides integers. Dividing by zero has no meaning in ONNX and gives 0 here.
func divideWhole(x, y int64) int64 {
	if y == 0 {
		return 0
	}
	return x / y
}

// least and greatest return NaN when either operand is NaN, like ONNX Runtime.
func least[T number](x, y T) T    { return min(x, y) }
func greatest[T number](x, y T) T { return max(x, y) }

// fold builds Sum, Min and Max, which take any number of operands, from the kernel for two.
func fold(pair kernel) kernel {
	return func(in, out []*value) error {
		acc := in[0]
		if acc.kind == kindString || acc.kind == kindBool {
			return kindMismatch(acc)
		}
		for i, v := range in[1:] {
			step := &value{}
			if i == len(in)-2 {
				step = out[0]
			}
			if err := pair([]*value{acc, v}, []*value{step}); err != nil {
				return err
			}
			acc = step
		}
		if len(in) == 1 {
			out[0].view(acc)
		}
		return nil
	}
}

// power is Pow, whose exponent may be of another kind than its base.
func power(in, out []*value) error {
	base, exponent := in[0], in[1]
	if exponent.kind != base.kind {
		cast := &value{}
		if err := castTo(base.kind, exponent, cast); err != nil {
			return err
		}
		exponent = cast
	}
	switch base.kind {
	case kindFloat:
		return zip(base, exponent, out[0], func(x, y float32) float32 { return float32(math.Pow(float64(x), float64(y))) })
	case kindDouble:
		return zip(base, exponent, out[0], math.Pow)
	case kindInt64:
		return zip(base, exponent, out[0], func(x, y int64) int64 { return int64(math.Pow(float64(x), float64(y))) })
	case kindInt32:
		return zip(base, exponent, out[0], func(x, y int32) int32 { return int32(math.Pow(float64(x), float64(y))) })
	}
	return kindMismatch(base)
}

// comparison builds Less, Greater and their like.
func comparison(f32 func(x, y float32) bool, f64 func(x, y float64) bool, whole func(x, y int64) bool) kernel {
	return func(in, out []*value) error {
		if err := sameKind(in); err != nil {
			return err
		}
		switch in[0].kind {
		case kindFloat:
			return zip(in[0], in[1], out[0], f32)
		case kindDouble:
			return zip(in[0], in[1], out[0], f64)
		case kindInt64:
			return zip(in[0], in[1], out[0], whole)
		case kindInt32:
			return zip(in[0], in[1], out[0], func(x, y int32) bool { return whole(int64(x), int64(y)) })
		}
		return kindMismatch(in[0])
	}
}

func less[T number](x, y T) bool           { return x < y }
func lessOrEqual[T number](x, y T) bool    { return x <= y }
func greater[T number](x, y T) bool        { return x > y }
func greaterOrEqual[T number](x, y T) bool { return x >= y }
func equal[T element](x, y T) bool         { return x == y }

// equals is Equal, which also compares truth values and strings.
func equals(in, out []*value) error {
	if err := sameKind(in); err != nil {
		return err
	}
	switch in[0].kind {
	case kindBool:
		return zip(in[0], in[1], out[0], equal[bool])
	case kindString:
		return zip(in[0], in[1], out[0], equal[string])
	}
	return comparison(equal[float32], equal[float64], equal[int64])(in, out)
}

// logical builds And, Or and Xor.
func logical(f func(x, y bool) bool) kernel {
	return func(in, out []*value) error {
		for _, v := range in {
			if v.kind != kindBool {
				return kindMismatch(v)
			}
		}
		return zip(in[0], in[1], out[0], f)
	}
}

// mapped writes f of each element of in.
func mapped[T, R element](in, out *value, f func(x T) R) error {
	x := elements[T](in)
	y, err := fill[R](out, in.shape...)
	if err != nil {
		return err
	}
	for i := range y {
		y[i] = f(x[i])
	}
	return nil
}

// function builds Exp, Log and their like for floats, and for integers when whole is not nil.
func function(f func(x float64) float64, whole func(x int64) int64) kernel {
	return func(in, out []*value) error {
		switch {
		case in[0].kind == kindFloat:
			return mapped(in[0], out[0], func(x float32) float32 { return float32(f(float64(x))) })
		case in[0].kind == kindDouble:
			return mapped(in[0], out[0], f)
		case in[0].kind == kindInt64 && whole != nil:
			return mapped(in[0], out[0], whole)
		case in[0].kind == kindInt32 && whole != nil:
			return mapped(in[0], out[0], func(x int32) int32 { return int32(whole(int64(x))) })
		}
		return kindMismatch(in[0])
	}
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func relu(x float64) float64 { return max(x, 0) }

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x
}

func negateWhole(x int64) int64 { return -x }

func absoluteWhole(x int64) int64 {
	if x < 0 {
		return -x
	}
	return x
}

// not is Not.
func not(in, out []*value) error {
	if in[0].kind != kindBool {
		return kindMismatch(in[0])
	}
	return mapped(in[0], out[0], func(x bool) bool { return !x })
}

// isNaN is IsNaN.
func isNaN(in, out []*value) error {
	switch in[0].kind {
	case kindFloat:
		return mapped(in[0], out[0], func(x float32) bool { return x != x })
	case kindDouble:
		return mapped(in[0], out[0], func(x float64) bool { return x != x })
	}
	return kindMismatch(in[0])
}

// where is Where.
func where(in, out []*value) error {
	if in[0].kind != kindBool {
		return kindMismatch(in[0])
	}
	if err := sameKind(in[1:]); err != nil {
		return err
	}
	switch in[1].kind {
	case kindFloat:
		return choose[float32](in, out[0])
	case kindDouble:
		return choose[float64](in, out[0])
	case kindInt64:
		return choose[int64](in, out[0])
	case kindInt32:
		return choose[int32](in, out[0])
	case kindBool:
		return choose[bool](in, out[0])
	}
	return choose[string](in, out[0])
}

func choose[T element](in []*value, out *value) error {
	var first, second [maxRank]int
	shape, err := broadcast(in[0].shape, in[1].shape, &first)
	if err != nil {
		return err
	}
	if shape, err = broadcast(shape, in[2].shape, &second); err != nil {
		return err
	}
	y, err := fill[T](out, shape...)
	if err != nil {
		return err
	}
	test, yes, no := in[0].bools, elements[T](in[1]), elements[T](in[2])
	c := cursor{shape: shape}
	s := [3][maxRank]int{strides(in[0].shape, shape), strides(in[1].shape, shape), strides(in[2].shape, shape)}
	var at [3]int
	for i := range y {
		if test[at[0]] {
			y[i] = yes[at[1]]
		} else {
			y[i] = no[at[2]]
		}
		c.next(&at, &s)
	}
	return nil
}
