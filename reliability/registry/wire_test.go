package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/reliability/registry"
)

var (
	ann  = stoa.Caller{ID: "1", Name: "ann"}
	boss = stoa.Caller{ID: "2", Name: "approver of price"}
)

// track resolves sources as a tracking server with one run would: r1 has an ONNX model, a pickle and a damaged file.
func track(_ context.Context, source, runID string) (io.ReadCloser, registry.Resolved, error) {
	found := registry.Resolved{
		Storage: "mlflow-artifacts:/0/r1/artifacts/model", RunID: "r1", DataDigest: "d1", Code: "c0ffee",
		Parameters: map[string]string{"depth": "6"}, Metrics: map[string]float64{"auc": 0.9},
	}
	switch {
	case runID != "" && runID != "r1":
		return nil, found, &stoa.Refusal{Reason: stoa.ReasonNotFound, Message: "Run with id=" + runID + " not found"}
	case strings.HasSuffix(source, "pickle"):
		found.Format, found.Unservable = "sklearn", "the flavour sklearn needs Python"
		return nil, found, nil
	case strings.HasSuffix(source, "damaged"):
		return io.NopCloser(strings.NewReader("mod")), found, nil
	}
	return io.NopCloser(strings.NewReader("model of " + source)), found, nil
}

// tracked is a registry whose sources resolve, with the model price.
func tracked(t testing.TB, change ...func(*registry.Config)) (*house, *registry.Wire) {
	t.Helper()
	h := open(t)
	c := config(h.db, h.blobs, h.ledger)
	c.Resolve = track
	for _, fn := range change {
		fn(&c)
	}
	r, err := registry.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	h.Registry = r
	w := r.Wire()
	call(t, w.CreateRegisteredModel, &registry.CreateRegisteredModelRequest{Name: "price"})
	return h, w
}

// call makes a call that must succeed.
func call[Req, Resp any](
	t testing.TB, do func(context.Context, stoa.Caller, *Req) (*Resp, error), req *Req,
) *Resp {
	t.Helper()
	resp, err := do(t.Context(), ann, req)
	if err != nil {
		t.Fatalf("%+v: %v", req, err)
	}
	return resp
}

// route is a call whose request is JSON, as the gateway makes one.
func route[Req, Resp any](do func(context.Context, stoa.Caller, *Req) (*Resp, error)) func(string) (string, error) {
	return func(body string) (string, error) {
		req := new(Req)
		if err := json.Unmarshal([]byte(body), req); err != nil {
			return "", err
		}
		resp, err := do(context.Background(), ann, req)
		if err != nil {
			return "", err
		}
		text, err := json.Marshal(resp)
		return string(text), err
	}
}

// code is the error code that upstream has for a reason.
func code(err error) string {
	var refusal *stoa.Refusal
	if !errors.As(err, &refusal) {
		return "INTERNAL_ERROR"
	}
	return map[stoa.Reason]string{
		stoa.ReasonUnknownModel: "RESOURCE_DOES_NOT_EXIST", stoa.ReasonUnknownVersion: "RESOURCE_DOES_NOT_EXIST",
		stoa.ReasonNotFound: "RESOURCE_DOES_NOT_EXIST", stoa.ReasonConflict: "RESOURCE_ALREADY_EXISTS",
		stoa.ReasonInvalid: "INVALID_PARAMETER_VALUE", stoa.ReasonForbidden: "PERMISSION_DENIED",
	}[refusal.Reason]
}

