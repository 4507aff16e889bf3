package runtime

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stoaproject/stoa"
)

// Bounds on what a file may ask for, chosen far above any exported model and far below what would exhaust memory.
const (
	maxRank     = 8       // dimensions of a tensor
	maxElements = 1 << 24 // elements of one tensor, in the file or while running
	maxFrame    = 1 << 30 // bytes of all tensors of one run
	maxNodes    = 1 << 14 // operators in a graph
)

// modelProto and the types below hold what is needed of the messages of the same name in onnx.proto.
type modelProto struct {
	opsets map[string]int64
	graph  *graphProto
}

type graphProto struct {
	nodes        []*nodeProto
	initializers []*tensorProto
	inputs       []valueInfo
	outputs      []valueInfo
}

type nodeProto struct {
	inputs, outputs  []string
	name, op, domain string
	attributes       map[string]*attribute
}

type attribute struct {
	f       float32
	i       int64
	s       string
	t       *tensorProto
	floats  []float32
	ints    []int64
	strings []string
	graph   bool // holds a subgraph
}

type valueInfo struct {
	name     string
	elem     int64   // TensorProto.DataType; 0 when not a tensor
	shape    []int64 // -1 for a dimension without a fixed size
	hasShape bool
}

// A field is one field of a message: a number for varint and fixed types, bytes for the others.
type field struct {
	number protowire.Number
	kind   protowire.Type
	bits   uint64
	bytes  []byte
}

