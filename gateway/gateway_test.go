package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stoaproject/stoa"
)

const request = `{"id":"p-1","inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[0.5,2]}]}`

type targetFunc func(ctx context.Context, call *stoa.Call) (*stoa.Answer, error)

func (f targetFunc) Infer(ctx context.Context, call *stoa.Call) (*stoa.Answer, error) {
	return f(ctx, call)
}

type stageFunc func(call *stoa.Call) error

func (f stageFunc) Before(_ context.Context, call *stoa.Call) error { return f(call) }

// seen is an observer that keeps what it learns.
type seen struct {
	ids      []string
	callers  []string
	outcomes []stoa.Outcome
}

func (s *seen) After(call *stoa.Call, outcome *stoa.Outcome) {
	s.ids = append(s.ids, call.ID)
	s.callers = append(s.callers, call.Caller.ID)
	s.outcomes = append(s.outcomes, *outcome)
}

func champion(context.Context, *stoa.Call) (*stoa.Answer, error) {
	return &stoa.Answer{
		Target: "price@champion", Model: "price-direction", Version: 3, Role: stoa.RoleChampion,
		Outputs: []stoa.Tensor{{Name: "label", Datatype: stoa.Bytes, Shape: []int64{1}, Data: []string{"UP"}}},
	}, nil
}

// open makes a gateway with one endpoint, "price", and an observer; change may be nil.
func open(t testing.TB, target targetFunc, change func(*Config)) (*Gateway, *seen) {
	t.Helper()
	watch := new(seen)
	c := Config{
		Version: "1.2.3",
		Admit: func(authorization string) (stoa.Caller, error) {
			if authorization != "Bearer key" {
				return stoa.Caller{}, &stoa.Refusal{Reason: stoa.ReasonUnauthenticated, Message: "no such key"}
			}
			return stoa.Caller{ID: "k1"}, nil
		},
		Resolve: func(endpoint, version string) (stoa.Target, error) {
			switch {
			case endpoint != "price":
				return nil, &stoa.Refusal{Reason: stoa.ReasonUnknownEndpoint, Message: "no endpoint " + endpoint}
			case version != "" && version != "3" && version != "champion":
				return nil, &stoa.Refusal{Reason: stoa.ReasonUnknownVersion, Message: "no version " + version}
			}
			return target, nil
		},
		Describe: func(endpoint, _ string) (Metadata, error) {
			if endpoint != "price" {
				return Metadata{}, &stoa.Refusal{Reason: stoa.ReasonUnknownEndpoint, Message: "no endpoint " + endpoint}
			}
			return Metadata{
				Versions: []string{"1", "3"}, Platform: "onnx",
				Inputs: []stoa.TensorSpec{{Name: "x", Datatype: stoa.FP32, Shape: []int64{-1, 2}}},
			}, nil
		},
		Ready: func(endpoint, _ string) error {
			if endpoint == "price" {
				return nil
			}
			return &stoa.Refusal{Reason: stoa.ReasonNoVersion, Message: "no version yet", RetryAfter: 90 * time.Second}
		},
		Observers: []stoa.Observer{watch},
		Logger:    slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&c)
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return g, watch
}

