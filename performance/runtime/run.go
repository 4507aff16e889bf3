package runtime

import (
	"errors"
	"fmt"
	"slices"

	"github.com/stoaproject/stoa"
)

// maxPooled is the number of bytes of buffers up to which a frame is kept for reuse.
const maxPooled = 16 << 20

// A frame holds the values of one run and, for every step, its operands.
type frame struct {
	values  []value
	in, out [][]*value
	spent   int64 // bytes of buffers that the values own
}

func (m *Model) newFrame() *frame {
	f := &frame{values: make([]value, len(m.constants))}
	for i := range f.values {
		f.values[i].spent = &f.spent
	}
	for slot, c := range m.constants {
		if c != nil {
			f.values[slot].view(c)
		}
	}
	operands := func(slots []int) []*value {
		vs := make([]*value, len(slots))
		for i, slot := range slots {
			if slot >= 0 {
				vs[i] = &f.values[slot]
			}
		}
		return vs
	}
	for _, s := range m.steps {
		f.in = append(f.in, operands(s.in))
		f.out = append(f.out, operands(s.out))
	}
	return f
}

// release forgets what the frame saw of the request and returns it to the pool, unless it has grown too large.
func (m *Model) release(f *frame) {
	if f.spent > maxPooled {
		return
	}
	for i := range f.values {
		v := &f.values[i]
		if m.constants[i] == nil {
			v.arrays = arrays{}
		}
		clear(v.own.strs)
	}
	m.frames.Put(f)
}

// Run computes the outputs named, or all when none are named, in that order. An error is a *[stoa.Refusal] of reason
// bad_input, bad_shape or bad_datatype. The outputs are the caller's own; inputs are neither changed nor kept.
//
// A tensor of FP64 is taken for an input of FP32 and rounded. Missing values are NaN; infinities are numbers. What
// they do is up to the model, as in ONNX Runtime.
func (m *Model) Run(inputs []stoa.Tensor, outputs []string) ([]stoa.Tensor, error) {
	f := m.frames.Get().(*frame)
	defer m.release(f)
	if err := m.bind(f, inputs); err != nil {
		return nil, err
	}
	if err := m.compute(f); err != nil {
		return nil, err
	}
	return m.collect(f, outputs)
}

// compute runs the steps on a frame whose inputs are bound.
func (m *Model) compute(f *frame) error {
	for i := range m.steps {
		if err := m.steps[i].run(f.in[i], f.out[i]); err != nil {
			var r *stoa.Refusal
			if errors.As(err, &r) {
				return &stoa.Refusal{Reason: r.Reason, Message: "operator " + m.steps[i].name + ": " + r.Message, Hint: r.Hint}
			}
			return fmt.Errorf("operator %s: %w", m.steps[i].name, err)
		}
	}
	return nil
}

// bind puts the inputs into their slots.
func (m *Model) bind(f *frame, inputs []stoa.Tensor) error {
	if len(inputs) != len(m.inputs) {
		return m.wrongInputs(inputs)
	}
	for i := range m.inputs {
		t := &inputs[i]
		if t.Name != m.inputs[i].Name {
			k := slices.IndexFunc(inputs, func(t stoa.Tensor) bool { return t.Name == m.inputs[i].Name })
			if k < 0 {
				return m.wrongInputs(inputs)
			}
			t = &inputs[k]
		}
		v := &f.values[m.inputSlots[i]]
		if err := bindShape(v, t, m.inputs[i].Shape); err != nil {
			return err
		}
		if err := bindData(v, t, m.inputKinds[i]); err != nil {
			return err
		}
	}
	return nil
}

// wrongInputs says which inputs are missing, unknown or given twice.
func (m *Model) wrongInputs(inputs []stoa.Tensor) error {
	var want []string
	for _, in := range m.inputs {
		want = append(want, in.Name)
	}
	seen := map[string]bool{}
	for _, t := range inputs {
		if !slices.Contains(want, t.Name) {
			return badInput("input %q is unknown; the model takes %q", t.Name, want)
		}
		if seen[t.Name] {
			return badInput("input %q is given twice", t.Name)
		}
		seen[t.Name] = true
	}
	for _, name := range want {
		if !seen[name] {
			return badInput("input %q is missing; the model takes %q", name, want)
		}
	}
	return badInput("the inputs do not fit; the model takes %q", want)
}