// routes are the calls of MLflow's model registry.
func routes(w *registry.Wire) map[string]func(string) (string, error) {
	return map[string]func(string) (string, error){
		"registered-models/create":              route(w.CreateRegisteredModel),
		"registered-models/get":                 route(w.GetRegisteredModel),
		"registered-models/search":              route(w.SearchRegisteredModels),
		"registered-models/rename":              route(w.RenameRegisteredModel),
		"registered-models/update":              route(w.UpdateRegisteredModel),
		"registered-models/delete":              route(w.DeleteRegisteredModel),
		"registered-models/set-tag":             route(w.SetRegisteredModelTag),
		"registered-models/delete-tag":          route(w.DeleteRegisteredModelTag),
		"registered-models/get-latest-versions": route(w.GetLatestVersions),
		"POST registered-models/alias":          route(w.SetRegisteredModelAlias),
		"GET registered-models/alias":           route(w.GetModelVersionByAlias),
		"DELETE registered-models/alias":        route(w.DeleteRegisteredModelAlias),
		"model-versions/create":                 route(w.CreateModelVersion),
		"model-versions/get":                    route(w.GetModelVersion),
		"model-versions/search":                 route(w.SearchModelVersions),
		"model-versions/update":                 route(w.UpdateModelVersion),
		"model-versions/delete":                 route(w.DeleteModelVersion),
		"model-versions/get-download-uri":       route(w.GetModelVersionDownloadURI),
		"model-versions/transition-stage":       route(w.TransitionModelVersionStage),
		"model-versions/set-tag":                route(w.SetModelVersionTag),
		"model-versions/delete-tag":             route(w.DeleteModelVersionTag),
	}
}

const (
	missing = "INVALID_PARAMETER_VALUE Missing value for required parameter '%s'. See the API docs for more information " +
		"about request parameters."
	noModel   = "RESOURCE_DOES_NOT_EXIST Registered Model with name=none not found"
	noVersion = "RESOURCE_DOES_NOT_EXIST Model Version (name=price, version=9) not found"
	badNumber = "INVALID_PARAMETER_VALUE Parameter 'version' must be an integer, got 'x'."
	badKey    = `INVALID_PARAMETER_VALUE Invalid value "a*b" for parameter 'key' supplied: Names may only contain ` +
		"alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/)."
)

func lack(parameter string) string { return fmt.Sprintf(missing, parameter) }

