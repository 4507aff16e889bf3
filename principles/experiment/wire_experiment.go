package experiment

// The structs of the wire have the names of MLflow's fields as their JSON tags. A pointer is a field whose absence means
// something else than its zero value.

// An Empty is the response of a call that has nothing to say.
type Empty struct{}

// A Tag is a name with a value, on an experiment, a run, a logged model or an input.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// An Experiment is a named group of runs, logged models and traces.
type Experiment struct {
	ExperimentID     string `json:"experiment_id"`
	Name             string `json:"name"`
	ArtifactLocation string `json:"artifact_location"`
	LifecycleStage   string `json:"lifecycle_stage"`  // "active" or "deleted"
	LastUpdateTime   Int64  `json:"last_update_time"` // milliseconds since 1970, as is the next
	CreationTime     Int64  `json:"creation_time"`
	Tags             []Tag  `json:"tags,omitempty"`
}

// CreateExperimentRequest asks for a new experiment. ArtifactLocation is kept as text and never opened.
type CreateExperimentRequest struct {
	Name             string `json:"name"`
	ArtifactLocation string `json:"artifact_location"`
	Tags             []Tag  `json:"tags"`
}

// CreateExperimentResponse names the new experiment.
type CreateExperimentResponse struct {
	ExperimentID string `json:"experiment_id"`
}

// GetExperimentRequest names an experiment, deleted or not. Deleting and restoring take the same.
type GetExperimentRequest struct {
	ExperimentID string `json:"experiment_id"`
}

// GetExperimentByNameRequest names an experiment, deleted or not.
type GetExperimentByNameRequest struct {
	ExperimentName string `json:"experiment_name"`
}

// GetExperimentResponse is one experiment.
type GetExperimentResponse struct {
	Experiment Experiment `json:"experiment"`
}

// UpdateExperimentRequest gives an experiment a new name.
type UpdateExperimentRequest struct {
	ExperimentID string `json:"experiment_id"`
	NewName      string `json:"new_name"`
}

// SearchExperimentsRequest asks for a page of experiments.
type SearchExperimentsRequest struct {
	Filter     string   `json:"filter"`
	ViewType   Enum     `json:"view_type"` // ACTIVE_ONLY when absent
	MaxResults *Int64   `json:"max_results"`
	OrderBy    []string `json:"order_by"`
	PageToken  string   `json:"page_token"`
}

// SearchExperimentsResponse is a page of experiments. The token is absent on the last.
type SearchExperimentsResponse struct {
	Experiments   []Experiment `json:"experiments,omitempty"`
	NextPageToken string       `json:"next_page_token,omitempty"`
}

// SetExperimentTagRequest sets a tag of an experiment.
type SetExperimentTagRequest struct {
	ExperimentID string `json:"experiment_id"`
	Key          string `json:"key"`
	Value        string `json:"value"`
}

// DeleteExperimentTagRequest removes a tag of an experiment.
type DeleteExperimentTagRequest struct {
	ExperimentID string `json:"experiment_id"`
	Key          string `json:"key"`
}

// SearchDatasetsRequest asks for the data sets that the runs of experiments used.
type SearchDatasetsRequest struct {
	ExperimentIDs []string `json:"experiment_ids"`
}

// A DatasetSummary is a data set that a run of an experiment used, and as what.
type DatasetSummary struct {
	ExperimentID string `json:"experiment_id"`
	Name         string `json:"name"`
	Digest       string `json:"digest"`
	Context      string `json:"context,omitempty"` // e.g. "training"
}

// SearchDatasetsResponse is the distinct data sets, at most 1000.
type SearchDatasetsResponse struct {
	DatasetSummaries []DatasetSummary `json:"dataset_summaries,omitempty"`
}
