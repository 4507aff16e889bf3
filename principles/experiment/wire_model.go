package experiment

// A LoggedModel is a model that a client logged, before and besides its registration.
type LoggedModel struct {
	Info LoggedModelInfo `json:"info"`
	Data LoggedModelData `json:"data"`
}

// A LoggedModelInfo is what a logged model is. Times are milliseconds since 1970.
type LoggedModelInfo struct {
	ModelID              string `json:"model_id"` // "m-" and 32 hexadecimal digits
	ExperimentID         string `json:"experiment_id"`
	Name                 string `json:"name"`
	CreationTimestamp    Int64  `json:"creation_timestamp_ms"`
	LastUpdatedTimestamp Int64  `json:"last_updated_timestamp_ms"`
	ArtifactURI          string `json:"artifact_uri"`
	Status               string `json:"status"` // LOGGED_MODEL_PENDING, LOGGED_MODEL_READY or LOGGED_MODEL_UPLOAD_FAILED
	ModelType            string `json:"model_type"`
	SourceRunID          string `json:"source_run_id"`
	StatusMessage        string `json:"status_message,omitempty"`
	Tags                 []Tag  `json:"tags,omitempty"`
}

// A LoggedModelData is the params and the metrics of a logged model.
type LoggedModelData struct {
	Params  []Param  `json:"params,omitempty"`
	Metrics []Metric `json:"metrics,omitempty"`
}

// CreateLoggedModelRequest asks for a new logged model.
type CreateLoggedModelRequest struct {
	ExperimentID string  `json:"experiment_id"`
	Name         string  `json:"name"`
	ModelType    string  `json:"model_type"`
	SourceRunID  string  `json:"source_run_id"`
	Params       []Param `json:"params"`
	Tags         []Tag   `json:"tags"`
}

// LoggedModelResponse is one logged model.
type LoggedModelResponse struct {
	Model LoggedModel `json:"model"`
}

// FinalizeLoggedModelRequest says how the upload of a logged model ended.
type FinalizeLoggedModelRequest struct {
	ModelID string `json:"model_id"` // from the path
	Status  Enum   `json:"status"`
}

// GetLoggedModelRequest names a logged model.
type GetLoggedModelRequest struct {
	ModelID      string `json:"model_id"` // from the path
	AllowDeleted bool   `json:"allow_deleted"`
}

// DeleteLoggedModelRequest names a logged model.
type DeleteLoggedModelRequest struct {
	ModelID string `json:"model_id"` // from the path
}

// SetLoggedModelTagsRequest sets tags of a logged model.
type SetLoggedModelTagsRequest struct {
	ModelID string `json:"model_id"` // from the path
	Tags    []Tag  `json:"tags"`
}

// DeleteLoggedModelTagRequest removes a tag of a logged model.
type DeleteLoggedModelTagRequest struct {
	ModelID string `json:"model_id"` // from the path, as is the next
	TagKey  string `json:"tag_key"`
}

// LogLoggedModelParamsRequest adds params to a logged model.
type LogLoggedModelParamsRequest struct {
	ModelID string  `json:"model_id"` // from the path
	Params  []Param `json:"params"`
}

// SearchLoggedModelsRequest asks for a page of the logged models of experiments.
type SearchLoggedModelsRequest struct {
	ExperimentIDs []string            `json:"experiment_ids"`
	Filter        string              `json:"filter"`
	Datasets      []DatasetName       `json:"datasets"` // metrics in the filter are those on these data sets
	MaxResults    *Int64              `json:"max_results"`
	OrderBy       []LoggedModelsOrder `json:"order_by"`
	PageToken     string              `json:"page_token"`
}

// A DatasetName is the name of a data set; an empty digest means any.
type DatasetName struct {
	DatasetName   string `json:"dataset_name"`
	DatasetDigest string `json:"dataset_digest"`
}

// A LoggedModelsOrder is one key to order logged models by.
type LoggedModelsOrder struct {
	FieldName     string `json:"field_name"`
	Ascending     *bool  `json:"ascending"` // true when absent
	DatasetName   string `json:"dataset_name"`
	DatasetDigest string `json:"dataset_digest"`
}

// SearchLoggedModelsResponse is a page of logged models. The token is absent on the last.
type SearchLoggedModelsResponse struct {
	Models        []LoggedModel `json:"models,omitempty"`
	NextPageToken string        `json:"next_page_token,omitempty"`
}
