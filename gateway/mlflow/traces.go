package mlflow

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/stoaproject/stoa"
)

// A Span is one step of a trace, as OTLP tells it.
type Span struct {
	TraceID    string // "tr-" and 32 hexadecimal digits
	SpanID     string // 16 hexadecimal digits
	ParentID   string // empty for the root
	Name       string
	Type       string            // what the attribute mlflow.spanType says, e.g. "LLM"
	Status     string            // "OK", "ERROR" or "UNSET"
	StartNanos int64             // nanoseconds since 1970
	EndNanos   int64             // 0 while it is under way
	Attributes map[string]string // values that are not strings as JSON
	Wire       json.RawMessage   // the whole span in the JSON form of its message, which the client reads back
}

// maxTraces is the largest body of traces, in bytes, after decompression.
const maxTraces = 64 << 20

// maxAnyDepth is how deep the value of an attribute may nest.
const maxAnyDepth = 64

// HandleTraces registers POST /v1/traces, where OTLP exporters send spans in protobuf or JSON. The header
// x-mlflow-experiment-id names the experiment that they belong to, and x-mlflow-run-id may name a run; take keeps the
// spans or none of them.
func HandleTraces(a *API, take func(r *http.Request, c stoa.Caller, experiment, run string, spans []Span) error) {
	a.Raw("POST", "/v1/traces", func(w http.ResponseWriter, r *http.Request, c stoa.Caller) error {
		experiment := r.Header.Get("X-Mlflow-Experiment-Id")
		if experiment == "" {
			return &stoa.Refusal{
				Reason: stoa.ReasonBadInput, Message: "Missing value for required parameter 'x-mlflow-experiment-id'",
				Hint: "send the experiment's id in this header",
			}
		}
		kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || kind != "application/x-protobuf" && kind != "application/json" {
			return &stoa.Refusal{
				Reason: stoa.ReasonBadInput, Message: "Invalid Content-Type. Expected: application/x-protobuf or application/json",
			}
		}
		body, err := readTraces(r)
		if err != nil {
			return err
		}
		spans, err := ParseSpans(body, kind == "application/json")
		if err != nil {
			return err
		}
		if err := take(r, c, experiment, r.Header.Get("X-Mlflow-Run-Id"), spans); err != nil {
			return err
		}
		w.Header().Set("Content-Type", kind)
		if kind == "application/json" {
			_, _ = io.WriteString(w, "{}") // the client may be gone
		}
		return nil // the answer without any field set has no bytes
	})
}

func readTraces(r *http.Request) ([]byte, error) {
	var from io.Reader = r.Body
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, malformedTraces(err)
		}
		from = unzipped
	default:
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonBadInput, Message: fmt.Sprintf("the Content-Encoding %.40q is not known", encoding), Hint: "use gzip",
		}
	}
	body, err := io.ReadAll(io.LimitReader(from, maxTraces+1))
	switch {
	case err != nil:
		return nil, malformedTraces(err)
	case len(body) > maxTraces:
		return nil, &stoa.Refusal{Reason: stoa.ReasonTooLarge, Message: fmt.Sprintf("the traces have more than %d bytes", maxTraces)}
	}
	return body, nil
}

func malformedTraces(err error) error {
	return &stoa.Refusal{Reason: stoa.ReasonMalformed, Message: "Invalid OpenTelemetry format", Err: err}
}

// ParseSpans reads the spans of an ExportTraceServiceRequest, whose only field is that of TracesData. The error is a
// *[stoa.Refusal].
func ParseSpans(body []byte, isJSON bool) ([]Span, error) {
	var data tracepb.TracesData
	var err error
	if isJSON {
		if body, err = hexToBase64(body); err == nil {
			err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(body, &data)
		}
	} else {
		err = proto.Unmarshal(body, &data)
	}
	if err != nil {
		return nil, malformedTraces(err)
	}
	var spans []Span
	for _, resource := range data.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				span, err := readSpan(s)
				if err != nil {
					return nil, err
				}
				spans = append(spans, span)
			}
		}
	}
	if spans == nil {
		return nil, &stoa.Refusal{Reason: stoa.ReasonBadInput, Message: "Invalid OpenTelemetry format - no spans found"}
	}
	return spans, nil
}