// eachField calls visit for every field of the message b.
func eachField(b []byte, visit func(f field) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		f := field{number: number, kind: kind}
		switch kind {
		case protowire.VarintType:
			f.bits, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			f.bits = uint64(v)
		case protowire.Fixed64Type:
			f.bits, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

// message reports an error unless f is length-delimited, as a field that holds a message or a string must be.
func (f field) message() error {
	if f.kind != protowire.BytesType {
		return fmt.Errorf("field %d has wire type %d instead of bytes", f.number, f.kind)
	}
	return nil
}

// varints appends the integers of a repeated field, packed or not.
func (f field) varints(dst []int64) ([]int64, error) {
	if f.kind == protowire.VarintType {
		return append(dst, int64(f.bits)), nil
	}
	if err := f.message(); err != nil {
		return nil, err
	}
	for b := f.bytes; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		dst = append(dst, int64(v))
		b = b[n:]
	}
	return dst, nil
}

// floats appends the 32-bit floats of a repeated field, packed or not.
func (f field) floats(dst []float32) ([]float32, error) {
	if f.kind == protowire.Fixed32Type {
		return append(dst, math.Float32frombits(uint32(f.bits))), nil
	}
	if err := f.message(); err != nil {
		return nil, err
	}
	for b := f.bytes; len(b) > 0; {
		v, n := protowire.ConsumeFixed32(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		dst = append(dst, math.Float32frombits(v))
		b = b[n:]
	}
	return dst, nil
}

// doubles appends the 64-bit floats of a repeated field, packed or not.
func (f field) doubles(dst []float64) ([]float64, error) {
	if f.kind == protowire.Fixed64Type {
		return append(dst, math.Float64frombits(f.bits)), nil
	}
	if err := f.message(); err != nil {
		return nil, err
	}
	for b := f.bytes; len(b) > 0; {
		v, n := protowire.ConsumeFixed64(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		dst = append(dst, math.Float64frombits(v))
		b = b[n:]
	}
	return dst, nil
}

func parseModel(b []byte) (*modelProto, error) {
	m := &modelProto{opsets: map[string]int64{}}
	err := eachField(b, func(f field) error {
		var err error
		switch f.number {
		case 7:
			if err = f.message(); err == nil {
				m.graph, err = parseGraph(f.bytes)
			}
		case 8:
			if err = f.message(); err == nil {
				err = parseOpset(f.bytes, m.opsets)
			}
		case 25:
			err = unsupported("the model defines functions of its own, which this runtime does not run")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if m.graph == nil {
		return nil, fmt.Errorf("there is no graph in it")
	}
	return m, nil
}

func parseOpset(b []byte, opsets map[string]int64) error {
	var domain string
	var version int64
	err := eachField(b, func(f field) error {
		switch f.number {
		case 1:
			domain = string(f.bytes)
		case 2:
			version = int64(f.bits)
		}
		return nil
	})
	opsets[canonicalDomain(domain)] = version
	return err
}

// canonicalDomain maps the two spellings of the default operator set to one.
func canonicalDomain(domain string) string {
	if domain == "ai.onnx" {
		return ""
	}
	return domain
}

func parseGraph(b []byte) (*graphProto, error) {
	g := &graphProto{}
	err := eachField(b, func(f field) error {
		if f.number != 1 && f.number != 5 && f.number != 11 && f.number != 12 && f.number != 15 {
			return nil
		}
		if err := f.message(); err != nil {
			return fmt.Errorf("graph: %w", err)
		}
		switch f.number {
		case 1:
			if len(g.nodes) >= maxNodes {
				return fmt.Errorf("graph: more than %d operators", maxNodes)
			}
			n, err := parseNode(f.bytes)
			if err != nil {
				return fmt.Errorf("operator %d: %w", len(g.nodes), err)
			}
			g.nodes = append(g.nodes, n)
		case 5:
			t, err := parseTensor(f.bytes)
			if err != nil {
				return fmt.Errorf("initializer %d: %w", len(g.initializers), err)
			}
			g.initializers = append(g.initializers, t)
		case 11, 12:
			v, err := parseValueInfo(f.bytes)
			if err != nil {
				return fmt.Errorf("input or output %q: %w", v.name, err)
			}
			if f.number == 11 {
				g.inputs = append(g.inputs, v)
			} else {
				g.outputs = append(g.outputs, v)
			}
		case 15:
			return unsupported("the model has sparse initializers, which this runtime does not run")
		}
		return nil
	})
	return g, err
}

func parseNode(b []byte) (*nodeProto, error) {
	n := &nodeProto{attributes: map[string]*attribute{}}
	err := eachField(b, func(f field) error {
		if f.number < 1 || f.number > 7 {
			return nil
		}
		if err := f.message(); err != nil {
			return err
		}
		switch f.number {
		case 1:
			n.inputs = append(n.inputs, string(f.bytes))
		case 2:
			n.outputs = append(n.outputs, string(f.bytes))
		case 3:
			n.name = string(f.bytes)
		case 4:
			n.op = string(f.bytes)
		case 5:
			name, a, err := parseAttribute(f.bytes)
			if err != nil {
				return fmt.Errorf("attribute %q: %w", name, err)
			}
			if _, ok := n.attributes[name]; ok {
				return fmt.Errorf("attribute %q is given twice", name)
			}
			n.attributes[name] = a
		case 7:
			n.domain = canonicalDomain(string(f.bytes))
		}
		return nil
	})
	return n, err
}

func parseAttribute(b []byte) (string, *attribute, error) {
	var name string
	a := &attribute{}
	err := eachField(b, func(f field) error {
		var err error
		switch f.number {
		case 1:
			name = string(f.bytes)
		case 2:
			a.f = math.Float32frombits(uint32(f.bits))
		case 3:
			a.i = int64(f.bits)
		case 4:
			a.s = string(f.bytes)
		case 5:
			a.t, err = parseTensor(f.bytes)
		case 6, 11:
			a.graph = true
		case 7:
			a.floats, err = f.floats(a.floats)
		case 8:
			a.ints, err = f.varints(a.ints)
		case 9:
			a.strings = append(a.strings, string(f.bytes))
		}
		return err
	})
	return name, a, err
}

func parseValueInfo(b []byte) (valueInfo, error) {
	var v valueInfo
	err := eachField(b, func(f field) error {
		switch f.number {
		case 1:
			v.name = string(f.bytes)
		case 2:
			return parseType(f.bytes, &v)
		}
		return nil
	})
	return v, err
}

// parseType reads a TypeProto. Only tensors are described further; sequences and maps leave elem at 0.
func parseType(b []byte, v *valueInfo) error {
	return eachField(b, func(f field) error {
		if f.number != 1 {
			return nil
		}
		return eachField(f.bytes, func(f field) error {
			switch f.number {
			case 1:
				v.elem = int64(f.bits)
			case 2:
				v.hasShape = true
				return parseShape(f.bytes, v)
			}
			return nil
		})
	})
}

func parseShape(b []byte, v *valueInfo) error {
	return eachField(b, func(f field) error {
		if f.number != 1 {
			return nil
		}
		if len(v.shape) >= maxRank {
			return fmt.Errorf("more than %d dimensions", maxRank)
		}
		size := int64(-1)
		err := eachField(f.bytes, func(f field) error {
			if f.number == 1 && f.kind == protowire.VarintType {
				size = int64(f.bits)
			}
			return nil
		})
		// Some exporters write 0 or a negative number where they mean that any size will do.
		if size <= 0 {
			size = -1
		}
		v.shape = append(v.shape, size)
		return err
	})
}

// invalid returns the refusal of an artifact that breaks its format.
func invalid(format string, args ...any) *stoa.Refusal {
	return &stoa.Refusal{Reason: stoa.ReasonInvalid, Message: fmt.Sprintf(format, args...)}
}

// unsupported returns the refusal of an artifact that is well formed and beyond this runtime.
func unsupported(format string, args ...any) *stoa.Refusal {
	return &stoa.Refusal{
		Reason: stoa.ReasonUnsupported, Message: fmt.Sprintf(format, args...),
		Hint: "export the model with the operators of trees, linear models and their preprocessing, or serve it remotely",
	}
}
