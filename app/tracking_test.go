package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stoaproject/stoa"
)

const onMLflow = "/api/2.0/mlflow/"

// run starts a run in the default experiment and returns its id and the path of its artifacts.
func (s *server) run() (id, artifacts string) {
	s.t.Helper()
	var created struct {
		Run struct {
			Info struct {
				RunID       string `json:"run_id"`
				ArtifactURI string `json:"artifact_uri"`
			} `json:"info"`
		} `json:"run"`
	}
	s.must(http.MethodPost, onMLflow+"runs/create", `{"experiment_id":"0","start_time":1}`, &created)
	at, own := strings.CutPrefix(created.Run.Info.ArtifactURI, "mlflow-artifacts:/")
	if !own || created.Run.Info.RunID == "" {
		s.t.Fatalf("a run at %+v", created)
	}
	return created.Run.Info.RunID, "/api/2.0/mlflow-artifacts/artifacts/" + strings.Trim(at, "/")
}

// upload puts an artifact.
func (s *server) upload(path string, content []byte) {
	s.t.Helper()
	if a := s.send(http.MethodPut, path, "application/octet-stream", content); a.status != http.StatusOK {
		s.t.Fatalf("PUT %s: %d %s", path, a.status, a.body)
	}
}

// A version is what the wire says of a registered version.
type wireVersion struct {
	ModelVersion struct {
		Version string `json:"version"`
		Status  string `json:"status"`
		Message string `json:"status_message"`
		RunID   string `json:"run_id"`
		Source  string `json:"source"`
	} `json:"model_version"`
}

// registerSource registers a source as a version of a model over MLflow's wire.
func (s *server) registerSource(name, source string) wireVersion {
	s.t.Helper()
	a := s.do(http.MethodPost, onMLflow+"registered-models/create", map[string]string{"name": name})
	if a.status != http.StatusOK && !strings.Contains(string(a.body), "RESOURCE_ALREADY_EXISTS") {
		s.t.Fatalf("create %s: %d %s", name, a.status, a.body)
	}
	var v wireVersion
	s.must(http.MethodPost, onMLflow+"model-versions/create", map[string]string{"name": name, "source": source}, &v)
	return v
}

const onnxMLmodel = "flavors:\n  onnx:\n    data: model.onnx\n  python_function:\n    loader_module: mlflow.onnx\n"

// What a client registers from a run answers under its name at once, by the champion as soon as there is one.
func TestRegisteredIsServable(t *testing.T) {
	s := newServer(t, workload).start()
	for i, seed := range []uint64{1, 2} {
		run, at := s.run()
		s.upload(at+"/model/MLmodel", []byte(onnxMLmodel))
		s.upload(at+"/model/model.onnx", model(t, seed))
		v := s.registerSource("churn", "runs:/"+run+"/model")
		if got := v.ModelVersion; got.Version != fmt.Sprint(i+1) || got.Status != "READY" || got.Message != "" || got.RunID != run {
			t.Fatalf("registered as %+v", got)
		}
		a := s.do(http.MethodPost, "/v2/models/churn/infer", oneRow)
		if want := fmt.Sprintf("churn/%d", i+1); a.status != http.StatusOK || a.header.Get("Stoa-Model-Version") != want {
			t.Errorf("infer: %d %v %s, want %s", a.status, a.header, a.body, want)
		}
	}
	s.must(http.MethodPost, onMLflow+"registered-models/alias", `{"name":"churn","alias":"champion","version":"1"}`, nil)
	a := s.do(http.MethodPost, "/v2/models/churn/infer", oneRow)
	if a.header.Get("Stoa-Model-Version") != "churn/1" {
		t.Errorf("with a champion: %d %v", a.status, a.header)
	}
	var v wireVersion
	s.must(http.MethodGet, onMLflow+"registered-models/alias?name=churn&alias=champion", nil, &v)
	if v.ModelVersion.Version != "1" {
		t.Errorf("champion %+v", v)
	}
}

