package runtime

import "math"

// An operator is what the builder needs to know of one: its kernel, and how many operands it takes and gives.
type operator struct {
	run          kernel
	minIn, maxIn int
	maxOut       int
	fixedOut     bool // the kernel always writes maxOut outputs
}

const anyNumber = math.MaxInt32

// unary, dyadic and variadic describe kernels of one output.
func unary(k kernel) operator    { return operator{run: k, minIn: 1, maxIn: 1, maxOut: 1} }
func dyadic(k kernel) operator   { return operator{run: k, minIn: 2, maxIn: 2, maxOut: 1} }
func variadic(k kernel) operator { return operator{run: k, minIn: 1, maxIn: anyNumber, maxOut: 1} }

// upTo describes a kernel of one output and optional inputs.
func upTo(minIn, maxIn int, k kernel) operator {
	return operator{run: k, minIn: minIn, maxIn: maxIn, maxOut: 1}
}

// classifier describes a kernel whose outputs are labels and scores.
func classifier(k kernel) operator {
	return operator{run: k, minIn: 1, maxIn: 1, maxOut: 2, fixedOut: true}
}

// operator builds the operator n, or refuses it by name.
func (b *builder) operator(n *nodeProto) (operator, error) {
	var op operator
	var err error
	known := true
	switch n.domain {
	case "ai.onnx.ml":
		op, known, err = b.learned(n)
	case "":
		op, known, err = b.general(n)
	default:
		known = false
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
	switch n.op {
	case "TreeEnsembleRegressor":
		k, err = buildTreeRegressor(n)
		return unary(k), true, err
	case "TreeEnsembleClassifier":
		var l *labels
		k, l, err = buildTreeClassifier(n)
		if err == nil {
			b.model.classes = l.texts()
		}
		return classifier(k), true, err
	}
	return op, false, nil
}

// general builds the operators of the domain ai.onnx.
func (b *builder) general(n *nodeProto) (op operator, known bool, err error) {
	return op, false, nil
}
