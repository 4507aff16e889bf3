package transfer

import (
	"encoding/json"
	"errors"
)

// The parts of MLflow's wire that a transfer reads. Times are milliseconds since 1970.

// A Tag is a name with a value.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// An Experiment is a named group of runs.
type Experiment struct {
	ID    string `json:"experiment_id"`
	Name  string `json:"name"`
	Stage string `json:"lifecycle_stage"`
	Tags  []Tag  `json:"tags"`
}

// A Run is a training run.
type Run struct {
	Info    RunInfo `json:"info"`
	Data    RunData `json:"data"`
	Inputs  Inputs  `json:"inputs"`
	Outputs Outputs `json:"outputs"`
}

// A RunInfo is what a run is.
type RunInfo struct {
	ID          string  `json:"run_id"`
	Name        string  `json:"run_name"`
	User        string  `json:"user_id"`
	Status      string  `json:"status"`
	StartTime   integer `json:"start_time"`
	EndTime     integer `json:"end_time"`
	ArtifactURI string  `json:"artifact_uri"`
}

// A RunData is the latest values of a run's metrics, its params and its tags.
type RunData struct {
	Metrics []Metric `json:"metrics"`
	Params  []Tag    `json:"params"`
	Tags    []Tag    `json:"tags"`
}

// A Metric is one value of a metric. The value stays as the wire has it: a number, or a string for what is none.
type Metric struct {
	Key           string          `json:"key"`
	Value         json.RawMessage `json:"value"`
	Timestamp     integer         `json:"timestamp"`
	Step          integer         `json:"step"`
	DatasetName   string          `json:"dataset_name,omitempty"`
	DatasetDigest string          `json:"dataset_digest,omitempty"`
	ModelID       string          `json:"model_id,omitempty"`
	RunID         string          `json:"run_id,omitempty"`
}

// Inputs are what a run used.
type Inputs struct {
	Datasets []DatasetInput `json:"dataset_inputs"`
	Models   []ModelLink    `json:"model_inputs"`
}

// A DatasetInput is a data set with the tags of its use.
type DatasetInput struct {
	Tags    []Tag   `json:"tags"`
	Dataset Dataset `json:"dataset"`
}

// A Dataset describes data.
type Dataset struct {
	Name       string `json:"name"`
	Digest     string `json:"digest"`
	SourceType string `json:"source_type"`
	Source     string `json:"source"`
	Schema     string `json:"schema,omitempty"`
	Profile    string `json:"profile,omitempty"`
}

// Outputs are what a run made.
type Outputs struct {
	Models []ModelLink `json:"model_outputs"`
}

// A ModelLink names a logged model that a run used or made.
type ModelLink struct {
	ID   string  `json:"model_id"`
	Step integer `json:"step"`
}

// A LoggedModel is a model that a run logged.
type LoggedModel struct {
	Info LoggedModelInfo `json:"info"`
	Data LoggedModelData `json:"data"`
}

// A LoggedModelInfo is what a logged model is.
type LoggedModelInfo struct {
	ID          string `json:"model_id"`
	Name        string `json:"name"`
	ArtifactURI string `json:"artifact_uri"`
	Status      string `json:"status"`
	ModelType   string `json:"model_type"`
	SourceRun   string `json:"source_run_id"`
	Tags        []Tag  `json:"tags"`
}

// A LoggedModelData is the params and metrics of a logged model.
type LoggedModelData struct {
	Params  []Tag    `json:"params"`
	Metrics []Metric `json:"metrics"`
}

// modelPending is the status of a logged model whose artifacts are not all there.
const modelPending = "LOGGED_MODEL_PENDING"

// A RegisteredModel is a registered model with its versions, by number.
type RegisteredModel struct {
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Tags        []Tag     `json:"tags"`
	Aliases     []Alias   `json:"aliases"`
	Versions    []Version `json:"-"`
}

// An Alias is a name of a version.
type Alias struct {
	Alias   string  `json:"alias"`
	Version integer `json:"version"`
}

// A Version is one version of a registered model.
type Version struct {
	Number      integer `json:"version"`
	Created     integer `json:"creation_timestamp"`
	Description string  `json:"description"`
	Source      string  `json:"source"`
	RunID       string  `json:"run_id"`
	Stage       string  `json:"current_stage"`
	Tags        []Tag   `json:"tags"`
}

// A lostError is why something is not carried over. It stops nothing else.
type lostError struct{ why string }

func (e *lostError) Error() string { return e.why }

func asLost(err error) (string, bool) {
	var lost *lostError
	if errors.As(err, &lost) {
		return lost.why, true
	}
	return "", false
}
