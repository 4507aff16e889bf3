package registry

// A Wire speaks of a registry in MLflow's words: its methods are the calls of MLflow's model registry, one for each
// route, with requests and replies in the wire's JSON. Its errors are those that the stock client expects: a
// *[stoa.Refusal] with upstream's text, whose reason becomes upstream's error code.
//
//	unknown_model, unknown_version, not_found   RESOURCE_DOES_NOT_EXIST
//	conflict                                    RESOURCE_ALREADY_EXISTS
//	invalid                                     INVALID_PARAMETER_VALUE
//	forbidden                                   PERMISSION_DENIED
type Wire struct {
	registry *Registry
}

// Wire gives the registry's MLflow wire.
func (r *Registry) Wire() *Wire { return &Wire{registry: r} }

// A Tag is a key and its value.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// An AliasOf is an alias with the version that it points at.
type AliasOf struct {
	Alias   string `json:"alias"`
	Version string `json:"version"`
}

// A RegisteredModel is a model as MLflow shows it. Times are milliseconds since 1970.
type RegisteredModel struct {
	Name                 string         `json:"name"`
	CreationTimestamp    int64          `json:"creation_timestamp"`
	LastUpdatedTimestamp int64          `json:"last_updated_timestamp"`
	Description          string         `json:"description,omitempty"`
	LatestVersions       []ModelVersion `json:"latest_versions,omitempty"` // the newest of each stage
	Tags                 []Tag          `json:"tags,omitempty"`
	Aliases              []AliasOf      `json:"aliases,omitempty"`
}

// A ModelVersion is a version as MLflow shows it. Times are milliseconds since 1970.
type ModelVersion struct {
	Name                 string   `json:"name"`
	Version              string   `json:"version"`
	CreationTimestamp    int64    `json:"creation_timestamp"`
	LastUpdatedTimestamp int64    `json:"last_updated_timestamp"`
	Description          *string  `json:"description,omitempty"`
	CurrentStage         string   `json:"current_stage"`
	Source               string   `json:"source"`
	RunID                string   `json:"run_id"`
	Status               string   `json:"status"` // always READY: a version is complete or is not there
	StatusMessage        string   `json:"status_message,omitempty"`
	Tags                 []Tag    `json:"tags,omitempty"`
	RunLink              string   `json:"run_link"`
	Aliases              []string `json:"aliases,omitempty"`
}

// An Empty is the reply to a call that has nothing to say.
type Empty struct{}

// A RegisteredModelReply carries one model.
type RegisteredModelReply struct {
	RegisteredModel RegisteredModel `json:"registered_model"`
}

// A ModelVersionReply carries one version.
type ModelVersionReply struct {
	ModelVersion ModelVersion `json:"model_version"`
}

// A CreateRegisteredModelRequest is the body of POST registered-models/create.
type CreateRegisteredModelRequest struct {
	Name        string `json:"name"`
	Tags        []Tag  `json:"tags"`
	Description string `json:"description"`
}

// A GetRegisteredModelRequest is the query of GET registered-models/get.
type GetRegisteredModelRequest struct {
	Name string `json:"name"`
}

// A RenameRegisteredModelRequest is the body of POST registered-models/rename.
type RenameRegisteredModelRequest struct {
	Name    string `json:"name"`
	NewName string `json:"new_name"`
}

// An UpdateRegisteredModelRequest is the body of PATCH registered-models/update.
type UpdateRegisteredModelRequest struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// A DeleteRegisteredModelRequest is the body of DELETE registered-models/delete.
type DeleteRegisteredModelRequest struct {
	Name string `json:"name"`
}

// A SearchRequest is the query of GET registered-models/search and of GET model-versions/search.
type SearchRequest struct {
	Filter     string   `json:"filter"`
	MaxResults *int64   `json:"max_results"`
	OrderBy    []string `json:"order_by"`
	PageToken  string   `json:"page_token"`
}

// A SearchRegisteredModelsReply is a page of models.
type SearchRegisteredModelsReply struct {
	RegisteredModels []RegisteredModel `json:"registered_models,omitempty"`
	NextPageToken    string            `json:"next_page_token,omitempty"`
}

// A SearchModelVersionsReply is a page of versions.
type SearchModelVersionsReply struct {
	ModelVersions []ModelVersion `json:"model_versions,omitempty"`
	NextPageToken string         `json:"next_page_token,omitempty"`
}

// A GetLatestVersionsRequest is the body of POST, or the query of GET, registered-models/get-latest-versions.
type GetLatestVersionsRequest struct {
	Name   string   `json:"name"`
	Stages []string `json:"stages"`
}

// A GetLatestVersionsReply has the newest version of each stage.
type GetLatestVersionsReply struct {
	ModelVersions []ModelVersion `json:"model_versions,omitempty"`
}

// A SetRegisteredModelTagRequest is the body of POST registered-models/set-tag.
type SetRegisteredModelTagRequest struct {
	Name  string `json:"name"`
	Key   string `json:"key"`
	Value string `json:"value"`
}

// A DeleteRegisteredModelTagRequest is the body of DELETE registered-models/delete-tag.
type DeleteRegisteredModelTagRequest struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// An AliasRequest is the body of POST and DELETE, and the query of GET, registered-models/alias. Only POST has a
// version.
type AliasRequest struct {
	Name    string `json:"name"`
	Alias   string `json:"alias"`
	Version string `json:"version"`
}

// A CreateModelVersionRequest is the body of POST model-versions/create.
type CreateModelVersionRequest struct {
	Name        string  `json:"name"`
	Source      string  `json:"source"`
	RunID       *string `json:"run_id"`
	Tags        []Tag   `json:"tags"`
	RunLink     string  `json:"run_link"`
	Description string  `json:"description"`
	ModelID     *string `json:"model_id"`
}

// A ModelVersionRequest names a version: the query of GET model-versions/get and model-versions/get-download-uri, and
// the body of DELETE model-versions/delete.
type ModelVersionRequest struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// An UpdateModelVersionRequest is the body of PATCH model-versions/update.
type UpdateModelVersionRequest struct {
	Name        string  `json:"name"`
	Version     string  `json:"version"`
	Description *string `json:"description"`
}

// A DownloadURIReply says where the files of a version are.
type DownloadURIReply struct {
	ArtifactURI string `json:"artifact_uri"`
}

// A TransitionStageRequest is the body of POST model-versions/transition-stage.
type TransitionStageRequest struct {
	Name                    string `json:"name"`
	Version                 string `json:"version"`
	Stage                   string `json:"stage"`
	ArchiveExistingVersions bool   `json:"archive_existing_versions"`
}

// A SetModelVersionTagRequest is the body of POST model-versions/set-tag.
type SetModelVersionTagRequest struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Key     string `json:"key"`
	Value   string `json:"value"`
}

// A DeleteModelVersionTagRequest is the body of DELETE model-versions/delete-tag.
type DeleteModelVersionTagRequest struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Key     string `json:"key"`
}
