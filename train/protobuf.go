package train

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// A message is a protocol buffer under construction. Fields are written in the order of their numbers, and repeated
// numbers one by one, as ONNX's own library does.
type message []byte

func (m *message) number(field protowire.Number, v int64) {
	*m = protowire.AppendTag(*m, field, protowire.VarintType)
	*m = protowire.AppendVarint(*m, uint64(v))
}

func (m *message) float(field protowire.Number, v float32) {
	*m = protowire.AppendTag(*m, field, protowire.Fixed32Type)
	*m = protowire.AppendFixed32(*m, math.Float32bits(v))
}

func (m *message) text(field protowire.Number, v string) {
	*m = protowire.AppendTag(*m, field, protowire.BytesType)
	*m = protowire.AppendString(*m, v)
}

func (m *message) embed(field protowire.Number, v message) {
	*m = protowire.AppendTag(*m, field, protowire.BytesType)
	*m = protowire.AppendBytes(*m, v)
}

// The fields and types of an AttributeProto.
const (
	attributeName, attributeI, attributeS                = 1, 3, 4
	attributeFloats, attributeInts, attributeStrings     = 7, 8, 9
	attributeType                                        = 20
	typeInt, typeString, typeFloats, typeInts, typeTexts = 2, 3, 6, 7, 8
)

// newAttribute starts an AttributeProto.
func newAttribute(name string) message {
	var m message
	m.text(attributeName, name)
	return m
}

func intAttribute(name string, v int64) message {
	m := newAttribute(name)
	m.number(attributeI, v)
	m.number(attributeType, typeInt)
	return m
}

func textAttribute(name, v string) message {
	m := newAttribute(name)
	m.text(attributeS, v)
	m.number(attributeType, typeString)
	return m
}

func floatsAttribute(name string, vs []float32) message {
	m := newAttribute(name)
	for _, v := range vs {
		m.float(attributeFloats, v)
	}
	m.number(attributeType, typeFloats)
	return m
}

func intsAttribute(name string, vs []int64) message {
	m := newAttribute(name)
	for _, v := range vs {
		m.number(attributeInts, v)
	}
	m.number(attributeType, typeInts)
	return m
}

func textsAttribute(name string, vs []string) message {
	m := newAttribute(name)
	for _, v := range vs {
		m.text(attributeStrings, v)
	}
	m.number(attributeType, typeTexts)
	return m
}
