package train

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// The versions that are written. Every operator used exists since ai.onnx.ml 1 and is unchanged in 3, where class
// labels of either type are allowed everywhere.
const (
	irVersion   = 8
	coreOpset   = 15
	mlOpset     = 3
	mlDomain    = "ai.onnx.ml"
	elementFP32 = 1
	elementI64  = 7
	elementText = 8
)

// ONNX returns the model as ONNX. Its input is "input", FP32 [N, features]. A classifier's outputs are "label", INT64
// or text [N], and "probabilities", FP32 [N, classes]; a regression's is "variable", FP32 [N, 1]. The metadata holds
// the trainer's version, the parameters, the digest of the data, the names and the metrics; equal models give equal
// bytes.
func (m *Model) ONNX() ([]byte, error) {
	for _, s := range append(append([]string{m.table.Target}, m.table.Features...), m.classes...) {
		if !utf8.ValidString(s) {
			return nil, fmt.Errorf("%s is not valid UTF-8, which ONNX requires of names and classes", excerpt(s))
		}
	}
	var graph message
	for _, n := range m.nodes() {
		graph.embed(1, n)
	}
	graph.text(2, "stoa")
	graph.embed(11, valueInfo("input", elementFP32, -1, int64(len(m.table.Features))))
	if m.task == Regression {
		graph.embed(12, valueInfo("variable", elementFP32, -1, 1))
	} else {
		label := int64(elementText)
		if m.integers != nil {
			label = elementI64
		}
		graph.embed(12, valueInfo("label", label, -1))
		graph.embed(12, valueInfo("probabilities", elementFP32, -1, int64(len(m.classes))))
	}
	var out message
	out.number(1, irVersion)
	out.text(2, "stoa train")
	out.text(3, Version)
	out.embed(7, graph)
	out.embed(8, opset("", coreOpset))
	out.embed(8, opset(mlDomain, mlOpset))
	metadata, err := m.metadata()
	if err != nil {
		return nil, err
	}
	for _, kv := range metadata {
		var entry message
		entry.text(1, kv[0])
		entry.text(2, kv[1])
		out.embed(14, entry)
	}
	return out, nil
}

// metadata returns the pairs of key and value to write, in order.
func (m *Model) metadata() ([][2]string, error) {
	texts := [][2]string{
		{"stoa.trainer.version", Version}, {"stoa.task", m.task}, {"stoa.target", m.table.Target},
		{"stoa.data_digest", m.table.Digest}, {"stoa.seed", strconv.FormatUint(m.options.Seed, 10)},
	}
	for _, v := range []struct {
		key   string
		value any // encoding/json writes the keys of a map in order
	}{{"stoa.features", m.table.Features}, {"stoa.parameters", m.Parameters()}, {"stoa.metrics", m.metrics}} {
		text, err := json.Marshal(v.value)
		if err != nil {
			return nil, fmt.Errorf("write the metadata %s: %w", v.key, err)
		}
		texts = append(texts, [2]string{v.key, string(text)})
	}
	return texts, nil
}

// Parameters are the options that had a say in the model, by the name of their flag.
func (m *Model) Parameters() map[string]string {
	float := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	o := m.options
	p := map[string]string{
		"algorithm": o.Algorithm, "task": m.task, "rounds": strconv.Itoa(o.Rounds), "l2": float(o.L2),
		"holdout": float(o.Holdout), "seed": strconv.FormatUint(o.Seed, 10),
	}
	if o.Algorithm == GBDT {
		p["depth"] = strconv.Itoa(o.MaxDepth)
		p["leaves"] = strconv.Itoa(o.MaxLeaves)
		p["min-data"] = strconv.Itoa(o.MinDataInLeaf)
		p["bins"] = strconv.Itoa(o.MaxBins)
		p["learning-rate"] = float(o.LearningRate)
		p["subsample"] = float(o.Subsample)
		p["column-sample"] = float(o.ColumnSample)
	}
	return p
}

// valueInfo describes a tensor. A dimension of -1 is the batch.
func valueInfo(name string, element int64, shape ...int64) message {
	var dims, tensor, kind, info message
	for _, d := range shape {
		var dim message
		if d < 0 {
			dim.text(2, "N")
		} else {
			dim.number(1, d)
		}
		dims.embed(1, dim)
	}
	tensor.number(1, element)
	tensor.embed(2, dims)
	kind.embed(1, tensor)
	info.text(1, name)
	info.embed(2, kind)
	return info
}

// opset names a version of a domain's operators.
func opset(domain string, version int64) message {
	var m message
	if domain != "" {
		m.text(1, domain)
	}
	m.number(2, version)
	return m
}

// operator returns a NodeProto of the ai.onnx.ml domain.
func operator(name string, inputs, outputs []string, attributes ...message) message {
	var m message
	for _, s := range inputs {
		m.text(1, s)
	}
	for _, s := range outputs {
		m.text(2, s)
	}
	m.text(3, name)
	m.text(4, name)
	for _, a := range attributes {
		m.embed(5, a)
	}
	m.text(7, mlDomain)
	return m
}

// nodes returns the graph's operators in order.
func (m *Model) nodes() []message {
	if m.trees != nil {
		return []message{m.treeNode()}
	}
	return m.linearNodes()
}

// classLabels is the attribute that names the classes.
func (m *Model) classLabels(integers, texts string) message {
	if m.integers != nil {
		return intsAttribute(integers, m.integers)
	}
	return textsAttribute(texts, m.classes)
}

// linearNodes fills missing values with the mean, standardises and scores.
func (m *Model) linearNodes() []message {
	l := m.linear
	weights, intercepts := []float32{}, []float32{}
	post := "SOFTMAX"
	if len(l.weights) == 1 {
		post = "LOGISTIC"
		for _, w := range l.weights[0] { // the first class is the second's mirror image
			weights = append(weights, float32(-w))
		}
		intercepts = append(intercepts, float32(-l.intercept[0]))
	}
	for k := range l.weights {
		for _, w := range l.weights[k] {
			weights = append(weights, float32(w))
		}
		intercepts = append(intercepts, float32(l.intercept[k]))
	}
	replaced := newAttribute("replaced_value_float")
	replaced.float(2, float32(math.NaN()))
	replaced.number(attributeType, 1)
	return []message{
		operator("Imputer", []string{"input"}, []string{"filled"},
			floatsAttribute("imputed_value_floats", l.mean), replaced),
		operator("Scaler", []string{"filled"}, []string{"standardised"},
			floatsAttribute("offset", l.mean), floatsAttribute("scale", l.scale)),
		operator("LinearClassifier", []string{"standardised"}, []string{"label", "probabilities"},
			m.classLabels("classlabels_ints", "classlabels_strings"), floatsAttribute("coefficients", weights),
			floatsAttribute("intercepts", intercepts), intAttribute("multi_class", 1),
			textAttribute("post_transform", post)),
	}
}