// TestWhatTheRoutesRefuse has the errors of every route, with upstream's code and text.
func TestWhatTheRoutesRefuse(t *testing.T) {
	_, w := tracked(t)
	create := routes(w)["model-versions/create"]
	if _, err := create(`{"name":"price","source":"runs:/r1/model","run_id":"r1"}`); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 100_001)
	seen := map[string]bool{}
	for _, test := range []struct{ route, body, want string }{
		{"registered-models/create", `{}`, lack("name")},
		{"registered-models/create", `{"name":" "}`, "INVALID_PARAMETER_VALUE Missing value for required parameter 'name'."},
		{"registered-models/create", `{"name":"a/b"}`,
			"INVALID_PARAMETER_VALUE Invalid model name 'a/b'. Names cannot contain '/' or ':'."},
		{"registered-models/create", `{"name":".."}`, `INVALID_PARAMETER_VALUE Invalid value ".." for parameter 'name' ` +
			"supplied: Names may be treated as files in certain cases, and must not resolve to other names when treated as " +
			"such. This name would resolve to '..'"},
		{"registered-models/create", `{"name":"price"}`,
			"RESOURCE_ALREADY_EXISTS Registered Model (name=price) already exists."},
		{"registered-models/create", `{"name":"price","tags":[{"key":"mlflow.prompt.is_prompt","value":"true"}]}`,
			"RESOURCE_ALREADY_EXISTS Tried to create a prompt with name 'price', but the name is already taken by a " +
				"registered model. MLflow does not allow creating a model and a prompt with the same name."},
		{"registered-models/create", `{"name":"b","tags":[{"key":"a*b","value":""}]}`, badKey},
		{"registered-models/get", `{"name":"none"}`, noModel},
		{"registered-models/get", `{}`, lack("name")},
		{"registered-models/search", `{"max_results":1001}`, "INVALID_PARAMETER_VALUE Invalid value 1001 for parameter " +
			"'max_results' supplied: It must be at most 1000, but got value 1001. See the API docs for more information " +
			"about request parameters."},
		{"registered-models/search", `{"filter":"run_id = 'x'"}`,
			"INVALID_PARAMETER_VALUE Invalid attribute key 'run_id' specified. Valid keys are '{'name'}' (at position 1)"},
		{"registered-models/rename", `{"name":"price"}`, lack("new_name")},
		{"registered-models/rename", `{"name":"none","new_name":"b"}`, noModel},
		{"registered-models/rename", `{"name":"price","new_name":"a:b"}`,
			"INVALID_PARAMETER_VALUE Invalid model name 'a:b'. Names cannot contain '/' or ':'."},
		{"registered-models/update", `{"name":"none"}`, noModel},
		{"registered-models/delete", `{"name":"none"}`, noModel},
		{"registered-models/set-tag", `{"name":"price","value":"v"}`, lack("key")},
		{"registered-models/set-tag", `{"name":"none","key":"k"}`, noModel},
		{"registered-models/set-tag", `{"name":"price","key":"` + long[:251] + `"}`,
			"INVALID_PARAMETER_VALUE 'key' exceeds the maximum length of 250 characters"},
		{"registered-models/set-tag", `{"name":"price","key":"k","value":"` + long + `"}`,
			"INVALID_PARAMETER_VALUE 'value' exceeds the maximum length of 100000 characters"},
		{"registered-models/delete-tag", `{"name":"none","key":"k"}`, noModel},
		{"registered-models/delete-tag", `{"name":"price","key":"a*b"}`, badKey},
		{"registered-models/get-latest-versions", `{"name":"none"}`, noModel},
		{"registered-models/get-latest-versions", `{"name":"price","stages":["Prod"]}`, "INVALID_PARAMETER_VALUE Invalid " +
			"Model Version stage: Prod. Value must be one of None, Staging, Production, Archived."},
		{"POST registered-models/alias", `{"name":"price","alias":"a"}`, lack("version")},
		{"POST registered-models/alias", `{"name":"price","alias":"a b","version":"1"}`, "INVALID_PARAMETER_VALUE Invalid " +
			"alias name: 'a b'. Names may only contain alphanumerics, underscores (_), and dashes (-)."},
		{"POST registered-models/alias", `{"name":"price","alias":"Latest","version":"1"}`,
			"INVALID_PARAMETER_VALUE 'latest' alias name (case insensitive) is reserved."},
		{"POST registered-models/alias", `{"name":"price","alias":"V2","version":"1"}`,
			"INVALID_PARAMETER_VALUE Version alias name 'V2' is reserved."},
		{"POST registered-models/alias", `{"name":"price","alias":"` + long[:256] + `","version":"1"}`,
			"INVALID_PARAMETER_VALUE 'Registered model alias name' exceeds the maximum length of 255 characters"},
		{"POST registered-models/alias", `{"name":"price","alias":"a","version":"9"}`, noVersion},
		{"POST registered-models/alias", `{"name":"price","alias":"champion","version":"1"}`, "PERMISSION_DENIED champion of " +
			`"price" may not be moved to version 1: no ledger entry is given, and ann is not one of the model's approvers`},
		{"GET registered-models/alias", `{"name":"price","alias":"none"}`,
			"INVALID_PARAMETER_VALUE Registered model alias none not found."},
		{"GET registered-models/alias", `{"name":"none","alias":"a"}`, noModel},
		{"DELETE registered-models/alias", `{"name":"none","alias":"a"}`, noModel},
		{"model-versions/create", `{"name":"price"}`, lack("source")},
		{"model-versions/create", `{"name":"none","source":"runs:/r1/model","run_id":"r1"}`, noModel},
		{"model-versions/create", `{"name":"price","source":"runs:/r1/model","run_id":"r2"}`, "INVALID_PARAMETER_VALUE " +
			"Invalid model version source: 'runs:/r1/model'. The run_id request parameter must identify the resource that " +
			"contains the source."},
		{"model-versions/create", `{"name":"price","source":"models:/m-1","model_id":"m-2"}`, "INVALID_PARAMETER_VALUE " +
			"Invalid model version source: 'models:/m-1'. The model_id request parameter must identify the resource that " +
			"contains the source."},
		{"model-versions/create", `{"name":"price","source":"models:/price/9"}`, noVersion},
		{"model-versions/get", `{"name":"price"}`, lack("version")},
		{"model-versions/get", `{"name":"price","version":"9"}`, noVersion},
		{"model-versions/get", `{"name":"price","version":"x"}`, badNumber},
		{"model-versions/search", `{"max_results":0}`,
			"INVALID_PARAMETER_VALUE Invalid value for max_results. It must be a positive integer, but got 0"},
		{"model-versions/search", `{"order_by":["run_id"]}`, "INVALID_PARAMETER_VALUE Invalid order by key 'run_id' " +
			"specified. Valid keys are '{'creation_timestamp', 'last_updated_timestamp', 'name', 'version_number'}'"},
		{"model-versions/update", `{"name":"price","version":"9"}`, noVersion},
		{"model-versions/delete", `{"name":"price","version":"9"}`, noVersion},
		{"model-versions/get-download-uri", `{"name":"price","version":"9"}`, noVersion},
		{"model-versions/transition-stage", `{"name":"price","version":"1","stage":"Live"}`, "INVALID_PARAMETER_VALUE Invalid " +
			"Model Version stage: Live. Value must be one of None, Staging, Production, Archived."},
		{"model-versions/transition-stage", `{"name":"price","version":"1","stage":"none","archive_existing_versions":true}`,
			"INVALID_PARAMETER_VALUE Model version transition cannot archive existing model versions because 'none' is not an " +
				"Active stage. Valid stages are ['Staging', 'Production']"},
		{"model-versions/set-tag", `{"name":"price","version":"9","key":"k"}`, noVersion},
		{"model-versions/set-tag", `{"name":"price","version":"1","key":"a*b"}`, badKey},
		{"model-versions/delete-tag", `{"name":"price","version":"x","key":"k"}`, badNumber},
	} {
		seen[test.route] = true
		answer, err := routes(w)[test.route](test.body)
		var refusal *stoa.Refusal
		if !errors.As(err, &refusal) {
			t.Errorf("%s %.200s: answered %s, %v", test.route, test.body, answer, err)
			continue
		}
		if got := code(err) + " " + refusal.Message; got != test.want {
			t.Errorf("%s %.200s:\n got %s\nwant %s", test.route, test.body, got, test.want)
		}
	}
	for name := range routes(w) {
		if !seen[name] {
			t.Errorf("no refusal of %s is tested", name)
		}
	}
}

