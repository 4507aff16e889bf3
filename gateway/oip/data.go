package oip

import (
	"errors"
	"math"
	"strconv"
	"unsafe"

	"github.com/stoaproject/stoa"
)

// datatype reads the name of a datatype.
func (p *parser) datatype() (stoa.Datatype, error) {
	text, escaped, err := p.raw("a string")
	if err != nil {
		return "", err
	}
	if escaped {
		return "", refusal(stoa.ReasonBadDatatype, "the datatype %q is not known", text)
	}
	for _, d := range [...]stoa.Datatype{
		stoa.FP32, stoa.FP64, stoa.Int64, stoa.Int32, stoa.Bytes, stoa.Bool,
		stoa.Int16, stoa.Int8, stoa.Uint8, stoa.Uint16, stoa.Uint32, stoa.Uint64,
	} {
		if string(text) == string(d) {
			return d, nil
		}
	}
	if s := string(text); s == "FP16" || s == "BF16" {
		return "", &stoa.Refusal{
			Reason: stoa.ReasonUnsupported, Message: "the datatype " + s + " has no JSON form and is not supported",
			Hint: "send FP32",
		}
	}
	return "", refusal(stoa.ReasonBadDatatype, "the datatype %q is not known", text)
}

// shape reads the shape of an input. The product of its dimensions is checked with the data.
func (p *parser) shape() ([]int64, error) {
	more, err := p.open('[', ']', "an array")
	shape := make([]int64, 0, 2)
	for more && err == nil {
		var n number
		if n, err = p.number(); err != nil {
			return nil, err
		}
		switch {
		case len(shape) == p.limits.Dims:
			return nil, refusal(stoa.ReasonTooLarge, "a shape has more than %d dimensions", p.limits.Dims)
		case !n.integer:
			return nil, refusal(stoa.ReasonBadShape, "the dimension %.32s is not an integer", n.text)
		case n.negative && n.mantissa != 0:
			return nil, refusal(stoa.ReasonBadShape, "the dimension %.32s of an input must not be negative", n.text)
		case !n.exact || n.mantissa > uint64(p.limits.Elements):
			return nil, refusal(stoa.ReasonTooLarge, "the dimension %.32s is over the limit of %d", n.text, p.limits.Elements)
		}
		shape = append(shape, int64(n.mantissa))
		more, err = p.next(']')
	}
	return shape, err
}

// data reads the data of an input whose datatype and shape are known.
func (p *parser) data(t *stoa.Tensor) (err error) {
	count := 1
	for _, d := range t.Shape {
		if d != 0 && count > p.budget/int(d) {
			return refusal(stoa.ReasonTooLarge, "the inputs have more than %d elements together", p.limits.Elements)
		}
		count *= int(d)
	}
	if count > p.budget {
		return refusal(stoa.ReasonTooLarge, "the inputs have more than %d elements together", p.limits.Elements)
	}
	p.budget -= count
	switch t.Datatype {
	case stoa.FP32:
		t.Data, err = fill(p, t, count, (*parser).float32)
	case stoa.FP64:
		t.Data, err = fill(p, t, count, (*parser).float64)
	case stoa.Bytes:
		t.Data, err = fill(p, t, count, (*parser).text)
	case stoa.Bool:
		t.Data, err = fill(p, t, count, (*parser).bool)
	case stoa.Int8:
		t.Data, err = fill(p, t, count, signed[int8])
	case stoa.Int16:
		t.Data, err = fill(p, t, count, signed[int16])
	case stoa.Int32:
		t.Data, err = fill(p, t, count, signed[int32])
	case stoa.Int64:
		t.Data, err = fill(p, t, count, signed[int64])
	case stoa.Uint8:
		t.Data, err = fill(p, t, count, unsigned[uint8])
	case stoa.Uint16:
		t.Data, err = fill(p, t, count, unsigned[uint16])
	case stoa.Uint32:
		t.Data, err = fill(p, t, count, unsigned[uint32])
	case stoa.Uint64:
		t.Data, err = fill(p, t, count, unsigned[uint64])
	}
	var r *stoa.Refusal
	if errors.As(err, &r) && r.Reason != stoa.ReasonMalformed && t.Name != "" {
		r.Message = "input " + strconv.Quote(t.Name) + ": " + r.Message
	}
	return err
}

