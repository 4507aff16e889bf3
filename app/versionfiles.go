package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/gateway/mlflow"
	"github.com/stoaproject/stoa/principles/experiment"
)

// A version that was not registered over MLflow's wire, because a retraining made it or `stoa models register` did, has
// no files in the tracking room. To MLflow's client it has: the artifact, and an MLmodel file that describes it, below a
// directory that is only read.

// versionDirectory holds the files of versions, as NAME/NUMBER/FILE. Experiments, which have numbers, never collide with
// it.
const versionDirectory = "registered-versions"

// locate is where MLflow's client finds the files of a version that was registered without a source.
func locate(v stoa.Version) string {
	return fmt.Sprintf("%s%s/%s/%d", artifactScheme, versionDirectory, v.Model, v.Number)
}

// versionFile is the version and the file that a path names; ok is false for a path outside of the directory.
func versionFile(at string) (model, number, file string, ok bool) {
	names := strings.SplitN(at, "/", 4)
	if names[0] != versionDirectory {
		return "", "", "", false
	}
	names = append(names, "", "", "")
	return names[1], names[2], names[3], true
}

// withVersions adds the files of versions to artifacts.
func (a *App) withVersions(files mlflow.Artifacts) mlflow.Artifacts {
	inner := files
	files.Open = func(ctx context.Context, c stoa.Caller, at string) (io.ReadCloser, int64, error) {
		model, number, file, ok := versionFile(at)
		if !ok {
			return inner.Open(ctx, c, at)
		}
		content, err := a.readVersionFile(ctx, model, number, file)
		return io.NopCloser(bytes.NewReader(content)), int64(len(content)), err
	}
	files.List = func(ctx context.Context, c stoa.Caller, at string) (any, error) {
		model, number, file, ok := versionFile(at)
		if !ok {
			return inner.List(ctx, c, at)
		}
		return a.listVersionFiles(ctx, model, number, file)
	}
	files.Put = func(ctx context.Context, c stoa.Caller, at string, body io.Reader) error {
		if _, _, _, ok := versionFile(at); ok {
			return forbidden("the files of a version are read only")
		}
		return inner.Put(ctx, c, at, body)
	}
	files.Delete = func(ctx context.Context, c stoa.Caller, at string) error {
		if _, _, _, ok := versionFile(at); ok {
			return forbidden("the files of a version are read only")
		}
		return inner.Delete(ctx, c, at)
	}
	files.Create = func(ctx context.Context, c stoa.Caller, at string, parts int) (string, error) {
		if _, _, _, ok := versionFile(at); ok {
			return "", forbidden("the files of a version are read only")
		}
		return inner.Create(ctx, c, at, parts)
	}
	return files
}

const (
	versionMLmodel = "MLmodel"
	versionONNX    = "model.onnx"
)

func (a *App) readVersionFile(ctx context.Context, model, number, file string) ([]byte, error) {
	v, err := a.rooms.registry.Version(ctx, model, number)
	if err != nil {
		return nil, err
	}
	switch file {
	case versionMLmodel:
		return describeVersion(v), nil
	case versionONNX:
		return a.rooms.registry.Artifact(ctx, v)
	}
	return nil, &stoa.Refusal{Reason: stoa.ReasonNotFound, Message: fmt.Sprintf("No such artifact: '%.200s'", file)}
}

// describeVersion is the MLmodel file of a version.
func describeVersion(v stoa.Version) []byte {
	return fmt.Appendf(nil, `artifact_path: model
flavors:
  onnx:
    code: null
    data: %[1]s
    providers: [CPUExecutionProvider]
  python_function:
    data: %[1]s
    loader_module: mlflow.onnx
mlflow_version: %[2]s
model_size_bytes: %[3]d
utc_time_created: '%[4]s'
`, versionONNX, mlflow.EmulatedVersion, v.Size, v.CreatedAt.UTC().Format("2006-01-02 15:04:05.000000"))
}

// listVersionFiles lists the directory of one version. What lies above it is not listed, and a file has nothing beneath.
func (a *App) listVersionFiles(ctx context.Context, model, number, file string) (any, error) {
	var answer experiment.ListArtifactsResponse
	if number == "" || file != "" {
		return answer, nil
	}
	v, err := a.rooms.registry.Version(ctx, model, number)
	if err != nil {
		return nil, err
	}
	described, size := experiment.Int64(len(describeVersion(v))), experiment.Int64(v.Size)
	answer.Files = append(answer.Files, experiment.FileInfo{Path: versionMLmodel, FileSize: &described})
	if v.Servable {
		answer.Files = append(answer.Files, experiment.FileInfo{Path: versionONNX, FileSize: &size})
	}
	return answer, nil
}
