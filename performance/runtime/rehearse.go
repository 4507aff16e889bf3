package runtime

import (
	"errors"
	"slices"

	"github.com/stoaproject/stoa"
)

// rehearse runs the model on one and on three rows of zeros, so that what cannot work is known at Load and not at the
// first request, and learns the datatypes and shapes of the outputs, which exporters often leave out.
//
// A refusal of the zeros themselves, such as a category that the model does not know, is not the model's fault.
func (m *Model) rehearse() error {
	var shapes [2][][]int64
	for i, rows := range []int64{1, 3} {
		inputs, known := m.zeros(rows)
		f := m.newFrame()
		if err := m.bind(f, inputs); err != nil {
			return refuse(err, "the model is not valid")
		}
		if err := m.compute(f); err != nil {
			return m.judge(err, known)
		}
		for k, slot := range m.outputSlots {
			v := &f.values[slot]
			m.outputs[k].Datatype = v.kind.datatype()
			var shape []int64
			for _, d := range v.shape {
				shape = append(shape, int64(d))
			}
			shapes[i] = append(shapes[i], shape)
		}
	}
	for k := range m.outputs {
		m.outputs[k].Shape = varying(shapes[0][k], shapes[1][k])
	}
	return nil
}

// judge decides what a failed rehearsal means. known says that no input has a size that the rehearsal had to guess.
func (m *Model) judge(err error, known bool) error {
	var r *stoa.Refusal
	if !errors.As(err, &r) {
		return invalid("the model cannot run: %v", err)
	}
	switch {
	case r.Reason == stoa.ReasonUnsupported || r.Reason == stoa.ReasonInvalid:
		return r
	case r.Reason == stoa.ReasonBadDatatype, r.Reason == stoa.ReasonBadShape && known:
		return invalid("the model cannot run: %s", r.Message)
	}
	return nil
}

// zeros returns inputs of zeros and empty strings. Sizes that the model leaves open, other than the number of rows, are
// guessed to be 1, and then known is false.
func (m *Model) zeros(rows int64) (inputs []stoa.Tensor, known bool) {
	known = true
	for i, spec := range m.inputs {
		shape := slices.Clone(spec.Shape)
		n := int64(1)
		for d := range shape {
			if shape[d] < 0 && d == 0 {
				shape[d] = rows
			} else if shape[d] < 0 {
				shape[d], known = 1, false
			}
			n = min(n*shape[d], maxElements+1)
		}
		t := stoa.Tensor{Name: spec.Name, Datatype: spec.Datatype, Shape: shape}
		n = min(n, maxElements)
		switch m.inputKinds[i] {
		case kindFloat:
			t.Data = make([]float32, n)
		case kindDouble:
			t.Data = make([]float64, n)
		case kindInt64:
			t.Data = make([]int64, n)
		case kindInt32:
			t.Data = make([]int32, n)
		case kindBool:
			t.Data = make([]bool, n)
		case kindString:
			t.Data = make([]string, n)
		}
		inputs = append(inputs, t)
	}
	return inputs, known
}

// varying returns the shape in which sizes that differ between two runs are -1.
func varying(a, b []int64) []int64 {
	if len(a) != len(b) {
		return []int64{-1}
	}
	out := slices.Clone(a)
	for i := range out {
		if a[i] != b[i] {
			out[i] = -1
		}
	}
	return out
}
