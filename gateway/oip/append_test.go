package oip

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stoaproject/stoa"
)

func TestAppend(t *testing.T) {
	got, err := Append([]byte("before "), &Response{
		Model: "price", Version: 3, ID: `a"b`, From: "price-direction/3", Role: stoa.RoleFallback,
		Fallback: stoa.ReasonTimeout,
		Outputs: []stoa.Tensor{
			tensor("label", stoa.Bytes, []int64{2}, []string{"UP", "<\u2028\x01\t\n\\é"}),
			tensor("p", stoa.FP32, []int64{2, 2}, []float32{0.1, 1e-7, 1e21, -0.25}),
			tensor("n", stoa.Uint8, []int64{0}, []uint8{}),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `before {"model_name":"price","model_version":"3","id":"a\"b",` +
		`"parameters":{"role":"fallback","version":"price-direction/3","fallback":"timeout"},"outputs":[` +
		`{"name":"label","datatype":"BYTES","shape":[2],"data":["UP","<` + "\u2028" + `\u0001\t\n\\é"]},` +
		`{"name":"p","datatype":"FP32","shape":[2,2],"data":[0.1,1e-07,1e+21,-0.25]},` +
		`{"name":"n","datatype":"UINT8","shape":[0],"data":[]}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !json.Valid(got[len("before "):]) {
		t.Error("not JSON")
	}
}

func TestAppendOfAFixedAnswerLeavesTheVersionOut(t *testing.T) {
	got, err := Append(nil, &Response{Model: "m", ID: "1", Role: stoa.RoleFallback})
	want := `{"model_name":"m","id":"1","parameters":{"role":"fallback"},"outputs":[]}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestAppendRefusesWhatJSONHasNoFormFor(t *testing.T) {
	for name, data := range map[string]any{
		"NaN": []float32{1, float32(math.NaN())}, "infinity": []float64{math.Inf(-1)},
		"not UTF-8": []string{"\xff"}, "no tensor": 3,
	} {
		_, err := Append(nil, &Response{Outputs: []stoa.Tensor{{Name: "out", Data: data}}})
		var r *stoa.Refusal
		if !errors.As(err, &r) || r.Reason != stoa.ReasonTargetError || !strings.Contains(r.Message, `"out"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDescribeWritesEmptyLists(t *testing.T) {
	got, err := json.Marshal(Describe(nil))
	if err != nil || string(got) != "[]" {
		t.Errorf("got %s, %v", got, err)
	}
	got, err = json.Marshal(Describe([]stoa.TensorSpec{{Name: "x", Datatype: stoa.FP32}}))
	if err != nil || string(got) != `[{"name":"x","datatype":"FP32","shape":[]}]` {
		t.Errorf("got %s, %v", got, err)
	}
}
