package runtime

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stoaproject/stoa"
)

// wantRefusal fails unless err is a refusal for the reason that mentions all of words.
func wantRefusal(t *testing.T, err error, reason stoa.Reason, words ...string) {
	t.Helper()
	var r *stoa.Refusal
	if !errors.As(err, &r) || r.Reason != reason {
		t.Fatalf("got %v, want a refusal of reason %s", err, reason)
	}
	for _, w := range words {
		if !strings.Contains(r.Message, w) {
			t.Errorf("%q does not mention %q", r.Message, w)
		}
	}
}

func TestTruncatedArtifactIsInvalid(t *testing.T) {
	for _, name := range []string{"hand_modes_mixed", "lgb_multiclass", "skl_columns_logistic", "xgb_binary"} {
		artifact, _, _ := readCorpus(t, name)
		for n := 0; n < len(artifact); n += 1 + len(artifact)/301 {
			m, err := Load(artifact[:n])
			if err == nil && len(m.Outputs()) == 0 {
				t.Fatalf("%s cut to %d bytes loads", name, n)
			}
			if err != nil {
				wantRefusal(t, err, stoa.ReasonInvalid)
			}
		}
	}
}

// TestBrokenTreesAreInvalid breaks one attribute of a small ensemble at a time.
func TestBrokenTreesAreInvalid(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		name  string
		spoil func(a map[string]*attribute)
		words string
	}{
		{"child out of range", func(a map[string]*attribute) { a["nodes_truenodeids"].ints[0] = 77 }, "does not exist"},
		{"negative child", func(a map[string]*attribute) { a["nodes_falsenodeids"].ints[0] = -1 }, "does not exist"},
		{"child is the node", func(a map[string]*attribute) { a["nodes_truenodeids"].ints[0] = 0 }, "cyclic"},
		{"two parents", func(a map[string]*attribute) { a["nodes_truenodeids"].ints[0] = 2 }, "two parents"},
		{"leaf out of reach", func(a map[string]*attribute) { a["nodes_modes"].strings[0] = "LEAF" }, "cannot be reached"},
		{"node twice", func(a map[string]*attribute) { a["nodes_nodeids"].ints[1] = 0 }, "twice"},
		{"unknown mode", func(a map[string]*attribute) { a["nodes_modes"].strings[0] = "BRANCH" }, "unknown"},
		{"negative feature", func(a map[string]*attribute) { a["nodes_featureids"].ints[0] = -4 }, "feature -4"},
		{"huge feature", func(a map[string]*attribute) { a["nodes_featureids"].ints[0] = 1 << 40 }, "feature"},
		{"feature beyond the input", func(a map[string]*attribute) { a["nodes_featureids"].ints[0] = 2 }, "3 features"},
		{"threshold NaN", func(a map[string]*attribute) { a["nodes_values"].floats[0] = nan }, "not a number"},
		{"weight NaN", func(a map[string]*attribute) { a["target_weights"].floats[0] = nan }, "not a number"},
		{"base NaN", func(a map[string]*attribute) { a["base_values"] = &attribute{floats: []float32{nan}} }, "not a number"},
		{"weight of no node", func(a map[string]*attribute) { a["target_nodeids"].ints[3] = 9 }, "does not exist"},
		{"weight of no target", func(a map[string]*attribute) { a["target_ids"].ints[3] = 12 }, "number 12 of 12"},
		{"short values", func(a map[string]*attribute) { a["nodes_values"].floats = nil }, "nodes_values has 0"},
		{"short tracks", func(a map[string]*attribute) { a["nodes_missing_value_tracks_true"].ints = []int64{1} }, "has 1"},
		{"short weights", func(a map[string]*attribute) { a["target_weights"].floats = nil }, "_weights"},
		{"no nodes", func(a map[string]*attribute) { a["nodes_nodeids"].ints = nil }, "no nodes"},
		{"absurd targets", func(a map[string]*attribute) { a["n_targets"].i = 1 << 50 }, "n_targets"},
		{"no targets", func(a map[string]*attribute) { a["n_targets"].i = 0 }, "n_targets"},
		{"transform", func(a map[string]*attribute) { a["post_transform"] = &attribute{s: "X"} }, "post_transform"},
		{"aggregate", func(a map[string]*attribute) { a["aggregate_function"] = &attribute{s: "X"} }, "aggregate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parsed(t, "hand_modes_mixed")
			c.spoil(p.graph.nodes[0].attributes)
			_, err := assemble(p)
			wantRefusal(t, err, stoa.ReasonInvalid, c.words)
		})
	}
}

