package runtime

import (
	"fmt"
	"math"
)

// floatsOf returns the elements of v in single precision, as the operators of ai.onnx.ml compute, without a copy when
// they are so already.
func floatsOf(v *value) ([]float32, error) {
	switch v.kind {
	case kindFloat:
		return v.f32, nil
	case kindDouble:
		return convert[float32](v.f64), nil
	case kindInt64:
		return convert[float32](v.i64), nil
	case kindInt32:
		return convert[float32](v.i32), nil
	}
	return nil, kindMismatch(v)
}

// buildScaler builds Scaler: (x - offset) * scale.
func buildScaler(n *nodeProto) (kernel, error) {
	a := attributes{n}
	offset, scale := a.floats("offset"), a.floats("scale")
	if len(scale) == 0 || len(offset) != len(scale) {
		return nil, fmt.Errorf("offset has %d elements and scale %d", len(offset), len(scale))
	}
	return func(in, out []*value) error {
		_, width, err := in[0].rowsAndColumns()
		if err != nil {
			return err
		}
		if len(scale) != width && len(scale) != 1 {
			return badShape("it scales %d features, the tensor has shape %v", len(scale), in[0].shape)
		}
		switch in[0].kind {
		case kindFloat:
			return rescale(in[0], out[0], offset, scale, func(x, o, s float32) float32 { return (x - o) * s })
		case kindDouble:
			return rescale(in[0], out[0], offset, scale, func(x float64, o, s float32) float32 {
				return float32((x - float64(o)) * float64(s))
			})
		case kindInt64:
			return rescale(in[0], out[0], offset, scale, func(x int64, o, s float32) float32 { return (float32(x) - o) * s })
		case kindInt32:
			return rescale(in[0], out[0], offset, scale, func(x int32, o, s float32) float32 { return (float32(x) - o) * s })
		}
		return kindMismatch(in[0])
	}, nil
}

func rescale[T number](in, out *value, offset, scale []float32, f func(x T, o, s float32) float32) error {
	x := elements[T](in)
	y, err := fill[float32](out, in.shape...)
	if err != nil {
		return err
	}
	k := 0
	for i := range y {
		y[i] = f(x[i], offset[k], scale[k])
		if k++; k == len(scale) {
			k = 0
		}
	}
	return nil
}

// buildNormalizer builds Normalizer, which divides each row by its greatest element, its L1 or its L2 norm.
func buildNormalizer(n *nodeProto) (kernel, error) {
	norm := attributes{n}.str("norm", "MAX")
	if norm != "MAX" && norm != "L1" && norm != "L2" {
		return nil, fmt.Errorf("norm %q is not one of MAX, L1 and L2", norm)
	}
	return func(in, out []*value) error {
		rows, width, err := in[0].rowsAndColumns()
		if err != nil {
			return err
		}
		x, err := floatsOf(in[0])
		if err != nil {
			return err
		}
		y, err := fill[float32](out[0], in[0].shape...)
		if err != nil {
			return err
		}
		for r := range rows {
			normalize(norm, x[r*width:(r+1)*width], y[r*width:(r+1)*width])
		}
		return nil
	}, nil
}

func normalize(norm string, x, y []float32) {
	var size float32
	switch norm {
	case "MAX":
		size = -math.MaxFloat32
		for _, v := range x {
			if v > size {
				size = v
			}
		}
	case "L1":
		for _, v := range x {
			size += float32(math.Abs(float64(v)))
		}
	case "L2":
		for _, v := range x {
			size += v * v
		}
		size = float32(math.Sqrt(float64(size)))
	}
	if size == 0 {
		size = 1
	}
	for i, v := range x {
		y[i] = v / size
	}
}

// buildImputer builds Imputer.
func buildImputer(n *nodeProto) (kernel, error) {
	a := attributes{n}
	floats, ints := a.floats("imputed_value_floats"), a.ints("imputed_value_int64s")
	if (len(floats) == 0) == (len(ints) == 0) {
		return nil, fmt.Errorf("it needs imputed_value_floats or imputed_value_int64s, and not both")
	}
	missing, missingInt := a.float("replaced_value_float", 0), a.integer("replaced_value_int64", 0)
	return func(in, out []*value) error {
		_, width, err := in[0].rowsAndColumns()
		switch {
		case err != nil:
			return err
		case in[0].kind == kindFloat && len(floats) > 0:
			return impute(in[0], out[0], width, missing, floats)
		case in[0].kind == kindInt64 && len(ints) > 0:
			return impute(in[0], out[0], width, missingInt, ints)
		}
		return kindMismatch(in[0])
	}, nil
}

func impute[T number](in, out *value, width int, missing T, with []T) error {
	x := elements[T](in)
	y, err := fill[T](out, in.shape...)
	if err != nil {
		return err
	}
	for i, v := range x {
		y[i] = v
		if v == missing || (v != v && missing != missing) {
			y[i] = with[0]
			if len(with) == width {
				y[i] = with[i%width]
			}
		}
	}
	return nil
}

// buildBinarizer builds Binarizer.
func buildBinarizer(n *nodeProto) (kernel, error) {
	threshold := attributes{n}.float("threshold", 0)
	return func(in, out []*value) error {
		if in[0].kind != kindFloat {
			return kindMismatch(in[0])
		}
		return mapped(in[0], out[0], func(x float32) float32 {
			if x > threshold {
				return 1
			}
			return 0
		})
	}, nil
}

