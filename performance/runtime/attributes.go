package runtime

import "fmt"

// attributes reads the attributes of an operator. An attribute that is absent reads as its default.
type attributes struct{ node *nodeProto }

func (a attributes) get(name string) (*attribute, bool) {
	v, ok := a.node.attributes[name]
	return v, ok
}

func (a attributes) integer(name string, absent int64) int64 {
	if v, ok := a.get(name); ok {
		return v.i
	}
	return absent
}

func (a attributes) float(name string, absent float32) float32 {
	if v, ok := a.get(name); ok {
		return v.f
	}
	return absent
}

func (a attributes) str(name, absent string) string {
	if v, ok := a.get(name); ok {
		return v.s
	}
	return absent
}

func (a attributes) ints(name string) []int64 {
	if v, ok := a.get(name); ok {
		return v.ints
	}
	return nil
}

func (a attributes) floats(name string) []float32 {
	if v, ok := a.get(name); ok {
		return v.floats
	}
	return nil
}

func (a attributes) strs(name string) []string {
	if v, ok := a.get(name); ok {
		return v.strings
	}
	return nil
}

func (a attributes) tensor(name string) *value {
	if v, ok := a.get(name); ok && v.t != nil {
		return v.t.value
	}
	return nil
}

// floatsOrTensor reads the attribute name, or name_as_tensor when the exporter chose that form.
func (a attributes) floatsOrTensor(name string) ([]float32, error) {
	t := a.tensor(name + "_as_tensor")
	if t == nil {
		return a.floats(name), nil
	}
	switch t.kind {
	case kindFloat:
		return t.f32, nil
	case kindDouble:
		return convert[float32](t.f64), nil
	}
	return nil, fmt.Errorf("%s_as_tensor is %s instead of FP32 or FP64", name, t.kind.datatype())
}

// doublesOrFloats is like floatsOrTensor and keeps the precision of doubles.
func (a attributes) doublesOrFloats(name string) ([]float64, error) {
	if t := a.tensor(name + "_as_tensor"); t != nil && t.kind == kindDouble {
		return t.f64, nil
	}
	f, err := a.floatsOrTensor(name)
	return convert[float64](f), err
}

// convert returns in, element by element, as To.
func convert[To, From number](in []From) []To {
	out := make([]To, len(in))
	for i, x := range in {
		out[i] = To(x)
	}
	return out
}
