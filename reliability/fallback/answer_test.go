package fallback

import (
	"reflect"
	"testing"

	"github.com/stoaproject/stoa"
)

func TestFixedTakesTheFormOfTheOutput(t *testing.T) {
	call := &stoa.Call{Rows: 2, Outputs: []string{"label"}}
	for name, c := range map[string]struct {
		output stoa.TensorSpec
		want   stoa.Tensor
	}{
		"default": {stoa.TensorSpec{}, stoa.Tensor{Name: "label", Datatype: stoa.Bytes, Shape: []int64{2}, Data: []string{"1", "1"}}},
		"integers of rank 2": {
			stoa.TensorSpec{Name: "label", Datatype: stoa.Int64, Shape: []int64{-1, 1}},
			stoa.Tensor{Name: "label", Datatype: stoa.Int64, Shape: []int64{2, 1}, Data: []int64{1, 1}},
		},
		"floats": {
			stoa.TensorSpec{Datatype: stoa.FP32, Shape: []int64{-1}},
			stoa.Tensor{Name: "label", Datatype: stoa.FP32, Shape: []int64{2}, Data: []float32{1, 1}},
		},
	} {
		a, err := (&Fixed{Name: "fixed", Label: "1", Output: c.output}).Infer(t.Context(), call)
		if err != nil || a.Target != "fixed" || !reflect.DeepEqual(a.Outputs, []stoa.Tensor{c.want}) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	if _, err := (&Fixed{Label: "UP", Output: stoa.TensorSpec{Datatype: stoa.Int64}}).Infer(t.Context(), call); reason(err) !=
		stoa.ReasonInvalid {
		t.Errorf("a class that does not fit: %v", err)
	}
	call.Outputs = []string{"probabilities"}
	if _, err := (&Fixed{Label: "UP"}).Infer(t.Context(), call); reason(err) != stoa.ReasonNoCandidate {
		t.Errorf("other outputs: %v", err)
	}
}

func TestRuleDecidesEachRow(t *testing.T) {
	rule := &Rule{Name: "rule", Feature: "demand", Index: 1, Above: 0.5, Then: "UP", Else: "DOWN"}
	for name, c := range map[string]struct {
		input stoa.Tensor
		want  []string
	}{
		"a column": {
			stoa.Tensor{Name: "x", Datatype: stoa.FP32, Shape: []int64{3, 2}, Data: []float32{9, 0.5, 0, 0.6, 9, -1}},
			[]string{"DOWN", "UP", "DOWN"},
		},
		"a tensor of its own": {
			stoa.Tensor{Name: "demand", Datatype: stoa.Int32, Shape: []int64{3}, Data: []int32{1, 0, 7}}, []string{"UP", "DOWN", "UP"},
		},
	} {
		a, err := rule.Infer(t.Context(), &stoa.Call{Rows: 3, Inputs: []stoa.Tensor{c.input}})
		if err != nil || !reflect.DeepEqual(a.Outputs[0].Data, c.want) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	for want, call := range map[stoa.Reason]*stoa.Call{
		stoa.ReasonBadInput:    {Rows: 1},
		stoa.ReasonBadDatatype: {Rows: 1, Inputs: []stoa.Tensor{{Name: "x", Data: []string{"a", "b"}}}},
		stoa.ReasonBadShape:    {Rows: 1, Inputs: []stoa.Tensor{{Name: "x", Data: []float64{1}}}},
	} {
		if _, err := rule.Infer(t.Context(), call); reason(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := rule.Infer(t.Context(), &stoa.Call{Rows: 0, Inputs: []stoa.Tensor{{Name: "x", Data: []float32{}}}}); err != nil {
		t.Errorf("no rows: %v", err)
	}
}
