package fallback

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/stoaproject/stoa"
)

// FixedConfig is a fixed answer.
type FixedConfig struct {
	Name   string          // target's name in the answer, e.g. "price@fixed"
	Output stoa.TensorSpec // the model's label output, whose name, datatype and rank the answer takes
	Label  string          // the class answered for every row
}

// RuleConfig is a rule on one feature: Above where the feature is greater than Threshold, else Below.
type RuleConfig struct {
	Name      string          // target's name in the answer, e.g. "price@rule"
	Output    stoa.TensorSpec // the model's label output, whose name, datatype and rank the answer takes
	Input     string          // input tensor that holds the feature; empty means the first
	Column    int             // feature's place within a row of it, from 0
	Threshold float64
	Above     string // class where the feature is greater than the threshold
	Below     string // class where it is not, or is NaN
}

// A Fixed target answers every row with the same class.
type Fixed struct {
	name  string
	label labels
}

// NewFixed returns a target that answers every row with one class. It fails when the class does not fit the output.
func NewFixed(c FixedConfig) (*Fixed, error) {
	l, err := newLabels(c.Output, c.Label)
	if err != nil {
		return nil, fmt.Errorf("fixed answer %q: %w", c.Name, err)
	}
	return &Fixed{c.Name, l}, nil
}

// Infer answers a call. It fails, with no_candidate, only when the call asks for other outputs than the label.
func (f *Fixed) Infer(_ context.Context, call *stoa.Call) (*stoa.Answer, error) {
	return f.label.answer(f.name, call, func(int) int { return 0 })
}

// A Rule target answers each row by one of its features.
type Rule struct {
	RuleConfig
	label labels
}

// NewRule returns a target that answers by a rule. It fails when a class does not fit the output.
func NewRule(c RuleConfig) (*Rule, error) {
	l, err := newLabels(c.Output, c.Above, c.Below)
	if err == nil && (c.Column < 0 || math.IsNaN(c.Threshold)) {
		err = fmt.Errorf("column %d and threshold %v must be numbers, the column not negative", c.Column, c.Threshold)
	}
	if err != nil {
		return nil, fmt.Errorf("rule %q: %w", c.Name, err)
	}
	return &Rule{c, l}, nil
}

// Infer answers a call. It refuses with bad_input a call without the feature's tensor, with bad_shape one whose rows do
// not hold the feature and with bad_datatype a tensor that is not of numbers.
func (r *Rule) Infer(_ context.Context, call *stoa.Call) (*stoa.Answer, error) {
	i := 0
	if r.Input != "" {
		i = slices.IndexFunc(call.Inputs, func(t stoa.Tensor) bool { return t.Name == r.Input })
	}
	if i < 0 || i >= len(call.Inputs) {
		return nil, &stoa.Refusal{Reason: stoa.ReasonBadInput, Message: fmt.Sprintf("the input %q is missing", r.Input)}
	}
	t := &call.Inputs[i]
	column, size, ok := numbers(t.Data)
	if !ok {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonBadDatatype, Message: fmt.Sprintf("the input %q must be of numbers, not %s", t.Name, t.Datatype),
		}
	}
	width := 0
	if call.Rows > 0 {
		width = size / call.Rows
	}
	if width*call.Rows != size || call.Rows > 0 && r.Column >= width {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonBadShape, Message: fmt.Sprintf("the input %q has %d elements, which are not %d rows of %d or more",
				t.Name, size, call.Rows, r.Column+1),
		}
	}
	return r.label.answer(r.Name, call, func(row int) int {
		if column(row*width+r.Column) > r.Threshold {
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

// labels are the classes that a target can answer, ready in the output's datatype.
type labels struct {
	output  stoa.TensorSpec
	numbers []int64   // for INT64 and INT32
	floats  []float64 // for FP32 and FP64
	texts   []string  // for BYTES
}

func newLabels(output stoa.TensorSpec, classes ...string) (labels, error) {
	l := labels{output: output}
	if l.output.Name == "" {
		l.output.Name = "label"
	}
	for _, class := range classes {
		switch output.Datatype {
		case stoa.Bytes:
			l.texts = append(l.texts, class)
		case stoa.Int64, stoa.Int32:
			bits := 64
			if output.Datatype == stoa.Int32 {
				bits = 32
			}
			n, err := strconv.ParseInt(class, 10, bits)
			if err != nil {
				return l, fmt.Errorf("the class %q does not fit the output's datatype %s", class, output.Datatype)
			}
			l.numbers = append(l.numbers, n)
		case stoa.FP32, stoa.FP64:
			v, err := strconv.ParseFloat(class, 64)
			if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
				return l, fmt.Errorf("the class %q does not fit the output's datatype %s", class, output.Datatype)
			}
			l.floats = append(l.floats, v)
		default:
			return l, fmt.Errorf("an output of datatype %q cannot be answered; use BYTES, INT64, INT32, FP32 or FP64",
				output.Datatype)
		}
	}
	return l, nil
}

// answer gives each row the class whose index choose returns.
func (l *labels) answer(name string, call *stoa.Call, choose func(row int) int) (*stoa.Answer, error) {
	if len(call.Outputs) > 0 && !slices.Contains(call.Outputs, l.output.Name) {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonNoCandidate, Message: fmt.Sprintf("%s answers the output %q only", name, l.output.Name),
		}
	}
	t := stoa.Tensor{Name: l.output.Name, Datatype: l.output.Datatype, Shape: []int64{int64(call.Rows)}}
	for range max(len(l.output.Shape), 1) - 1 {
		t.Shape = append(t.Shape, 1)
	}
	switch l.output.Datatype {
	case stoa.Bytes:
		t.Data = each(call.Rows, choose, l.texts, func(v string) string { return v })
	case stoa.Int64:
		t.Data = each(call.Rows, choose, l.numbers, func(v int64) int64 { return v })
	case stoa.Int32:
		t.Data = each(call.Rows, choose, l.numbers, func(v int64) int32 { return int32(v) })
	case stoa.FP32:
		t.Data = each(call.Rows, choose, l.floats, func(v float64) float32 { return float32(v) })
	case stoa.FP64:
		t.Data = each(call.Rows, choose, l.floats, func(v float64) float64 { return v })
	}
	return &stoa.Answer{Target: name, Role: stoa.RoleFallback, Outputs: []stoa.Tensor{t}}, nil
}

func each[S, T any](rows int, choose func(int) int, from []S, as func(S) T) []T {
	out := make([]T, rows)
	for i := range out {
		out[i] = as(from[choose(i)])
	}
	return out
}
