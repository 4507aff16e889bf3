package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"
)

const minimal = `name: tiny
models: {price: {}}
endpoints: {price: {}}
`

func TestMinimalFileHasDefaults(t *testing.T) {
	w, err := Parse("w.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	want := &EndpointTarget{Model: "price", Version: "champion", Weight: 100}
	if got := w.Endpoints["price"].Targets; len(got) != 1 || *got[0] != *want {
		t.Errorf("targets = %+v, want %+v", got, want)
	}
	if got := w.Reliability.Inference.Timeout; got != 250*time.Millisecond {
		t.Errorf("timeout = %v", got)
	}
	if got := w.Operations.Rollout["price"]; got == nil || got.Canary.Share != 0.1 {
		t.Errorf("rollout = %+v", got)
	}
	if w.Operations.Monitor["price"] != nil {
		t.Error("a model whose target is not known is monitored")
	}
	if !w.Operations.Log.Requests || w.Criticality != "medium" || w.Performance.Runtime.MaxInflight == 0 {
		t.Errorf("defaults are missing: %+v", w)
	}
}

func TestFullFile(t *testing.T) {
	src, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, compile(t), src); err != nil {
		t.Error("schema:", err)
	}
	w, err := Load("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(w.Dir) || filepath.Base(w.Dir) != "testdata" {
		t.Errorf("Dir = %q", w.Dir)
	}
	if got := w.Endpoints["price"].Targets[1]; got.Version != "3" || got.Weight != 10 {
		t.Errorf("second target = %+v", got)
	}
	if got := w.Reliability.Retrain["price"]; got.Timeout != 10*time.Minute || got.Approve != "auto" || len(got.Command) != 9 {
		t.Errorf("retrain = %+v", got)
	}
	if got := w.DataOf("price"); got == nil || *got.Features[0].Max != 1 || !got.Features[2].Personal {
		t.Errorf("data = %+v", got)
	}
	// Every key must be in the file, or the tests that change each key miss it.
	var doc map[string]any
	if err := yaml.Unmarshal(src, &doc); err != nil {
		t.Fatal(err)
	}
	everyKeyIsThere(t, reflect.TypeFor[Workload](), doc, "")
}

// everyKeyIsThere compares the keys of a type with those of a document, in lists over all items together.
func everyKeyIsThere(t *testing.T, typ reflect.Type, doc any, path string) {
	t.Helper()
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch typ.Kind() {
	case reflect.Struct:
		m, _ := doc.(map[string]any)
		for _, f := range fields(typ) {
			if _, ok := m[f.key]; !ok {
				t.Errorf("testdata/full.yaml lacks %s.%s", path, f.key)
				continue
			}
			everyKeyIsThere(t, typ.Field(f.goes).Type, m[f.key], path+"."+f.key)
		}
	case reflect.Map:
		all := make(map[string]any)
		for _, v := range doc.(map[string]any) {
			if m, ok := v.(map[string]any); ok {
				for k, v := range m {
					all[k] = v
				}
			}
		}
		if elem(typ).Kind() == reflect.Struct {
			everyKeyIsThere(t, elem(typ), all, path+".*")
		}
	case reflect.Slice:
		all := make(map[string]any)
		for _, v := range doc.([]any) {
			if m, ok := v.(map[string]any); ok {
				for k, v := range m {
					all[k] = v
				}
			}
		}
		if elem(typ).Kind() == reflect.Struct {
			everyKeyIsThere(t, elem(typ), all, path+"[]")
		}
	}
}

