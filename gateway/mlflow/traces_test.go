package mlflow_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/gateway/mlflow"
)

func text(s string) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
}

func exported(t testing.TB) []byte {
	t.Helper()
	number := &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: 1 << 60}}
	list := &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{
		Values: []*commonpb.AnyValue{number, text("x")},
	}}}
	raw, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{
		Spans: []*tracepb.Span{{
			TraceId: bytes.Repeat([]byte{0xab}, 16), SpanId: bytes.Repeat([]byte{1}, 8), ParentSpanId: bytes.Repeat([]byte{2}, 8),
			Name: "chat", StartTimeUnixNano: 5, EndTimeUnixNano: 7, Status: &tracepb.Status{Code: tracepb.Status_STATUS_CODE_OK},
			Attributes: []*commonpb.KeyValue{{Key: "mlflow.spanType", Value: text("LLM")}, {Key: "list", Value: list}, {Key: "none"}},
		}},
	}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestTraces(t *testing.T) {
	a := newAPI(t)
	var got []mlflow.Span
	mlflow.HandleTraces(a, func(_ *http.Request, _ stoa.Caller, experiment, run string, spans []mlflow.Span) error {
		if experiment != "7" || run != "r" {
			t.Errorf("experiment %q, run %q", experiment, run)
		}
		got = spans
		return nil
	})
	send := func(kind, encoding string, body []byte) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/v1/traces", bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("X-Mlflow-Experiment-Id", "7")
		r.Header.Set("X-Mlflow-Run-Id", "r")
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Content-Encoding", encoding)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		return w
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(exported(t))
	_ = z.Close()
	inJSON := []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"` + strings.Repeat("ab", 16) + `","spanId":"` +
		strings.Repeat("01", 8) + `","parentSpanId":"` + strings.Repeat("02", 8) + `","name":"chat","startTimeUnixNano":"5",` +
		`"endTimeUnixNano":"7","status":{"code":1},"attributes":[{"key":"mlflow.spanType","value":{"stringValue":"LLM"}},` +
		`{"key":"list","value":{"arrayValue":{"values":[{"intValue":"1152921504606846976"},{"stringValue":"x"}]}}},{"key":"none"}]}]}]}]}`)
	for name, w := range map[string]func() *httptest.ResponseRecorder{
		"protobuf": func() *httptest.ResponseRecorder { return send("application/x-protobuf", "", exported(t)) },
		"gzip":     func() *httptest.ResponseRecorder { return send("application/x-protobuf", "gzip", zipped.Bytes()) },
		"JSON":     func() *httptest.ResponseRecorder { return send("application/json; charset=utf-8", "", inJSON) },
	} {
		got = nil
		if w := w(); w.Code != 200 || len(got) != 1 {
			t.Fatalf("%s: %d %s", name, w.Code, w.Body)
		}
		s := got[0]
		if s.TraceID != "tr-"+strings.Repeat("ab", 16) || s.SpanID != "0101010101010101" || s.ParentID != "0202020202020202" ||
			s.Name != "chat" || s.Type != "LLM" || s.Status != "OK" || s.StartNanos != 5 || s.EndNanos != 7 ||
			s.Attributes["list"] != `[1152921504606846976,"x"]` || s.Attributes["none"] != "null" {
			t.Errorf("%s: %+v", name, s)
		}
		var wire map[string]any
		if err := json.Unmarshal(s.Wire, &wire); err != nil || wire["trace_id"] != "q6urq6urq6urq6urq6urqw==" {
			t.Errorf("%s: wire %s: %v", name, s.Wire, err)
		}
	}
	for name, w := range map[string]*httptest.ResponseRecorder{
		"empty": send("application/x-protobuf", "", nil), "noise": send("application/x-protobuf", "", []byte("noise")),
		"type": send("text/plain", "", exported(t)), "encoding": send("application/x-protobuf", "br", exported(t)),
		"not gzip": send("application/x-protobuf", "gzip", exported(t)), "not hex": send("application/json", "", bytes.ReplaceAll(inJSON, []byte("ab"), []byte("zz"))),
	} {
		if w.Code != 400 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if status, body := do(t, a, "POST", "/v1/traces", "{}"); status != 400 || !strings.Contains(body, "x-mlflow-experiment-id") {
		t.Errorf("without an experiment: %d %s", status, body)
	}
}

func FuzzParseSpans(f *testing.F) {
	f.Add(exported(f), false)
	f.Add([]byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"00","attributes":[{"key":"a","value":{"doubleValue":"NaN"}}]}]}]}]}`), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, body []byte, isJSON bool) {
		spans, err := mlflow.ParseSpans(body, isJSON)
		var refusal *stoa.Refusal
		if err != nil && !errors.As(err, &refusal) {
			t.Fatalf("%T is not a refusal: %v", err, err)
		}
		for _, s := range spans {
			if len(s.TraceID) != 35 || len(s.SpanID) != 16 || !json.Valid(s.Wire) {
				t.Fatalf("%+v", s)
			}
		}
	})
}
