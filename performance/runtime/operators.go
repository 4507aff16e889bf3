package runtime

import "math"

// An operator is what the builder needs to know of one: its kernel, and how many operands it takes and gives.
type operator struct {
	run          kernel
	minIn, maxIn int
	maxOut       int
	fixedOut     bool // the kernel always writes maxOut outputs
	gaps         bool // inputs behind the first minIn may be left out
}

const anyNumber = math.MaxInt32

// unary, dyadic and variadic describe kernels of one output.
func unary(k kernel) operator    { return operator{run: k, minIn: 1, maxIn: 1, maxOut: 1} }
func dyadic(k kernel) operator   { return operator{run: k, minIn: 2, maxIn: 2, maxOut: 1} }
func variadic(k kernel) operator { return operator{run: k, minIn: 1, maxIn: anyNumber, maxOut: 1} }

// upTo describes a kernel of one output and optional inputs.
func upTo(minIn, maxIn int, k kernel) operator {
	return operator{run: k, minIn: minIn, maxIn: maxIn, maxOut: 1, gaps: true}
}

// classifier describes a kernel whose outputs are labels and scores.
func classifier(k kernel) operator {
	return operator{run: k, minIn: 1, maxIn: 1, maxOut: 2, fixedOut: true}
}

// operator builds the operator n, or refuses it by name.
func (b *builder) operator(n *nodeProto) (operator, error) {
	var op operator
	var err error
	var known bool
	switch n.domain {
	case "ai.onnx.ml":
		op, known, err = b.learned(n)
	case "":
		op, known, err = b.general(n)
	}
	if !known {
		domain := n.domain
		if domain == "" {
			domain = "ai.onnx"
		}
		return op, unsupported("operator %s of domain %s is not supported", n.op, domain)
	}
	return op, err
}

// learned builds the operators of the domain ai.onnx.ml.
func (b *builder) learned(n *nodeProto) (op operator, known bool, err error) {
	var k kernel
	var l *labels
	switch n.op {
	case "TreeEnsembleRegressor":
		k, err = buildTreeRegressor(n)
	case "TreeEnsembleClassifier":
		k, l, err = buildTreeClassifier(n)
		b.classes(l, err)
		return classifier(k), true, err
	case "LinearRegressor":
		k, err = buildLinearRegressor(n)
	case "LinearClassifier":
		k, l, err = buildLinearClassifier(n)
		b.classes(l, err)
		return classifier(k), true, err
	case "ZipMap":
		k, l, err = buildZipMap(n)
		b.classes(l, err)
	case "Scaler":
		k, err = buildScaler(n)
	case "Normalizer":
		k, err = buildNormalizer(n)
	case "Imputer":
		k, err = buildImputer(n)
	case "Binarizer":
		k, err = buildBinarizer(n)
	case "LabelEncoder":
		k, err = buildLabelEncoder(n, b.opsets["ai.onnx.ml"])
	case "OneHotEncoder":
		k, err = buildOneHotEncoder(n)
	case "ArrayFeatureExtractor":
		return dyadic(extractFeatures), true, nil
	case "FeatureVectorizer":
		k, err = buildFeatureVectorizer(n)
		return variadic(k), true, err
	default:
		return op, false, nil
	}
	return unary(k), true, err
}

// classes remembers the labels of a classifier. The last one of a graph names the classes of the model.
func (b *builder) classes(l *labels, err error) {
	if err == nil {
		b.model.classes = l.texts()
	}
}

// general builds the operators of the domain ai.onnx.
func (b *builder) general(n *nodeProto) (op operator, known bool, err error) {
	if op, known = elementwise(n.op); known {
		return op, true, nil
	}
	if r, ok := reductionByName(n.op); ok {
		k, err := buildReduce(n, r)
		return upTo(1, 2, k), true, err
	}
	return b.structural(n)
}

