package runtime

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stoaproject/stoa"
)

// A corpusTensor is a tensor in the files that testdata/corpus/build.py writes.
type corpusTensor struct {
	Name     string        `json:"name"`
	Datatype stoa.Datatype `json:"datatype"`
	Shape    []int64       `json:"shape"`
	Raw      string        `json:"raw"`
	Strings  []string      `json:"strings"`
}

// A corpusCase is a model's input and ONNX Runtime's answer to it.
type corpusCase struct {
	Inputs  []corpusTensor `json:"inputs"`
	Outputs []corpusTensor `json:"outputs"`
}

func (c corpusTensor) tensor(t testing.TB) stoa.Tensor {
	t.Helper()
	out := stoa.Tensor{Name: c.Name, Datatype: c.Datatype, Shape: c.Shape}
	raw, err := base64.StdEncoding.DecodeString(c.Raw)
	if err != nil {
		t.Fatal(err)
	}
	n := 1
	for _, d := range c.Shape {
		n *= int(d)
	}
	switch c.Datatype {
	case stoa.FP32:
		out.Data = decodeRaw[float32](t, raw, n)
	case stoa.FP64:
		out.Data = decodeRaw[float64](t, raw, n)
	case stoa.Int64:
		out.Data = decodeRaw[int64](t, raw, n)
	case stoa.Int32:
		out.Data = decodeRaw[int32](t, raw, n)
	case stoa.Bool:
		out.Data = decodeRaw[bool](t, raw, n)
	case stoa.Bytes:
		out.Data = c.Strings
	}
	return out
}

func decodeRaw[T any](t testing.TB, raw []byte, n int) []T {
	t.Helper()
	out := make([]T, n)
	if _, err := binary.Decode(raw, binary.LittleEndian, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func corpusNames(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/corpus/*.onnx")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".onnx")
	}
	return files
}

func readCorpus(t testing.TB, name string) (artifact []byte, inputs, want []stoa.Tensor) {
	t.Helper()
	artifact, err := os.ReadFile(filepath.Join("testdata/corpus", name+".onnx"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("testdata/corpus", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var c corpusCase
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	for _, in := range c.Inputs {
		inputs = append(inputs, in.tensor(t))
	}
	for _, out := range c.Outputs {
		want = append(want, out.tensor(t))
	}
	return artifact, inputs, want
}

// TestAgreesWithONNXRuntime compares every output of every model of the corpus, to 1e-5 absolute and relative, with
// the answer of ONNX Runtime, all rows at once and row by row.
func TestAgreesWithONNXRuntime(t *testing.T) {
	var worst float64
	for _, name := range corpusNames(t) {
		t.Run(name, func(t *testing.T) {
			artifact, inputs, want := readCorpus(t, name)
			m, err := Load(artifact)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second run finds a used frame
				got, err := m.Run(inputs, nil)
				if err != nil {
					t.Fatal(err)
				}
				for i := range want {
					worst = max(worst, compare(t, got[i], want[i]))
				}
			}
			for row := range want[0].Shape[0] {
				got, err := m.Run(rowOf(inputs, row), nil)
				if err != nil {
					t.Fatal(err)
				}
				for i, w := range rowOf(want, row) {
					worst = max(worst, compare(t, got[i], w))
				}
			}
			checkSpecs(t, m, inputs, want)
		})
	}
	t.Logf("greatest difference: %.3g", worst)
}

// rowOf cuts one row out of tensors.
func rowOf(tensors []stoa.Tensor, row int64) []stoa.Tensor {
	out := slices.Clone(tensors)
	for i := range out {
		t := &out[i]
		n := int64(1)
		for _, d := range t.Shape[1:] {
			n *= d
		}
		t.Shape = append([]int64{1}, t.Shape[1:]...)
		from, to := row*n, (row+1)*n
		switch data := t.Data.(type) {
		case []float32:
			t.Data = data[from:to]
		case []float64:
			t.Data = data[from:to]
		case []int64:
			t.Data = data[from:to]
		case []int32:
			t.Data = data[from:to]
		case []bool:
			t.Data = data[from:to]
		case []string:
			t.Data = data[from:to]
		}
	}
	return out
}

// compare reports where got and want differ and returns the greatest difference, relative to 1 + |want|.
func compare(t *testing.T, got, want stoa.Tensor) float64 {
	t.Helper()
	if got.Name != want.Name || got.Datatype != want.Datatype || !slices.Equal(got.Shape, want.Shape) {
		t.Fatalf("got %q %s %v, want %q %s %v",
			got.Name, got.Datatype, got.Shape, want.Name, want.Datatype, want.Shape)
	}
	switch w := want.Data.(type) {
	case []float32:
		return compareFloats(t, want.Name, got.Data.([]float32), w)
	case []float64:
		return compareFloats(t, want.Name, got.Data.([]float64), w)
	case []int64:
		if !slices.Equal(got.Data.([]int64), w) {
			t.Errorf("%s: got %v, want %v", want.Name, got.Data, w)
		}
	case []string:
		if !slices.Equal(got.Data.([]string), w) {
			t.Errorf("%s: got %q, want %q", want.Name, got.Data, w)
		}
	default:
		t.Fatalf("no comparison for %T", w)
	}
	return 0
}

func compareFloats[T float32 | float64](t *testing.T, name string, got, want []T) (worst float64) {
	t.Helper()
	for i := range want {
		g, w := float64(got[i]), float64(want[i])
		if g == w || (math.IsNaN(g) && math.IsNaN(w)) {
			continue
		}
		d := math.Abs(g-w) / (1 + math.Abs(w))
		worst = max(worst, d)
		if !(d <= 1e-5) {
			t.Errorf("%s[%d]: got %v, want %v", name, i, g, w)
		}
	}
	return worst
}

// checkSpecs makes sure that what the model says of itself fits what it does.
func checkSpecs(t *testing.T, m *Model, inputs, outputs []stoa.Tensor) {
	t.Helper()
	fits := func(specs []stoa.TensorSpec, tensors []stoa.Tensor) {
		if len(specs) != len(tensors) {
			t.Fatalf("%d specs for %d tensors", len(specs), len(tensors))
		}
		for _, s := range specs {
			i := slices.IndexFunc(tensors, func(t stoa.Tensor) bool { return t.Name == s.Name })
			ok := i >= 0 && s.Datatype == tensors[i].Datatype && len(s.Shape) == len(tensors[i].Shape)
			for d := range s.Shape {
				ok = ok && (s.Shape[d] == -1 || s.Shape[d] == tensors[i].Shape[d])
			}
			if !ok || s.Shape[0] != -1 {
				t.Errorf("spec %+v does not fit any of %v", s, tensors)
			}
		}
	}
	fits(m.Inputs(), inputs)
	fits(m.Outputs(), outputs)
	if classes := m.Classes(); len(classes) > 0 && len(outputs) == 2 && len(outputs[1].Shape) == 2 &&
		int64(len(classes)) != outputs[1].Shape[1] {
		t.Errorf("classes %q for scores of shape %v", classes, outputs[1].Shape)
	}
}