func parsed(t *testing.T, name string) *modelProto {
	t.Helper()
	artifact, _, _ := readCorpus(t, name)
	p, err := parseModel(artifact)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestBrokenGraphsAreRefused breaks the graph around an operator.
func TestBrokenGraphsAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(g *graphProto)
		reason stoa.Reason
		words  []string
	}{
		{"unknown operator", func(g *graphProto) { g.nodes[0].op = "SVMClassifier" }, stoa.ReasonUnsupported,
			[]string{"SVMClassifier", "ai.onnx.ml"}},
		{"unknown operator of the default domain", func(g *graphProto) { g.nodes[0].op, g.nodes[0].domain = "Conv", "" },
			stoa.ReasonUnsupported, []string{"Conv", "domain ai.onnx"}},
		{"unknown domain", func(g *graphProto) { g.nodes[0].domain = "com.example" }, stoa.ReasonUnsupported,
			[]string{"TreeEnsembleRegressor", "com.example"}},
		{"input undefined", func(g *graphProto) { g.nodes[0].inputs[0] = "elsewhere" }, stoa.ReasonInvalid,
			[]string{"elsewhere"}},
		{"no input", func(g *graphProto) { g.nodes[0].inputs = nil }, stoa.ReasonInvalid, []string{"0 inputs"}},
		{"empty input", func(g *graphProto) { g.nodes[0].inputs[0] = "" }, stoa.ReasonInvalid, []string{"missing"}},
		{"output not computed", func(g *graphProto) { g.outputs[0].name = "Z" }, stoa.ReasonInvalid, []string{`"Z"`}},
		{"output twice", func(g *graphProto) { g.outputs = append(g.outputs, g.outputs[0]) }, stoa.ReasonInvalid,
			[]string{"twice"}},
		{"no outputs", func(g *graphProto) { g.outputs = nil }, stoa.ReasonInvalid, []string{"no outputs"}},
		{"no inputs", func(g *graphProto) { g.inputs = nil }, stoa.ReasonInvalid, []string{"no inputs"}},
		{"cyclic graph", func(g *graphProto) { g.nodes[0].inputs[0] = "Y" }, stoa.ReasonInvalid, []string{`"Y"`}},
		{"half precision", func(g *graphProto) { g.inputs[0].elem = 10 }, stoa.ReasonUnsupported, []string{"FLOAT16"}},
		{"wrong element type", func(g *graphProto) { g.inputs[0].elem = 8 }, stoa.ReasonInvalid, []string{"BYTES"}},
		{"absurd input", func(g *graphProto) { g.inputs[0].shape[1] = 1 << 40 }, stoa.ReasonInvalid, []string{"features"}},
		{"subgraph", func(g *graphProto) { g.nodes[0].attributes["body"] = &attribute{graph: true} },
			stoa.ReasonUnsupported, []string{"body", "TreeEnsembleRegressor"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parsed(t, "hand_modes_mixed")
			c.spoil(p.graph)
			_, err := assemble(p)
			wantRefusal(t, err, c.reason, c.words...)
		})
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	artifact, _, _ := readCorpus(t, "hand_feature_vectorizer")
	m, err := Load(artifact)
	if err != nil {
		t.Fatal(err)
	}
	a := stoa.Tensor{Name: "A", Datatype: stoa.FP32, Shape: []int64{1, 2}, Data: []float32{1, 2}}
	b := stoa.Tensor{Name: "B", Datatype: stoa.FP32, Shape: []int64{1, 1}, Data: []float32{3}}
	with := func(change func(t *stoa.Tensor)) []stoa.Tensor {
		c := a
		change(&c)
		return []stoa.Tensor{c, b}
	}
	for _, c := range []struct {
		name   string
		inputs []stoa.Tensor
		reason stoa.Reason
		words  []string
	}{
		{"missing", []stoa.Tensor{a}, stoa.ReasonBadInput, []string{`"B"`, "missing"}},
		{"twice", []stoa.Tensor{a, a}, stoa.ReasonBadInput, []string{`"A"`, "twice"}},
		{"unknown", with(func(t *stoa.Tensor) { t.Name = "C" }), stoa.ReasonBadInput, []string{`"C"`, "unknown"}},
		{"none", nil, stoa.ReasonBadInput, []string{"missing"}},
		{"rank", with(func(t *stoa.Tensor) { t.Shape = []int64{2} }), stoa.ReasonBadShape, []string{`"A"`, "[2]", "[-1 2]"}},
		{"width", with(func(t *stoa.Tensor) { t.Shape = []int64{2, 1} }), stoa.ReasonBadShape, []string{"[2 1]"}},
		{"negative", with(func(t *stoa.Tensor) { t.Shape = []int64{-1, 2} }), stoa.ReasonBadShape, []string{"[-1 2]"}},
		{"absurd", with(func(t *stoa.Tensor) { t.Shape = []int64{1 << 60, 2} }), stoa.ReasonBadShape, []string{"beyond"}},
		{"too few", with(func(t *stoa.Tensor) { t.Data = []float32{1} }), stoa.ReasonBadShape, []string{"holds 1"}},
		{"datatype", with(func(t *stoa.Tensor) { t.Datatype, t.Data = stoa.Int64, []int64{1, 2} }), stoa.ReasonBadDatatype,
			[]string{`"A"`, "INT64", "FP32"}},
		{"datatype of another", with(func(t *stoa.Tensor) { t.Datatype = stoa.Int64 }), stoa.ReasonBadDatatype,
			[]string{"INT64", "FP32"}},
		{"no data", with(func(t *stoa.Tensor) { t.Data = nil }), stoa.ReasonBadDatatype, nil},
		{"rows differ", with(func(t *stoa.Tensor) { t.Shape, t.Data = []int64{2, 2}, []float32{1, 2, 3, 4} }),
			stoa.ReasonBadShape, []string{"rows"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := m.Run(c.inputs, nil)
			wantRefusal(t, err, c.reason, c.words...)
		})
	}
	_, err = m.Run([]stoa.Tensor{b, a}, []string{"Z"})
	wantRefusal(t, err, stoa.ReasonBadInput, `"Z"`, `"Y"`)
	got, err := m.Run([]stoa.Tensor{b, a}, []string{"Y"})
	if err != nil || !slices.Equal(got[0].Data.([]float32), []float32{1, 2, 3}) {
		t.Errorf("got %v, %v for inputs in another order", got, err)
	}
}

