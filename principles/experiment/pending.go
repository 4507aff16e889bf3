package experiment

import (
	"context"

	"github.com/stoaproject/stoa"
)

var errUnsupported = &stoa.Refusal{Reason: stoa.ReasonUnsupported, Message: "This call is not served."}

// StartTrace is not served.
func (t *Tracking) StartTrace(context.Context, stoa.Caller, *StartTraceRequest) (*TraceResponse, error) {
	return nil, errUnsupported
}

// GetTraceInfo is not served.
func (t *Tracking) GetTraceInfo(context.Context, stoa.Caller, *GetTraceInfoRequest) (*TraceResponse, error) {
	return nil, errUnsupported
}

// GetTrace is not served.
func (t *Tracking) GetTrace(context.Context, stoa.Caller, *GetTraceRequest) (*TraceResponse, error) {
	return nil, errUnsupported
}

// BatchGetTraces is not served.
func (t *Tracking) BatchGetTraces(context.Context, stoa.Caller, *BatchGetTracesRequest) (*BatchGetTracesResponse, error) {
	return nil, errUnsupported
}

// BatchGetTraceInfos is not served.
func (t *Tracking) BatchGetTraceInfos(context.Context, stoa.Caller, *BatchGetTracesRequest) (*BatchGetTraceInfosResponse, error) {
	return nil, errUnsupported
}

// SearchTraces is not served.
func (t *Tracking) SearchTraces(context.Context, stoa.Caller, *SearchTracesRequest) (*SearchTracesResponse, error) {
	return nil, errUnsupported
}

// DeleteTraces is not served.
func (t *Tracking) DeleteTraces(context.Context, stoa.Caller, *DeleteTracesRequest) (*DeleteTracesResponse, error) {
	return nil, errUnsupported
}

// SetTraceTag is not served.
func (t *Tracking) SetTraceTag(context.Context, stoa.Caller, *SetTraceTagRequest) (*Empty, error) {
	return nil, errUnsupported
}

// DeleteTraceTag is not served.
func (t *Tracking) DeleteTraceTag(context.Context, stoa.Caller, *DeleteTraceTagRequest) (*Empty, error) {
	return nil, errUnsupported
}

// LinkTraces is not served.
func (t *Tracking) LinkTraces(context.Context, stoa.Caller, *LinkTracesRequest) (*Empty, error) {
	return nil, errUnsupported
}

// StoreSpans is not served.
func (t *Tracking) StoreSpans(_ context.Context, _ stoa.Caller, experimentID string, spans []Span) error {
	return errUnsupported
}
