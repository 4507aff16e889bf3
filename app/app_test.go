package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/app"
	"github.com/stoaproject/stoa/store/storetest"
	"github.com/stoaproject/stoa/train"
)

// workload is a small workload with one endpoint of every kind of fallback.
const workload = `
name: test
data:
  market:
    source: feed.csv
    features: [{name: a}, {name: b}]
    target: {name: class, classes: [DOWN, UP]}
models:
  price: {data: market}
endpoints:
  price:
    targets: [{model: price, version: champion}]
    fallback:
      - {model: price, version: previous}
      - {rule: {feature: a, above: 0.5, then: UP, else: DOWN}}
reliability:
  inference: {timeout: 2s, retries: 0, breaker: {open_for: 50ms}}
  retrain:
    price: {command: [stoa, train, "{data}", --target, class, --out, "{model}"], window_rows: 100, approve: manual}
security:
  approvers: {price: [owner]}
`

// A server is an app under test, and the way to talk to it.
type server struct {
	t    *testing.T
	app  *app.App
	dir  string
	data string
	db   string // URL of a PostgreSQL, or empty
	key  string
	log  *syncBuffer
	http *http.Client
}

// A syncBuffer takes the log of a process.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newServer writes a workload directory without starting anything.
func newServer(t *testing.T, text string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), log: &syncBuffer{}, http: &http.Client{Transport: &http.Transport{}}}
	s.data = filepath.Join(s.dir, "data")
	if os.Getenv(storetest.PostgresVariable) != "" {
		s.db = storetest.Postgres(t)
	}
	s.write(text)
	t.Cleanup(s.http.CloseIdleConnections)
	return s
}

func (s *server) write(text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, app.WorkloadFile), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// start runs the app until the test ends.
func (s *server) start() *server {
	s.t.Helper()
	if err := s.tryStart(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := s.app.Stop(context.Background()); err != nil {
			s.t.Error(err)
		}
	})
	return s
}

func (s *server) tryStart() error {
	s.t.Helper()
	var err error
	if s.app, err = app.New(app.Options{
		Dir: s.dir, Data: s.data, DB: s.db, Listen: "127.0.0.1:0", Version: "test", Log: s.log,
	}); err != nil {
		return err
	}
	if err := s.app.Start(context.Background()); err != nil {
		return err
	}
	key, err := os.ReadFile(s.app.OwnerKey())
	s.key = strings.TrimSpace(string(key))
	return err
}

// An answer is what came back of a request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// reason is the reason of an error.
func (a answer) reason() stoa.Reason {
	var e struct {
		Reason stoa.Reason `json:"reason"`
	}
	_ = json.Unmarshal(a.body, &e)
	return e.Reason
}

func (s *server) do(method, path string, body any) answer {
	s.t.Helper()
	raw, ok := body.([]byte)
	if text, isText := body.(string); isText {
		raw, ok = []byte(text), true
	}
	if !ok && body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			s.t.Fatal(err)
		}
	}
	return s.send(method, path, "application/json", raw)
}

func (s *server) send(method, path, contentType string, body []byte) answer {
	s.t.Helper()
	req, err := http.NewRequest(method, s.app.URL()+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	req.Header.Set("Content-Type", contentType)
	resp, err := s.http.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, raw}
}

