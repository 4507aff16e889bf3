package runtime

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/stoaproject/stoa"
)

// A kernel computes one operator. Inputs that the operator may omit are nil. A kernel writes only to its outputs, and
// may make an output a view of an input.
type kernel func(in, out []*value) error

// A step is a kernel bound to the slots of its operands; -1 stands for an operand that is omitted.
type step struct {
	name    string // for messages: the operator and its name
	run     kernel
	in, out []int
}

// A Model is a loaded model, ready to run. It is not changed after Load and may be used concurrently.
type Model struct {
	inputs, outputs []stoa.TensorSpec
	inputSlots      []int
	inputKinds      []kind
	outputSlots     []int
	classes         []string
	steps           []step
	constants       []*value  // by slot; nil for what is computed
	frames          sync.Pool // of *frame
}

// Load decodes, checks and compiles an ONNX model. An error is a *[stoa.Refusal]: of reason unsupported when the model
// needs something that this runtime does not have, with the operator named, and of reason invalid when the artifact is
// broken.
func Load(artifact []byte) (*Model, error) {
	proto, err := parseModel(artifact)
	if err != nil {
		return nil, refuse(err, "the artifact is not an ONNX model")
	}
	return assemble(proto)
}

// assemble builds and rehearses the model of a decoded file.
func assemble(proto *modelProto) (*Model, error) {
	b := &builder{model: &Model{}, slots: map[string]int{}}
	if err := b.build(proto); err != nil {
		return nil, refuse(err, "the model is not valid")
	}
	if err := b.model.rehearse(); err != nil {
		return nil, err
	}
	return b.model, nil
}

// refuse returns err as a refusal: itself when it is one, otherwise one of reason invalid.
func refuse(err error, what string) error {
	var r *stoa.Refusal
	if errors.As(err, &r) {
		return &stoa.Refusal{Reason: r.Reason, Message: err.Error(), Hint: r.Hint}
	}
	return invalid("%s: %v", what, err)
}

// Inputs describes what Run takes.
func (m *Model) Inputs() []stoa.TensorSpec { return cloneSpecs(m.inputs) }

// Outputs describes what Run gives.
func (m *Model) Outputs() []stoa.TensorSpec { return cloneSpecs(m.outputs) }

// Classes returns the labels of a classifier's classes as text, in the order of the columns of its probabilities. It is
// empty for other models.
func (m *Model) Classes() []string { return slices.Clone(m.classes) }

func cloneSpecs(specs []stoa.TensorSpec) []stoa.TensorSpec {
	out := slices.Clone(specs)
	for i := range out {
		out[i].Shape = slices.Clone(out[i].Shape)
	}
	return out
}

// A builder turns a graph into a Model.
type builder struct {
	model  *Model
	opsets map[string]int64
	slots  map[string]int // of the values defined so far, by name
}

func (b *builder) build(p *modelProto) error {
	b.opsets = p.opsets
	g := p.graph
	for _, t := range g.initializers {
		slot, err := b.define(t.name)
		if err != nil {
			return err
		}
		b.model.constants[slot] = t.value
	}
	for _, in := range g.inputs {
		if slot, ok := b.slots[in.name]; ok && b.model.constants[slot] != nil {
			continue // old files list initializers among the inputs
		}
		if err := b.addInput(in); err != nil {
			return err
		}
	}
	if len(b.model.inputs) == 0 {
		return fmt.Errorf("it has no inputs")
	}
	for i, n := range g.nodes {
		if err := b.addNode(n); err != nil {
			return fmt.Errorf("operator %d, %s: %w", i, n.title(), err)
		}
	}
	if len(g.outputs) == 0 {
		return fmt.Errorf("it has no outputs")
	}
	for _, out := range g.outputs {
		if err := b.addOutput(out); err != nil {
			return err
		}
	}
	b.model.frames.New = func() any { return b.model.newFrame() }
	return nil
}

// title names an operator for messages.
func (n *nodeProto) title() string {
	title := n.op
	if n.domain != "" {
		title = n.domain + "." + n.op
	}
	if n.name != "" {
		title += fmt.Sprintf(" %q", n.name)
	}
	return title
}