// TestTheRoutesInTurn walks a model through its life and reads what the client is shown.
func TestTheRoutesInTurn(t *testing.T) {
	h, w := tracked(t)
	for _, step := range []struct{ route, body, want string }{
		{"registered-models/create", `{"name":"a b","description":"d","tags":[{"key":"k","value":"1"},{"key":"k","value":"2"}]}`,
			`"name":"a b"…"description":"d","tags":[{"key":"k","value":"2"}]`},
		{"model-versions/create", `{"name":"price","source":"runs:/r1/model","run_id":"r1","tags":[{"key":"t","value":"v"}]}`,
			`"version":"1"…"description":"","current_stage":"None","source":"runs:/r1/model","run_id":"r1","status":"READY",` +
				`"tags":[{"key":"t","value":"v"}],"run_link":""`},
		{"model-versions/create", `{"name":"price","source":"runs:/r1/model","run_id":"r1"}`, `"version":"2"`},
		{"model-versions/create", `{"name":"price","source":"runs:/r1/pickle"}`,
			`"version":"3"…"run_id":"r1"…"status_message":"not servable in this process: the flavour sklearn needs Python"`},
		{"model-versions/create", `{"name":"price","source":"models:/price/1"}`,
			`"version":"4"…"source":"models:/price/1","run_id":"r1"`},
		{"model-versions/get-download-uri", `{"name":"price","version":"4"}`,
			`{"artifact_uri":"mlflow-artifacts:/0/r1/artifacts/model"}`},
		{"POST registered-models/alias", `{"name":"price","alias":"blue","version":"2"}`, `{}`},
		{"GET registered-models/alias", `{"name":"price","alias":"blue"}`, `"version":"2"…"aliases":["blue"]`},
		{"GET registered-models/alias", `{"name":"price","alias":"latest"}`, `"version":"4"`},
		{"registered-models/get", `{"name":"price"}`, `"latest_versions":[{"name":"price","version":"4"…"aliases":[{"alias":"blue","version":"2"}]`},
		{"model-versions/transition-stage", `{"name":"price","version":"1","stage":"production"}`, `"current_stage":"Production"`},
		{"model-versions/transition-stage",
			`{"name":"price","version":"2","stage":"Production","archive_existing_versions":true}`, `"current_stage":"Production"`},
		{"registered-models/get-latest-versions", `{"name":"price","stages":["archived","Production"]}`,
			`"version":"1"…"current_stage":"Archived"…"version":"2"…"current_stage":"Production"`},
		{"model-versions/update", `{"name":"price","version":"2","description":"better"}`, `"description":"better"`},
		{"model-versions/set-tag", `{"name":"price","version":"2","key":"k","value":"v"}`, `{}`},
		{"model-versions/delete-tag", `{"name":"price","version":"2","key":"none"}`, `{}`},
		{"model-versions/get", `{"name":"price","version":" 2 "}`, `"tags":[{"key":"k","value":"v"}]…"aliases":["blue"]`},
		{"registered-models/set-tag", `{"name":"price","key":"team","value":"x"}`, `{}`},
		{"registered-models/update", `{"name":"price","description":"prices"}`, `"description":"prices"…"tags":[{"key":"team","value":"x"}]`},
		{"registered-models/delete-tag", `{"name":"price","key":"team"}`, `{}`},
		{"model-versions/delete", `{"name":"price","version":"2"}`, `{}`},
		{"DELETE registered-models/alias", `{"name":"price","alias":"blue"}`, `{}`},
		{"model-versions/create", `{"name":"price","source":"runs:/r1/other","run_id":"r1"}`, `"version":"5"`},
		{"model-versions/search", `{"filter":"name = 'price'","order_by":["version_number ASC"]}`,
			`"version":"1"…"version":"3"…"version":"4"…"version":"5"`},
		{"registered-models/rename", `{"name":"price","new_name":"cost"}`, `"name":"cost"`},
		{"model-versions/get", `{"name":"cost","version":"5"}`, `"name":"cost","version":"5"`},
		{"registered-models/delete", `{"name":"a b"}`, `{}`},
		{"registered-models/search", `{}`, `{"registered_models":[{"name":"cost"`},
	} {
		answer, err := routes(w)[step.route](step.body)
		if err != nil {
			t.Fatalf("%s %s: %v", step.route, step.body, err)
		}
		rest := answer
		for part := range strings.SplitSeq(step.want, "…") {
			at := strings.Index(rest, part)
			if at < 0 {
				t.Errorf("%s %s:\n got %s\nlacks %s", step.route, step.body, answer, part)
				break
			}
			rest = rest[at+len(part):]
		}
		h.sound(t)
	}
	if n, err := h.Sweep(t.Context(), nil); err != nil || n != 0 {
		t.Errorf("version 1 still has the artifact of version 2, and %d blobs were swept, %v", n, err)
	}
	again, err := registry.New(t.Context(), config(h.db, h.blobs, h.ledger))
	if err != nil {
		t.Fatal(err)
	}
	if versions, err := again.Versions(t.Context(), "cost"); err != nil || len(versions) != 4 || versions[1].Servable {
		t.Errorf("after reopening: %+v, %v", versions, err)
	}
}

