package runtime

import (
	"math"
	"strconv"
	"strings"
)

// buildCast builds Cast.
func buildCast(n *nodeProto) (kernel, error) {
	to := attributes{n}.integer("to", 0)
	k := kindOf(to)
	if k == kindNone {
		return nil, unsupported("operator Cast of domain ai.onnx is not supported to element type %s", elemName(to))
	}
	return func(in, out []*value) error { return castTo(k, in[0], out[0]) }, nil
}

// castTo writes in to out as kind k.
func castTo(k kind, in, out *value) error {
	if in.kind == k {
		out.view(in)
		return nil
	}
	switch k {
	case kindFloat:
		return castNumber[float32](in, out, 32)
	case kindDouble:
		return castNumber[float64](in, out, 64)
	case kindInt64:
		return castNumber[int64](in, out, 64)
	case kindInt32:
		return castNumber[int32](in, out, 64)
	case kindBool:
		return castBool(in, out)
	case kindString:
		return castString(in, out)
	}
	return kindMismatch(in)
}

// castNumber casts to numbers. Strings are parsed as floats of the given size.
func castNumber[R number](in, out *value, bits int) error {
	switch in.kind {
	case kindFloat:
		return mapped(in, out, toNumber[R, float32])
	case kindDouble:
		return mapped(in, out, toNumber[R, float64])
	case kindInt64:
		return mapped(in, out, toNumber[R, int64])
	case kindInt32:
		return mapped(in, out, toNumber[R, int32])
	case kindBool:
		return mapped(in, out, func(x bool) R {
			if x {
				return 1
			}
			return 0
		})
	}
	y, err := fill[R](out, in.shape...)
	if err != nil {
		return err
	}
	for i, s := range in.strs {
		if y[i], err = parseNumber[R](s, bits); err != nil {
			return badInput("%q is not a number", s)
		}
	}
	return nil
}

// toNumber converts x. A float that no integer holds becomes the lowest one, as on x86.
func toNumber[R, T number](x T) R {
	switch any(R(0)).(type) {
	case int64:
		if f := float64(x); !(f >= -(1<<63) && f < 1<<63) && !isWhole(x) {
			low := int64(math.MinInt64)
			return R(low)
		}
	case int32:
		if f := float64(x); !(f > -(1<<31)-1 && f < 1<<31) && !isWhole(x) {
			low := int32(math.MinInt32)
			return R(low)
		}
	}
	return R(x)
}

func isWhole[T number](T) bool {
	k := kindFor[T]()
	return k == kindInt64 || k == kindInt32
}

func parseNumber[R number](s string, bits int) (R, error) {
	s = strings.TrimSpace(s)
	if isWhole(R(0)) {
		n, err := strconv.ParseInt(s, 10, 64)
		return R(n), err
	}
	f, err := strconv.ParseFloat(s, bits)
	return R(f), err
}

func castBool(in, out *value) error {
	switch in.kind {
	case kindFloat:
		return mapped(in, out, func(x float32) bool { return x != 0 })
	case kindDouble:
		return mapped(in, out, func(x float64) bool { return x != 0 })
	case kindInt64:
		return mapped(in, out, func(x int64) bool { return x != 0 })
	case kindInt32:
		return mapped(in, out, func(x int32) bool { return x != 0 })
	}
	return kindMismatch(in)
}

func castString(in, out *value) error {
	switch in.kind {
	case kindFloat:
		return mapped(in, out, func(x float32) string { return formatFloat(float64(x), 8, 32) })
	case kindDouble:
		return mapped(in, out, func(x float64) string { return formatFloat(x, 17, 64) })
	case kindInt64:
		return mapped(in, out, func(x int64) string { return strconv.FormatInt(x, 10) })
	case kindInt32:
		return mapped(in, out, func(x int32) string { return strconv.FormatInt(int64(x), 10) })
	case kindBool:
		return mapped(in, out, func(x bool) string {
			if x {
				return "1"
			}
			return "0"
		})
	}
	return kindMismatch(in)
}

// formatFloat writes x the way ONNX Runtime does: with C's %g at the given number of digits.
func formatFloat(x float64, digits, bits int) string {
	switch {
	case math.IsNaN(x):
		return "NaN"
	case math.IsInf(x, 1):
		return "INF"
	case math.IsInf(x, -1):
		return "-INF"
	}
	// strconv's 'g' with a precision switches to an exponent where C does, and differs only in trailing zeros: none here.
	s := strconv.FormatFloat(x, 'g', digits, bits)
	mantissa, exponent, scientific := strings.Cut(s, "e")
	if strings.Contains(mantissa, ".") {
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	}
	if scientific {
		return mantissa + "e" + exponent
	}
	return mantissa
}