// define gives a slot to a name that has none yet.
func (b *builder) define(name string) (int, error) {
	if _, ok := b.slots[name]; ok {
		return 0, fmt.Errorf("two values have the name %q", name)
	}
	slot := len(b.model.constants)
	b.model.constants = append(b.model.constants, nil)
	if name != "" {
		b.slots[name] = slot
	}
	return slot, nil
}

func (b *builder) addInput(in valueInfo) error {
	k := kindOf(in.elem)
	if k == kindNone {
		return unsupported("input %q has element type %s, which this runtime does not take", in.name, elemName(in.elem))
	}
	slot, err := b.define(in.name)
	if err != nil {
		return err
	}
	m := b.model
	shape := slices.Clone(in.shape)
	if !in.hasShape {
		shape = []int64{-1, -1}
	}
	if len(shape) > 0 {
		shape[0] = -1
	}
	width := int64(1)
	for _, d := range shape {
		if d > maxFeatures || max(d, 1)*width > maxFeatures {
			return fmt.Errorf("input %q has shape %v, beyond %d features", in.name, shape, maxFeatures)
		}
		width *= max(d, 1)
	}
	m.inputs = append(m.inputs, stoa.TensorSpec{Name: in.name, Datatype: k.datatype(), Shape: shape})
	m.inputSlots = append(m.inputSlots, slot)
	m.inputKinds = append(m.inputKinds, k)
	return nil
}

func (b *builder) addNode(n *nodeProto) error {
	for name, a := range n.attributes {
		if a.graph {
			return unsupported("attribute %q holds a graph, which this runtime does not run", name)
		}
	}
	s := step{name: n.title()}
	for _, name := range n.inputs {
		slot := -1
		if name != "" {
			var ok bool
			if slot, ok = b.slots[name]; !ok {
				return fmt.Errorf("its input %q is not defined before it", name)
			}
		}
		s.in = append(s.in, slot)
	}
	op, err := b.operator(n)
	if err != nil {
		return err
	}
	if len(n.inputs) < op.minIn || len(n.inputs) > op.maxIn {
		return fmt.Errorf("it has %d inputs instead of %s", len(n.inputs), span{int32(op.minIn), int32(op.maxIn)})
	}
	if len(n.outputs) < 1 || len(n.outputs) > op.maxOut {
		return fmt.Errorf("it has %d outputs instead of %s", len(n.outputs), span{1, int32(op.maxOut)})
	}
	for i, slot := range s.in {
		if slot < 0 && (i < op.minIn || !op.gaps) {
			return fmt.Errorf("its input %d is missing", i)
		}
	}
	for _, name := range n.outputs {
		slot, err := b.define(name)
		if err != nil {
			return err
		}
		s.out = append(s.out, slot)
	}
	// Outputs that the file leaves out are computed all the same and seen by nobody.
	for len(s.out) < op.maxOut && op.fixedOut {
		slot, _ := b.define("")
		s.out = append(s.out, slot)
	}
	s.run = op.run
	b.model.steps = append(b.model.steps, s)
	return nil
}

// String writes the range as "1" or "1 to 3".
func (s span) String() string {
	if s.first == s.count {
		return fmt.Sprint(s.first)
	}
	return fmt.Sprintf("%d to %d", s.first, s.count)
}

func (b *builder) addOutput(out valueInfo) error {
	slot, ok := b.slots[out.name]
	if !ok {
		return fmt.Errorf("output %q is not computed", out.name)
	}
	m := b.model
	for _, o := range m.outputs {
		if o.Name == out.name {
			return fmt.Errorf("output %q is listed twice", out.name)
		}
	}
	// The rehearsal replaces the shape and finds the datatype; these are for a model that it cannot run.
	m.outputs = append(m.outputs, stoa.TensorSpec{
		Name: out.name, Datatype: kindOf(out.elem).datatype(), Shape: slices.Clone(out.shape),
	})
	m.outputSlots = append(m.outputSlots, slot)
	return nil
}
