package experiment

import (
	"context"
	"io"

	"github.com/stoaproject/stoa"
)

var errUnsupported = &stoa.Refusal{Reason: stoa.ReasonUnsupported, Message: "This call is not served."}

// SearchExperiments is not served.
func (t *Tracking) SearchExperiments(context.Context, stoa.Caller, *SearchExperimentsRequest) (*SearchExperimentsResponse, error) {
	return nil, errUnsupported
}

// SearchDatasets is not served.
func (t *Tracking) SearchDatasets(context.Context, stoa.Caller, *SearchDatasetsRequest) (*SearchDatasetsResponse, error) {
	return nil, errUnsupported
}

// SearchRuns is not served.
func (t *Tracking) SearchRuns(context.Context, stoa.Caller, *SearchRunsRequest) (*SearchRunsResponse, error) {
	return nil, errUnsupported
}

// LogInputs is not served.
func (t *Tracking) LogInputs(context.Context, stoa.Caller, *LogInputsRequest) (*Empty, error) {
	return nil, errUnsupported
}

// LogOutputs is not served.
func (t *Tracking) LogOutputs(context.Context, stoa.Caller, *LogOutputsRequest) (*Empty, error) {
	return nil, errUnsupported
}

// LogModel is not served.
func (t *Tracking) LogModel(context.Context, stoa.Caller, *LogModelRequest) (*Empty, error) {
	return nil, errUnsupported
}

// GetMetricHistory is not served.
func (t *Tracking) GetMetricHistory(context.Context, stoa.Caller, *GetMetricHistoryRequest) (*GetMetricHistoryResponse, error) {
	return nil, errUnsupported
}

// GetMetricHistoryBulk is not served.
func (t *Tracking) GetMetricHistoryBulk(context.Context, stoa.Caller, *GetMetricHistoryBulkRequest) (*MetricsResponse, error) {
	return nil, errUnsupported
}

// GetMetricHistoryBulkInterval is not served.
func (t *Tracking) GetMetricHistoryBulkInterval(context.Context, stoa.Caller, *GetMetricHistoryBulkIntervalRequest) (*MetricsResponse, error) {
	return nil, errUnsupported
}

// CreateLoggedModel is not served.
func (t *Tracking) CreateLoggedModel(context.Context, stoa.Caller, *CreateLoggedModelRequest) (*LoggedModelResponse, error) {
	return nil, errUnsupported
}

// FinalizeLoggedModel is not served.
func (t *Tracking) FinalizeLoggedModel(context.Context, stoa.Caller, *FinalizeLoggedModelRequest) (*LoggedModelResponse, error) {
	return nil, errUnsupported
}

// GetLoggedModel is not served.
func (t *Tracking) GetLoggedModel(context.Context, stoa.Caller, *GetLoggedModelRequest) (*LoggedModelResponse, error) {
	return nil, errUnsupported
}

// DeleteLoggedModel is not served.
func (t *Tracking) DeleteLoggedModel(context.Context, stoa.Caller, *DeleteLoggedModelRequest) (*Empty, error) {
	return nil, errUnsupported
}

// SetLoggedModelTags is not served.
func (t *Tracking) SetLoggedModelTags(context.Context, stoa.Caller, *SetLoggedModelTagsRequest) (*Empty, error) {
	return nil, errUnsupported
}

// DeleteLoggedModelTag is not served.
func (t *Tracking) DeleteLoggedModelTag(context.Context, stoa.Caller, *DeleteLoggedModelTagRequest) (*Empty, error) {
	return nil, errUnsupported
}

// LogLoggedModelParams is not served.
func (t *Tracking) LogLoggedModelParams(context.Context, stoa.Caller, *LogLoggedModelParamsRequest) (*Empty, error) {
	return nil, errUnsupported
}

// SearchLoggedModels is not served.
func (t *Tracking) SearchLoggedModels(context.Context, stoa.Caller, *SearchLoggedModelsRequest) (*SearchLoggedModelsResponse, error) {
	return nil, errUnsupported
}

// ListLoggedModelArtifacts is not served.
func (t *Tracking) ListLoggedModelArtifacts(context.Context, stoa.Caller, *ListLoggedModelArtifactsRequest) (*ListArtifactsResponse, error) {
	return nil, errUnsupported
}

// ListArtifacts is not served.
func (t *Tracking) ListArtifacts(context.Context, stoa.Caller, *ListArtifactsRequest) (*ListArtifactsResponse, error) {
	return nil, errUnsupported
}

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

// An ArtifactFile is an open artifact. The caller closes Body.
type ArtifactFile struct {
	Body io.ReadCloser
	Size int64 // bytes
	Name string
}

// PutArtifact is not served.
func (t *Tracking) PutArtifact(_ context.Context, _ stoa.Caller, path string, body io.Reader) error {
	return errUnsupported
}

// OpenArtifact is not served.
func (t *Tracking) OpenArtifact(_ context.Context, _ stoa.Caller, path string) (*ArtifactFile, error) {
	return nil, errUnsupported
}

// ListArtifactsAt is not served.
func (t *Tracking) ListArtifactsAt(_ context.Context, _ stoa.Caller, path string) (*ListArtifactsResponse, error) {
	return nil, errUnsupported
}

// DeleteArtifact is not served.
func (t *Tracking) DeleteArtifact(_ context.Context, _ stoa.Caller, path string) error {
	return errUnsupported
}

// CreateUpload is not served.
func (t *Tracking) CreateUpload(_ context.Context, _ stoa.Caller, path string, parts int) (upload string, err error) {
	return "", errUnsupported
}

// PutPart is not served.
func (t *Tracking) PutPart(
	_ context.Context, _ stoa.Caller, upload string, number int, body io.Reader,
) (etag string, err error) {
	return "", errUnsupported
}

// CompleteUpload is not served.
func (t *Tracking) CompleteUpload(_ context.Context, _ stoa.Caller, upload, path string, parts []Part) error {
	return errUnsupported
}

// AbortUpload is not served.
func (t *Tracking) AbortUpload(_ context.Context, _ stoa.Caller, upload, path string) error {
	return errUnsupported
}
