package runtime

import (
	"fmt"
	"math"
)

// A mover rearranges elements: the element of its result at some coordinates is the one of the source at a position
// that follows from them.
type mover struct {
	shape []int
	at    func(coordinates []int) int
}

// move writes the rearranged elements of in to out. Positions must be within in.
func (m *mover) move(in, out *value) error {
	switch in.kind {
	case kindFloat:
		return moved[float32](m, in, out)
	case kindDouble:
		return moved[float64](m, in, out)
	case kindInt64:
		return moved[int64](m, in, out)
	case kindInt32:
		return moved[int32](m, in, out)
	case kindBool:
		return moved[bool](m, in, out)
	}
	return moved[string](m, in, out)
}

func moved[T element](m *mover, in, out *value) error {
	x := elements[T](in)
	y, err := fill[T](out, m.shape...)
	if err != nil {
		return err
	}
	var c [maxRank]int
	coordinates := c[:len(m.shape)]
	for i := range y {
		y[i] = x[m.at(coordinates)]
		for d := len(coordinates) - 1; d >= 0; d-- {
			if coordinates[d]++; coordinates[d] < m.shape[d] {
				break
			}
			coordinates[d] = 0
		}
	}
	return nil
}

// position returns where the element at coordinates is in a tensor of the given steps.
func position(coordinates []int, steps *[maxRank]int) int {
	at := 0
	for d, c := range coordinates {
		at += c * steps[d]
	}
	return at
}

// buildTranspose builds Transpose.
func buildTranspose(n *nodeProto) (kernel, error) {
	perm := attributes{n}.ints("perm")
	return func(in, out []*value) error {
		rank := len(in[0].shape)
		if len(perm) != 0 && len(perm) != rank {
			return badShape("the permutation %v does not fit shape %v", perm, in[0].shape)
		}
		plain := strides(in[0].shape, in[0].shape)
		var dims, steps [maxRank]int
		seen := [maxRank]bool{}
		for d := range rank {
			from := rank - 1 - d
			if len(perm) > 0 {
				var err error
				if from, err = axis(perm[d], rank); err != nil {
					return err
				}
			}
			if seen[from] {
				return badShape("the permutation %v names axis %d twice", perm, from)
			}
			seen[from] = true
			dims[d], steps[d] = in[0].shape[from], plain[from]
		}
		m := mover{dims[:rank], func(c []int) int { return position(c, &steps) }}
		return m.move(in[0], out[0])
	}, nil
}

// buildGather builds Gather.
func buildGather(n *nodeProto) (kernel, error) {
	along := attributes{n}.integer("axis", 0)
	return func(in, out []*value) error {
		d, err := axis(along, len(in[0].shape))
		if err != nil {
			return err
		}
		index, err := integers(in[1])
		if err != nil {
			return err
		}
		size := in[0].shape[d]
		at := make([]int, len(index))
		for i, k := range index {
			if k < int64(-size) || k >= int64(size) {
				return badShape("index %d is outside axis %d of shape %v", k, d, in[0].shape)
			}
			if k < 0 {
				k += int64(size)
			}
			at[i] = int(k)
		}
		var shape []int
		shape = append(append(append(shape, in[0].shape[:d]...), in[1].shape...), in[0].shape[d+1:]...)
		if len(shape) > maxRank {
			return badShape("the result would have %d dimensions, more than %d", len(shape), maxRank)
		}
		before := strides(in[0].shape, in[0].shape)
		of := strides(in[1].shape, in[1].shape)
		width := len(in[1].shape)
		m := mover{shape, func(c []int) int {
			p := position(c[:d], &before) + before[d]*at[position(c[d:d+width], &of)]
			for i, x := range c[d+width:] {
				p += x * before[d+1+i]
			}
			return p
		}}
		return m.move(in[0], out[0])
	}, nil
}

// buildSlice builds Slice, whose bounds are inputs, or attributes in old versions.
func buildSlice(n *nodeProto) (kernel, error) {
	a := attributes{n}
	return func(in, out []*value) error {
		bounds := [4][]int64{a.ints("starts"), a.ints("ends"), a.ints("axes"), nil}
		for i, v := range in[1:] {
			if v != nil {
				var err error
				if bounds[i], err = integers(v); err != nil {
					return err
				}
			}
		}
		starts, ends, axes, by := bounds[0], bounds[1], bounds[2], bounds[3]
		if len(ends) != len(starts) || (axes != nil && len(axes) != len(starts)) || (by != nil && len(by) != len(starts)) {
			return badShape("starts, ends, axes and steps differ in length")
		}
		shape := append([]int(nil), in[0].shape...)
		steps := strides(in[0].shape, in[0].shape)
		first := 0
		done := [maxRank]bool{}
		for i := range starts {
			d, step := int64(i), int64(1)
			if axes != nil {
				d = axes[i]
			}
			if by != nil {
				step = by[i]
			}
			k, err := axis(d, len(shape))
			if err != nil {
				return err
			}
			if step == 0 || step == math.MinInt64 || done[k] {
				return badShape("step %d or axis %d is not possible", step, d)
			}
			done[k] = true
			start, count := sliceRange(starts[i], ends[i], step, int64(shape[k]))
			first += int(start) * steps[k]
			shape[k] = int(count)
			if count > 1 {
				steps[k] *= int(step)
			}
		}
		m := mover{shape, func(c []int) int { return first + position(c, &steps) }}
		return m.move(in[0], out[0])
	}, nil
}

