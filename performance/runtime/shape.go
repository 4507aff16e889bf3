package runtime

import (
	"fmt"
	"slices"
)

// integers reads a tensor of shapes, axes or indexes.
func integers(v *value) ([]int64, error) {
	switch v.kind {
	case kindInt64:
		return v.i64, nil
	case kindInt32:
		return convert[int64](v.i32), nil
	}
	return nil, kindMismatch(v)
}

// identity passes its input on.
func identity(in, out []*value) error {
	out[0].view(in[0])
	return nil
}

// reshaped makes out a view of in under another shape of the same size.
func reshaped(in, out *value, shape []int) error {
	if len(shape) > maxRank || product(shape) != in.size() {
		return badShape("a tensor of shape %v cannot take the shape %v", in.shape, append([]int(nil), shape...))
	}
	out.view(in)
	out.setShape(shape)
	return nil
}

// buildReshape builds Reshape, whose shape is an input, or an attribute in old versions.
func buildReshape(n *nodeProto) (kernel, error) {
	a := attributes{n}
	keepZero := a.integer("allowzero", 0) != 0
	return func(in, out []*value) error {
		want := a.ints("shape")
		if len(in) > 1 && in[1] != nil {
			var err error
			if want, err = integers(in[1]); err != nil {
				return err
			}
		}
		if len(want) > maxRank {
			return badShape("the shape %v has more than %d dimensions", want, maxRank)
		}
		var dims [maxRank]int
		known, open := 1, -1
		for i, d := range want {
			switch {
			case d == 0 && !keepZero && i < len(in[0].shape):
				dims[i] = in[0].shape[i]
			case d == -1 && open < 0:
				open = i
				continue
			case d < 0 || d > maxElements:
				return badShape("the shape %v is not possible", want)
			default:
				dims[i] = int(d)
			}
			if known *= dims[i]; known > maxElements {
				return badShape("the shape %v exceeds %d elements", want, maxElements)
			}
		}
		if open >= 0 && known > 0 {
			dims[open] = in[0].size() / known
		}
		return reshaped(in[0], out[0], dims[:len(want)])
	}, nil
}

// buildFlatten builds Flatten.
func buildFlatten(n *nodeProto) (kernel, error) {
	at := attributes{n}.integer("axis", 1)
	return func(in, out []*value) error {
		rank := int64(len(in[0].shape))
		d := at
		if d < 0 {
			d += rank
		}
		if d < 0 || d > rank {
			return badShape("axis %d is outside a tensor of shape %v", at, in[0].shape)
		}
		shape := [2]int{product(in[0].shape[:d]), product(in[0].shape[d:])}
		return reshaped(in[0], out[0], shape[:])
	}, nil
}

// buildSqueeze builds Squeeze.
func buildSqueeze(n *nodeProto) (kernel, error) {
	axes := axesOf(attributes{n})
	return func(in, out []*value) error {
		list, err := axes.list(in, len(in[0].shape))
		if err != nil {
			return err
		}
		var dims [maxRank]int
		shape := dims[:0]
		for d, size := range in[0].shape {
			wanted := slices.Contains(list, d)
			if wanted && size != 1 {
				return badShape("dimension %d of shape %v cannot be dropped", d, in[0].shape)
			}
			if !wanted && (len(list) > 0 || size != 1) {
				shape = append(shape, size)
			}
		}
		return reshaped(in[0], out[0], shape)
	}, nil
}

// buildUnsqueeze builds Unsqueeze.
func buildUnsqueeze(n *nodeProto) (kernel, error) {
	axes := axesOf(attributes{n})
	count := len(axes.fixed)
	return func(in, out []*value) error {
		added := count
		if !axes.present && len(in) > 1 && in[1] != nil {
			added = in[1].size()
		}
		rank := len(in[0].shape) + added
		if rank > maxRank {
			return badShape("the result would have %d dimensions, more than %d", rank, maxRank)
		}
		list, err := axes.list(in, rank)
		if err != nil {
			return err
		}
		if len(list) != added {
			return badShape("an axis is given twice")
		}
		var dims [maxRank]int
		rest := in[0].shape
		for d := range rank {
			dims[d] = 1
			if !slices.Contains(list, d) {
				dims[d], rest = rest[0], rest[1:]
			}
		}
		return reshaped(in[0], out[0], dims[:rank])
	}, nil
}

