package experiment_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stoaproject/stoa/principles/experiment"
)

// A thing is a run as a naive reader sees it.
type thing struct {
	name    string
	start   int64
	metrics map[string]float64
	params  map[string]string
	tags    map[string]string
}

// A condition is a comparison with how a naive reader decides it.
type condition struct {
	text  string
	holds func(thing) bool
}

// like decides LIKE by trying every split.
func like(pattern, text string) bool {
	if pattern == "" {
		return text == ""
	}
	if pattern[0] == '%' {
		for i := range len(text) + 1 {
			if like(pattern[1:], text[i:]) {
				return true
			}
		}
		return false
	}
	return text != "" && (pattern[0] == '_' || pattern[0] == text[0]) && like(pattern[1:], text[1:])
}

func drawThing(t *rapid.T, i int) thing {
	values := rapid.SampledFrom([]float64{0, 1, -1, 0.5, math.NaN(), math.Inf(1), math.Inf(-1)})
	texts := rapid.SampledFrom([]string{"", "a", "A", "ab", "b%", "it's", strings.Repeat("x", 98) + "é", strings.Repeat("x", 120)})
	keys := rapid.SampledFrom([]string{"k", "k.l", "m n"})
	return thing{
		name: fmt.Sprintf("run%d", i), start: rapid.Int64Range(0, 3).Draw(t, "start"),
		metrics: rapid.MapOfN(keys, values, 0, 3).Draw(t, "metrics"),
		params:  rapid.MapOfN(keys, texts, 0, 3).Draw(t, "params"),
		tags:    rapid.MapOfN(keys, texts, 0, 3).Draw(t, "tags"),
	}
}

