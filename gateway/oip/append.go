package oip

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/stoaproject/stoa"
)

// A Response is what an answered request is told.
type Response struct {
	Model    string // as the client named it
	Version  int    // version that gave the answer; left out when 0
	ID       string
	From     string // model and version that gave the answer, e.g. "price/3"; left out when empty
	Role     stoa.Role
	Fallback stoa.Reason // left out when empty
	Outputs  []stoa.Tensor
}

// Append writes a response onto the end of dst. Floats are written with the fewest digits that read back as the same
// value of their datatype. On an error, a *[stoa.Refusal] with reason target_error that names the output, what was
// appended is of no use.
func Append(dst []byte, r *Response) ([]byte, error) {
	dst = append(dst, `{"model_name":`...)
	dst = AppendString(dst, r.Model)
	if r.Version != 0 {
		dst = append(dst, `,"model_version":"`...)
		dst = strconv.AppendInt(dst, int64(r.Version), 10)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"id":`...)
	dst = AppendString(dst, r.ID)
	dst = append(dst, `,"parameters":{"role":`...)
	dst = AppendString(dst, string(r.Role))
	if r.From != "" {
		dst = append(dst, `,"version":`...)
		dst = AppendString(dst, r.From)
	}
	if r.Fallback != "" {
		dst = append(dst, `,"fallback":`...)
		dst = AppendString(dst, string(r.Fallback))
	}
	dst = append(dst, `},"outputs":`...)
	dst, err := appendTensors(dst, r.Outputs)
	if err != nil {
		return dst, err
	}
	return append(dst, '}'), nil
}

// AppendRequest writes the body of a request that [Parse] reads back as the same call.
func AppendRequest(dst []byte, call *stoa.Call) ([]byte, error) {
	dst = append(dst, '{')
	if call.ID != "" {
		dst = append(dst, `"id":`...)
		dst = append(AppendString(dst, call.ID), ',')
	}
	if call.Unrecorded {
		dst = append(dst, `"parameters":{"record":false},`...)
	}
	dst = append(dst, `"inputs":`...)
	dst, err := appendTensors(dst, call.Inputs)
	if err != nil {
		return dst, err
	}
	for i, name := range call.Outputs {
		if i == 0 {
			dst = append(dst, `,"outputs":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"name":`...)
		dst = append(AppendString(dst, name), '}')
	}
	if len(call.Outputs) > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}'), nil
}

func appendTensors(dst []byte, tensors []stoa.Tensor) ([]byte, error) {
	var err error
	dst = append(dst, '[')
	for i := range tensors {
		t := &tensors[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"name":`...)
		dst = AppendString(dst, t.Name)
		dst = append(dst, `,"datatype":"`...)
		dst = append(dst, t.Datatype...)
		dst = append(dst, `","shape":[`...)
		for j, d := range t.Shape {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendInt(dst, d, 10)
		}
		dst = append(dst, `],"data":[`...)
		if dst, err = appendData(dst, t); err != nil {
			return dst, err
		}
		dst = append(dst, `]}`...)
	}
	return append(dst, ']'), nil
}

// appendData writes the elements of a tensor, with commas between them.
func appendData(dst []byte, t *stoa.Tensor) ([]byte, error) {
	bad := -1
	switch data := t.Data.(type) {
	case []float32:
		for i, v := range data {
			if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
				bad = i
				break
			}
			dst = appendFloat(dst, float64(v), 32)
		}
	case []float64:
		for i, v := range data {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				bad = i
				break
			}
			dst = appendFloat(dst, v, 64)
		}
	case []string:
		for i, v := range data {
			if !utf8.ValidString(v) {
				bad = i
				break
			}
			dst = append(AppendString(dst, v), ',')
		}
	case []bool:
		for _, v := range data {
			dst = append(strconv.AppendBool(dst, v), ',')
		}
	case []int8:
		dst = appendInts(dst, data)
	case []int16:
		dst = appendInts(dst, data)
	case []int32:
		dst = appendInts(dst, data)
	case []int64:
		dst = appendInts(dst, data)
	case []uint8:
		dst = appendUints(dst, data)
	case []uint16:
		dst = appendUints(dst, data)
	case []uint32:
		dst = appendUints(dst, data)
	case []uint64:
		dst = appendUints(dst, data)
	default:
		return dst, broken(t, fmt.Sprintf("holds %T, which no datatype has", data))
	}
	if bad >= 0 {
		return dst, broken(t, fmt.Sprintf("has an element, number %d, that JSON has no form for", bad))
	}
	if dst[len(dst)-1] == ',' {
		dst = dst[:len(dst)-1]
	}
	return dst, nil
}

func broken(t *stoa.Tensor, what string) error {
	return refusal(stoa.ReasonTargetError, "the tensor %q %s", t.Name, what)
}

func appendInts[T int8 | int16 | int32 | int64](dst []byte, data []T) []byte {
	for _, v := range data {
		dst = append(strconv.AppendInt(dst, int64(v), 10), ',')
	}
	return dst
}

func appendUints[T uint8 | uint16 | uint32 | uint64](dst []byte, data []T) []byte {
	for _, v := range data {
		dst = append(strconv.AppendUint(dst, uint64(v), 10), ',')
	}
	return dst
}

// appendFloat writes a float as ECMAScript does, and a comma: without an exponent where that stays short.
func appendFloat(dst []byte, v float64, bits int) []byte {
	format := byte('f')
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return append(strconv.AppendFloat(dst, v, format, -1, bits), ',')
}

// AppendString writes a JSON string. Bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			dst = append(append(dst, s[start:i]...), "\uFFFD"...)
		} else {
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}