func TestErrors(t *testing.T) {
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// Each case replaces old, which is in the full file once, by new, and wants one error at the place of "at" in new.
	tests := []struct{ what, old, new, at, want string }{
		{"unknown key", "retries: 2", "retires: 2", "retires",
			`unknown key "retires" in reliability.inference (did you mean "retries"?)`},
		{"unknown section", "cost:\n", "costs:\n", "costs", `unknown key "costs" in the file (did you mean "cost"?)`},
		{"unknown key far from any", "risk: limited", "risk: limited\nzzzzzzzzzzzz: 1", "zzz", `unknown key "zzzzzzzzzzzz" in the file (known: apiVersion,`},
		{"duplicate key", "risk: limited", "risk: limited\nrisk: high", "risk: high", `duplicate key "risk" in the file, first in line 7`},
		{"duplicate key in a flow", "{flush: 5s}", "{flush: 5s, flush: 6s}", "flush: 6s", `duplicate key "flush" in cost.meter, first in line 55`},
		{"duplicate model", "  plain: {}\nendpoints", "  plain: {}\n  price: {}\nendpoints", "price: {}", `duplicate key "price" in models`},
		{"text for a number", "retries: 2", "retries: two", "two", `reliability.inference.retries must be a whole number, not the text "two"`},
		{"fraction for a whole number", "retries: 2", "retries: 2.5", "2.5", `reliability.inference.retries must be a whole number, not the number 2.5`},
		{"number for a text", "[DOWN, UP]", "[DOWN, UP, 1]", "1]", `classes[2] must be text, not the number 1 (put it in quotes: "1")`},
		{"boolean for a text", "team: market,", "team: true,", "true", `owner.team must be text, not true (put it in quotes: "true")`},
		{"list for a section", "cost:\n  meter: {flush: 5s}", "cost: [1]", "[1]", `cost must be a section of keys and values, not a list`},
		{"section for a list", "[owner, ana]", "{owner: ana}", "{owner", `security.approvers.price must be a list, not a section`},
		{"text for a boolean", "requests: true", `requests: "yes"`, `"yes"`, `operations.log.requests must be true or false, not the text "yes"`},
		{"no value", "risk: limited", "risk:", "", `risk has no value (leave the key out to get its default)`},
		{"null", "retries: 2", "retries: null", "null", `reliability.inference.retries has no value`},
		{"not in the set", "criticality: high", "criticality: hgih", "hgih", `criticality is "hgih": not one of low, medium, high, critical (did you mean "high"?)`},
		{"future version", "stoa/v1", "stoa/v2", "stoa/v2", `apiVersion is "stoa/v2": not one of stoa/v1`},
		{"below the least", "weight: 90", "weight: -1", "-1", `endpoints.price.targets[0].weight is -1: it must be at least 0`},
		{"above the greatest", "retries: 2", "retries: 11", "11", `it must be at most 10`},
		{"too large for the type", "retries: 2", "retries: 99999999999999999999", "9999", `reliability.inference.retries`},
		{"canary share of one", "share: 0.1", "share: 1", "1", `canary.share is 1: it must be less than 1`},
		{"canary share of nothing", "share: 0.1", "share: 0", "0", `canary.share is 0: it must be greater than 0`},
		{"infinity", "share: 0.1", "share: .inf", ".inf", `canary.share must be a number, not the number .inf`},
		{"not a number", "share: 0.1", "share: .nan", ".nan", `canary.share must be a number, not the number .nan`},
		{"duration of nothing", "timeout: 250ms", "timeout: 0s", "0s", `reliability.inference.timeout is "0s": it must be longer than nothing`},
		{"negative duration", "timeout: 250ms", "timeout: -1s", "-1s", `timeout is "-1s": it must be longer than nothing`},
		{"duration without unit", "timeout: 250ms", "timeout: 250", "250", `timeout must be a duration, not the number 250 (write a number and a unit`},
		{"not a duration", "timeout: 250ms", "timeout: 250 ms", "250 ms", `timeout is "250 ms": not a duration`},
		{"all weights zero", "weight: 90}\n      - {model: price, version: 3, weight: 10}", "weight: 0}", "", `endpoints.price: the weights are all zero`},
		{"same target twice", "version: 3, weight", "version: champion, weight", "", `a second target on price@champion`},
		{"unknown model", "- {model: price, version: 3", "- {model: prise, version: 3", "prise", `unknown model "prise" (did you mean "price"?)`},
		{"unknown model in a section", "price: {metric", "prices: {metric", "prices", `unknown model "prices" (did you mean "price"?)`},
		{"unknown alias", "version: previous", "version: previus", "previus", `fallback[0].version is "previus": neither a version number nor an alias (did you mean "previous"?)`},
		{"version zero", "version: 3", "version: 0", "0", `version is "0": neither a version number nor an alias (versions are numbered from 1)`},
		{"unknown data set", "{data: market,", "{data: marked,", "marked", `unknown data set "marked" (did you mean "market"?)`},
		{"unknown feature", "feature: demand", "feature: demant", "demant", `unknown feature "demant" (did you mean "demand"?)`},
		{"rule on a category", "feature: demand", "feature: region", "region", `feature "region" is of type category; a rule compares numbers`},
		{"unknown class in a rule", "then: UP", "then: UPP", "UPP", `fallback[1].rule.then is "UPP": not a class of target "class" (did you mean "UP"?)`},
		{"unknown class in an answer", "label: DOWN", "label: SIDEWAYS", "SIDEWAYS", `is "SIDEWAYS": not a class of target "class"`},
		{"two kinds of fallback", "- {answer: {label: DOWN}}", "- {answer: {label: DOWN}, model: price}", "{answer", `fallback[2] needs exactly one of model, rule and answer`},
		{"no kind of fallback", "- {answer: {label: DOWN}}", "- {}", "", `fallback[2] needs exactly one of model, rule and answer`},
		{"version of nothing", "- {answer: {label: DOWN}}", "- {answer: {label: DOWN}, version: 2}", "2}", `version goes with model`},
		{"missing key", "{metric: accuracy, min: 0.6}", "{metric: accuracy}", "", `principles.gates.price needs the key "min"`},
		{"range the wrong way", "min: 0, max: 1", "min: 2, max: 1", "2, max", `min is 2, more than max, 1`},
		{"range of a category", "type: category,", "type: category, min: 0,", "", `a feature of type category has no range`},
		{"feature twice", "{name: demand,", "{name: period,", "period", `a second feature "period"`},
		{"feature is target", "{name: class,", "{name: period,", "period", `"period" is both feature and target`},
		{"class twice", "[DOWN, UP]", "[DOWN, UP, UP]", "UP]", `"UP" is there twice`},
		{"one class", "[DOWN, UP]", "[DOWN]", "", `data.market.target.classes needs at least 2`},
		{"absolute path", "data/feed.csv", "/etc/feed.csv", "/etc", `data.market.source is "/etc/feed.csv": outside the workload's directory`},
		{"path that climbs", "data/feed.csv", "data/../../feed.csv", "data/..", `outside the workload's directory`},
		{"path with backslashes", "data/feed.csv", `data\..\feed.csv`, `data\`, `outside the workload's directory`},
		{"address", "data/feed.csv", "http://host/feed.csv", "http", `outside the workload's directory`},
		{"unknown kind of file", "data/feed.csv", "data/feed.pkl", "data", `neither .csv, .csv.gz nor .parquet`},
		{"name with capitals", "name: electricity", "name: Electricity", "Electricity", `name is "Electricity": not a name (a name is`},
		{"name of an entry", "  plain: {}\nendpoints", "  pl.ain: {}\nendpoints", "pl.ain", `models: "pl.ain" is not a name`},
		{"unknown placeholder", `"{workdir}"`, `"{wrokdir}"`, `"{wrokdir}"`, `unknown placeholder {wrokdir} (did you mean "workdir"?)`},
		{"command without data", `"{data}"`, `"data"`, "", `reliability.retrain.price.command does not use {data}`},
		{"command in one text", `command: [stoa, train, "{data}", --out, "{model}", --metrics, "{metrics}", --dir, "{workdir}"]`,
			`command: stoa train {data} {model}`, "stoa", `reliability.retrain.price.command must be a list, not the text`},
		{"hold-out of less than a row", "window_rows: 5000\n      holdout: 0.2", "window_rows: 10\n      holdout: 0.01", "0.01", `leaves less than one row`},
		{"canary bounds", "min_labels: 100", "min_labels: 1001", "1001", `min_labels is 1001, more than max_labels, 1000`},
		{"no approvers", "[owner, ana]", "[]", "", `security.approvers.price is an empty list`},
		{"empty approver", "[owner, ana]", `[owner, ""]`, `""`, `security.approvers.price[1] is empty`},
		{"more people than movers", "people: 2", "people: 3", "3", `security.aliases.price.champion.people is 3, and only owner, ana may move it`},
		{"nobody agrees", "people: 2", "people: 0", "0", `security.aliases.price.champion.people is 0`},
		{"mover twice", "[ana, bo, cy]", "[ana, bo, ana]", "", `security.aliases.price.live.movers: "ana" is there twice`},
		{"no gates", "[quality, accuracy]", "[]", "", `security.aliases.price.live.gates is an empty list`},
		{"alias of no model", "    price:\n      champion: {gates", "    prices:\n      champion: {gates", "prices", `unknown model "prices"`},
		{"anchor", "team: market,", "team: &t market,", "&t", `anchors and aliases are not part of a workload file`},
		{"alias", "team: market,", "team: *t ,", "*t", `anchors and aliases are not part of a workload file`},
		{"tag", "team: market,", "team: !!str market,", "!!str", `tags are not part of a workload file`},
		{"control character", "team: market,", `team: "a\u0007b",`, `"a`, `it has control characters`},
		{"two documents", "risk: limited", "risk: limited\n---\nname: b", "", `more than one document`},
		{"no target to monitor", "price: {data: market,", "price: {", "", `needs to know the target of model "price"`},
		{"comma in a flow", "description: direction of the price", "description: direction, of the price", "of the price", `(a comma ends a value within {…}: put text that has one in quotes)`},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			if strings.Count(string(full), tt.old) != 1 {
				t.Fatalf("%q is in the full file %d times", tt.old, strings.Count(string(full), tt.old))
			}
			src := strings.Replace(string(full), tt.old, tt.new, 1)
			_, err := Parse("w.yaml", []byte(src))
			all := Errors(err)
			i := 0
			for i < len(all) && !strings.Contains(all[i].Error(), tt.want) {
				i++
			}
			if i == len(all) {
				t.Fatalf("got:\n%v\nwant one with:\n%s", err, tt.want)
			}
			if tt.at == "" {
				return
			}
			at := strings.Index(string(full), tt.old) + strings.Index(tt.new, tt.at)
			line := strings.Count(src[:at], "\n") + 1
			column := at - strings.LastIndexByte(src[:at], '\n')
			if all[i].Line != line || all[i].Column != column {
				t.Errorf("at %d:%d, want %d:%d: %v", all[i].Line, all[i].Column, line, column, all[i])
			}
		})
	}
}