// elementwise returns the operators that need no attributes and treat every element alike.
func elementwise(name string) (operator, bool) {
	switch name {
	case "Add":
		return dyadic(arithmetic(add[float32], add[float64], add[int64])), true
	case "Sub":
		return dyadic(arithmetic(subtract[float32], subtract[float64], subtract[int64])), true
	case "Mul":
		return dyadic(arithmetic(multiply[float32], multiply[float64], multiply[int64])), true
	case "Div":
		return dyadic(arithmetic(divide[float32], divide[float64], divideWhole)), true
	case "Pow":
		return dyadic(power), true
	case "Sum":
		return variadic(fold(arithmetic(add[float32], add[float64], add[int64]))), true
	case "Min":
		return variadic(fold(arithmetic(least[float32], least[float64], least[int64]))), true
	case "Max":
		return variadic(fold(arithmetic(greatest[float32], greatest[float64], greatest[int64]))), true
	case "Less":
		return dyadic(comparison(less[float32], less[float64], less[int64])), true
	case "LessOrEqual":
		return dyadic(comparison(lessOrEqual[float32], lessOrEqual[float64], lessOrEqual[int64])), true
	case "Greater":
		return dyadic(comparison(greater[float32], greater[float64], greater[int64])), true
	case "GreaterOrEqual":
		return dyadic(comparison(greaterOrEqual[float32], greaterOrEqual[float64], greaterOrEqual[int64])), true
	case "Equal":
		return dyadic(equals), true
	case "And":
		return dyadic(logical(func(x, y bool) bool { return x && y })), true
	case "Or":
		return dyadic(logical(func(x, y bool) bool { return x || y })), true
	case "Xor":
		return dyadic(logical(func(x, y bool) bool { return x != y })), true
	case "Not":
		return unary(not), true
	case "IsNaN":
		return unary(isNaN), true
	case "Where":
		return upTo(3, 3, where), true
	}
	k, ok := functionByName(name)
	return unary(k), ok
}

// functionByName returns the functions of one variable.
func functionByName(name string) (kernel, bool) {
	switch name {
	case "Exp":
		return function(math.Exp, nil), true
	case "Log":
		return function(math.Log, nil), true
	case "Sqrt":
		return function(math.Sqrt, nil), true
	case "Sigmoid":
		return function(sigmoid, nil), true
	case "Tanh":
		return function(math.Tanh, nil), true
	case "Erf":
		return function(math.Erf, nil), true
	case "Relu":
		return function(relu, nil), true
	case "Reciprocal":
		return function(func(x float64) float64 { return 1 / x }, nil), true
	case "Floor":
		return function(math.Floor, nil), true
	case "Ceil":
		return function(math.Ceil, nil), true
	case "Round":
		return function(math.RoundToEven, nil), true
	case "Sign":
		return function(sign, func(x int64) int64 { return int64(sign(float64(x))) }), true
	case "Neg":
		return function(func(x float64) float64 { return -x }, negateWhole), true
	case "Abs":
		return function(math.Abs, absoluteWhole), true
	}
	return nil, false
}

// structural builds the operators that multiply, select or rearrange.
func (b *builder) structural(n *nodeProto) (op operator, known bool, err error) {
	var k kernel
	switch n.op {
	case "Identity":
		return unary(identity), true, nil
	case "Shape":
		return unary(shapeOf), true, b.plainShape(n)
	case "MatMul":
		return dyadic(matMul), true, nil
	case "Tile":
		return dyadic(tile), true, nil
	case "Expand":
		return dyadic(expand), true, nil
	case "Constant":
		v, err := constantOf(n)
		return operator{run: func(_, out []*value) error { out[0].view(v); return nil }, maxOut: 1}, true, err
	case "Split":
		k, err = buildSplit(n)
		return operator{run: k, minIn: 1, maxIn: 2, maxOut: anyNumber, gaps: true}, true, err
	case "Gather":
		k, err = buildGather(n)
		return dyadic(k), true, err
	case "Concat":
		k, err = buildConcat(n)
		return variadic(k), true, err
	case "Gemm":
		k, err = buildGemm(n)
		return upTo(2, 3, k), true, err
	case "Slice":
		k, err = buildSlice(n)
		return upTo(1, 5, k), true, err
	case "Clip":
		k, err = buildClip(n)
		return upTo(1, 3, k), true, err
	case "Reshape":
		k, err = buildReshape(n)
	case "Squeeze":
		k, err = buildSqueeze(n)
	case "Unsqueeze":
		k, err = buildUnsqueeze(n)
	case "Cast":
		k, err = buildCast(n)
	case "ConstantOfShape":
		k, err = buildConstantOfShape(n)
	case "Transpose":
		k, err = buildTranspose(n)
	case "Flatten":
		k, err = buildFlatten(n)
	case "ArgMax", "ArgMin":
		k, err = buildArgExtreme(n, n.op == "ArgMin")
	case "Softmax", "LogSoftmax":
		k, err = buildSoftmax(n, b.opsets[""], n.op == "LogSoftmax")
	case "LpNormalization":
		k, err = buildLpNormalization(n)
	default:
		return op, false, nil
	}
	return upTo(1, 2, k), true, err
}

// plainShape refuses the attributes of Shape that cut the shape.
func (b *builder) plainShape(n *nodeProto) error {
	for name := range n.attributes {
		if name == "start" || name == "end" {
			return unsupported("operator Shape of domain ai.onnx is not supported with the attribute %q", name)
		}
	}
	return nil
}
