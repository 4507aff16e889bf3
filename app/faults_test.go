package app_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/app"
)

func TestBadInput(t *testing.T) {
	small := strings.Replace(workload, "security:", "performance: {runtime: {max_request_bytes: 4096, max_rows: 10}}\nsecurity:", 1)
	s := newServer(t, small).start()
	s.serveVersion(model(t, 1))
	tensor := func(name, datatype, shape, data string) string {
		return fmt.Sprintf(`{"inputs":[{"name":%q,"datatype":%q,"shape":%s,"data":%s}]}`, name, datatype, shape, data)
	}
	for _, c := range []struct {
		name, path, body string
		status           int
		reason           stoa.Reason
	}{
		{"malformed JSON", "price/infer", `{"inputs":[`, 400, stoa.ReasonMalformed},
		{"not JSON", "price/infer", "hello", 400, stoa.ReasonMalformed},
		{"an empty body", "price/infer", "", 400, stoa.ReasonMalformed},
		{"wrong shape for the model", "price/infer", tensor("input", "FP32", "[1,3]", "[1,2,3]"), 400, stoa.ReasonBadShape},
		{"wrong shape for the data", "price/infer", tensor("input", "FP32", "[2,2]", "[1,2,3]"), 400, stoa.ReasonBadShape},
		{"a negative dimension", "price/infer", tensor("input", "FP32", "[-1,2]", "[1,2]"), 400, stoa.ReasonBadShape},
		{"wrong datatype", "price/infer", tensor("input", "BYTES", "[1,2]", `["a","b"]`), 400, stoa.ReasonBadDatatype},
		{"a number that is none", "price/infer", tensor("input", "FP32", "[1,2]", `["a",2]`), 400, stoa.ReasonBadDatatype},
		{"NaN", "price/infer", tensor("input", "FP32", "[1,2]", "[NaN,2]"), 400, stoa.ReasonNotFinite},
		{"infinity", "price/infer", tensor("input", "FP32", "[1,2]", "[1e400,2]"), 400, stoa.ReasonBadDatatype},
		{"an unknown input", "price/infer", tensor("nope", "FP32", "[1,2]", "[1,2]"), 400, stoa.ReasonBadInput},
		{"too many bytes", "price/infer", tensor("input", "FP32", "[1,2]", "[1,2]"+strings.Repeat(" ", 5000)), 413, stoa.ReasonTooLarge},
		{"too many rows", "price/infer", tensor("input", "FP32", "[11,2]", "["+strings.Repeat("1,", 21)+"1]"), 413, stoa.ReasonTooLarge},
		{"an unknown endpoint", "nope/infer", oneRow, 404, stoa.ReasonUnknownEndpoint},
		{"an unknown version", "price/versions/99/infer", oneRow, 404, stoa.ReasonUnknownVersion},
		{"an unknown alias", "price/versions/nope/infer", oneRow, 404, stoa.ReasonUnknownVersion},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.do(http.MethodPost, "/v2/models/"+c.path, c.body)
			if a.status != c.status || a.reason() != c.reason {
				t.Errorf("got %d %s, want %d %s", a.status, a.body, c.status, c.reason)
			}
			if a := s.infer(oneRow); a.status != http.StatusOK || a.header.Get("Stoa-Fallback") != "" {
				t.Errorf("a good request afterwards: %d %v %s", a.status, a.header, a.body)
			}
		})
	}
}

func TestBadArtifactsAreRefusedAndLeaveNothing(t *testing.T) {
	s := newServer(t, workload).start()
	good := model(t, 1)
	s.serveVersion(good)
	for name, artifact := range map[string][]byte{
		"empty":        {},
		"not ONNX":     []byte("this is not a model"),
		"truncated":    good[:len(good)/2],
		"cut by one":   good[:len(good)-1],
		"zeroed tail":  append(bytes.Clone(good[:len(good)/2]), make([]byte, len(good)/2)...),
		"unknown op":   bytes.ReplaceAll(good, []byte("TreeEnsembleClassifier"), []byte("TreeEnsembleClairvoyan")),
		"other domain": bytes.ReplaceAll(good, []byte("ai.onnx.ml"), []byte("ai.onnx.xx")),
	} {
		t.Run(name, func(t *testing.T) {
			a := s.register("price", artifact)
			if a.status != http.StatusBadRequest && a.status != http.StatusUnprocessableEntity {
				t.Fatalf("got %d %s", a.status, a.body)
			}
			if name == "unknown op" && !bytes.Contains(a.body, []byte("TreeEnsembleClairvoyan")) {
				t.Errorf("the operator is not named: %s", a.body)
			}
		})
	}
	var list struct{ Versions []stoa.Version }
	s.must(http.MethodGet, "/v1/models/price/versions", nil, &list)
	if len(list.Versions) != 1 {
		t.Errorf("%d versions, want the good one only", len(list.Versions))
	}
}