func TestAllErrorsAreReported(t *testing.T) {
	src := `name: Bad
criticality: extreme
modles: {}
models:
  a: {data: nowhere}
endpoints:
  a: {targets: [{model: b, weight: -3}]}
reliability:
  inference: {timeout: fast, retries: many}
`
	_, err := Parse("w.yaml", []byte(src))
	var lines []int
	for _, e := range Errors(err) {
		lines = append(lines, e.Line)
	}
	if want := []int{1, 2, 3, 5, 7, 7, 9, 9}; !reflect.DeepEqual(lines, want) {
		t.Errorf("errors in lines %v, want %v:\n%v", lines, want, err)
	}
	var one *Error
	if !errors.As(err, &one) || one.File != "w.yaml" {
		t.Errorf("errors.As found %+v", one)
	}
}

func TestBombsAreRefused(t *testing.T) {
	var laughs strings.Builder
	laughs.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 30; i++ {
		fmt.Fprintf(&laughs, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	var stairs strings.Builder
	for i := range 600 {
		stairs.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	tests := []struct{ what, src, want string }{
		{"billion laughs", laughs.String(), "anchors and aliases"},
		{"deep flow", strings.Repeat("[", 100_000), "nested more than"},
		{"deep flow of maps", strings.Repeat("{a: ", 50_000), "nested more than"},
		{"deep items", strings.Repeat("- ", 100_000) + "x", "nested too deep"},
		{"deep blocks", stairs.String(), "nested too deep"},
		{"long keys", strings.Repeat("? ", 50_000), "long form of keys"},
		{"many tags", strings.Repeat("!a ", 50_000), "tags are not part"},
		{"too large", strings.Repeat("#", maxBytes+1), "larger than"},
		{"many errors", "name: a\n" + func() string {
			var b strings.Builder
			for i := range 5000 {
				fmt.Fprintf(&b, "k%d: 1\n", i)
			}
			return b.String()
		}(), "more errors"},
		{"not UTF-8", "name: \xff", "not UTF-8"},
		{"NUL", "name: a\x00b", "NUL"},
		{"empty", "", "empty"},
		{"comment only", "# nothing\n", "empty"},
		{"a text", "hello", "must be a section of keys and values"},
		{"tabs", "name: a\n\tmodels: {}\n", "not YAML"},
		{"not closed", "name: [a", "not YAML"},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			begin := time.Now()
			_, err := Parse("w.yaml", []byte(tt.src))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %.500v, want %q", err, tt.want)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if n := len(Errors(err)); n > maxErrors+1 {
				t.Errorf("%d errors", n)
			}
		})
	}
}