// fill reads count elements, flat or nested as the shape says.
func fill[T any](p *parser, t *stoa.Tensor, count int, element func(*parser, stoa.Datatype) (T, error)) ([]T, error) {
	// An element takes two bytes at least, so that a short body cannot ask for a large allocation.
	data := make([]T, 0, min(count, (len(p.buf)-p.pos)/2+1))
	if p.peek() != '[' {
		return nil, p.malformed("an array of data")
	}
	start := p.pos
	p.pos++
	nested := p.peek() == '['
	p.pos = start
	if !nested || len(t.Shape) < 2 {
		return row(p, t, data, count, element)
	}
	return nest(p, t, data, 0, element)
}

// nest reads an array of arrays: dimension dim of the shape and those below it.
func nest[T any](p *parser, t *stoa.Tensor, data []T, dim int,
	element func(*parser, stoa.Datatype) (T, error),
) ([]T, error) {
	want := int(t.Shape[dim])
	if dim == len(t.Shape)-1 {
		return row(p, t, data, want, element)
	}
	more, err := p.open('[', ']', "a nested array")
	got := 0
	for more && err == nil {
		if got == want {
			return nil, mismatch(t, dim, want, "more")
		}
		if p.peek() != '[' {
			return nil, refusal(stoa.ReasonBadShape, "the data are nested less deeply than the shape %v says", t.Shape)
		}
		if data, err = nest(p, t, data, dim+1, element); err != nil {
			return nil, err
		}
		got++
		more, err = p.next(']')
	}
	if err == nil && got < want {
		return nil, mismatch(t, dim, want, "fewer")
	}
	return data, err
}

// row reads one array of exactly count elements.
func row[T any](p *parser, t *stoa.Tensor, data []T, count int,
	element func(*parser, stoa.Datatype) (T, error),
) ([]T, error) {
	more, err := p.open('[', ']', "an array of data")
	got := 0
	for more && err == nil {
		if got == count {
			return nil, refusal(stoa.ReasonBadShape, "an array has more than the %d elements that the shape %v asks for",
				count, t.Shape)
		}
		var v T
		if v, err = element(p, t.Datatype); err != nil {
			return nil, err
		}
		data = append(data, v)
		got++
		more, err = p.next(']')
	}
	if err == nil && got < count {
		return nil, refusal(stoa.ReasonBadShape, "an array has %d elements; the shape %v asks for %d", got, t.Shape, count)
	}
	return data, err
}

func mismatch(t *stoa.Tensor, dim, want int, how string) error {
	return refusal(stoa.ReasonBadShape, "dimension %d of the data has %s than the %d entries of the shape %v",
		dim, how, want, t.Shape)
}

// wrong reports an element that is no value of the datatype.
func (p *parser) wrong(d stoa.Datatype) error {
	p.peek()
	rest := scanner{buf: p.buf, pos: p.pos}
	if rest.at('-') {
		rest.pos++
	}
	switch {
	case rest.word("NaN") || rest.word("Infinity") || rest.word("nan") || rest.word("inf"):
		return &stoa.Refusal{
			Reason: stoa.ReasonNotFinite, Message: "NaN and infinity have no form in JSON",
			Hint: "leave such rows out, or fill them in before asking",
		}
	case p.at('['):
		return refusal(stoa.ReasonBadShape, "the data are nested more deeply than the shape says")
	}
	start := p.pos
	if err := p.skip(p.limits.Depth); err != nil {
		return err
	}
	return refusal(stoa.ReasonBadDatatype, "%.32s at byte %d is no value of %s", p.buf[start:p.pos], start, d)
}