// must sends a request that has to succeed and decodes the answer into out, which may be nil.
func (s *server) must(method, path string, body, out any) {
	s.t.Helper()
	a := s.do(method, path, body)
	if a.status != http.StatusOK {
		s.t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	if out != nil {
		if err := json.Unmarshal(a.body, out); err != nil {
			s.t.Fatal(err)
		}
	}
}

// model trains a small classifier of two features; another seed makes another model.
func model(t *testing.T, seed uint64) []byte {
	t.Helper()
	var csv strings.Builder
	csv.WriteString("a,b,class\n")
	r := rand.New(rand.NewPCG(seed, seed))
	for range 200 {
		a, b := r.Float64(), r.Float64()
		class := "DOWN"
		if a+0.3*b > 0.6 {
			class = "UP"
		}
		fmt.Fprintf(&csv, "%.4f,%.4f,%s\n", a, b, class)
	}
	path := filepath.Join(t.TempDir(), "train.csv")
	if err := os.WriteFile(path, []byte(csv.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := train.ReadFile(context.Background(), path, train.Columns{Target: "class"})
	if err != nil {
		t.Fatal(err)
	}
	o := train.Defaults(train.GBDT)
	o.Rounds = 5
	m, err := train.Fit(context.Background(), table, o)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := m.ONNX()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// register sends an artifact as the next version of a model.
func (s *server) register(name string, artifact []byte) answer {
	s.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("artifact", "model.onnx")
	if err != nil {
		s.t.Fatal(err)
	}
	_, _ = part.Write(artifact)
	if err := form.Close(); err != nil {
		s.t.Fatal(err)
	}
	return s.send(http.MethodPost, "/v1/models/"+name+"/versions", form.FormDataContentType(), body.Bytes())
}

// serveVersion registers and promotes a version.
func (s *server) serveVersion(artifact []byte) int {
	s.t.Helper()
	a := s.register("price", artifact)
	var v stoa.Version
	if err := json.Unmarshal(a.body, &v); err != nil || a.status != http.StatusOK {
		s.t.Fatalf("register: %d %s", a.status, a.body)
	}
	s.must(http.MethodPut, "/v1/models/price/aliases/champion", app.AliasRequest{Version: v.Number}, nil)
	return v.Number
}

const oneRow = `{"inputs":[{"name":"input","datatype":"FP32","shape":[1,2],"data":[0.9,0.8]}]}`

func (s *server) infer(body string) answer {
	s.t.Helper()
	return s.do(http.MethodPost, "/v2/models/price/infer", body)
}

func TestStartServeStop(t *testing.T) {
	s := newServer(t, workload).start()
	if !s.app.FirstStart() {
		t.Error("the first start does not say so")
	}
	info, err := os.Stat(s.app.OwnerKey())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("owner key: %v, %v", info.Mode(), err)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		resp, err := http.Get(s.app.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s without a key: %d", path, resp.StatusCode)
		}
	}
	if a := s.infer(oneRow); a.status != http.StatusServiceUnavailable || a.reason() != stoa.ReasonNoVersion {
		t.Errorf("without a version: %d %s", a.status, a.body)
	}
	s.serveVersion(model(t, 1))
	a := s.infer(oneRow)
	if a.status != http.StatusOK || !bytes.Contains(a.body, []byte(`"UP"`)) {
		t.Errorf("infer: %d %s", a.status, a.body)
	}
	if got := a.header.Get("Stoa-Model-Version"); got != "price/1" {
		t.Errorf("version header %q", got)
	}
	if err := s.app.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if err := s.app.Start(context.Background()); err == nil {
		t.Error("an app starts again after it was stopped")
	}
	if strings.Contains(s.log.String(), s.key) {
		t.Error("the log holds the owner's key")
	}
}

func TestRestartKeepsVersionsAndAliases(t *testing.T) {
	s := newServer(t, workload).start()
	s.serveVersion(model(t, 1))
	s.serveVersion(model(t, 2))
	if err := s.app.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.start()
	if s.app.FirstStart() {
		t.Error("a second start says that it is the first")
	}
	a := s.infer(oneRow)
	if a.status != http.StatusOK || a.header.Get("Stoa-Model-Version") != "price/2" {
		t.Errorf("after a restart: %d %v %s", a.status, a.header, a.body)
	}
	if a := s.do(http.MethodPost, "/v2/models/price/versions/previous/infer", oneRow); a.header.Get("Stoa-Model-Version") != "price/1" {
		t.Errorf("previous: %d %s", a.status, a.body)
	}
}

func TestTwoAppsSideBySide(t *testing.T) {
	one, two := newServer(t, workload).start(), newServer(t, workload).start()
	one.serveVersion(model(t, 1))
	if a := two.infer(oneRow); a.reason() != stoa.ReasonNoVersion {
		t.Errorf("the second app sees the first one's version: %s", a.body)
	}
	if one.key == two.key {
		t.Error("two apps share an owner key")
	}
}

func TestSecondProcessOnTheSameDataDirectory(t *testing.T) {
	s := newServer(t, workload).start()
	second := &server{t: t, dir: s.dir, data: s.data, db: s.db, log: &syncBuffer{}}
	err := second.tryStart()
	var refusal *stoa.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != stoa.ReasonStorageLocked {
		t.Fatalf("second start: %v", err)
	}
	if !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) || refusal.Hint == "" {
		t.Errorf("the error does not name the owner or what to do: %v", err)
	}
	s.serveVersion(model(t, 1))
	if a := s.infer(oneRow); a.status != http.StatusOK {
		t.Errorf("the first process no longer serves: %d", a.status)
	}
}

func TestReloadErrorLeavesPreviousStateIntact(t *testing.T) {
	s := newServer(t, workload).start()
	s.serveVersion(model(t, 1))
	before := s.candidates()

	for name, text := range map[string]string{
		"unknown key":     workload + "\nnonsense: 1\n",
		"not yaml":        "{{{",
		"unknown feature": strings.Replace(workload, "feature: a", "feature: nope", 1),
		"no endpoints":    strings.Replace(workload, "endpoints:", "endpoints: {}\nunused:", 1),
	} {
		s.write(text)
		if a := s.do(http.MethodPost, "/v1/reload", nil); a.status != http.StatusUnprocessableEntity && a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if after := s.candidates(); after != before {
			t.Errorf("%s changed the endpoints:\n%s\n%s", name, before, after)
		}
		if a := s.infer(oneRow); a.status != http.StatusOK {
			t.Errorf("%s: no longer serves: %d %s", name, a.status, a.body)
		}
	}

	s.write(strings.Replace(workload, "endpoints:\n  price:", "endpoints:\n  other: {targets: [{model: price}]}\n  price:", 1))
	s.must(http.MethodPost, "/v1/reload", nil, nil)
	if a := s.do(http.MethodPost, "/v2/models/other/infer", oneRow); a.status != http.StatusOK {
		t.Errorf("a good reload has no effect: %d %s", a.status, a.body)
	}
}

func TestReloadIsAnActOfWhoAskedForIt(t *testing.T) {
	s := newServer(t, workload).start()
	if err := s.app.Reload(context.Background(), "SIGHUP"); err != nil {
		t.Fatal(err)
	}
	s.must(http.MethodPost, "/v1/reload", nil, nil)
	var page struct{ Events []app.EventView }
	s.must(http.MethodGet, "/v1/events", nil, &page)
	var actors []string
	for _, e := range page.Events {
		if e.What == "workload.reload" {
			actors = append(actors, e.Actor)
		}
	}
	if fmt.Sprint(actors) != "[SIGHUP owner]" {
		t.Errorf("the ledger says that %v reloaded", actors)
	}
}

// candidates names the candidates of every endpoint.
func (s *server) candidates() string {
	var answer struct {
		Endpoints []struct {
			Name       string
			Candidates []struct{ Name string }
		}
	}
	s.must(http.MethodGet, "/v1/endpoints", nil, &answer)
	return fmt.Sprint(answer.Endpoints)
}

func TestStopWaitsForRequestsInFlight(t *testing.T) {
	s := newServer(t, workload).start()
	s.serveVersion(model(t, 1))

	var wg sync.WaitGroup
	stopping := make(chan struct{})
	failures := make(chan string, 64)
	for range 8 {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
			defer client.CloseIdleConnections()
			for stopped := false; !stopped; {
				select {
				case <-stopping:
					stopped = true // one more request, sent while the server drains
				default:
				}
				req, _ := http.NewRequest(http.MethodPost, s.app.URL()+"/v2/models/price/infer", strings.NewReader(oneRow))
				req.Header.Set("Authorization", "Bearer "+s.key)
				req.Header.Set("Content-Type", "application/json")
				resp, err := client.Do(req)
				if err != nil {
					failures <- err.Error()
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					failures <- resp.Status
				}
			}
		})
	}
	for range 50 {
		s.infer(oneRow)
	}
	stop := make(chan error, 1)
	close(stopping)
	go func() { stop <- s.app.Stop(context.Background()) }()
	wg.Wait()
	if err := <-stop; err != nil {
		t.Error(err)
	}
	close(failures)
	for f := range failures {
		t.Errorf("a request was lost: %s", f)
	}
}
