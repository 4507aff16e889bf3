package oip

import (
	"strings"
	"unicode"

	"github.com/stoaproject/stoa"
)

// Parse is [Limits.Parse] with the [DefaultLimits].
func Parse(body []byte, into *stoa.Call) error { return DefaultLimits().Parse(body, into) }

// Parse reads the body of an inference request and sets ID, Inputs, Outputs, Rows and Unrecorded of the call; it leaves
// the other fields alone. Rows is the first dimension of the first input. Known parameters of the request are
//
//	record: false    keep this prediction out of monitoring (Unrecorded)
//
// An error is always a *[stoa.Refusal] with one of the reasons malformed, too_large, bad_input, bad_shape,
// bad_datatype, not_finite and unsupported; what was read up to it, such as the id, is already set.
func (l Limits) Parse(body []byte, into *stoa.Call) error {
	l = l.WithDefaults()
	if len(body) > l.Bytes {
		return refusal(stoa.ReasonTooLarge, "the body has %d bytes; the limit is %d", len(body), l.Bytes)
	}
	p := parser{scanner: scanner{buf: body}, limits: l, call: into, budget: l.Elements}
	return p.request()
}

// A parser fills one call.
type parser struct {
	scanner
	limits Limits
	call   *stoa.Call
	budget int // elements that may still be read
}

// The keys with a meaning, by the object they stand in. [parser.object] tells a field by its index here.
var (
	requestKeys   = []string{"id", "inputs", "outputs", "parameters"}
	inputKeys     = []string{"name", "datatype", "shape", "data", "parameters"}
	outputKeys    = []string{"name", "parameters"}
	parameterKeys = []string{"record", "binary_data_output", "binary_data", "binary_data_size", "classification"}
)

// object reads an object. It hands each key of known, by index, to field, which reads the value; other keys are
// ignored. It returns the set of known keys that were given, as bits.
func (p *parser) object(what string, known []string, field func(key int) error) (seen uint, err error) {
	more, err := p.open('{', '}', what)
	for more && err == nil {
		var key int
		if key, err = p.key(known); err != nil {
			return seen, err
		}
		if err = p.take(':', "a colon"); err != nil {
			return seen, err
		}
		if key < 0 {
			err = p.skip(p.limits.Depth)
		} else {
			if seen&(1<<key) != 0 {
				return seen, refusal(stoa.ReasonMalformed, "%q is given twice before byte %d of the body", known[key], p.pos)
			}
			seen |= 1 << key
			err = field(key)
		}
		if err != nil {
			return seen, err
		}
		more, err = p.next('}')
	}
	return seen, err
}

// key reads a key and returns its index in known, or -1. A key that another parser could take for a known one, because
// it is escaped or differs in case only, is refused.
func (p *parser) key(known []string) (int, error) {
	p.peek()
	start := p.pos
	text, escaped, err := p.raw("a key")
	if err != nil {
		return 0, err
	}
	if !escaped {
		for i, k := range known {
			if string(text) == k {
				return i, nil
			}
		}
	}
	plain := string(text)
	if escaped {
		var ok bool
		if plain, ok = unescape(text); !ok {
			return 0, refusal(stoa.ReasonMalformed, "the key at byte %d of the body has an escape that is not valid", start)
		}
	}
	for _, k := range known {
		if strings.EqualFold(plain, k) {
			return 0, refusal(stoa.ReasonMalformed, "the key at byte %d of the body must be spelt %q, without escapes", start, k)
		}
	}
	return -1, nil
}

// request reads the whole body.
func (p *parser) request() error {
	seen, err := p.object("an object", requestKeys, func(key int) error {
		switch requestKeys[key] {
		case "id":
			return p.id()
		case "inputs":
			return p.inputs()
		case "outputs":
			return p.outputs()
		default:
			return p.parameters(func(record bool) { p.call.Unrecorded = !record })
		}
	})
	if err != nil {
		return err
	}
	if p.peek(); p.pos < len(p.buf) {
		return p.malformed("the end of the body")
	}
	if seen&(1<<1) == 0 {
		return &stoa.Refusal{
			Reason: stoa.ReasonMalformed, Message: "the request has no inputs",
			Hint: `send {"inputs": [{"name": …, "datatype": …, "shape": […], "data": […]}]}`,
		}
	}
	if len(p.call.Inputs) == 0 {
		return refusal(stoa.ReasonBadInput, "the list of inputs is empty")
	}
	p.call.Rows = 1
	if shape := p.call.Inputs[0].Shape; len(shape) > 0 {
		p.call.Rows = int(shape[0])
	}
	return nil
}