// ask sends a request with the right key; header pairs are added to it.
func ask(g http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer key")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

func TestInfer(t *testing.T) {
	g, watch := open(t, func(ctx context.Context, call *stoa.Call) (*stoa.Answer, error) {
		if call.Endpoint != "price" || call.Version != "champion" || call.Rows != 1 || call.Caller.ID != "k1" ||
			call.Received.IsZero() {
			t.Errorf("call %+v", call)
		}
		a, err := champion(ctx, call)
		a.Fallback, a.Role = stoa.ReasonTimeout, stoa.RoleFallback
		return a, err
	}, nil)
	w := ask(g, "POST", "/v2/models/price/versions/champion/infer", request)
	want := `{"model_name":"price","model_version":"3","id":"p-1",` +
		`"parameters":{"role":"fallback","version":"price-direction/3","fallback":"timeout"},` +
		`"outputs":[{"name":"label","datatype":"BYTES","shape":[1],"data":["UP"]}]}`
	if w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Stoa-Model-Version": "price-direction/3", "Stoa-Request-Id": "p-1",
		"Stoa-Fallback": "timeout",
	} {
		if got := w.Header().Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if len(watch.outcomes) != 1 {
		t.Fatalf("%d outcomes", len(watch.outcomes))
	}
	if o := watch.outcomes[0]; o.Status != 200 || o.Reason != stoa.ReasonTimeout || o.Err != nil || o.Answer == nil ||
		o.Latency <= 0 {
		t.Errorf("outcome %+v", o)
	}
}

func TestIdsAreMadeAndUnique(t *testing.T) {
	g, watch := open(t, champion, nil)
	body := strings.Replace(request, `"id":"p-1",`, "", 1)
	for range 100 {
		w := ask(g, "POST", "/v2/models/price/infer", body)
		var reply struct{ ID string }
		if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil || reply.ID != w.Header().Get("Stoa-Request-Id") {
			t.Fatalf("%v: %s", err, w.Body)
		}
	}
	unique := make(map[string]bool)
	for _, id := range watch.ids {
		unique[id] = len(id) == 49
	}
	if len(unique) != 100 || !unique[watch.ids[0]] {
		t.Errorf("%d ids: %v", len(unique), watch.ids[:2])
	}
}

// Each way to fail has its status and reason, and the observers learn of it exactly once.
func TestRefusals(t *testing.T) {
	const infer = "/v2/models/price/infer"
	refuse := func(r stoa.Reason) targetFunc {
		return func(context.Context, *stoa.Call) (*stoa.Answer, error) {
			return nil, &stoa.Refusal{Reason: r, Message: "m"}
		}
	}
	for name, c := range map[string]struct {
		target       targetFunc
		method, path string
		body         string
		header       []string
		status       int
		reason       stoa.Reason
	}{
		"no key":         {path: infer, header: []string{"Authorization", ""}, status: 401, reason: stoa.ReasonUnauthenticated},
		"unknown":        {path: "/v2/models/other/infer", status: 404, reason: stoa.ReasonUnknownEndpoint},
		"version":        {path: "/v2/models/price/versions/9/infer", status: 404, reason: stoa.ReasonUnknownVersion},
		"method":         {method: "GET", path: infer, status: 405, reason: stoa.ReasonUnsupported},
		"malformed":      {path: infer, body: "{", status: 400, reason: stoa.ReasonMalformed},
		"empty":          {path: infer, body: " ", status: 400, reason: stoa.ReasonMalformed},
		"too large":      {path: infer, body: strings.Repeat(" ", 1001), status: 413, reason: stoa.ReasonTooLarge},
		"content type":   {path: infer, header: []string{"Content-Type", "text/csv"}, status: 415, reason: stoa.ReasonUnsupported},
		"charset":        {path: infer, header: []string{"Content-Type", "application/json; charset=latin1"}, status: 415, reason: stoa.ReasonUnsupported},
		"encoding":       {path: infer, header: []string{"Content-Encoding", "br"}, status: 415, reason: stoa.ReasonUnsupported},
		"binary":         {path: infer, header: []string{"Inference-Header-Content-Length", "9"}, status: 415, reason: stoa.ReasonUnsupported},
		"no gzip":        {path: infer, header: []string{"Content-Encoding", "gzip"}, status: 400, reason: stoa.ReasonMalformed},
		"stage":          {path: infer, body: strings.Replace(request, "p-1", "stage", 1), status: 507, reason: stoa.ReasonStorageFull},
		"stage panics":   {path: infer, body: strings.Replace(request, "p-1", "panic", 1), status: 500, reason: stoa.ReasonInternal},
		"timeout":        {target: refuse(stoa.ReasonTimeout), path: infer, status: 504, reason: stoa.ReasonTimeout},
		"no version":     {target: refuse(stoa.ReasonNoVersion), path: infer, status: 503, reason: stoa.ReasonNoVersion},
		"unknown reason": {target: refuse("new"), path: infer, status: 500, reason: "new"},
		"error": {target: func(context.Context, *stoa.Call) (*stoa.Answer, error) { return nil, errors.New("secret") },
			path: infer, status: 500, reason: stoa.ReasonInternal},
		"panic": {target: func(context.Context, *stoa.Call) (*stoa.Answer, error) { panic("secret") },
			path: infer, status: 500, reason: stoa.ReasonInternal},
		"nothing": {target: func(context.Context, *stoa.Call) (*stoa.Answer, error) { return nil, nil },
			path: infer, status: 500, reason: stoa.ReasonInternal},
		"NaN": {target: func(context.Context, *stoa.Call) (*stoa.Answer, error) {
			return &stoa.Answer{Outputs: []stoa.Tensor{{Name: "y", Data: []float64{math.NaN()}}}}, nil
		}, path: infer, status: 502, reason: stoa.ReasonTargetError},
	} {
		t.Run(name, func(t *testing.T) {
			if c.target == nil {
				c.target = champion
			}
			g, watch := open(t, c.target, func(conf *Config) {
				conf.Limits.Request.Bytes = 1000
				conf.Stages = []stoa.Stage{stageFunc(func(call *stoa.Call) error {
					switch call.ID {
					case "stage":
						return &stoa.Refusal{Reason: stoa.ReasonStorageFull, Message: "full", Hint: "make room"}
					case "panic":
						panic("secret")
					}
					return nil
				})}
			})
			if c.method == "" {
				c.method = "POST"
			}
			if c.body == "" {
				c.body = request
			}
			w := ask(g, c.method, c.path, c.body, c.header...)
			var reply struct{ Error, Reason, Hint string }
			if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
				t.Fatalf("%v: %s", err, w.Body)
			}
			if w.Code != c.status || reply.Reason != string(c.reason) || reply.Error == "" ||
				strings.Contains(w.Body.String(), "secret") {
				t.Errorf("%d %s, want %d and reason %s", w.Code, w.Body, c.status, c.reason)
			}
			if (w.Code == 503) != (w.Header().Get("Retry-After") != "") {
				t.Errorf("%d with Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
			if w.Header().Get("Stoa-Request-Id") == "" {
				t.Error("no request id")
			}
			if len(watch.outcomes) != 1 {
				t.Fatalf("%d outcomes", len(watch.outcomes))
			}
			if o := watch.outcomes[0]; o.Status != c.status || o.Reason != c.reason || o.Err == nil || o.Answer != nil {
				t.Errorf("outcome %+v", o)
			}
		})
	}
}

func TestACancelledClientIsAnOutcome(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g, watch := open(t, func(ctx context.Context, _ *stoa.Call) (*stoa.Answer, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}, nil)
	r := httptest.NewRequestWithContext(ctx, "POST", "/v2/models/price/infer", strings.NewReader(request))
	r.Header.Set("Authorization", "Bearer key")
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	if len(watch.outcomes) != 1 || watch.outcomes[0].Reason != stoa.ReasonCanceled || w.Code != StatusCanceled {
		t.Errorf("%d %+v", w.Code, watch.outcomes)
	}
}

func TestAPanickingObserverHarmsNobody(t *testing.T) {
	g, watch := open(t, champion, func(c *Config) {
		c.Observers = []stoa.Observer{observerFunc(func() { panic("on purpose") }), c.Observers[0]}
	})
	if w := ask(g, "POST", "/v2/models/price/infer", request); w.Code != 200 || len(watch.outcomes) != 1 {
		t.Errorf("%d with %d outcomes", w.Code, len(watch.outcomes))
	}
}

type observerFunc func()

func (f observerFunc) After(*stoa.Call, *stoa.Outcome) { f() }

func TestAStageMayRedirect(t *testing.T) {
	g, _ := open(t, champion, func(c *Config) {
		c.Stages = []stoa.Stage{stageFunc(func(call *stoa.Call) error { call.Version = "9"; return nil })}
	})
	if w := ask(g, "POST", "/v2/models/price/infer", request); w.Code != 404 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestGzip(t *testing.T) {
	g, _ := open(t, champion, func(c *Config) { c.Limits.Request.Bytes = 1 << 16 })
	squeeze := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, s)
		_ = z.Close()
		return b.String()
	}
	whole := squeeze(request)
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"whole": {whole, 200}, "cut off": {whole[:len(whole)-5], 400}, "again": {whole, 200},
		"bomb": {squeeze(strings.Repeat(" ", 1<<20)), 413}, "rubbish behind": {whole + "x", 400},
	} {
		if w := ask(g, "POST", "/v2/models/price/infer", c.body, "Content-Encoding", "gzip"); w.Code != c.status {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, c.status)
		}
	}
}