// buildOneHotEncoder builds OneHotEncoder, which adds a dimension as wide as there are categories.
func buildOneHotEncoder(n *nodeProto) (kernel, error) {
	a := attributes{n}
	texts, numbers := map[string]int{}, map[int64]int{}
	for i, s := range a.strs("cats_strings") {
		texts[s] = i
	}
	for i, x := range a.ints("cats_int64s") {
		numbers[x] = i
	}
	width := max(len(a.strs("cats_strings")), len(a.ints("cats_int64s")))
	if width == 0 || (len(texts) > 0 && len(numbers) > 0) {
		return nil, fmt.Errorf("it needs cats_strings or cats_int64s, and not both")
	}
	strict := a.integer("zeros", 1) == 0
	number := func(x int64) (int, bool) { i, ok := numbers[x]; return i, ok }
	return func(in, out []*value) error {
		switch in[0].kind {
		case kindString:
			return oneHot(in[0], out[0], width, strict, func(s string) (int, bool) { i, ok := texts[s]; return i, ok })
		case kindInt64:
			return oneHot(in[0], out[0], width, strict, number)
		case kindInt32:
			return oneHot(in[0], out[0], width, strict, func(x int32) (int, bool) { return number(int64(x)) })
		case kindFloat:
			return oneHot(in[0], out[0], width, strict, func(x float32) (int, bool) { return number(toNumber[int64](x)) })
		case kindDouble:
			return oneHot(in[0], out[0], width, strict, func(x float64) (int, bool) { return number(toNumber[int64](x)) })
		}
		return kindMismatch(in[0])
	}, nil
}

func oneHot[T element](in, out *value, width int, strict bool, find func(T) (int, bool)) error {
	var dims [maxRank + 1]int
	shape := append(append(dims[:0], in.shape...), width)
	x := elements[T](in)
	y, err := fill[float32](out, shape...)
	if err != nil {
		return err
	}
	clear(y)
	for i, v := range x {
		k, ok := find(v)
		switch {
		case ok:
			y[i*width+k] = 1
		case strict:
			return badInput("category %v is unknown to the model", v)
		}
	}
	return nil
}

// extractFeatures is ArrayFeatureExtractor: columns of the last dimension, by number.
func extractFeatures(in, out []*value) error {
	switch in[0].kind {
	case kindFloat:
		return extract[float32](in, out[0])
	case kindDouble:
		return extract[float64](in, out[0])
	case kindInt64:
		return extract[int64](in, out[0])
	case kindInt32:
		return extract[int32](in, out[0])
	case kindString:
		return extract[string](in, out[0])
	}
	return kindMismatch(in[0])
}

func extract[T element](in []*value, out *value) error {
	x, index := in[0], in[1]
	if index.kind != kindInt64 {
		return kindMismatch(index)
	}
	if len(x.shape) == 0 || len(index.i64) == 0 {
		return badShape("it cannot take features of a tensor of shape %v by indexes of shape %v", x.shape, index.shape)
	}
	width := x.shape[len(x.shape)-1]
	for _, i := range index.i64 {
		if i < 0 || i >= int64(width) {
			return badShape("feature %d is wanted of a tensor of shape %v", i, x.shape)
		}
	}
	var dims [maxRank + 1]int
	shape := append(dims[:0], x.shape...)
	if len(shape) == 1 {
		shape = append(dims[:0], 1, 0)
	}
	shape[len(shape)-1] = len(index.i64)
	y, err := fill[T](out, shape...)
	if err != nil {
		return err
	}
	data := elements[T](x)
	k := 0
	for first := 0; first < len(data) && k < len(y); first += width {
		for _, i := range index.i64 {
			y[k] = data[first+int(i)]
			k++
		}
	}
	return nil
}

// buildFeatureVectorizer builds FeatureVectorizer, which puts the columns of its inputs side by side as floats.
func buildFeatureVectorizer(n *nodeProto) (kernel, error) {
	sizes := attributes{n}.ints("inputdimensions")
	if len(sizes) != len(n.inputs) {
		return nil, fmt.Errorf("inputdimensions has %d elements for %d inputs", len(sizes), len(n.inputs))
	}
	total := 0
	for _, s := range sizes {
		if s < 1 || s > maxFeatures {
			return nil, fmt.Errorf("inputdimensions has %d", s)
		}
		total += int(s)
	}
	return func(in, out []*value) error {
		rows, _, err := in[0].rowsAndColumns()
		if err != nil {
			return err
		}
		y, err := fill[float32](out[0], rows, total)
		if err != nil {
			return err
		}
		clear(y)
		at := 0
		for i, v := range in {
			r, width, err := v.rowsAndColumns()
			if err != nil {
				return err
			}
			if r != rows {
				return badShape("its inputs have %d and %d rows", rows, r)
			}
			x, err := floatsOf(v)
			if err != nil {
				return err
			}
			take := min(width, int(sizes[i]))
			for r := range rows {
				copy(y[r*total+at:r*total+at+take], x[r*width:])
			}
			at += int(sizes[i])
		}
		return nil
	}, nil
}