// id reads the request's id. An empty one counts as none.
func (p *parser) id() error {
	id, err := p.str("a string")
	if err != nil {
		return err
	}
	if len(id) > p.limits.ID {
		return refusal(stoa.ReasonTooLarge, "the id has %d bytes; the limit is %d", len(id), p.limits.ID)
	}
	if strings.ContainsFunc(id, unicode.IsControl) {
		return refusal(stoa.ReasonMalformed, "the id has a control character")
	}
	p.call.ID = id
	return nil
}

// parameters reads the parameters of a request, an input or an output. Where record has no meaning, record is nil and
// the parameter is ignored.
func (p *parser) parameters(record func(bool)) error {
	_, err := p.object("an object", parameterKeys, func(key int) error {
		if parameterKeys[key] == "record" && record == nil {
			return p.skip(p.limits.Depth)
		}
		switch parameterKeys[key] {
		case "record":
			value, ok := p.boolean()
			if !ok {
				return p.malformed("true or false")
			}
			record(value)
			return nil
		case "binary_data_output", "binary_data":
			value, ok := p.boolean()
			if !ok {
				return p.malformed("true or false")
			}
			if !value {
				return nil
			}
		}
		if parameterKeys[key] == "classification" {
			return refusal(stoa.ReasonUnsupported, "the classification extension is not supported")
		}
		return &stoa.Refusal{
			Reason:  stoa.ReasonUnsupported,
			Message: "binary tensor data are not supported, but the parameter " + parameterKeys[key] + " asks for them",
			Hint:    "send tensors as JSON and ask for every output by name with binary_data=False",
		}
	})
	return err
}

// inputs reads the list of input tensors.
func (p *parser) inputs() error {
	more, err := p.open('[', ']', "an array")
	for more && err == nil {
		if len(p.call.Inputs) >= p.limits.Tensors {
			return refusal(stoa.ReasonTooLarge, "the request has more than %d inputs", p.limits.Tensors)
		}
		if err := p.input(); err != nil {
			return err
		}
		more, err = p.next(']')
	}
	return err
}

// input reads one input tensor. Data that stand before the shape or the datatype are skipped at first and read last.
func (p *parser) input() error {
	var (
		t       stoa.Tensor
		pending = -1 // where the data are that could not be read yet
		have    uint
	)
	const name, datatype, shape, data = 1 << 0, 1 << 1, 1 << 2, 1 << 3
	_, err := p.object("an input", inputKeys, func(key int) (err error) {
		have |= 1 << key
		switch inputKeys[key] {
		case "name":
			t.Name, err = p.str("a string")
		case "datatype":
			t.Datatype, err = p.datatype()
		case "shape":
			t.Shape, err = p.shape()
		case "data":
			if have&(datatype|shape) == datatype|shape {
				return p.data(&t)
			}
			p.peek()
			pending = p.pos
			// The dimensions are not known yet; skipping needs one level more for what data nest and one for an element.
			err = p.skip(max(p.limits.Depth, p.limits.Dims+2))
		default:
			err = p.parameters(nil)
		}
		return err
	})
	if err != nil {
		return err
	}
	for i, required := range [...]uint{name, datatype, shape, data} {
		if have&required == 0 {
			return refusal(stoa.ReasonMalformed, "input %q has no %s", t.Name, inputKeys[i])
		}
	}
	if pending >= 0 {
		end := p.pos
		p.pos = pending
		if err := p.data(&t); err != nil {
			return err
		}
		p.pos = end
	}
	return p.add(t)
}

// add appends an input whose name is new.
func (p *parser) add(t stoa.Tensor) error {
	if t.Name == "" {
		return refusal(stoa.ReasonBadInput, "an input has an empty name")
	}
	for i := range p.call.Inputs {
		if p.call.Inputs[i].Name == t.Name {
			return refusal(stoa.ReasonBadInput, "input %q is given twice", t.Name)
		}
	}
	p.call.Inputs = append(p.call.Inputs, t)
	return nil
}

// outputs reads the list of outputs that the client wants.
func (p *parser) outputs() error {
	more, err := p.open('[', ']', "an array")
	for more && err == nil {
		if len(p.call.Outputs) >= p.limits.Tensors {
			return refusal(stoa.ReasonTooLarge, "the request asks for more than %d outputs", p.limits.Tensors)
		}
		var name string
		_, err := p.object("an output", outputKeys, func(key int) (err error) {
			if outputKeys[key] == "name" {
				name, err = p.str("a string")
				return err
			}
			return p.parameters(nil)
		})
		if err != nil {
			return err
		}
		if name == "" {
			return refusal(stoa.ReasonBadInput, "an output has no name")
		}
		for _, other := range p.call.Outputs {
			if other == name {
				return refusal(stoa.ReasonBadInput, "output %q is asked for twice", name)
			}
		}
		p.call.Outputs = append(p.call.Outputs, name)
		if more, err = p.next(']'); err != nil {
			return err
		}
	}
	return err
}