func TestDescribingRoutes(t *testing.T) {
	g, watch := open(t, champion, nil)
	for path, want := range map[string]string{
		"/v2":              `{"name":"stoa","version":"1.2.3","extensions":[]}`,
		"/v2/":             `{"name":"stoa","version":"1.2.3","extensions":[]}`,
		"/v2/health/live":  `{"live":true}`,
		"/v2/health/ready": `{"ready":true}`,
		"/v2/models/price": `{"name":"price","versions":["1","3"],"platform":"onnx",` +
			`"inputs":[{"name":"x","datatype":"FP32","shape":[-1,2]}],"outputs":[]}`,
		"/v2/models/price/ready":            `{"name":"price","ready":true}`,
		"/v2/models/price/versions/3/ready": `{"name":"price","ready":true}`,
	} {
		if w := ask(g, "GET", path, ""); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		if w := ask(g, "GET", path, "", "Authorization", "Bearer other"); w.Code != 401 ||
			w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s with a wrong key: %d", path, w.Code)
		}
		if w := ask(g, "DELETE", path, ""); w.Code != 405 || w.Header().Get("Allow") == "" {
			t.Errorf("DELETE %s: %d", path, w.Code)
		}
	}
	for path, status := range map[string]int{
		"/v2/models/price/versions/champion": 200, "/v2/models/other": 404, "/v2/models/other/ready": 503, "/v2/models": 404,
		"/v2/models/": 404, "/v2/models//infer": 404, "/v2/models/price/": 404, "/v2/models/price/versions//infer": 404,
		"/v2/models/price/versions/": 404, "/v2/models/price/infer/x": 404, "/v2/models/price%2Fready": 404, "/v2x": 404,
	} {
		if w := ask(g, "GET", path, ""); w.Code != status || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, status)
		}
	}
	if w := ask(g, "GET", "/v2/models/other/ready", ""); w.Header().Get("Retry-After") != "90" {
		t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
	}
	if len(watch.outcomes) != 0 {
		t.Errorf("%d outcomes without an inference request", len(watch.outcomes))
	}
}