func TestDoublesAreTakenForFloats(t *testing.T) {
	artifact, inputs, want := readCorpus(t, "lgb_regressor")
	m, err := Load(artifact)
	if err != nil {
		t.Fatal(err)
	}
	inputs[0].Datatype, inputs[0].Data = stoa.FP64, convert[float64](inputs[0].Data.([]float32))
	got, err := m.Run(inputs, nil)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, got[0], want[0])
}

func TestNoRowsGiveNoRows(t *testing.T) {
	for _, name := range []string{"lgb_regressor", "skl_columns_logistic", "xgb_multiclass", "skl_logistic_binary"} {
		artifact, inputs, _ := readCorpus(t, name)
		m, err := Load(artifact)
		if err != nil {
			t.Fatal(err)
		}
		for i := range inputs {
			inputs[i].Shape = slices.Clone(inputs[i].Shape)
			inputs[i].Shape[0] = 0
			switch inputs[i].Datatype {
			case stoa.FP32:
				inputs[i].Data = []float32{}
			case stoa.Int64:
				inputs[i].Data = []int64{}
			case stoa.Bytes:
				inputs[i].Data = []string{}
			}
		}
		got, err := m.Run(inputs, nil)
		if err != nil || got[0].Shape[0] != 0 {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

// TestConcurrentRunsDoNotMix runs a model from several goroutines, each with its own row.
func TestConcurrentRunsDoNotMix(t *testing.T) {
	artifact, inputs, want := readCorpus(t, "skl_columns_logistic")
	m, err := Load(artifact)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan []stoa.Tensor)
	const workers = 8
	for w := range int64(workers) {
		go func() {
			var got []stoa.Tensor
			for range 200 {
				var err error
				if got, err = m.Run(rowOf(inputs, w), nil); err != nil {
					break
				}
			}
			done <- append(got, stoa.Tensor{Shape: []int64{w}})
		}()
	}
	for range workers {
		got := <-done
		for i, expected := range rowOf(want, got[len(got)-1].Shape[0]) {
			compare(t, got[i], expected)
		}
	}
}

// FuzzLoad makes sure that no artifact makes Load or Run panic, whatever a request holds.
func FuzzLoad(f *testing.F) {
	for _, name := range corpusNames(f) {
		if artifact, _, _ := readCorpus(f, name); len(artifact) < 6000 {
			f.Add(artifact)
		}
	}
	f.Fuzz(func(t *testing.T, artifact []byte) {
		m, err := Load(artifact)
		if err != nil {
			var r *stoa.Refusal
			if !errors.As(err, &r) || (r.Reason != stoa.ReasonInvalid && r.Reason != stoa.ReasonUnsupported) {
				t.Fatalf("Load fails with %v", err)
			}
			return
		}
		inputs, _ := m.zeros(2)
		for i := range inputs {
			switch data := inputs[i].Data.(type) {
			case []float32:
				for k := range data {
					data[k] = [...]float32{float32(math.NaN()), float32(math.Inf(1)), -1e30, 0.5}[k%4]
				}
			case []int64:
				for k := range data {
					data[k] = [...]int64{math.MinInt64, -1, 1, math.MaxInt64}[k%4]
				}
			}
		}
		var r *stoa.Refusal
		if _, err := m.Run(inputs, nil); err != nil && !errors.As(err, &r) {
			t.Fatalf("Run fails with %v", err)
		}
	})
}