// A flavour that carries an ONNX file is servable; one that does not says what could serve it.
func TestFlavours(t *testing.T) {
	s := newServer(t, workload).start()
	mlmodel := []byte("flavors:\n  python_function: {loader_module: mlflow.sklearn}\n  sklearn:\n    pickled_model: model.pkl\n")
	tests := []struct {
		name  string
		files map[string][]byte
		says  string // why it does not serve; empty when it does
	}{
		{"sklearn", map[string][]byte{"MLmodel": mlmodel, "model.pkl": []byte("x")}, "the flavour sklearn needs Python"},
		{"beside", map[string][]byte{"MLmodel": mlmodel, "model.onnx": model(t, 1)}, ""},
		{"extra", map[string][]byte{"MLmodel": mlmodel, "extra_files/model.onnx": model(t, 1)}, ""},
		{"nothing", nil, "no MLmodel file"},
		{"damaged", map[string][]byte{"MLmodel": []byte(onnxMLmodel), "model.onnx": []byte("noise")}, "not servable"},
		{"garbled", map[string][]byte{"MLmodel": []byte("{{{")}, "no MLmodel file"},
		{"climbing", map[string][]byte{"MLmodel": []byte("flavors:\n  onnx:\n    data: ../../../x\n")}, "the flavour onnx"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s.t = t
			run, at := s.run()
			for name, content := range test.files {
				s.upload(at+"/m/"+name, content)
			}
			v := s.registerSource("m-"+test.name, "runs:/"+run+"/m").ModelVersion
			a := s.do(http.MethodPost, "/v2/models/m-"+test.name+"/infer", oneRow)
			if test.says == "" {
				if a.status != http.StatusOK || v.Message != "" {
					t.Errorf("%+v: %d %s", v, a.status, a.body)
				}
				return
			}
			if !strings.Contains(v.Message, test.says) || a.status != http.StatusBadRequest || a.reason() != stoa.ReasonUnsupported {
				t.Errorf("%+v: %d %s", v, a.status, a.body)
			}
		})
	}
}

// No source makes the server read what is not its own artifact.
func TestSourcesAreNotOpened(t *testing.T) {
	s := newServer(t, workload).start()
	s.must(http.MethodPost, onMLflow+"registered-models/create", `{"name":"m"}`, nil)
	run, _ := s.run()
	for _, source := range []string{
		"/etc/passwd", "file:///etc/passwd", "http://169.254.169.254/latest", "s3://bucket/key", "runs:/" + run + "/../../x",
		"mlflow-artifacts:/../../etc", "mlflow-artifacts:/%2e%2e/x", "mlflow-artifacts://elsewhere/x", "models:/m-unknown", "runs:/unknown/m",
	} {
		a := s.do(http.MethodPost, onMLflow+"model-versions/create", map[string]string{"name": "m", "source": source})
		if a.status != http.StatusBadRequest && a.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", source, a.status, a.body)
		}
	}
}

// Every key may track; nobody without one may do anything, and everything outside says how.
func TestTrackingAccess(t *testing.T) {
	s := newServer(t, workload).start()
	for path, want := range map[string]int{"/version": http.StatusUnauthorized, "/health": http.StatusOK} {
		resp, err := http.Get(s.app.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s without a key: %d, want %d", path, resp.StatusCode, want)
		}
	}
	for _, path := range []string{
		onMLflow + "experiments/get?experiment_id=0", "/ajax-api/3.0/mlflow/experiments/get?experiment_id=0", "/get-artifact?run_id=x",
		"/api/2.0/mlflow-artifacts/artifacts?path=0", "/api/2.0/mlflow-artifacts/artifacts/0/x", "/api/2.0/mlflow/nothing",
	} {
		resp, err := http.Get(s.app.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") != `Basic realm="mlflow"` {
			t.Errorf("%s: %d %v", path, resp.StatusCode, resp.Header)
		}
	}
	r, err := http.NewRequest(http.MethodGet, s.app.URL()+onMLflow+"experiments/get?experiment_id=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("anybody", s.key)
	resp, err := s.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("Basic: %d", resp.StatusCode)
	}
}

// Paths that climb are refused as they are sent, and not mended by a redirect.
func TestArtifactPathsDoNotClimb(t *testing.T) {
	s := newServer(t, workload).start()
	for _, at := range []string{"../../../etc/passwd", "%2e%2e/x", "a/%2e%2e%2f%2e%2e/x", "%252e%252e/x", "a//b", "..%5cx"} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			if a := s.do(method, "/api/2.0/mlflow-artifacts/artifacts/"+at, "x"); a.status != http.StatusBadRequest {
				t.Errorf("%s %s: %d %s", method, at, a.status, a.body)
			}
		}
	}
}

