// Package oip is the wire format of the Open Inference Protocol, version 2, over REST with JSON tensors.
//
// [Limits.Parse] reads the body of an inference request straight into a [stoa.Call], in one pass and without
// reflection; [Append] writes an answer and [AppendRequest] a request, both onto the end of a byte slice. The parser
// copies whatever it keeps, so that the body may be reused as soon as it returns.
//
// The parser is strict, because a gateway that reads a body differently from what stands behind it can be bypassed:
//
//   - A key that means something here may be given once only, exactly as it is spelt and without escapes. Keys and
//     parameters without a meaning here are ignored, as the protocol asks.
//   - The data of a tensor are flat, or nested exactly as its shape says; their number is the product of the shape.
//   - Integers are exact over the whole range of their datatype. A number that its datatype cannot hold is refused with
//     bad_datatype; NaN and Infinity, which are not JSON although Python writes them, are refused with not_finite.
//   - Nothing is allocated in proportion to a number that the request states, only to the bytes that it holds.
//
// JSON has no form for NaN and infinity, nor has the protocol. An answer that contains one therefore fails with
// target_error, naming the output: an invented form would reach clients as a string or a null that they do not expect.
//
// FP16, BF16 and the binary tensor extension are refused with unsupported.
package oip

import (
	"fmt"

	"github.com/stoaproject/stoa"
)

// Limits bound what a request may hold. A zero field stands for the one in [DefaultLimits].
type Limits struct {
	Bytes    int // size of the body
	Elements int // elements of all input tensors together; also the largest single dimension
	Tensors  int // inputs, and outputs asked for
	Dims     int // dimensions of one tensor
	Depth    int // nesting of JSON values that are ignored
	ID       int // bytes of the request's id
}

// DefaultLimits returns the limits of [Parse]: 16 MiB, 4 Mi elements, 256 tensors, 8 dimensions, depth 32 and ids of
// 256 bytes.
func DefaultLimits() Limits {
	return Limits{Bytes: 16 << 20, Elements: 4 << 20, Tensors: 256, Dims: 8, Depth: 32, ID: 256}
}

// WithDefaults returns l with every zero field replaced by that of [DefaultLimits].
func (l Limits) WithDefaults() Limits {
	d := DefaultLimits()
	for _, f := range [...]struct{ field, def *int }{
		{&l.Bytes, &d.Bytes}, {&l.Elements, &d.Elements}, {&l.Tensors, &d.Tensors},
		{&l.Dims, &d.Dims}, {&l.Depth, &d.Depth}, {&l.ID, &d.ID},
	} {
		if *f.field <= 0 {
			*f.field = *f.def
		}
	}
	return l
}

// ServerMetadata is the answer to GET /v2.
type ServerMetadata struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Extensions []string `json:"extensions"`
}

// ModelMetadata is the answer to GET /v2/models/{model}.
type ModelMetadata struct {
	Name     string           `json:"name"`
	Versions []string         `json:"versions,omitempty"`
	Platform string           `json:"platform"`
	Inputs   []TensorMetadata `json:"inputs"`
	Outputs  []TensorMetadata `json:"outputs"`
}

// TensorMetadata describes one input or output. A dimension of -1 may have any size.
type TensorMetadata struct {
	Name     string        `json:"name"`
	Datatype stoa.Datatype `json:"datatype"`
	Shape    []int64       `json:"shape"`
}

// Describe turns the foyer's description of tensors into that of the wire. The result is never nil, so that no tensors
// are written as [] and not as null.
func Describe(specs []stoa.TensorSpec) []TensorMetadata {
	out := make([]TensorMetadata, 0, len(specs))
	for _, s := range specs {
		shape := s.Shape
		if shape == nil {
			shape = []int64{}
		}
		out = append(out, TensorMetadata{Name: s.Name, Datatype: s.Datatype, Shape: shape})
	}
	return out
}

func refusal(reason stoa.Reason, format string, args ...any) *stoa.Refusal {
	return &stoa.Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