func TestLinkThatLeadsOut(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "feed.csv"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "workload.yaml")
	if err := os.WriteFile(path, full, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "10:13: data.market.source is") {
		t.Errorf("got %v", err)
	}
}

func TestLoadOfWhatIsNoFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("directory: %v", err)
	}
}

// Whatever the schema refuses, Parse refuses too; an editor that follows the schema never accepts less than Stoa.
func TestParseIsAsStrictAsTheSchema(t *testing.T) {
	src, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	odd := []any{nil, -1.0, 0.0, 0.5, 1e300, "", "x", "0s", "1s", true, []any{}, []any{"a", 1.0}, map[string]any{},
		map[string]any{"Not A Name": map[string]any{}}, "champion", 3.0}
	schema := compile(t)
	rapid.Check(t, func(rt *rapid.T) {
		var doc any
		asJSON, err := yaml.YAMLToJSON(src)
		if err != nil {
			rt.Fatal(err)
		}
		if err := json.Unmarshal(asJSON, &doc); err != nil {
			rt.Fatal(err)
		}
		mutate(rt, doc, odd)
		changed, err := json.Marshal(doc)
		if err != nil {
			rt.Fatal(err)
		}
		_, parseErr := Parse("w.json", changed)
		if schemaErr := validate(t, schema, changed); schemaErr != nil && parseErr == nil {
			rt.Fatalf("%s\npasses Parse but not the schema: %v", changed, schemaErr)
		}
	})
}