func TestLabelsThatCannotBeJoined(t *testing.T) {
	s := newServer(t, workload).start()
	s.serveVersion(model(t, 1))
	withID := strings.Replace(oneRow, "{", `{"id":"p1",`, 1)
	for _, body := range []string{withID, strings.Replace(withID, "p1", "p2", 1)} {
		if a := s.infer(body); a.status != http.StatusOK {
			t.Fatal(string(a.body))
		}
	}
	for _, step := range []struct {
		name, id, value string
		status          int
		reason          stoa.Reason
	}{
		{"an unknown prediction", "unknown", "UP", http.StatusNotFound, stoa.ReasonUnknownLabel},
		{"the first label", "p1", "UP", http.StatusOK, ""},
		{"another label", "p1", "DOWN", http.StatusConflict, stoa.ReasonDuplicateLabel},
	} {
		req := app.LabelRequest{Labels: []stoa.Label{{ID: step.id, Value: step.value}}}
		if a := s.do(http.MethodPost, "/v1/labels", req); a.status != step.status || a.reason() != step.reason {
			t.Errorf("%s: %d %s", step.name, a.status, a.body)
		}
	}
	var report app.LabelReport
	s.must(http.MethodPost, "/v1/labels", app.LabelRequest{Labels: []stoa.Label{
		{ID: "unknown", Value: "UP"}, {ID: "p2", Value: "UP"}, {ID: "p1", Value: "DOWN"},
	}}, &report)
	reasons := map[string]stoa.Reason{}
	for _, l := range report.Refused {
		reasons[l.ID] = l.Reason
	}
	if report.Joined != 1 || len(reasons) != 2 || reasons["unknown"] != stoa.ReasonUnknownLabel ||
		reasons["p1"] != stoa.ReasonDuplicateLabel {
		t.Errorf("of three labels one should join: %+v", report)
	}
	for name, body := range map[string]string{"no labels": `{"labels":[]}`, "unknown key": `{"labls":[]}`, "not JSON": `{`} {
		if a := s.do(http.MethodPost, "/v1/labels", body); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// smallDisk mounts a file system of its own, so that it can be filled and made read-only for real.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root on Linux")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("mounting a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "4m")
	s := newServer(t, workload)
	s.data = filepath.Join(disk, "data")
	s.start()
	s.serveVersion(model(t, 1))
	var before struct{ Versions []stoa.Version }
	s.must(http.MethodGet, "/v1/models/price/versions", nil, &before)

	filler, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for {
		if _, err := filler.Write(make([]byte, 4096)); err != nil {
			break // the disk is full
		}
	}
	refused := s.register("price", model(t, 2))
	if refused.status != http.StatusInsufficientStorage || refused.reason() != stoa.ReasonStorageFull {
		t.Errorf("registering on a full disk: %d %s", refused.status, refused.body)
	}
	if a := s.infer(oneRow); a.status != http.StatusOK {
		t.Errorf("inference on a full disk: %d %s", a.status, a.body)
	}
	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if a := s.register("price", model(t, 2)); a.status != http.StatusOK {
		t.Errorf("registering once there is room: %d %s", a.status, a.body)
	}
	var after struct{ Versions []stoa.Version }
	s.must(http.MethodGet, "/v1/models/price/versions", nil, &after)
	if len(after.Versions) != 2 || after.Versions[0].Digest != before.Versions[0].Digest {
		t.Errorf("versions afterwards: %+v", after.Versions)
	}
	var audit app.AuditView
	s.must(http.MethodGet, "/v1/audit", nil, &audit)
	if len(audit.Broken) != 0 {
		t.Errorf("the ledger does not verify: %+v", audit.Broken)
	}
}

func TestReadOnlyDataDirectory(t *testing.T) {
	disk := smallDisk(t, "4m")
	s := newServer(t, workload)
	s.data = filepath.Join(disk, "data")
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("making a file system read-only: %v", err)
	}
	err := s.tryStart()
	if err == nil || !strings.Contains(err.Error(), string(stoa.ReasonStorageReadOnly)) {
		t.Errorf("starting on a read-only disk: %v", err)
	}
}