func drawCondition(t *rapid.T) condition {
	key := rapid.SampledFrom([]string{"k", "k.l", "m n"}).Draw(t, "key")
	quoted := rapid.SampledFrom([]string{"`" + key + "`", `"` + key + `"`}).Draw(t, "quoted")
	if rapid.Bool().Draw(t, "is a metric") {
		op := rapid.SampledFrom([]string{"=", "!=", "<", "<=", ">", ">="}).Draw(t, "operator")
		bound := rapid.SampledFrom([]float64{-1, 0, 0.5, 1}).Draw(t, "bound")
		return condition{fmt.Sprintf("metrics.%s %s %g", quoted, op, bound), func(r thing) bool {
			v, has := r.metrics[key]
			switch op {
			case "=":
				return has && v == bound
			case "!=":
				return has && v != bound
			case "<":
				return has && v < bound
			case "<=":
				return has && v <= bound
			case ">":
				return has && v > bound
			}
			return has && v >= bound
		}}
	}
	of, entity := func(r thing) map[string]string { return r.params }, "params"
	if rapid.Bool().Draw(t, "is a tag") {
		of, entity = func(r thing) map[string]string { return r.tags }, "tags"
	}
	op := rapid.SampledFrom([]string{"=", "!=", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL"}).Draw(t, "operator")
	if strings.HasPrefix(op, "IS") {
		return condition{fmt.Sprintf("%s.%s %s", entity, quoted, op), func(r thing) bool {
			_, has := of(r)[key]
			return has == (op == "IS NOT NULL")
		}}
	}
	text := rapid.SampledFrom([]string{
		"", "a", "b%", "a_", "%", "it's", strings.Repeat("x", 98) + "é", strings.Repeat("x", 120), "x%é",
	}).Draw(t, "text")
	literal := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	return condition{fmt.Sprintf("%s.%s %s %s", entity, quoted, op, literal), func(r thing) bool {
		v, has := of(r)[key]
		switch op {
		case "=":
			return has && v == text
		case "!=":
			return has && v != text
		case "LIKE":
			return has && like(text, v)
		}
		return has && like(strings.ToLower(text), strings.ToLower(v))
	}}
}

// TestSearchAgainstNaiveReader compares filters, orders and pages with a reader that looks at every run.
func TestSearchAgainstNaiveReader(t *testing.T) {
	r, ctx := open(t), t.Context()
	experiments := 0
	rapid.Check(t, func(t *rapid.T) {
		experiments++
		made, err := r.CreateExperiment(ctx, r.caller, &experiment.CreateExperimentRequest{Name: fmt.Sprint("e", experiments)})
		if err != nil {
			t.Fatal(err)
		}
		things := make([]thing, rapid.IntRange(0, 6).Draw(t, "runs"))
		for i := range things {
			things[i] = drawThing(t, i)
			run, err := r.CreateRun(ctx, r.caller, &experiment.CreateRunRequest{
				ExperimentID: made.ExperimentID, RunName: things[i].name, StartTime: experiment.Int64(things[i].start),
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.LogBatch(ctx, r.caller, things[i].batch(run.Run.Info.RunID)); err != nil {
				t.Fatal(err)
			}
		}
		conditions := rapid.SliceOfN(rapid.Custom(drawCondition), 0, 3).Draw(t, "conditions")
		var texts []string
		var want []thing
		for _, c := range conditions {
			texts = append(texts, c.text)
		}
		for _, one := range things {
			if !slices.ContainsFunc(conditions, func(c condition) bool { return !c.holds(one) }) {
				want = append(want, one)
			}
		}
		key := rapid.SampledFrom([]string{"k", "m n"}).Draw(t, "order key")
		descending := rapid.Bool().Draw(t, "descending")
		order := "metrics.`" + key + "`"
		if descending {
			order += " DESC"
		}
		got := pages(t, r, &experiment.SearchRunsRequest{
			ExperimentIDs: []string{made.ExperimentID}, Filter: strings.Join(texts, " and "), OrderBy: []string{order},
		}, rapid.IntRange(1, 4).Draw(t, "page"))
		compareOrder(t, strings.Join(texts, " and "), got, want, key, descending)
	})
}

// batch is what a thing logs.
func (r thing) batch(runID string) *experiment.LogBatchRequest {
	req := &experiment.LogBatchRequest{RunID: runID}
	for key, v := range r.metrics {
		value, at := experiment.Float64(v), experiment.Int64(1)
		req.Metrics = append(req.Metrics, experiment.Metric{Key: key, Value: &value, Timestamp: &at})
	}
	for key, value := range r.params {
		req.Params = append(req.Params, experiment.Param{Key: key, Value: value})
	}
	for key, value := range r.tags {
		req.Tags = append(req.Tags, experiment.Tag{Key: key, Value: value})
	}
	return req
}

// pages reads all pages of a search and gives the names.
func pages(t *rapid.T, r *room, req *experiment.SearchRunsRequest, size int) []string {
	var names []string
	limit := experiment.Int64(size)
	for req.MaxResults = &limit; ; {
		found, err := r.SearchRuns(t.Context(), r.caller, req)
		if err != nil {
			t.Fatalf("%s: %v", req.Filter, err)
		}
		for _, run := range found.Runs {
			names = append(names, run.Info.RunName)
		}
		if req.PageToken = found.NextPageToken; req.PageToken == "" {
			return names
		}
	}
}

// compareOrder checks that got are the names of want, numbers first, then NaN, then none, and the latest start first
// among equals.
func compareOrder(t *rapid.T, filter string, got []string, want []thing, key string, descending bool) {
	byName := map[string]thing{}
	for _, one := range want {
		byName[one.name] = one
	}
	if len(got) != len(want) {
		t.Fatalf("%s: got %v, want %d of %v", filter, got, len(want), want)
	}
	class := func(r thing) int {
		v, has := r.metrics[key]
		switch {
		case !has:
			return 2
		case math.IsNaN(v):
			return 1
		}
		return 0
	}
	for i, name := range got {
		one, known := byName[name]
		if !known {
			t.Fatalf("%s: got %v, want %v", filter, got, want)
		}
		if i == 0 {
			continue
		}
		before := byName[got[i-1]]
		a, b := before.metrics[key], one.metrics[key]
		if descending {
			a, b = b, a
		}
		switch {
		case class(before) != class(one):
			if class(before) > class(one) {
				t.Fatalf("%s: %s is before %s", filter, before.name, one.name)
			}
		case class(one) == 0 && a != b:
			if a > b {
				t.Fatalf("%s: %s is before %s", filter, before.name, one.name)
			}
		case before.start < one.start:
			t.Fatalf("%s: %s, the earlier, is before %s", filter, before.name, one.name)
		}
	}
}

// TestLatestMetric checks that the latest value does not depend on the order in which values come, nor on how often.
func TestLatestMetric(t *testing.T) {
	r, ctx := open(t), t.Context()
	rapid.Check(t, func(rt *rapid.T) {
		runID := r.run(t, "0")
		type value struct {
			step, at int64
			value    float64
		}
		values := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) value {
			return value{rapid.Int64Range(-1, 1).Draw(t, "step"), rapid.Int64Range(0, 2).Draw(t, "at"),
				rapid.Float64Range(-2, 2).Draw(t, "value")}
		}), 1, 6).Draw(rt, "values")
		for _, batch := range [][]value{values[:len(values)/2], values[len(values)/2:], values} {
			req := &experiment.LogBatchRequest{RunID: runID}
			for _, v := range batch {
				number, at := experiment.Float64(v.value), experiment.Int64(v.at)
				req.Metrics = append(req.Metrics, experiment.Metric{
					Key: "m", Value: &number, Timestamp: &at, Step: experiment.Int64(v.step),
				})
			}
			if _, err := r.LogBatch(ctx, r.caller, req); err != nil {
				rt.Fatal(err)
			}
		}
		best := slices.MaxFunc(values, func(a, b value) int {
			for _, pair := range [][2]float64{{float64(a.step), float64(b.step)}, {float64(a.at), float64(b.at)}, {a.value, b.value}} {
				if pair[0] != pair[1] {
					if pair[0] < pair[1] {
						return -1
					}
					return 1
				}
			}
			return 0
		})
		got := r.get(t, runID).Data.Metrics[0]
		if float64(*got.Value) != best.value || int64(*got.Timestamp) != best.at || int64(got.Step) != best.step {
			rt.Fatalf("the latest is %v at %d, step %d; want %+v", *got.Value, *got.Timestamp, got.Step, best)
		}
	})
}