// mutate changes, removes or adds one value somewhere in doc.
func mutate(rt *rapid.T, doc any, odd []any) {
	for {
		switch node := doc.(type) {
		case map[string]any:
			keys := sorted(node)
			if len(keys) == 0 {
				node["extra"] = rapid.SampledFrom(odd).Draw(rt, "value")
				return
			}
			key := rapid.SampledFrom(keys).Draw(rt, "key")
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0:
				delete(node, key)
				return
			case 1:
				node[key] = rapid.SampledFrom(odd).Draw(rt, "value")
				return
			case 2:
				node["extra"] = rapid.SampledFrom(odd).Draw(rt, "value")
				return
			}
			switch node[key].(type) {
			case map[string]any, []any:
				doc = node[key]
			default:
				node[key] = rapid.SampledFrom(odd).Draw(rt, "value")
				return
			}
		case []any:
			if len(node) == 0 {
				return
			}
			i := rapid.IntRange(0, len(node)-1).Draw(rt, "item")
			switch node[i].(type) {
			case map[string]any, []any:
				doc = node[i]
			default:
				node[i] = rapid.SampledFrom(odd).Draw(rt, "value")
				return
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add([]byte(minimal))
	f.Add(Template("a"))
	f.Add([]byte("a: &a [*a]\n<<: *a\n"))
	f.Add([]byte("? [a, {b: c}]\n: |\n  x\n- - - y\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		w, err := Parse("w.yaml", src)
		if (w == nil) == (err == nil) {
			t.Fatal("neither a workload nor an error, or both")
		}
		lines := bytes.Count(src, []byte("\n")) + bytes.Count(src, []byte("\r")) + 1
		for _, e := range Errors(err) {
			if e.Line < 1 || e.Column < 1 || e.Line > lines+1 || e.Message == "" {
				t.Errorf("%+v of %d lines", e, lines)
			}
		}
		if err != nil && len(Errors(err)) == 0 {
			t.Errorf("no position: %v", err)
		}
	})
}