// An upload that breaks off leaves nothing behind, and the path can be used again.
func TestUploadBreaksOff(t *testing.T) {
	s := newServer(t, workload).start()
	_, at := s.run()
	address, err := url.Parse(s.app.URL())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", address.Host)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "PUT %s/half.bin HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000\r\n\r\nhalf", at, s.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	reply, err := io.ReadAll(conn) // until the server has given up on it
	if err != nil || strings.Contains(string(reply), "200 OK") {
		t.Errorf("half an upload: %s, %v", reply, err)
	}
	_ = conn.Close()
	if a := s.do(http.MethodGet, at+"/half.bin", nil); a.status != http.StatusNotFound {
		t.Errorf("half an artifact is there: %d %s", a.status, a.body)
	}
	s.upload(at+"/half.bin", []byte("whole"))
	if a := s.do(http.MethodGet, at+"/half.bin", nil); string(a.body) != "whole" {
		t.Errorf("after a second upload: %d %s", a.status, a.body)
	}
}

// What was acknowledged is there after a restart.
func TestTrackingSurvivesARestart(t *testing.T) {
	s := newServer(t, workload).start()
	run, at := s.run()
	s.upload(at+"/a.txt", []byte("content"))
	batch := `{"run_id":"` + run + `","metrics":[{"key":"m","value":NaN,"timestamp":"1","step":1},{"key":"m","value":0.5,"timestamp":2,"step":2}],` +
		`"params":[{"key":"p","value":"v"}],"tags":[{"key":"t","value":"w"}],"new_field":[]}`
	s.must(http.MethodPost, onMLflow+"runs/log-batch", batch, nil)
	s.must(http.MethodPost, onMLflow+"runs/log-batch", batch, nil)
	if err := s.app.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.start()
	var got struct {
		Run struct {
			Data struct {
				Metrics []struct{ Value float64 }
				Params  []struct{ Value string }
			} `json:"data"`
		} `json:"run"`
	}
	s.must(http.MethodGet, onMLflow+"runs/get?run_id="+run, nil, &got)
	if d := got.Run.Data; len(d.Metrics) != 1 || d.Metrics[0].Value != 0.5 || len(d.Params) != 1 || d.Params[0].Value != "v" {
		t.Errorf("%+v", got)
	}
	var history struct{ Metrics []json.RawMessage }
	s.must(http.MethodGet, onMLflow+"metrics/get-history?metric_key=m&run_id="+run, nil, &history)
	if len(history.Metrics) != 2 {
		t.Errorf("a batch sent twice has the history %s", history.Metrics)
	}
	if a := s.do(http.MethodGet, at+"/a.txt", nil); string(a.body) != "content" || a.header.Get("Content-Type") != "text/plain" {
		t.Errorf("artifact: %d %s %v", a.status, a.body, a.header)
	}
	if a := s.do(http.MethodGet, "/get-artifact?run_uuid="+run+"&path=a.txt", nil); string(a.body) != "content" {
		t.Errorf("get-artifact: %d %s", a.status, a.body)
	}
}