// shapeOf is Shape.
func shapeOf(in, out []*value) error {
	y, err := fill[int64](out[0], len(in[0].shape))
	if err != nil {
		return err
	}
	for i, d := range in[0].shape {
		y[i] = int64(d)
	}
	return nil
}

// constantOf reads the value of Constant.
func constantOf(n *nodeProto) (*value, error) {
	a := attributes{n}
	if t := a.tensor("value"); t != nil {
		return t, nil
	}
	v := &value{}
	scalar := func(k kind, size int, vector bool) {
		v.kind = k
		if vector {
			v.setShape([]int{size})
		}
	}
	for name, at := range n.attributes {
		switch name {
		case "value_float":
			v.f32 = []float32{at.f}
			scalar(kindFloat, 1, false)
		case "value_floats":
			v.f32 = at.floats
			scalar(kindFloat, len(at.floats), true)
		case "value_int":
			v.i64 = []int64{at.i}
			scalar(kindInt64, 1, false)
		case "value_ints":
			v.i64 = at.ints
			scalar(kindInt64, len(at.ints), true)
		case "value_string":
			v.strs = []string{at.s}
			scalar(kindString, 1, false)
		case "value_strings":
			v.strs = at.strings
			scalar(kindString, len(at.strings), true)
		}
	}
	if v.kind == kindNone {
		return nil, fmt.Errorf("it has no value")
	}
	return v, nil
}

// buildConstantOfShape builds ConstantOfShape.
func buildConstantOfShape(n *nodeProto) (kernel, error) {
	v := attributes{n}.tensor("value")
	if v == nil {
		v = &value{}
		v.kind, v.f32 = kindFloat, []float32{0}
		v.setShape([]int{1})
	}
	if v.size() != 1 {
		return nil, fmt.Errorf("its value has %d elements instead of 1", v.size())
	}
	return func(in, out []*value) error {
		shape, err := dimensions(in[0])
		if err != nil {
			return err
		}
		m := mover{shape: shape, at: func([]int) int { return 0 }}
		return m.move(v, out[0])
	}, nil
}

// dimensions reads a tensor that holds a shape.
func dimensions(v *value) ([]int, error) {
	want, err := integers(v)
	if err != nil {
		return nil, err
	}
	if len(want) > maxRank {
		return nil, badShape("the shape %v has more than %d dimensions", want, maxRank)
	}
	shape := make([]int, len(want))
	for i, d := range want {
		if d < 0 || d > maxElements {
			return nil, badShape("the shape %v is not possible", want)
		}
		shape[i] = int(d)
	}
	return shape, nil
}

// buildConcat builds Concat.
func buildConcat(n *nodeProto) (kernel, error) {
	along := attributes{n}.integer("axis", 1)
	return func(in, out []*value) error {
		if err := sameKind(in); err != nil {
			return err
		}
		switch in[0].kind {
		case kindFloat:
			return concat[float32](in, out[0], along)
		case kindDouble:
			return concat[float64](in, out[0], along)
		case kindInt64:
			return concat[int64](in, out[0], along)
		case kindInt32:
			return concat[int32](in, out[0], along)
		case kindBool:
			return concat[bool](in, out[0], along)
		}
		return concat[string](in, out[0], along)
	}, nil
}

func concat[T element](in []*value, out *value, along int64) error {
	d, err := axis(along, len(in[0].shape))
	if err != nil {
		return err
	}
	var dims [maxRank]int
	shape := append(dims[:0], in[0].shape...)
	for _, v := range in[1:] {
		if len(v.shape) != len(shape) {
			return badShape("tensors of shapes %v and %v cannot be joined", in[0].shape, v.shape)
		}
		for i, size := range v.shape {
			if i != d && size != shape[i] {
				return badShape("tensors of shapes %v and %v cannot be joined along axis %d", in[0].shape, v.shape, d)
			}
		}
		shape[d] += v.shape[d]
	}
	y, err := fill[T](out, shape...)
	if err != nil {
		return err
	}
	outer, width, inner := around(shape, d)
	at := 0
	for _, v := range in {
		x, n := elements[T](v), v.shape[d]*inner
		for o := range outer {
			copy(y[o*width*inner+at:], x[o*n:(o+1)*n])
		}
		at += n
	}
	return nil
}