func TestRegisteredIsServable(t *testing.T) {
	h, w := tracked(t)
	call(t, w.CreateModelVersion, &registry.CreateModelVersionRequest{Name: "price", Source: "runs:/r1/model"})
	call(t, w.CreateModelVersion, &registry.CreateModelVersionRequest{Name: "price", Source: "runs:/r1/damaged"})
	v, err := h.Version(t.Context(), "price", "1")
	if err != nil || !v.Servable || v.RunID != "r1" || v.DataDigest != "d1" || v.Code != "c0ffee" ||
		v.Parameters["depth"] != "6" || v.Metrics["auc"] != 0.9 || len(v.Inputs) != 1 || v.Format != "onnx" {
		t.Errorf("%+v, %v", v, err)
	}
	if artifact, err := h.Artifact(t.Context(), v); err != nil || string(artifact) != "model of runs:/r1/model" {
		t.Errorf("artifact %q, %v", artifact, err)
	}
	damaged, err := h.Version(t.Context(), "price", "2")
	if err != nil || damaged.Servable || damaged.Unservable != "not a model" || damaged.Digest != "" {
		t.Errorf("%+v, %v", damaged, err)
	}
	if _, err := h.Artifact(t.Context(), damaged); reason(err) != stoa.ReasonUnsupported {
		t.Errorf("the artifact of what has none: %v", err)
	}
	for alias, want := range map[string]stoa.Reason{"champion": stoa.ReasonInvalid, "previous": stoa.ReasonInvalid, "x": ""} {
		err := h.MoveAlias(t.Context(), registry.Move{Model: "price", Alias: alias, Version: 2, By: boss.Name})
		if reason(err) != want || want != "" && !strings.Contains(err.Error(), "not a model") {
			t.Errorf("%s to a version that is not servable: %v", alias, err)
		}
	}
	// Both ways of registering count in one sequence, and what is there by digest is found.
	same, err := h.Register(t.Context(), candidate("price", "model of runs:/r1/model"))
	if err != nil || same.Number != 1 {
		t.Errorf("the same artifact: %+v, %v", same, err)
	}
	next, err := h.Register(t.Context(), candidate("price", "model three"))
	if err != nil || next.Number != 3 {
		t.Errorf("the next: %+v, %v", next, err)
	}
	h.sound(t)
}

