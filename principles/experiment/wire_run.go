package experiment

// A Run is one training run with what it used and what it made.
type Run struct {
	Info    RunInfo    `json:"info"`
	Data    RunData    `json:"data"`
	Inputs  RunInputs  `json:"inputs"`
	Outputs RunOutputs `json:"outputs"`
}

// A RunInfo is what a run is. Times are milliseconds since 1970.
type RunInfo struct {
	RunUUID        string `json:"run_uuid"` // the same as RunID, for old clients
	RunID          string `json:"run_id"`
	RunName        string `json:"run_name"`
	ExperimentID   string `json:"experiment_id"`
	UserID         string `json:"user_id"`
	Status         string `json:"status"` // RUNNING, SCHEDULED, FINISHED, FAILED or KILLED
	StartTime      Int64  `json:"start_time"`
	EndTime        *Int64 `json:"end_time,omitempty"`
	ArtifactURI    string `json:"artifact_uri"`
	LifecycleStage string `json:"lifecycle_stage"` // "active" or "deleted"
}

// A RunData is the latest value of every metric, the params and the tags of a run.
type RunData struct {
	Metrics []Metric `json:"metrics,omitempty"`
	Params  []Param  `json:"params,omitempty"`
	Tags    []Tag    `json:"tags,omitempty"`
}

// A Metric is one value of a metric at one time and step. In a request, Value and Timestamp must be set.
type Metric struct {
	Key           string   `json:"key"`
	Value         *Float64 `json:"value"`
	Timestamp     *Int64   `json:"timestamp"` // milliseconds since 1970
	Step          Int64    `json:"step"`
	DatasetName   string   `json:"dataset_name,omitempty"`
	DatasetDigest string   `json:"dataset_digest,omitempty"`
	ModelID       string   `json:"model_id,omitempty"`
	RunID         string   `json:"run_id,omitempty"`
}

// A Param is a named setting of a run or a logged model. It never changes.
type Param struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// A RunInputs is what a run used.
type RunInputs struct {
	DatasetInputs []DatasetInput `json:"dataset_inputs,omitempty"`
	ModelInputs   []ModelInput   `json:"model_inputs,omitempty"`
}

// A DatasetInput is a data set with the tags of its use.
type DatasetInput struct {
	Tags    []Tag    `json:"tags,omitempty"`
	Dataset *Dataset `json:"dataset"`
}

// A Dataset describes data by its name, its digest and where it came from. Source is text and is never opened.
type Dataset struct {
	Name       string `json:"name"`
	Digest     string `json:"digest"`
	SourceType string `json:"source_type"`
	Source     string `json:"source"`
	Schema     string `json:"schema,omitempty"`
	Profile    string `json:"profile,omitempty"`
}

// A ModelInput names a logged model that a run used.
type ModelInput struct {
	ModelID string `json:"model_id"`
}

// A RunOutputs is the logged models that a run made.
type RunOutputs struct {
	ModelOutputs []ModelOutput `json:"model_outputs,omitempty"`
}

// A ModelOutput names a logged model that a run made at a step.
type ModelOutput struct {
	ModelID string `json:"model_id"`
	Step    Int64  `json:"step"`
}

// CreateRunRequest asks for a new run. An empty ExperimentID means the default experiment.
type CreateRunRequest struct {
	ExperimentID string `json:"experiment_id"`
	UserID       string `json:"user_id"`
	RunName      string `json:"run_name"`
	StartTime    Int64  `json:"start_time"`
	Tags         []Tag  `json:"tags"`
}

// RunResponse is one run.
type RunResponse struct {
	Run Run `json:"run"`
}

// RunRequest names a run. Old clients say run_uuid. Getting, deleting and restoring take it.
type RunRequest struct {
	RunID   string `json:"run_id"`
	RunUUID string `json:"run_uuid"`
}

// UpdateRunRequest changes what is set of a run.
type UpdateRunRequest struct {
	RunID   string  `json:"run_id"`
	RunUUID string  `json:"run_uuid"`
	Status  Enum    `json:"status"`
	EndTime *Int64  `json:"end_time"`
	RunName *string `json:"run_name"`
}

// UpdateRunResponse is the run after the change.
type UpdateRunResponse struct {
	RunInfo RunInfo `json:"run_info"`
}

