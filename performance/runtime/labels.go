package runtime

import (
	"fmt"
	"math"
)

// buildLabelEncoder builds LabelEncoder in all its versions. Version 1 maps between strings and their positions in a
// list; later versions map keys to values of any two of the types int64, float32, float64 and string.
func buildLabelEncoder(n *nodeProto, version int64) (kernel, error) {
	a := attributes{n}
	if classes, ok := a.get("classes_strings"); ok {
		return positionEncoder(a, classes.strings), nil
	}
	keys, err := a.side("keys")
	if err != nil {
		return nil, err
	}
	values, err := a.side("values")
	if err != nil {
		return nil, err
	}
	if keys.size() != values.size() || keys.size() == 0 {
		return nil, fmt.Errorf("it has %d keys and %d values", keys.size(), values.size())
	}
	switch keys.kind {
	case kindString:
		return encoderFrom(a, keys.strs, values, false)
	case kindInt64:
		return encoderFrom(a, keys.i64, values, false)
	case kindFloat:
		return encoderFrom(a, keys.f32, values, version >= 4)
	case kindDouble:
		return encoderFrom(a, keys.f64, values, version >= 4)
	}
	return nil, unsupported("operator LabelEncoder of domain ai.onnx.ml is not supported for %s", keys.kind.datatype())
}

// side reads keys_* or values_*, in whichever of the forms it is given.
func (a attributes) side(prefix string) (*value, error) {
	if t := a.tensor(prefix + "_tensor"); t != nil {
		return t, nil
	}
	v := &value{}
	switch {
	case a.strs(prefix+"_strings") != nil:
		v.kind, v.strs = kindString, a.strs(prefix+"_strings")
		v.setShape([]int{len(v.strs)})
	case a.ints(prefix+"_int64s") != nil:
		v.kind, v.i64 = kindInt64, a.ints(prefix+"_int64s")
		v.setShape([]int{len(v.i64)})
	case a.floats(prefix+"_floats") != nil:
		v.kind, v.f32 = kindFloat, a.floats(prefix+"_floats")
		v.setShape([]int{len(v.f32)})
	default:
		return nil, fmt.Errorf("it has no %s", prefix)
	}
	return v, nil
}

func encoderFrom[K comparable](a attributes, keys []K, values *value, nan bool) (kernel, error) {
	absent := a.tensor("default_tensor")
	if absent != nil && (absent.kind != values.kind || absent.size() != 1) {
		return nil, fmt.Errorf("default_tensor is not one value of %s", values.kind.datatype())
	}
	switch values.kind {
	case kindString:
		return encoder(keys, nan, values.strs, fallback(absent, a.str("default_string", "_Unused")))
	case kindInt64:
		return encoder(keys, nan, values.i64, fallback(absent, a.integer("default_int64", -1)))
	case kindFloat:
		return encoder(keys, nan, values.f32, fallback(absent, a.float("default_float", float32(math.Copysign(0, -1)))))
	case kindDouble:
		return encoder(keys, nan, values.f64, fallback(absent, math.Copysign(0, -1)))
	}
	return nil, unsupported("operator LabelEncoder of domain ai.onnx.ml is not supported to %s", values.kind.datatype())
}

// fallback returns the one element of t, or absent when there is no t.
func fallback[T element](t *value, absent T) T {
	if t == nil {
		return absent
	}
	return elements[T](t)[0]
}

// encoder maps keys to values. The first of equal keys counts. NaN as a key is found from version 4 on, with nan set.
func encoder[K comparable, V element](keys []K, nan bool, values []V, absent V) (kernel, error) {
	table := make(map[K]V, len(keys))
	missing := absent // what NaN maps to: as a key of a map, it equals nothing
	for i := len(keys) - 1; i >= 0; i-- {
		if keys[i] != keys[i] {
			if nan {
				missing = values[i]
			}
			continue
		}
		table[keys[i]] = values[i]
	}
	find := func(x K) V {
		if v, ok := table[x]; ok {
			return v
		}
		if x != x {
			return missing
		}
		return absent
	}
	switch find := any(find).(type) {
	case func(string) V:
		return encode(find), nil
	case func(int64) V:
		return encode(find), nil
	case func(float32) V:
		return encode(find), nil
	case func(float64) V:
		return encode(find), nil
	}
	return nil, fmt.Errorf("its keys are of no known type")
}

func encode[K, V element](find func(K) V) kernel {
	want := kindFor[K]()
	return func(in, out []*value) error {
		if in[0].kind != want {
			return kindMismatch(in[0])
		}
		return mapped(in[0], out[0], find)
	}
}

// positionEncoder is LabelEncoder of version 1.
func positionEncoder(a attributes, classes []string) kernel {
	number, text := a.integer("default_int64", -1), a.str("default_string", "_Unused")
	index := make(map[string]int64, len(classes))
	for i, s := range classes {
		index[s] = int64(i)
	}
	return func(in, out []*value) error {
		switch in[0].kind {
		case kindString:
			return mapped(in[0], out[0], func(s string) int64 {
				if i, ok := index[s]; ok {
					return i
				}
				return number
			})
		case kindInt64:
			return mapped(in[0], out[0], func(i int64) string {
				if i >= 0 && i < int64(len(classes)) {
					return classes[i]
				}
				return text
			})
		}
		return kindMismatch(in[0])
	}
}

// buildZipMap builds ZipMap, which passes its tensor on and only names the classes.
func buildZipMap(n *nodeProto) (kernel, *labels, error) {
	a := attributes{n}
	l := &labels{strs: a.strs("classlabels_strings"), ints: a.ints("classlabels_int64s")}
	count := l.count()
	if count == 0 || (len(l.strs) > 0 && len(l.ints) > 0) {
		return nil, nil, fmt.Errorf("it needs classlabels_strings or classlabels_int64s")
	}
	return func(in, out []*value) error {
		x := in[0]
		if x.kind != kindFloat {
			return kindMismatch(x)
		}
		rows, columns, err := x.rowsAndColumns()
		if err != nil {
			return err
		}
		if columns != count {
			return badShape("it has %d classes, the tensor has shape %v", count, x.shape)
		}
		out[0].view(x)
		out[0].setShape([]int{rows, columns})
		return nil
	}, l, nil
}