func TestFallbackSaysWhy(t *testing.T) {
	s := newServer(t, workload).start()
	s.serveVersion(model(t, 1))
	s.must(http.MethodPut, "/v1/endpoints/price/faults",
		app.FaultRequest{Candidate: "price@champion", Reason: stoa.ReasonTargetError}, nil)
	a := s.infer(oneRow)
	if a.status != http.StatusOK || a.header.Get("Stoa-Fallback") != string(stoa.ReasonTargetError) {
		t.Fatalf("with a broken champion: %d %v %s", a.status, a.header, a.body)
	}
	if !bytes.Contains(a.body, []byte(`"UP"`)) { // there is no previous version: the rule answers
		t.Errorf("the rule did not answer: %s", a.body)
	}
	s.serveVersion(model(t, 2))
	if a := s.infer(oneRow); a.header.Get("Stoa-Model-Version") != "price/1" {
		t.Errorf("the previous version did not answer: %v %s", a.header, a.body)
	}
	metrics := string(s.do(http.MethodGet, "/metrics", nil).body)
	if !strings.Contains(metrics, `reason="target_error"`) {
		t.Error("the metrics do not show why")
	}
	s.must(http.MethodPost, "/v1/reload", nil, nil)
	if a := s.infer(oneRow); a.header.Get("Stoa-Model-Version") != "price/1" {
		t.Errorf("a reload ended the fault: %v %s", a.header, a.body)
	}
	s.must(http.MethodDelete, "/v1/endpoints/price/faults", nil, nil)
	a = answer{}
	for range 100_000 { // the breaker opened, and closes again by itself
		if a = s.infer(oneRow); a.header.Get("Stoa-Model-Version") == "price/2" {
			break
		}
	}
	if a.header.Get("Stoa-Model-Version") != "price/2" {
		t.Errorf("the champion does not come back once the fault has ended: %v", a.header)
	}
	for name, req := range map[string]app.FaultRequest{
		"unknown candidate": {Candidate: "nope", Reason: stoa.ReasonTimeout},
		"unknown reason":    {Candidate: "price@champion", Reason: "nope"},
	} {
		if a := s.do(http.MethodPut, "/v1/endpoints/price/faults", req); a.status != 404 && a.status != 400 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// TestEveryRouteAsksForAKey walks every route with no key, a wrong one, one that is too weak and the right one.
func TestEveryRouteAsksForAKey(t *testing.T) {
	s := newServer(t, workload).start()
	s.serveVersion(model(t, 1))
	var weak app.NewKey
	s.must(http.MethodPost, "/v1/keys", map[string]string{"name": "app"}, &weak)
	owner := s.key
	as := func(key, method, path string) answer {
		s.key = key
		defer func() { s.key = owner }()
		return s.do(method, path, nil)
	}
	for _, r := range s.app.Routes() {
		method, path, _ := strings.Cut(r.Pattern, " ")
		path = strings.NewReplacer("{model}", "price", "{alias}", "champion", "{id}", "1", "{endpoint}", "price").Replace(path)
		for _, key := range []string{"", "stoa_wrong", owner + "x"} {
			if a := as(key, method, path); a.status != http.StatusUnauthorized || a.reason() != stoa.ReasonUnauthenticated {
				t.Errorf("%s with key %q: %d %s", r.Pattern, key, a.status, a.body)
			}
		}
		a := as(weak.Secret, method, path)
		if r.OwnersOnly && a.status != http.StatusForbidden {
			t.Errorf("%s with an application's key: %d %s", r.Pattern, a.status, a.body)
		}
	}
	for _, path := range []string{"/v2", "/v2/models/price", "/v2/models/price/ready", "/metrics", "/nope"} {
		if a := as("", http.MethodGet, path); a.status != http.StatusUnauthorized {
			t.Errorf("%s without a key: %d", path, a.status)
		}
	}
	// What the handler decides about: neither an alias nor a proposal moves for an application.
	s.serveVersion(model(t, 2))
	s.key = weak.Secret
	for alias, version := range map[string]int{"champion": 1, "previous": 2, "mine": 1} {
		a := s.do(http.MethodPut, "/v1/models/price/aliases/"+alias, app.AliasRequest{Version: version})
		if a.status != http.StatusForbidden {
			t.Errorf("an application moves %s: %d %s", alias, a.status, a.body)
		}
	}
}