// SearchRunsRequest asks for a page of the runs of experiments.
type SearchRunsRequest struct {
	ExperimentIDs []string `json:"experiment_ids"`
	Filter        string   `json:"filter"`
	RunViewType   Enum     `json:"run_view_type"` // ACTIVE_ONLY when absent
	MaxResults    *Int64   `json:"max_results"`   // 1000 when absent, at most 50000
	OrderBy       []string `json:"order_by"`
	PageToken     string   `json:"page_token"`
}

// SearchRunsResponse is a page of runs. The token is absent on the last.
type SearchRunsResponse struct {
	Runs          []Run  `json:"runs,omitempty"`
	NextPageToken string `json:"next_page_token,omitempty"`
}

// LogMetricRequest logs one value of a metric.
type LogMetricRequest struct {
	RunID         string   `json:"run_id"`
	RunUUID       string   `json:"run_uuid"`
	Key           string   `json:"key"`
	Value         *Float64 `json:"value"`
	Timestamp     *Int64   `json:"timestamp"`
	Step          Int64    `json:"step"`
	ModelID       string   `json:"model_id"`
	DatasetName   string   `json:"dataset_name"`
	DatasetDigest string   `json:"dataset_digest"`
}

// LogParamRequest logs one param.
type LogParamRequest struct {
	RunID   string `json:"run_id"`
	RunUUID string `json:"run_uuid"`
	Key     string `json:"key"`
	Value   string `json:"value"`
}

// LogBatchRequest logs metrics, params and tags in one transaction. Sending it again changes nothing.
type LogBatchRequest struct {
	RunID   string   `json:"run_id"`
	Metrics []Metric `json:"metrics"`
	Params  []Param  `json:"params"`
	Tags    []Tag    `json:"tags"`
}

// SetTagRequest sets a tag of a run.
type SetTagRequest struct {
	RunID   string `json:"run_id"`
	RunUUID string `json:"run_uuid"`
	Key     string `json:"key"`
	Value   string `json:"value"`
}

// DeleteTagRequest removes a tag of a run.
type DeleteTagRequest struct {
	RunID string `json:"run_id"`
	Key   string `json:"key"`
}

// LogInputsRequest records what a run used.
type LogInputsRequest struct {
	RunID    string         `json:"run_id"`
	Datasets []DatasetInput `json:"datasets"`
	Models   []ModelInput   `json:"models"`
}

// LogOutputsRequest records the logged models that a run made.
type LogOutputsRequest struct {
	RunID  string        `json:"run_id"`
	Models []ModelOutput `json:"models"`
}

// LogModelRequest records a model that a client of version 2 logged: its MLmodel file as JSON.
type LogModelRequest struct {
	RunID     string `json:"run_id"`
	ModelJSON string `json:"model_json"`
}

// GetMetricHistoryRequest asks for the values of one metric of one run, in the order in which they were logged.
type GetMetricHistoryRequest struct {
	RunID      string `json:"run_id"`
	RunUUID    string `json:"run_uuid"`
	MetricKey  string `json:"metric_key"`
	PageToken  string `json:"page_token"`
	MaxResults *Int64 `json:"max_results"` // all when absent; a page has at most 25000
}

// GetMetricHistoryResponse is a page of values. The token is absent on the last.
type GetMetricHistoryResponse struct {
	Metrics       []Metric `json:"metrics,omitempty"`
	NextPageToken string   `json:"next_page_token,omitempty"`
}

// GetMetricHistoryBulkRequest asks for the values of one metric of up to 100 runs.
type GetMetricHistoryBulkRequest struct {
	RunIDs     []string `json:"run_id"` // repeated in the query
	MetricKey  string   `json:"metric_key"`
	MaxResults *Int64   `json:"max_results"` // at most 25000
}

// GetMetricHistoryBulkIntervalRequest asks for a sample of the values of one metric of up to 100 runs.
type GetMetricHistoryBulkIntervalRequest struct {
	RunIDs     []string `json:"run_ids"`
	MetricKey  string   `json:"metric_key"`
	StartStep  *Int64   `json:"start_step"`
	EndStep    *Int64   `json:"end_step"`
	MaxResults *Int64   `json:"max_results"` // steps per run; 2500 when absent
}

// MetricsResponse is values of a metric, each with its run.
type MetricsResponse struct {
	Metrics []Metric `json:"metrics,omitempty"`
}