func readSpan(s *tracepb.Span) (Span, error) {
	if len(s.GetTraceId()) != 16 || len(s.GetSpanId()) != 8 || len(s.GetParentSpanId())%8 != 0 || len(s.GetParentSpanId()) > 8 {
		return Span{}, &stoa.Refusal{
			Reason: stoa.ReasonBadInput, Message: "Cannot convert OpenTelemetry span to MLflow span: an id has the wrong length",
		}
	}
	wire, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(s)
	if err != nil {
		return Span{}, malformedTraces(err)
	}
	span := Span{
		TraceID: "tr-" + hex.EncodeToString(s.GetTraceId()), SpanID: hex.EncodeToString(s.GetSpanId()),
		ParentID: hex.EncodeToString(s.GetParentSpanId()), Name: s.GetName(), Status: "UNSET",
		StartNanos: int64(s.GetStartTimeUnixNano()), EndNanos: int64(s.GetEndTimeUnixNano()),
		Attributes: make(map[string]string, len(s.GetAttributes())), Wire: wire,
	}
	switch s.GetStatus().GetCode() {
	case tracepb.Status_STATUS_CODE_OK:
		span.Status = "OK"
	case tracepb.Status_STATUS_CODE_ERROR:
		span.Status = "ERROR"
	}
	for _, attribute := range s.GetAttributes() {
		text, err := textOf(attribute.GetValue())
		if err != nil {
			return Span{}, err
		}
		span.Attributes[attribute.GetKey()] = text
	}
	span.Type = span.Attributes["mlflow.spanType"]
	return span, nil
}

// textOf is the text of an attribute's value: a string as it is, anything else as JSON.
func textOf(v *commonpb.AnyValue) (string, error) {
	plain, err := plainValue(v, 0)
	if err != nil {
		return "", err
	}
	if s, ok := plain.(string); ok {
		return s, nil
	}
	text, err := Marshal(plain)
	return string(text), err
}

func plainValue(v *commonpb.AnyValue, depth int) (any, error) {
	if depth > maxAnyDepth {
		return nil, &stoa.Refusal{Reason: stoa.ReasonBadInput, Message: "the value of an attribute nests too deep"}
	}
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue, nil
	case *commonpb.AnyValue_BoolValue:
		return v.BoolValue, nil
	case *commonpb.AnyValue_IntValue:
		return json.Number(strconv.FormatInt(v.IntValue, 10)), nil
	case *commonpb.AnyValue_DoubleValue:
		return v.DoubleValue, nil
	case *commonpb.AnyValue_BytesValue:
		return base64.StdEncoding.EncodeToString(v.BytesValue), nil
	case *commonpb.AnyValue_ArrayValue:
		list := make([]any, 0, len(v.ArrayValue.GetValues()))
		for _, element := range v.ArrayValue.GetValues() {
			plain, err := plainValue(element, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, plain)
		}
		return list, nil
	case *commonpb.AnyValue_KvlistValue:
		object := make(map[string]any, len(v.KvlistValue.GetValues()))
		for _, pair := range v.KvlistValue.GetValues() {
			plain, err := plainValue(pair.GetValue(), depth+1)
			if err != nil {
				return nil, err
			}
			object[pair.GetKey()] = plain
		}
		return object, nil
	}
	return nil, nil
}

// hexToBase64 rewrites the ids of OTLP in JSON, which are hexadecimal, as the JSON form of a message has bytes.
func hexToBase64(body []byte) ([]byte, error) {
	var tree any
	if err := json.Unmarshal(body, &tree); err != nil {
		return nil, err
	}
	if err := rewriteIDs(tree); err != nil {
		return nil, err
	}
	return json.Marshal(tree)
}

func rewriteIDs(node any) error {
	switch node := node.(type) {
	case []any:
		for _, child := range node {
			if err := rewriteIDs(child); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, child := range node {
			id, text := child.(string)
			if !text || name != "traceId" && name != "spanId" && name != "parentSpanId" {
				if err := rewriteIDs(child); err != nil {
					return err
				}
				continue
			}
			raw, err := hex.DecodeString(id)
			if err != nil {
				return err
			}
			node[name] = base64.StdEncoding.EncodeToString(raw)
		}
	}
	return nil
}