func (p *parser) bool(d stoa.Datatype) (bool, error) {
	v, ok := p.boolean()
	if !ok {
		return false, p.wrong(d)
	}
	return v, nil
}

func (p *parser) text(d stoa.Datatype) (string, error) {
	if p.peek() != '"' {
		return "", p.wrong(d)
	}
	return p.str("a string")
}

// numeric reads a number or reports what stands in its place.
func (p *parser) numeric(d stoa.Datatype) (number, error) {
	c := p.peek()
	if c-'0' > 9 && c != '-' || c == '-' && p.pos+1 < len(p.buf) && p.buf[p.pos+1]-'0' > 9 {
		return number{}, p.wrong(d)
	}
	return p.number()
}

func (p *parser) float32(d stoa.Datatype) (float32, error) {
	n, err := p.numeric(d)
	if err != nil {
		return 0, err
	}
	// Both numbers are exact in a float64, so that their quotient or product is rounded once; rounding that again to a
	// float32 would not do. In a float32 they are exact up to 2^24 and 10^10.
	if n.exact && n.mantissa < 1<<24 && n.exponent >= -10 && n.exponent <= 10 {
		v := float32(n.mantissa)
		if n.exponent < 0 {
			v /= float32(tens[-n.exponent])
		} else {
			v *= float32(tens[n.exponent])
		}
		if n.negative {
			v = -v
		}
		return v, nil
	}
	v, err := strconv.ParseFloat(view(n.text), 32)
	if err != nil {
		return 0, outOfRange(n, d)
	}
	return float32(v), nil
}

func (p *parser) float64(d stoa.Datatype) (float64, error) {
	n, err := p.numeric(d)
	if err != nil {
		return 0, err
	}
	// Both numbers are exact in a float64, so that their quotient or product is rounded once (Clinger 1990).
	if n.exact && n.mantissa < 1<<53 && n.exponent >= -22 && n.exponent <= 22 {
		v := float64(n.mantissa)
		if n.exponent < 0 {
			v /= tens[-n.exponent]
		} else {
			v *= tens[n.exponent]
		}
		if n.negative {
			v = -v
		}
		return v, nil
	}
	v, err := strconv.ParseFloat(view(n.text), 64)
	if err != nil {
		return 0, outOfRange(n, d)
	}
	return v, nil
}

// tens are the powers of ten that a float64 holds exactly.
var tens = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

func signed[T int8 | int16 | int32 | int64](p *parser, d stoa.Datatype) (T, error) {
	n, err := p.integer(d)
	if err != nil {
		return 0, err
	}
	if n.exact && n.mantissa <= math.MaxInt64 {
		v := int64(n.mantissa)
		if n.negative {
			v = -v
		}
		if int64(T(v)) == v {
			return T(v), nil
		}
		return 0, outOfRange(n, d)
	}
	v, err := strconv.ParseInt(view(n.text), 10, 64)
	if err != nil || int64(T(v)) != v {
		return 0, outOfRange(n, d)
	}
	return T(v), nil
}

func unsigned[T uint8 | uint16 | uint32 | uint64](p *parser, d stoa.Datatype) (T, error) {
	n, err := p.integer(d)
	if err != nil {
		return 0, err
	}
	v := n.mantissa
	if !n.exact {
		if v, err = strconv.ParseUint(view(n.text), 10, 64); err != nil {
			return 0, outOfRange(n, d)
		}
	}
	if n.negative && v != 0 || uint64(T(v)) != v {
		return 0, outOfRange(n, d)
	}
	return T(v), nil
}

func (p *parser) integer(d stoa.Datatype) (number, error) {
	n, err := p.numeric(d)
	if err == nil && !n.integer {
		err = refusal(stoa.ReasonBadDatatype, "%.32s is not an integer, as %s asks for", n.text, d)
	}
	return n, err
}

func outOfRange(n number, d stoa.Datatype) error {
	return refusal(stoa.ReasonBadDatatype, "%.32s is out of the range of %s", n.text, d)
}

// view lends a part of the body to a function that does not keep it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
