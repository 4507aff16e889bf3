package experiment

import "encoding/json"

// A Trace is what one traced call did.
type Trace struct {
	TraceInfo *TraceInfo        `json:"trace_info"`
	Spans     []json.RawMessage `json:"spans,omitempty"` // OTLP spans in the JSON form in which they were stored
}

// A TraceInfo is what a trace is, without its spans.
type TraceInfo struct {
	TraceID           string            `json:"trace_id"` // "tr-" and 32 hexadecimal digits
	ClientRequestID   string            `json:"client_request_id,omitempty"`
	TraceLocation     TraceLocation     `json:"trace_location"`
	RequestPreview    string            `json:"request_preview,omitempty"`
	ResponsePreview   string            `json:"response_preview,omitempty"`
	RequestTime       string            `json:"request_time"`                 // RFC 3339
	ExecutionDuration string            `json:"execution_duration,omitempty"` // seconds and "s", e.g. "1.500s"
	State             Enum              `json:"state"`                        // STATE_UNSPECIFIED, OK, ERROR or IN_PROGRESS
	TraceMetadata     map[string]string `json:"trace_metadata,omitempty"`
	Tags              map[string]string `json:"tags,omitempty"`
	Assessments       []json.RawMessage `json:"assessments,omitempty"`
}

// A TraceLocation says where a trace belongs: to an experiment.
type TraceLocation struct {
	Type             Enum             `json:"type"` // MLFLOW_EXPERIMENT
	MLflowExperiment *TraceExperiment `json:"mlflow_experiment,omitempty"`
}

// A TraceExperiment names the experiment of a trace.
type TraceExperiment struct {
	ExperimentID string `json:"experiment_id"`
}

// StartTraceRequest creates a trace, or completes one whose spans came first.
type StartTraceRequest struct {
	Trace Trace `json:"trace"`
}

// TraceResponse is one trace.
type TraceResponse struct {
	Trace Trace `json:"trace"`
}

// GetTraceInfoRequest names a trace.
type GetTraceInfoRequest struct {
	TraceID string `json:"trace_id"` // from the path
}

// GetTraceRequest names a trace.
type GetTraceRequest struct {
	TraceID      string `json:"trace_id"`
	AllowPartial bool   `json:"allow_partial"`
}

// BatchGetTracesRequest names traces. Those that do not exist are left out of the answer.
type BatchGetTracesRequest struct {
	TraceIDs []string `json:"trace_ids"`
}

// BatchGetTracesResponse is traces with their spans, in the order asked for.
type BatchGetTracesResponse struct {
	Traces []Trace `json:"traces,omitempty"`
}

// BatchGetTraceInfosResponse is traces without their spans, in the order asked for.
type BatchGetTraceInfosResponse struct {
	TraceInfos []TraceInfo `json:"trace_infos,omitempty"`
}

// SearchTracesRequest asks for a page of the traces of experiments.
type SearchTracesRequest struct {
	Locations  []TraceLocation `json:"locations"`
	Filter     string          `json:"filter"`
	MaxResults *Int64          `json:"max_results"` // 100 when absent, at most 500
	OrderBy    []string        `json:"order_by"`
	PageToken  string          `json:"page_token"`
}

// SearchTracesResponse is a page of traces without their spans. The token is absent on the last.
type SearchTracesResponse struct {
	Traces        []TraceInfo `json:"traces,omitempty"`
	NextPageToken string      `json:"next_page_token,omitempty"`
}

// DeleteTracesRequest deletes traces of an experiment: those named, or those up to a time, never both.
type DeleteTracesRequest struct {
	ExperimentID       string   `json:"experiment_id"`
	MaxTimestampMillis *Int64   `json:"max_timestamp_millis"`
	MaxTraces          *Int64   `json:"max_traces"`
	RequestIDs         []string `json:"request_ids"`
	TraceIDs           []string `json:"trace_ids"`
}

// DeleteTracesResponse counts what was deleted.
type DeleteTracesResponse struct {
	TracesDeleted Int64 `json:"traces_deleted"`
}

// SetTraceTagRequest sets a tag of a trace.
type SetTraceTagRequest struct {
	TraceID string `json:"trace_id"` // from the path
	Key     string `json:"key"`
	Value   string `json:"value"`
}

// DeleteTraceTagRequest removes a tag of a trace.
type DeleteTraceTagRequest struct {
	TraceID string `json:"trace_id"` // from the path
	Key     string `json:"key"`
}

// LinkTracesRequest links traces to a run, at most 100 at once.
type LinkTracesRequest struct {
	TraceIDs []string `json:"trace_ids"`
	RunID    string   `json:"run_id"`
}

// A Span is one step of a trace, as a reader of OTLP hands it over.
type Span struct {
	TraceID    string // "tr-" and 32 hexadecimal digits
	SpanID     string // 16 hexadecimal digits
	ParentID   string // empty for the root
	Name       string
	Type       string            // e.g. "LLM"
	Status     string            // "OK", "ERROR" or "UNSET"
	StartNanos int64             // nanoseconds since 1970
	EndNanos   int64             // 0 while it is under way
	Attributes map[string]string // values that are not strings as JSON
	Wire       json.RawMessage   // the span as getting the trace shall give it back
}
