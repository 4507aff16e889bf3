package runtime

import (
	"fmt"
	"unsafe"

	"github.com/stoaproject/stoa"
)

// A kind is the element type of a value.
type kind uint8

const (
	kindNone kind = iota
	kindFloat
	kindDouble
	kindInt64
	kindInt32
	kindBool
	kindString
)

// kindOf maps TensorProto.DataType to a kind; kindNone when this runtime does not compute with it.
func kindOf(elem int64) kind {
	switch elem {
	case 1:
		return kindFloat
	case 6:
		return kindInt32
	case 7:
		return kindInt64
	case 8:
		return kindString
	case 9:
		return kindBool
	case 11:
		return kindDouble
	}
	return kindNone
}

// elemName names a TensorProto.DataType for messages.
func elemName(elem int64) string {
	names := [...]string{"UNDEFINED", "FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "STRING", "BOOL",
		"FLOAT16", "DOUBLE", "UINT32", "UINT64", "COMPLEX64", "COMPLEX128", "BFLOAT16"}
	if elem >= 0 && elem < int64(len(names)) {
		return names[elem]
	}
	return fmt.Sprintf("number %d", elem)
}

// datatype returns the name of k in the Open Inference Protocol.
func (k kind) datatype() stoa.Datatype {
	switch k {
	case kindFloat:
		return stoa.FP32
	case kindDouble:
		return stoa.FP64
	case kindInt64:
		return stoa.Int64
	case kindInt32:
		return stoa.Int32
	case kindBool:
		return stoa.Bool
	case kindString:
		return stoa.Bytes
	}
	return ""
}

// element is every Go type that a value may hold.
type element interface {
	float32 | float64 | int64 | int32 | bool | string
}

// number is every element that can be computed with.
type number interface {
	float32 | float64 | int64 | int32
}

// arrays holds one slice per kind, of which a value uses the one of its kind.
type arrays struct {
	f32   []float32
	f64   []float64
	i64   []int64
	i32   []int32
	bools []bool
	strs  []string
}

// A value is a tensor while a graph runs. Its arrays are either its own buffers, reused from run to run, or views of
// another value, an input or a constant, which nothing writes to.
type value struct {
	arrays
	kind  kind
	shape []int
	dims  [maxRank]int // backs shape
	own   arrays
	spent *int64 // bytes of buffers in the frame; nil outside a frame
}

// slot returns the place of the slice of T in a.
func slot[T element](a *arrays) *[]T {
	var zero T
	switch any(zero).(type) {
	case float32:
		return any(&a.f32).(*[]T)
	case float64:
		return any(&a.f64).(*[]T)
	case int64:
		return any(&a.i64).(*[]T)
	case int32:
		return any(&a.i32).(*[]T)
	case bool:
		return any(&a.bools).(*[]T)
	default:
		return any(&a.strs).(*[]T)
	}
}

// kindFor returns the kind that holds T.
func kindFor[T element]() kind {
	var zero T
	switch any(zero).(type) {
	case float32:
		return kindFloat
	case float64:
		return kindDouble
	case int64:
		return kindInt64
	case int32:
		return kindInt32
	case bool:
		return kindBool
	default:
		return kindString
	}
}

// elements returns the data of v, whose kind must be that of T.
func elements[T element](v *value) []T { return *slot[T](&v.arrays) }

// setShape sets the shape of v without touching its data. The caller has checked the rank.
func (v *value) setShape(dims []int) {
	v.shape = v.dims[:copy(v.dims[:], dims)]
}

// size returns the number of elements of v.
func (v *value) size() int { return product(v.shape) }

// view makes v show the data of src under the same shape.
func (v *value) view(src *value) {
	v.arrays, v.kind = src.arrays, src.kind
	v.setShape(src.shape)
}

// fill gives v the kind of T, the shape dims and a buffer of its own, whose content is undefined.
func fill[T element](v *value, dims ...int) ([]T, error) {
	if len(dims) > maxRank {
		return nil, badShape("a tensor would have %d dimensions, more than %d", len(dims), maxRank)
	}
	n := 1
	for _, d := range dims {
		if d < 0 || (d > 0 && n > maxElements/d) {
			return nil, badShape("a tensor of shape %v would exceed %d elements", append([]int(nil), dims...), maxElements)
		}
		n *= d
	}
	own := slot[T](&v.own)
	if cap(*own) < n {
		if v.spent != nil {
			var zero T
			*v.spent += int64(n) * int64(unsafe.Sizeof(zero))
			if *v.spent > maxFrame {
				return nil, badShape("the run would need more than %d bytes", maxFrame)
			}
		}
		*own = make([]T, n)
	}
	data := (*own)[:n]
	*own = data
	v.arrays = arrays{}
	*slot[T](&v.arrays) = data
	v.kind = kindFor[T]()
	v.setShape(dims)
	return data, nil
}

// product returns the number of elements of a tensor of the shape dims.
func product(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// rowsAndColumns reads a shape as a matrix the way the operators of ai.onnx.ml do: a vector is one row.
func (v *value) rowsAndColumns() (rows, columns int, err error) {
	switch len(v.shape) {
	case 1:
		return 1, v.shape[0], nil
	case 2:
		return v.shape[0], v.shape[1], nil
	}
	return 0, 0, badShape("a tensor of shape %v stands where a matrix [N, features] is needed", v.shape)
}

func badShape(format string, args ...any) error {
	return &stoa.Refusal{Reason: stoa.ReasonBadShape, Message: fmt.Sprintf(format, args...)}
}

func badDatatype(format string, args ...any) error {
	return &stoa.Refusal{Reason: stoa.ReasonBadDatatype, Message: fmt.Sprintf(format, args...)}
}

func badInput(format string, args ...any) error {
	return &stoa.Refusal{Reason: stoa.ReasonBadInput, Message: fmt.Sprintf(format, args...)}
}

// kindMismatch is the refusal of a kernel that cannot compute with the kind it was given.
func kindMismatch(v *value) error {
	return badDatatype("it does not take %s", v.kind.datatype())
}