// MLflow's client finds the files of a version that it did not register itself.
func TestFilesOfAVersionRegisteredHere(t *testing.T) {
	s := newServer(t, workload).start()
	artifact := model(t, 1)
	s.serveVersion(artifact)
	var where struct {
		URI string `json:"artifact_uri"`
	}
	s.must(http.MethodGet, onMLflow+"model-versions/get-download-uri?name=price&version=1", nil, &where)
	at, own := strings.CutPrefix(where.URI, "mlflow-artifacts:/")
	if !own {
		t.Fatalf("its files are at %s", where.URI)
	}
	const root = "/api/2.0/mlflow-artifacts/artifacts"
	var listed struct {
		Files []struct {
			Path string `json:"path"`
			Size int64  `json:"file_size"`
		} `json:"files"`
	}
	s.must(http.MethodGet, root+"?path="+at, nil, &listed)
	if len(listed.Files) != 2 || listed.Files[1].Path != "model.onnx" || listed.Files[1].Size != int64(len(artifact)) {
		t.Errorf("listed %+v", listed)
	}
	for _, f := range listed.Files {
		a := s.do(http.MethodGet, root+"/"+at+"/"+f.Path, nil)
		if a.status != http.StatusOK || int64(len(a.body)) != f.Size {
			t.Errorf("%s: %d, %d bytes", f.Path, a.status, len(a.body))
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		if a := s.do(method, root+"/"+at+"/model.onnx", "x"); a.status != http.StatusForbidden {
			t.Errorf("%s: %d %s", method, a.status, a.body)
		}
	}
	if a := s.do(http.MethodGet, root+"/registered-versions/price/9/MLmodel", nil); a.status != http.StatusNotFound {
		t.Errorf("version 9: %d %s", a.status, a.body)
	}
}

// A condition of the workload file holds on every wire; two people make the move; and the lineage tells of it.
func TestConditionsOnAliases(t *testing.T) {
	s := newServer(t, workload+"  aliases: {price: {live: {movers: [owner, ada], people: 2}}}\n").start()
	if a := s.register("price", model(t, 1)); a.status != http.StatusOK {
		t.Fatalf("register: %d %s", a.status, a.body)
	}
	a := s.do(http.MethodPost, onMLflow+"registered-models/alias", `{"name":"price","alias":"live","version":"1"}`)
	if a.status != http.StatusForbidden || !strings.Contains(string(a.body), "2 different people") {
		t.Errorf("moved by one: %d %s", a.status, a.body)
	}
	var key struct {
		Secret string `json:"secret"`
	}
	s.must(http.MethodPost, "/v1/keys", `{"name":"ada"}`, &key)
	var entry struct {
		ID    int64  `json:"id"`
		State string `json:"state"`
	}
	s.must(http.MethodPost, "/v1/models/price/aliases/live/proposals", `{"version":1,"why":"it is good"}`, &entry)
	s.key = key.Secret
	s.must(http.MethodPost, fmt.Sprintf("/v1/proposals/%d/approve", entry.ID), `{}`, &entry)
	if entry.State != "done" {
		t.Errorf("approved by two: %+v", entry)
	}
	var lineage struct {
		Aliases   []string          `json:"aliases"`
		Decisions []json.RawMessage `json:"decisions"`
	}
	s.must(http.MethodGet, "/v1/models/price/versions/live/lineage", nil, &lineage)
	if len(lineage.Aliases) != 1 || lineage.Aliases[0] != "live" || len(lineage.Decisions) != 1 {
		t.Errorf("lineage %+v", lineage)
	}
	if a := s.do(http.MethodGet, "/v1/models/price/versions/1/card", nil); !strings.Contains(string(a.body), "markdown") {
		t.Errorf("card: %d %s", a.status, a.body)
	}
}

// A webhook over the wire: made by the owner, told of a model that is registered, with a receiver on this machine.
func TestWebhookOfTheRegistry(t *testing.T) {
	told := make(chan string, 4)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		told <- string(body)
	}))
	defer receiver.Close()
	hook := map[string]any{
		"name": "ci", "url": receiver.URL, "secret": "hush",
		"events": []map[string]string{{"entity": "REGISTERED_MODEL", "action": "CREATED"}},
	}
	closed := newServer(t, workload).start()
	if a := closed.do(http.MethodPost, onMLflow+"webhooks", hook); a.status != http.StatusBadRequest {
		t.Errorf("a receiver on this machine: %d %s", a.status, a.body)
	}
	s := newServer(t, strings.Replace(workload, "security:", "security:\n  webhooks:\n    loopback: true", 1)).start()
	var made struct {
		Webhook struct {
			ID string `json:"webhook_id"`
		} `json:"webhook"`
	}
	s.must(http.MethodPost, onMLflow+"webhooks", hook, &made)
	s.must(http.MethodPost, onMLflow+"registered-models/create", map[string]string{"name": "iris"}, nil)
	if body := <-told; !strings.Contains(body, `"name":"iris"`) {
		t.Error(body)
	}
	var tested struct {
		Result struct {
			Success bool `json:"success"`
		} `json:"result"`
	}
	s.must(http.MethodPost, onMLflow+"webhooks/"+made.Webhook.ID+"/test", map[string]any{}, &tested)
	if !tested.Result.Success {
		t.Error("the test failed")
	}
}