func bindShape(v *value, t *stoa.Tensor, want []int64) error {
	if len(t.Shape) != len(want) {
		return badShape("input %q has shape %v where the model takes %v", t.Name, t.Shape, want)
	}
	var dims [maxRank]int
	n := 1
	for i, d := range t.Shape {
		if d < 0 || (want[i] >= 0 && d != want[i]) {
			return badShape("input %q has shape %v where the model takes %v", t.Name, t.Shape, want)
		}
		if d > maxElements || (d > 0 && n > maxElements/int(d)) {
			return badShape("input %q has shape %v, beyond %d elements", t.Name, t.Shape, maxElements)
		}
		dims[i] = int(d)
		n *= int(d)
	}
	v.setShape(dims[:len(want)])
	return nil
}

// bindData makes v a view of the data of t, or a copy in single precision of doubles.
func bindData(v *value, t *stoa.Tensor, want kind) error {
	v.arrays = arrays{}
	v.kind = want
	n, given := -1, t.Datatype
	switch data := t.Data.(type) {
	case []float32:
		v.f32, n, given = data, len(data), stoa.FP32
	case []float64:
		v.f64, n, given = data, len(data), stoa.FP64
	case []int64:
		v.i64, n, given = data, len(data), stoa.Int64
	case []int32:
		v.i32, n, given = data, len(data), stoa.Int32
	case []bool:
		v.bools, n, given = data, len(data), stoa.Bool
	case []string:
		v.strs, n, given = data, len(data), stoa.Bytes
	}
	if given != t.Datatype {
		return badDatatype("input %q says datatype %s and holds %s", t.Name, t.Datatype, given)
	}
	narrowed := given == stoa.FP64 && want == kindFloat
	if n < 0 || (given != want.datatype() && !narrowed) {
		return badDatatype("input %q has datatype %s where the model takes %s", t.Name, t.Datatype, want.datatype())
	}
	if n != v.size() {
		return badShape("input %q has shape %v, which is %d elements, and holds %d", t.Name, t.Shape, v.size(), n)
	}
	if narrowed {
		wide := v.f64
		data, err := fill[float32](v, v.shape...)
		if err != nil {
			return err
		}
		for i, x := range wide {
			data[i] = float32(x)
		}
	}
	return nil
}

// collect copies the outputs wanted out of the frame.
func (m *Model) collect(f *frame, wanted []string) ([]stoa.Tensor, error) {
	if len(wanted) == 0 {
		out := make([]stoa.Tensor, len(m.outputs))
		dims := make([]int64, 0, 2*len(out)) // one allocation for the shapes of nearly every model
		for i := range out {
			dims = f.values[m.outputSlots[i]].export(m.outputs[i].Name, &out[i], dims)
		}
		return out, nil
	}
	out := make([]stoa.Tensor, len(wanted))
	dims := make([]int64, 0, 2*len(out))
	for i, name := range wanted {
		k := slices.IndexFunc(m.outputs, func(s stoa.TensorSpec) bool { return s.Name == name })
		if k < 0 {
			return nil, badInput("output %q is unknown; the model gives %q", name, m.outputNames())
		}
		dims = f.values[m.outputSlots[k]].export(name, &out[i], dims)
	}
	return out, nil
}

func (m *Model) outputNames() []string {
	var names []string
	for _, o := range m.outputs {
		names = append(names, o.Name)
	}
	return names
}

// export copies v into t. The shape is appended to dims, which it returns.
func (v *value) export(name string, t *stoa.Tensor, dims []int64) []int64 {
	t.Name, t.Datatype = name, v.kind.datatype()
	for _, d := range v.shape {
		dims = append(dims, int64(d))
	}
	t.Shape = dims[len(dims)-len(v.shape) : len(dims) : len(dims)]
	switch v.kind {
	case kindFloat:
		t.Data = copied(v.f32)
	case kindDouble:
		t.Data = copied(v.f64)
	case kindInt64:
		t.Data = copied(v.i64)
	case kindInt32:
		t.Data = copied(v.i32)
	case kindBool:
		t.Data = copied(v.bools)
	case kindString:
		t.Data = copied(v.strs)
	}
	return dims
}

// copied returns a copy of s that is not nil.
func copied[T any](s []T) []T {
	out := make([]T, len(s))
	copy(out, s)
	return out
}