// sliceRange returns where a slice of a dimension of the given size starts and how many elements it has.
func sliceRange(start, end, step, size int64) (first, count int64) {
	if start < 0 {
		start = max(start+size, -1)
	}
	if end < 0 {
		end = max(end+size, -1)
	}
	if step > 0 {
		start, end = min(max(start, 0), size), min(max(end, 0), size)
		if end <= start {
			return 0, 0
		}
		return start, (end-start-1)/step + 1
	}
	start, end = min(max(start, 0), size-1), min(end, size-1)
	if end >= start || size == 0 {
		return 0, 0
	}
	return start, (start-end-1)/-step + 1
}

// buildSplit builds Split.
func buildSplit(n *nodeProto) (kernel, error) {
	a := attributes{n}
	along := a.integer("axis", 0)
	return func(in, out []*value) error {
		d, err := axis(along, len(in[0].shape))
		if err != nil {
			return err
		}
		sizes := a.ints("split")
		if len(in) > 1 && in[1] != nil {
			if sizes, err = integers(in[1]); err != nil {
				return err
			}
		}
		whole := in[0].shape[d]
		if sizes == nil {
			each := (whole + len(out) - 1) / len(out)
			for left := whole; len(sizes) < len(out); left -= each {
				sizes = append(sizes, int64(max(min(each, left), 0)))
			}
		}
		if len(sizes) != len(out) {
			return badShape("there are %d sizes for %d outputs", len(sizes), len(out))
		}
		steps := strides(in[0].shape, in[0].shape)
		at := 0
		for i, size := range sizes {
			if size < 0 || size > int64(whole-at) {
				return badShape("sizes %v do not split axis %d of shape %v", sizes, d, in[0].shape)
			}
			shape := append([]int(nil), in[0].shape...)
			shape[d] = int(size)
			first := at * steps[d]
			m := mover{shape, func(c []int) int { return first + position(c, &steps) }}
			if err := m.move(in[0], out[i]); err != nil {
				return err
			}
			at += int(size)
		}
		if at != whole {
			return badShape("sizes %v do not split axis %d of shape %v", sizes, d, in[0].shape)
		}
		return nil
	}, nil
}

// tile is Tile.
func tile(in, out []*value) error {
	times, err := dimensions(in[1])
	if err != nil {
		return err
	}
	x := in[0]
	if len(times) != len(x.shape) {
		return badShape("a tensor of shape %v cannot be repeated %v times", x.shape, times)
	}
	shape := make([]int, len(times))
	for d, n := range times {
		if n > 0 && x.shape[d] > maxElements/n {
			return badShape("a tensor of shape %v cannot be repeated %v times", x.shape, times)
		}
		shape[d] = n * x.shape[d]
	}
	steps := strides(x.shape, x.shape)
	m := mover{shape, func(c []int) int {
		at := 0
		for d, k := range c {
			at += k % x.shape[d] * steps[d]
		}
		return at
	}}
	return m.move(x, out[0])
}

// expand is Expand.
func expand(in, out []*value) error {
	want, err := dimensions(in[1])
	if err != nil {
		return err
	}
	var into [maxRank]int
	shape, err := broadcast(in[0].shape, want, &into)
	if err != nil {
		return err
	}
	steps := strides(in[0].shape, shape)
	m := mover{shape, func(c []int) int { return position(c, &steps) }}
	return m.move(in[0], out[0])
}

// buildClip builds Clip, whose bounds are inputs, or attributes in old versions.
func buildClip(n *nodeProto) (kernel, error) {
	a := attributes{n}
	for _, name := range []string{"min", "max"} {
		if at, ok := a.get(name); ok && at.f != at.f {
			return nil, fmt.Errorf("attribute %q is not a number", name)
		}
	}
	low, high := a.float("min", -math.MaxFloat32), a.float("max", math.MaxFloat32)
	_, hasLow := a.get("min")
	_, hasHigh := a.get("max")
	return func(in, out []*value) error {
		var bounds []*value
		for _, v := range in[1:] {
			if v != nil && (v.kind != in[0].kind || v.size() != 1) {
				return badShape("a bound is not one number of %s", in[0].kind.datatype())
			}
			bounds = append(bounds, v)
		}
		switch in[0].kind {
		case kindFloat:
			return clip(in[0], out[0], bounds, &low, &high, hasLow, hasHigh)
		case kindDouble:
			return clip[float64](in[0], out[0], bounds, nil, nil, false, false)
		case kindInt64:
			return clip[int64](in[0], out[0], bounds, nil, nil, false, false)
		case kindInt32:
			return clip[int32](in[0], out[0], bounds, nil, nil, false, false)
		}
		return kindMismatch(in[0])
	}, nil
}

func clip[T number](in, out *value, bounds []*value, low, high *T, hasLow, hasHigh bool) error {
	if len(bounds) > 0 && bounds[0] != nil {
		low, hasLow = &elements[T](bounds[0])[0], true
	}
	if len(bounds) > 1 && bounds[1] != nil {
		high, hasHigh = &elements[T](bounds[1])[0], true
	}
	return mapped(in, out, func(x T) T {
		if hasLow && x < *low {
			x = *low
		}
		if hasHigh && x > *high {
			x = *high
		}
		return x
	})
}
