package train

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/performance/runtime"
)

// modelsDir is where TestONNXRuntimeAgrees leaves its models and rows for bench/lightgbm/fixtures.py.
var modelsDir = flag.String("models", "", "write the models of the ONNX Runtime fixtures into this directory and stop")

// An exported model is one of each form that the trainer writes, and rows to predict.
type exported struct {
	name  string
	model *Model
	rows  [][]float32
}

// exportedModels fits one model of each form.
func exportedModels(t testing.TB) []exported {
	t.Helper()
	small := options(GBDT, func(o *Options) { o.Rounds = 12 })
	var out []exported
	add := func(name string, table *Table, o Options) {
		e := exported{name: name, model: fit(t, table, o)}
		for i := range 40 {
			row := rowAt(table, i)
			if i%5 == 0 { // also missing where training saw none
				row[i%len(row)] = float32(math.NaN())
			}
			e.rows = append(e.rows, row)
		}
		out = append(out, e)
	}
	add("trees_two_integers", synthetic(t, 1500, 5, 2, strconv.Itoa), small)
	add("trees_two_texts", synthetic(t, 1500, 5, 2, color), small)
	add("trees_four_texts", synthetic(t, 1500, 5, 4, color), small)
	add("trees_quantity", synthetic(t, 1500, 5, 4, func(k int) string { return strconv.Itoa(k) + ".5" }), small)
	add("logistic_two_integers", synthetic(t, 1500, 5, 2, strconv.Itoa), Defaults(Logistic))
	add("logistic_four_texts", synthetic(t, 1500, 5, 4, color), Defaults(Logistic))

	// Two classes so uneven that every weight is positive, and a model without a single split.
	uneven := synthetic(t, 1500, 5, 4, func(k int) string { return strconv.FormatBool(k > 0) })
	add("trees_all_positive", uneven, options(GBDT, func(o *Options) { o.Rounds, o.LearningRate = 2, 0.01 }))
	add("trees_without_split", uneven, options(GBDT, func(o *Options) { o.MinDataInLeaf = 1000 }))
	return out
}

// TestRuntimeAgrees checks what is written against what Predict says, by Stoa's own runtime.
func TestRuntimeAgrees(t *testing.T) {
	for _, e := range exportedModels(t) {
		t.Run(e.name, func(t *testing.T) {
			loaded, err := runtime.Load(artifact(t, e.model))
			if err != nil {
				t.Fatal(err)
			}
			in := stoa.Tensor{Name: "input", Datatype: stoa.FP32, Shape: []int64{int64(len(e.rows)), int64(len(e.rows[0]))}}
			in.Data = slices.Concat(e.rows...)
			answer, err := loaded.Run([]stoa.Tensor{in}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var labels []string
			values := answer[len(answer)-1].Data.([]float32)
			switch l := answer[0].Data.(type) {
			case []int64:
				for _, v := range l {
					labels = append(labels, strconv.FormatInt(v, 10))
				}
			case []string:
				labels = l
			}
			e.check(t, labels, values)
		})
	}
}

// check compares another's labels, nil for a quantity, and values, flat, with what the model predicts.
func (e exported) check(t *testing.T, labels []string, values []float32) {
	t.Helper()
	width := e.model.width()
	if len(values) != len(e.rows)*width {
		t.Fatalf("%d values for %d rows of %d", len(values), len(e.rows), width)
	}
	for i, row := range e.rows {
		want, err := e.model.Predict(row)
		if err != nil {
			t.Fatal(err)
		}
		best := 0
		for k, w := range want {
			if got := float64(values[i*width+k]); math.Abs(got-w) > 1e-5 {
				t.Errorf("row %d output %d is %v, Predict says %v", i, k, got, w)
			}
			if w > want[best] {
				best = k
			}
		}
		if e.model.classes != nil && labels[i] != e.model.classes[best] {
			t.Errorf("row %d is labelled %q, Predict says %q of %v", i, labels[i], e.model.classes[best], want)
		}
	}
}

// A fixture is what ONNX Runtime said about the rows of an exported model.
type fixture struct {
	OnnxRuntime string       `json:"onnxruntime"`
	Input       [][]*float32 `json:"input"` // null is NaN
	Label       []any        `json:"label"`
	Values      []float32    `json:"values"`
}

// TestONNXRuntimeAgrees checks Predict against what the real ONNX Runtime said about the same models, written by
// bench/lightgbm/fixtures.sh.
func TestONNXRuntimeAgrees(t *testing.T) {
	models := exportedModels(t)
	if *modelsDir != "" {
		for _, e := range models {
			e.write(t, *modelsDir)
		}
		t.Skip("wrote the models")
	}
	for _, e := range models {
		t.Run(e.name, func(t *testing.T) {
			var f fixture
			text, err := os.ReadFile(filepath.Join("testdata", "onnxruntime", e.name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, &f); err != nil {
				t.Fatal(err)
			}
			e.rows = nil
			for _, in := range f.Input {
				row := make([]float32, len(in))
				for i, v := range in {
					row[i] = float32(math.NaN())
					if v != nil {
						row[i] = *v
					}
				}
				e.rows = append(e.rows, row)
			}
			var labels []string
			for _, l := range f.Label {
				labels = append(labels, fmt.Sprint(l))
			}
			e.check(t, labels, f.Values)
		})
	}
}

// write leaves the model and its rows.
func (e exported) write(t *testing.T, dir string) {
	t.Helper()
	var f fixture
	for _, row := range e.rows {
		in := make([]*float32, len(row))
		for i, v := range row {
			if v == v {
				in[i] = &v
			}
		}
		f.Input = append(f.Input, in)
	}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{e.name + ".json": text, e.name + ".onnx": artifact(t, e.model)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMetadata(t *testing.T) {
	table := synthetic(t, 300, 4, 2, color)
	table.Digest = "sha256:of-the-file"
	m := fit(t, table, options(GBDT, func(o *Options) { o.Rounds, o.Seed = 3, 77 }))
	pairs, err := m.metadata()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, kv := range pairs {
		got[kv[0]] = kv[1]
		if !strings.Contains(string(artifact(t, m)), kv[1]) {
			t.Errorf("%s is not in the artifact", kv[0])
		}
	}
	for key, want := range map[string]string{
		"stoa.trainer.version": Version, "stoa.data_digest": "sha256:of-the-file", "stoa.seed": "77", "stoa.target": "class",
		"stoa.features": `["f0","f1","f2","f3"]`, "stoa.task": Classification,
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if !strings.Contains(got["stoa.parameters"], `"rounds":"3"`) || !strings.Contains(got["stoa.metrics"], `"auc":`) {
		t.Errorf("parameters %s, metrics %s", got["stoa.parameters"], got["stoa.metrics"])
	}
}

func TestNamesMustBeUTF8(t *testing.T) {
	table, err := NewTable("y", []string{"a\xff"}, [][]float32{{1, 2}}, []string{"0", "1"})
	if err != nil {
		t.Fatal(err)
	}
	m := fit(t, table, options(GBDT, func(o *Options) { o.Holdout = 0 }))
	if _, err := m.ONNX(); err == nil || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("error is %v, want one about UTF-8", err)
	}
}
