package experiment

// ListArtifactsRequest asks for the artifacts of a run directly beneath a path: all of them, on one page.
type ListArtifactsRequest struct {
	RunID   string `json:"run_id"`
	RunUUID string `json:"run_uuid"`
	Path    string `json:"path"`
}

// A FileInfo is a file or a directory of artifacts.
type FileInfo struct {
	Path     string `json:"path"`
	IsDir    bool   `json:"is_dir"`
	FileSize *Int64 `json:"file_size,omitempty"` // bytes; absent for a directory
}

// ListArtifactsResponse is files and directories by name.
type ListArtifactsResponse struct {
	RootURI string     `json:"root_uri,omitempty"`
	Files   []FileInfo `json:"files,omitempty"`
}

// ListLoggedModelArtifactsRequest asks for the artifacts of a logged model directly beneath a path.
type ListLoggedModelArtifactsRequest struct {
	ModelID string `json:"model_id"` // from the path of the URL
	Path    string `json:"artifact_directory_path"`
}

// A Part is one uploaded part of a multipart upload.
type Part struct {
	Number int    `json:"part_number"` // from 1
	ETag   string `json:"etag"`
	URL    string `json:"url"` // ignored
}