// TestSourcesThatAreNotOurs proves that what a request names outside of the store never reaches the resolver.
func TestSourcesThatAreNotOurs(t *testing.T) {
	var asked []string
	_, w := tracked(t, func(c *registry.Config) {
		c.Resolve = func(_ context.Context, source, _ string) (io.ReadCloser, registry.Resolved, error) {
			asked = append(asked, source)
			return nil, registry.Resolved{}, nil
		}
	})
	for _, source := range []string{
		"/etc/passwd", "etc/passwd", "file:///etc/passwd", "FILE:/etc/passwd", `C:\windows\win.ini`, "./x", "..",
		"http://169.254.169.254/latest/meta-data", "https://example.com/m", "s3://bucket/m", "dbfs:/m", "gs://b/m",
		"mlflow-artifacts://other:5000/0/r1", "mlflow-artifacts:/../../etc/passwd", "mlflow-artifacts:/a/%2e%2e/b",
		"mlflow-artifacts:/a/%252e%252e/b", "mlflow-artifacts:/a/..%2fb", `mlflow-artifacts:/a\..\b`,
		"mlflow-artifacts:/a/%00", "mlflow-artifacts:/./a", "mlflow-artifacts:", "mlflow-artifacts:/", "runs:/", "runs:r1/m",
		"runs://host/r1/m", "runs:/r1/../r2/m", "models:/", "models://host/price/1", "models:/price", "models:/price/1/2",
		"models:/price/", "models:/@x", "models:/price@", "dummy-source", "ftp://x/y", "data:,x", "javascript:x",
	} {
		_, err := w.CreateModelVersion(t.Context(), ann, &registry.CreateModelVersionRequest{Name: "price", Source: source})
		if reason(err) != stoa.ReasonInvalid {
			t.Errorf("%s: %v", source, err)
		}
	}
	if len(asked) != 0 {
		t.Errorf("the resolver was asked for %q", asked)
	}
	call(t, w.CreateModelVersion, &registry.CreateModelVersionRequest{Name: "price", Source: "mlflow-artifacts:/0/r1/a b"})
	call(t, w.CreateModelVersion, &registry.CreateModelVersionRequest{Name: "price", Source: "models:/m-1"})
	if !slices.Equal(asked, []string{"mlflow-artifacts:/0/r1/a b", "models:/m-1"}) {
		t.Errorf("the resolver was asked for %q", asked)
	}
}