func TestInFlightIsBounded(t *testing.T) {
	began, let := make(chan struct{}), make(chan struct{})
	g, watch := open(t, func(ctx context.Context, call *stoa.Call) (*stoa.Answer, error) {
		close(began)
		<-let
		return champion(ctx, call)
	}, func(c *Config) {
		c.Limits.InFlight = 1
		c.ServerReady = func() error { return &stoa.Refusal{Reason: stoa.ReasonDraining, Message: "the server is stopping"} }
	})
	done := make(chan *httptest.ResponseRecorder)
	go func() { done <- ask(g, "POST", "/v2/models/price/infer", request) }()
	<-began
	if w := ask(g, "POST", "/v2/models/price/infer", request); w.Code != 503 || !strings.Contains(w.Body.String(), "overloaded") {
		t.Errorf("over the limit: %d %s", w.Code, w.Body)
	}
	if w := ask(g, "GET", "/v2/health/ready", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "draining") {
		t.Errorf("ready although the server says it is not: %d %s", w.Code, w.Body)
	}
	if n := g.InFlight(); n != 1 {
		t.Errorf("%d in flight", n)
	}
	close(let)
	if w := <-done; w.Code != 200 || g.InFlight() != 0 || len(watch.outcomes) != 2 {
		t.Errorf("the request in flight got %d; %d outcomes", w.Code, len(watch.outcomes))
	}
}

func TestTwoAuthorizationHeadersAreRefused(t *testing.T) {
	g, _ := open(t, champion, nil)
	r := httptest.NewRequest("GET", "/v2", nil)
	r.Header["Authorization"] = []string{"Bearer key", "Bearer key"}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	if w.Code != 401 {
		t.Errorf("%d", w.Code)
	}
}

func TestNewNeedsItsFunctions(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no error")
	}
}

// The table of statuses covers the closed set of reasons, read from the foyer's source.
func TestEveryReasonHasAStatus(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		found++
		if _, ok := statuses[stoa.Reason(text)]; !ok {
			t.Errorf("%s has no status", text)
		}
		return true
	})
	if found != len(statuses) {
		t.Errorf("%d reasons and %d statuses", found, len(statuses))
	}
}

func TestUnprintableIdsStayOutOfTheHeader(t *testing.T) {
	g, _ := open(t, champion, nil)
	w := ask(g, "POST", "/v2/models/price/infer", strings.Replace(request, "p-1", "é", 1))
	if w.Code != 200 || w.Header().Get("Stoa-Request-Id") != "" || !strings.Contains(w.Body.String(), `"id":"é"`) {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
}

// nothing is a ResponseWriter that forgets.
type nothing struct{ header http.Header }

func (n *nothing) Header() http.Header         { return n.header }
func (n *nothing) Write(b []byte) (int, error) { return len(b), nil }
func (n *nothing) WriteHeader(int)             {}

func BenchmarkHandler(b *testing.B) {
	g, _ := open(b, champion, func(c *Config) { c.Observers = []stoa.Observer{observerFunc(func() {})} })
	body := []byte(`{"id":"half-hour-17","inputs":[{"name":"input","datatype":"FP32","shape":[1,8],` +
		`"data":[0.0425,0.06,0.439155,0.003467,0.422915,0.414912,0.5,1]}]}`)
	reader := bytes.NewReader(body)
	r := httptest.NewRequest("POST", "/v2/models/price/infer", nil)
	r.Header.Set("Authorization", "Bearer key")
	r.Header.Set("Content-Type", "application/json")
	r.Body, r.ContentLength = io.NopCloser(reader), int64(len(body))
	w := &nothing{make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(body)
		clear(w.header)
		g.ServeHTTP(w, r)
	}
}
