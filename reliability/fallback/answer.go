package fallback

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/stoaproject/stoa"
)

// A Fixed target answers every row with the same class.
type Fixed struct {
	Name   string          // target's name in the answer
	Label  string          // class to answer
	Output stoa.TensorSpec // model's label output, whose form the answer takes; the zero value means "label" of BYTES
}

// Infer answers a call. It fails with no_candidate when the call asks for other outputs than the label only, and with
// invalid when the class does not fit the output's datatype.
func (f *Fixed) Infer(_ context.Context, call *stoa.Call) (*stoa.Answer, error) {
	return answer(f.Name, &f.Output, call, []string{f.Label}, func(int) int { return 0 })
}

// A Rule target decides each row by one feature: Then where the feature is above the limit, else Else.
type Rule struct {
	Name    string          // target's name in the answer
	Feature string          // name of the feature; an input tensor of this name holds it
	Index   int             // otherwise its column, from 0, in the first input tensor
	Above   float64         // limit, in the feature's unit
	Then    string          // class where the feature is above the limit
	Else    string          // class where it is not, or is NaN
	Output  stoa.TensorSpec // model's label output, whose form the answer takes; the zero value means "label" of BYTES
}

// Infer answers a call. It refuses with bad_datatype a call whose feature is no number, and with bad_shape one whose
// rows do not hold the feature; otherwise it fails as [Fixed.Infer] does.
func (r *Rule) Infer(_ context.Context, call *stoa.Call) (*stoa.Answer, error) {
	if len(call.Inputs) == 0 {
		return nil, &stoa.Refusal{Reason: stoa.ReasonBadInput, Message: "the call has no inputs"}
	}
	t, column := &call.Inputs[0], r.Index
	if i := slices.IndexFunc(call.Inputs, func(t stoa.Tensor) bool { return t.Name == r.Feature }); i >= 0 {
		t, column = &call.Inputs[i], 0
	}
	feature, size, ok := numbers(t.Data)
	if !ok {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonBadDatatype, Message: fmt.Sprintf("the input %q must be of numbers, not %s", t.Name, t.Datatype),
		}
	}
	width := size / max(call.Rows, 1)
	if width*call.Rows != size || call.Rows > 0 && (column < 0 || column >= width) {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonBadShape,
			Message: fmt.Sprintf("the input %q has %d elements, which do not hold column %d of %d rows",
				t.Name, size, column, call.Rows),
		}
	}
	return answer(r.Name, &r.Output, call, []string{r.Then, r.Else}, func(row int) int {
		if feature(row*width+column) > r.Above {
			return 0
		}
		return 1
	})
}

// numbers returns a function that reads an element of a tensor's data as a float64, and their number.
func numbers(data any) (at func(int) float64, size int, ok bool) {
	switch d := data.(type) {
	case []float32:
		return reader(d)
	case []float64:
		return reader(d)
	case []int8:
		return reader(d)
	case []int16:
		return reader(d)
	case []int32:
		return reader(d)
	case []int64:
		return reader(d)
	case []uint8:
		return reader(d)
	case []uint16:
		return reader(d)
	case []uint32:
		return reader(d)
	case []uint64:
		return reader(d)
	}
	return nil, 0, false
}

func reader[T float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64](d []T) (
	func(int) float64, int, bool,
) {
	return func(i int) float64 { return float64(d[i]) }, len(d), true
}

// answer gives each row the class whose index choose returns, in the form of the output.
func answer(name string, output *stoa.TensorSpec, call *stoa.Call, classes []string, choose func(row int) int) (
	*stoa.Answer, error,
) {
	t := stoa.Tensor{Name: output.Name, Datatype: output.Datatype, Shape: []int64{int64(call.Rows)}}
	if t.Name == "" {
		t.Name = "label"
	}
	if t.Datatype == "" {
		t.Datatype = stoa.Bytes
	}
	for range max(len(output.Shape), 1) - 1 {
		t.Shape = append(t.Shape, 1)
	}
	if len(call.Outputs) > 0 && !slices.Contains(call.Outputs, t.Name) {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonNoCandidate, Message: fmt.Sprintf("%s answers the output %q only", name, t.Name),
		}
	}
	var err error
	switch t.Datatype {
	case stoa.Bytes:
		t.Data, err = each(call.Rows, choose, classes, func(s string) (string, error) { return s, nil })
	case stoa.Int64:
		t.Data, err = each(call.Rows, choose, classes, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) })
	case stoa.Int32:
		t.Data, err = each(call.Rows, choose, classes, func(s string) (int32, error) {
			v, err := strconv.ParseInt(s, 10, 32)
			return int32(v), err
		})
	case stoa.FP32:
		t.Data, err = each(call.Rows, choose, classes, func(s string) (float32, error) {
			v, err := strconv.ParseFloat(s, 32)
			return float32(v), err
		})
	case stoa.FP64:
		t.Data, err = each(call.Rows, choose, classes, func(s string) (float64, error) { return strconv.ParseFloat(s, 64) })
	default:
		err = fmt.Errorf("an output of datatype %s cannot be answered", t.Datatype)
	}
	if err != nil {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonInvalid, Message: fmt.Sprintf("%s has no answer that fits the output %q", name, t.Name), Err: err,
		}
	}
	return &stoa.Answer{Target: name, Role: stoa.RoleFallback, Outputs: []stoa.Tensor{t}}, nil
}

// each makes the data of an output: for every row, the class chosen, read as the output's datatype.
func each[T any](rows int, choose func(int) int, classes []string, read func(string) (T, error)) ([]T, error) {
	values := make([]T, len(classes))
	for i, class := range classes {
		var err error
		if values[i], err = read(class); err != nil {
			return nil, err
		}
	}
	data := make([]T, rows)
	for i := range data {
		data[i] = values[choose(i)]
	}
	return data, nil
}
