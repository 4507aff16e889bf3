package mlflow_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/gateway/mlflow"
)

const key = "the-key"

type metric struct {
	Key       string  `json:"key"`
	Value     float64 `json:"value"`
	Timestamp int64   `json:"timestamp"`
	Step      *int64  `json:"step"`
}

type request struct {
	ID      string   `json:"id"`
	Deleted bool     `json:"deleted"`
	IDs     []string `json:"ids"`
	Numbers []int64  `json:"numbers"`
	Metrics []metric `json:"metrics"`
	Rate    *float64 `json:"rate"`
	Extra   map[string]string
	Paging
}

// Paging is embedded in requests.
type Paging struct {
	Limit *int `json:"limit"`
}

type response struct {
	ID    string             `json:"id"`
	Step  int64              `json:"step"`
	Value float64            `json:"value"`
	None  []string           `json:"none,omitempty"`
	More  map[string]float64 `json:"more,omitempty"`
}

func newAPI(t *testing.T) *mlflow.API {
	t.Helper()
	a, err := mlflow.New(mlflow.Config{
		Admit: func(authorization string) (stoa.Caller, error) {
			if authorization != "Bearer "+key {
				return stoa.Caller{}, &stoa.Refusal{Reason: stoa.ReasonUnauthenticated, Message: "no key", Hint: "send one"}
			}
			return stoa.Caller{Name: "ada"}, nil
		},
		MaxBody: 1 << 12,
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// do sends a request with the key and returns the status and the body.
func do(t *testing.T, a http.Handler, method, target, body string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+key)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestPrefixesAndTwins(t *testing.T) {
	a := newAPI(t)
	mlflow.Handle(a, "GET POST", "experiments/search", func(_ context.Context, c stoa.Caller, r *request) (*response, error) {
		return &response{ID: c.Name + r.ID}, nil
	})
	mlflow.Handle(a.Since("3.0"), "GET", "traces/{id}", func(_ context.Context, _ stoa.Caller, r *request) (*response, error) {
		return &response{ID: r.ID}, nil
	})
	for _, prefix := range []string{"/api/2.0", "/api/3.0", "/ajax-api/2.0", "/ajax-api/3.0"} {
		for _, method := range []string{"GET", "POST"} {
			want := map[string]string{"GET": "adax", "POST": "ada"}[method] // a POST with a query is what a form can send
			status, body := do(t, a, method, prefix+"/mlflow/experiments/search?id=x", "")
			if status != 200 || body != `{"id":"`+want+`","step":0,"value":0}` {
				t.Errorf("%s %s: %d %s", method, prefix, status, body)
			}
		}
		want := 200
		if strings.HasSuffix(prefix, "2.0") {
			want = 404
		}
		if status, body := do(t, a, "GET", prefix+"/mlflow/traces/tr-1", ""); status != want {
			t.Errorf("traces below %s: %d %s", prefix, status, body)
		}
	}
	status, body := do(t, a, "PUT", "/api/2.0/mlflow/experiments/search", "")
	if status != 404 || !strings.Contains(body, `"error_code":"ENDPOINT_NOT_FOUND"`) {
		t.Errorf("unknown method: %d %s", status, body)
	}
}

func TestArguments(t *testing.T) {
	a := newAPI(t)
	var got *request
	keep := func(_ context.Context, _ stoa.Caller, r *request) (*response, error) {
		got = r
		return nil, nil
	}
	mlflow.Handle(a, "GET POST", "things", keep)
	mlflow.Handle(a, "GET PATCH", "things/{id}/tags", keep)
	tests := []struct {
		name, method, target, body string
		check                      func(r *request) bool
	}{
		{"repeated", "GET", "things?ids=a&ids=b&numbers=1&numbers=-2", "", func(r *request) bool {
			return fmt.Sprint(r.IDs, r.Numbers) == "[a b] [1 -2]"
		}},
		{"Python's booleans", "GET", "things?deleted=True", "", func(r *request) bool { return r.Deleted }},
		{"pointers and embedded", "GET", "things?rate=0.5&limit=7", "", func(r *request) bool {
			return *r.Rate == 0.5 && *r.Limit == 7
		}},
		{"unknown and nested are ignored", "GET", "things?nothing=1&Extra=2&id=x", "", func(r *request) bool { return r.ID == "x" }},
		{"path", "GET", "things/a%20b/tags", "", func(r *request) bool { return r.ID == "a b" }},
		{"path wins", "PATCH", "things/p/tags", `{"id":"q"}`, func(r *request) bool { return r.ID == "p" }},
		{"plain body", "POST", "things", `{"id":"x","new":{"a":[1]},"metrics":[{"key":"k","value":1.5,"timestamp":12,"step":5}]}`,
			func(r *request) bool {
				m := r.Metrics[0]
				return r.ID == "x" && m.Key == "k" && m.Value == 1.5 && m.Timestamp == 12 && *m.Step == 5
			}},
		{"numbers as strings", "POST", "things", `{"metrics":[{"value":"2.5","timestamp":"9007199254740993","step":"5"}],"limit":5.0}`,
			func(r *request) bool {
				m := r.Metrics[0]
				return m.Value == 2.5 && m.Timestamp == 9007199254740993 && *m.Step == 5 && *r.Limit == 5
			}},
		{"not finite, quoted", "POST", "things", `{"metrics":[{"value":"NaN"},{"value":"-Infinity"}]}`, func(r *request) bool {
			return math.IsNaN(r.Metrics[0].Value) && math.IsInf(r.Metrics[1].Value, -1)
		}},
		{"not finite, bare", "POST", "things", `{"id":"NaN \" Infinity","metrics":[{"value":NaN},{"value":-Infinity},{"value":Infinity}]}`,
			func(r *request) bool {
				return r.ID == `NaN " Infinity` && math.IsNaN(r.Metrics[0].Value) && math.IsInf(r.Metrics[1].Value, -1) &&
					math.IsInf(r.Metrics[2].Value, 1)
			}},
		{"null is absent", "POST", "things", `{"id":null,"metrics":null,"rate":null}`, func(r *request) bool {
			return r.ID == "" && r.Metrics == nil && r.Rate == nil
		}},
		{"no body", "POST", "things", "", func(r *request) bool { return r.ID == "" }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got = nil
			status, body := do(t, a, test.method, "/api/2.0/mlflow/"+test.target, test.body)
			if status != 200 || body != "{}" {
				t.Fatalf("%d %s", status, body)
			}
			if !test.check(got) {
				t.Errorf("decoded as %+v", got)
			}
		})
	}
}

func TestBadArguments(t *testing.T) {
	a := newAPI(t)
	mlflow.Handle(a, "GET POST", "things", func(context.Context, stoa.Caller, *request) (*response, error) { return nil, nil })
	tests := []struct{ name, method, target, body, code, message string }{
		{"not a number", "GET", "things?numbers=x", "", "INVALID_PARAMETER_VALUE", `Invalid value "x" for parameter 'numbers[0]' supplied`},
		{"not a boolean", "GET", "things?deleted=maybe", "", "INVALID_PARAMETER_VALUE", "'deleted'"},
		{"fraction", "POST", "things", `{"metrics":[{"timestamp":1.5}]}`, "INVALID_PARAMETER_VALUE",
			"Invalid value 1.5 for parameter 'metrics[0].timestamp' supplied"},
		{"number for a string", "POST", "things", `{"id":1}`, "INVALID_PARAMETER_VALUE", "Invalid value 1 for parameter 'id' supplied"},
		{"object for a list", "POST", "things", `{"ids":{}}`, "INVALID_PARAMETER_VALUE", "'ids'"},
		{"too big", "POST", "things", `{"numbers":[1e30]}`, "INVALID_PARAMETER_VALUE", "'numbers[0]'"},
		{"not JSON", "POST", "things", `{"id":`, "INVALID_PARAMETER_VALUE", "not JSON"},
		{"two documents", "POST", "things", `{} {}`, "INVALID_PARAMETER_VALUE", "after"},
		{"not an object", "POST", "things", `[1]`, "INVALID_PARAMETER_VALUE", "object"},
		{"too large", "POST", "things", `{"id":"` + strings.Repeat("x", 1<<12) + `"}`, "INVALID_PARAMETER_VALUE", "4096 bytes"},
		{"climbing path", "GET", "../things", "", "INVALID_PARAMETER_VALUE", "Invalid path"},
		{"encoded climbing path", "GET", "%2e%2e/things", "", "INVALID_PARAMETER_VALUE", "Invalid path"},
		{"empty element", "GET", "/things", "", "INVALID_PARAMETER_VALUE", "Invalid path"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, body := do(t, a, test.method, "/api/2.0/mlflow/"+test.target, test.body)
			var told struct {
				Code    string `json:"error_code"`
				Message string `json:"message"`
			}
			if err := json.Unmarshal([]byte(body), &told); err != nil {
				t.Fatal(err)
			}
			if status != 400 || told.Code != test.code || !strings.Contains(told.Message, test.message) {
				t.Errorf("%d %s", status, body)
			}
		})
	}
	r := httptest.NewRequest("POST", "/api/2.0/mlflow/things", strings.NewReader("id=x"))
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	if a.ServeHTTP(w, r); w.Code != 400 || !strings.Contains(w.Body.String(), "Content-Type") {
		t.Errorf("a form: %d %s", w.Code, w.Body)
	}
}

func TestAnswers(t *testing.T) {
	a := newAPI(t)
	mlflow.Handle(a, "GET", "nan", func(context.Context, stoa.Caller, *request) (*response, error) {
		return &response{ID: "<&>", Step: 1 << 60, Value: math.NaN(), More: map[string]float64{"a": math.Inf(1), "b": math.Inf(-1)}}, nil
	})
	status, body := do(t, a, "GET", "/api/2.0/mlflow/nan", "")
	if want := `{"id":"<&>","more":{"a":"Infinity","b":"-Infinity"},"step":1152921504606846976,"value":"NaN"}`; status != 200 || body != want {
		t.Errorf("%d %s, want %s", status, body, want)
	}
}

func TestErrors(t *testing.T) {
	a := newAPI(t)
	var refused error
	mlflow.Handle(a, "GET", "fail", func(context.Context, stoa.Caller, *request) (*response, error) { return nil, refused })
	mlflow.Handle(a, "GET", "panic", func(context.Context, stoa.Caller, *request) (*response, error) { panic("secret") })
	tests := []struct {
		err    error
		status int
		body   string
	}{
		{&stoa.Refusal{Reason: stoa.ReasonNotFound, Message: "m"}, 404, `{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"m"}`},
		{&stoa.Refusal{Reason: stoa.ReasonConflict, Message: "m"}, 400, `{"error_code":"RESOURCE_ALREADY_EXISTS","message":"m"}`},
		{&stoa.Refusal{Reason: stoa.ReasonForbidden, Message: "m", Hint: "h"}, 403, `{"error_code":"PERMISSION_DENIED","message":"m (h)"}`},
		{fmt.Errorf("x: %w", &stoa.Refusal{Reason: stoa.ReasonInvalid, Message: "m", Err: errors.New("secret")}), 400,
			`{"error_code":"INVALID_PARAMETER_VALUE","message":"m"}`},
		{errors.New("secret"), 500, `{"error_code":"INTERNAL_ERROR","message":"the server failed at this request"}`},
		{&stoa.Refusal{Reason: "new"}, 500, `{"error_code":"INTERNAL_ERROR","message":""}`},
	}
	for _, test := range tests {
		refused = test.err
		if status, body := do(t, a, "GET", "/api/2.0/mlflow/fail", ""); status != test.status || body != test.body {
			t.Errorf("%v: %d %s", test.err, status, body)
		}
	}
	status, body := do(t, a, "GET", "/api/2.0/mlflow/panic", "")
	if status != 500 || strings.Contains(body, "secret") {
		t.Errorf("panic: %d %s", status, body)
	}
}

func TestAuthorization(t *testing.T) {
	a := newAPI(t)
	mlflow.Handle(a, "GET", "me", func(_ context.Context, c stoa.Caller, _ *request) (*response, error) {
		return &response{ID: c.Name}, nil
	})
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	tests := map[string]int{
		"Bearer " + key: 200, basic("anyone:" + key): 200, basic(key + ":"): 200, basic(key + ":x"): 200, basic(key): 200,
		"": 401, "Bearer x": 401, basic("a:b"): 401, "Basic !!": 401, "Basic": 401, basic(""): 401, basic("Bearer " + key): 401,
	}
	for authorization, want := range tests {
		r := httptest.NewRequest("GET", "/api/2.0/mlflow/me", nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		challenge := w.Header().Get("WWW-Authenticate")
		if w.Code != want || want == 401 && challenge != `Basic realm="mlflow"` {
			t.Errorf("%q: %d %q %s", authorization, w.Code, challenge, w.Body)
		}
	}
}

func TestProbes(t *testing.T) {
	a := newAPI(t)
	for target, want := range map[string]string{"/version": mlflow.EmulatedVersion, "/health": "OK"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", target, nil)
		r.Header.Set("Authorization", "Bearer "+key)
		if a.ServeHTTP(w, r); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
}

// An answer that breaks off must not look whole.
func TestBrokenAnswer(t *testing.T) {
	a := newAPI(t)
	a.Raw("GET", "/api/2.0/mlflow-artifacts/artifacts/{path...}", func(w http.ResponseWriter, r *http.Request, _ stoa.Caller) error {
		if r.PathValue("path") == "refused" {
			return &stoa.Refusal{Reason: stoa.ReasonNotFound, Message: "none"}
		}
		if _, err := io.Copy(w, strings.NewReader("half")); err != nil {
			return err
		}
		return errors.New("the disk failed")
	})
	if status, _ := do(t, a, "GET", "/api/2.0/mlflow-artifacts/artifacts/refused", ""); status != 404 {
		t.Errorf("refused: %d", status)
	}
	server := httptest.NewServer(a)
	defer server.Close()
	r, err := http.NewRequest("GET", server.URL+"/api/2.0/mlflow-artifacts/artifacts/a/b", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	resp, err := server.Client().Do(r)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
	}
	if err == nil {
		t.Error("half an answer arrived as a whole one")
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{
		`{"id":"x","metrics":[{"value":NaN,"step":"1"}]}`, `{"metrics":[{"value":"-Infinity"}]}`, `{"numbers":["1",2,3.0]}`, `[`, `"`,
		`{"id":"\\\"NaN`, `{"Extra":{"a":"b"},"limit":null}`, `-`, `{"rate":-Infinity}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r request
		err := mlflow.Unmarshal(body, &r)
		var refusal *stoa.Refusal
		if err != nil && !errors.As(err, &refusal) {
			t.Fatalf("%T is not a refusal: %v", err, err)
		}
		if err != nil {
			return
		}
		out, err := mlflow.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var again request
		if err := mlflow.Unmarshal(out, &again); err != nil {
			t.Fatalf("%s does not decode: %v", out, err)
		}
	})
}

func TestEveryReasonHasAVerdict(t *testing.T) {
	for _, r := range []stoa.Reason{
		stoa.ReasonUnauthenticated, stoa.ReasonForbidden, stoa.ReasonMalformed, stoa.ReasonTooLarge, stoa.ReasonBadInput,
		stoa.ReasonUnknownEndpoint, stoa.ReasonUnknownModel, stoa.ReasonUnknownVersion, stoa.ReasonNotFound, stoa.ReasonConflict,
		stoa.ReasonInvalid, stoa.ReasonUnsupported, stoa.ReasonNoVersion, stoa.ReasonOverloaded, stoa.ReasonDraining,
		stoa.ReasonStorageFull, stoa.ReasonStorageReadOnly, stoa.ReasonStorageLocked, stoa.ReasonStorageUnavailable,
		stoa.ReasonTimeout, stoa.ReasonCanceled,
	} {
		if mlflow.CodeOf(r) == "INTERNAL_ERROR" || mlflow.StatusOf(r) == 500 {
			t.Errorf("%s is told as this server's fault", r)
		}
	}
}
