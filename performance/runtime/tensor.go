package runtime

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// A tensorProto is a tensor of the file, decoded.
type tensorProto struct {
	name  string
	value *value
}

// rawTensor collects the fields of a TensorProto before they are put together.
type rawTensor struct {
	name     string
	dims     []int64
	elem     int64
	floats   []float32
	ints     []int64 // int32_data and int64_data
	strings  []string
	doubles  []float64
	raw      []byte
	hasRaw   bool
	external bool
}

func parseTensor(b []byte) (*tensorProto, error) {
	var r rawTensor
	err := eachField(b, func(f field) error {
		var err error
		switch f.number {
		case 1:
			r.dims, err = f.varints(r.dims)
		case 2:
			r.elem = int64(f.bits)
		case 4:
			r.floats, err = f.floats(r.floats)
		case 5, 7, 11:
			r.ints, err = f.varints(r.ints)
		case 6:
			r.strings = append(r.strings, string(f.bytes))
		case 8:
			r.name = string(f.bytes)
		case 9:
			r.raw, r.hasRaw = f.bytes, f.kind == protowire.BytesType
		case 10:
			r.doubles, err = f.doubles(r.doubles)
		case 13:
			r.external = true
		case 14:
			r.external = r.external || f.bits == 1
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", r.name, err)
	}
	v, err := r.decode()
	if err != nil {
		return nil, err
	}
	return &tensorProto{name: r.name, value: v}, nil
}

func (r *rawTensor) decode() (*value, error) {
	if r.external {
		return nil, unsupported("tensor %q keeps its data in another file, which this runtime does not read", r.name)
	}
	k := kindOf(r.elem)
	if k == kindNone {
		return nil, unsupported("tensor %q has element type %s, which this runtime does not run", r.name, elemName(r.elem))
	}
	if len(r.dims) > maxRank {
		return nil, fmt.Errorf("tensor %q has %d dimensions, more than %d", r.name, len(r.dims), maxRank)
	}
	n, dims := 1, make([]int, len(r.dims))
	for i, d := range r.dims {
		if d < 0 || d > maxElements || n*int(d) > maxElements {
			return nil, fmt.Errorf("tensor %q has shape %v, beyond %d elements", r.name, r.dims, maxElements)
		}
		dims[i] = int(d)
		n *= int(d)
	}
	v := &value{}
	v.kind = k
	v.setShape(dims)
	if r.hasRaw && k != kindString {
		return v, r.decodeRaw(v, n)
	}
	have := 0
	switch k {
	case kindFloat:
		v.f32, have = r.floats, len(r.floats)
	case kindDouble:
		v.f64, have = r.doubles, len(r.doubles)
	case kindInt64:
		v.i64, have = r.ints, len(r.ints)
	case kindInt32:
		v.i32, have = make([]int32, len(r.ints)), len(r.ints)
		for i, x := range r.ints {
			v.i32[i] = int32(x)
		}
	case kindBool:
		v.bools, have = make([]bool, len(r.ints)), len(r.ints)
		for i, x := range r.ints {
			v.bools[i] = x != 0
		}
	case kindString:
		v.strs, have = r.strings, len(r.strings)
	}
	if have != n {
		return nil, fmt.Errorf("tensor %q has shape %v and %d elements", r.name, r.dims, have)
	}
	return v, nil
}

// decodeRaw fills v with n little-endian elements.
func (r *rawTensor) decodeRaw(v *value, n int) error {
	width := map[kind]int{kindFloat: 4, kindDouble: 8, kindInt64: 8, kindInt32: 4, kindBool: 1}[v.kind]
	if len(r.raw) != n*width {
		return fmt.Errorf("tensor %q has shape %v and %d bytes instead of %d", r.name, r.dims, len(r.raw), n*width)
	}
	b := r.raw
	switch v.kind {
	case kindFloat:
		v.f32 = make([]float32, n)
		for i := range v.f32 {
			v.f32[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
	case kindDouble:
		v.f64 = make([]float64, n)
		for i := range v.f64 {
			v.f64[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		}
	case kindInt64:
		v.i64 = make([]int64, n)
		for i := range v.i64 {
			v.i64[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
		}
	case kindInt32:
		v.i32 = make([]int32, n)
		for i := range v.i32 {
			v.i32[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
		}
	case kindBool:
		v.bools = make([]bool, n)
		for i := range v.bools {
			v.bools[i] = b[i] != 0
		}
	}
	return nil
}
