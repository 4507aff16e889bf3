package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/gateway/mlflow"
	"github.com/stoaproject/stoa/principles/experiment"
	"github.com/stoaproject/stoa/reliability/registry"
)

// Registered is servable: a version that is registered from a run's or a logged model's files has the ONNX model among
// them as its artifact. Nothing but this server's own artifacts is read.

// maxMLmodel bounds the file that describes a model, in bytes.
const maxMLmodel = 1 << 20

// An mlmodel is what counts of a file MLmodel.
type mlmodel struct {
	Flavors map[string]struct {
		Data string `yaml:"data"` // of the flavour onnx: its file
	} `yaml:"flavors"`
}

// resolveSource finds the artifact of a version's source for the registry.
func (a *App) resolveSource(ctx context.Context, source, runID string) (io.ReadCloser, registry.Resolved, error) {
	var found registry.Resolved
	root, from, err := a.sourceRoot(ctx, source)
	if err != nil {
		return nil, found, err
	}
	found.Storage = root
	if found.RunID = from; runID != "" {
		found.RunID = runID
	}
	if err := a.describeRun(ctx, &found); err != nil {
		return nil, found, err
	}
	at, err := artifactPath(root, "")
	if err != nil {
		return nil, found, err
	}
	file, flavor, err := a.findONNX(ctx, at)
	if err != nil {
		return nil, found, err
	}
	if file == "" {
		found.Format, found.Unservable = flavor, unservable(flavor)
		return nil, found, nil
	}
	opened, err := a.rooms.tracking.OpenArtifact(ctx, stoa.Caller{}, file)
	if err != nil {
		return nil, found, err
	}
	return opened.Body, found, nil
}

// sourceRoot is the artifact URI that a source names, and the run that it comes from.
func (a *App) sourceRoot(ctx context.Context, source string) (root, runID string, err error) {
	scheme, rest, _ := strings.Cut(source, ":")
	first, below, _ := strings.Cut(strings.TrimLeft(rest, "/"), "/")
	switch strings.ToLower(scheme) {
	case "runs":
		root, err = a.runRoot(ctx, first, below)
		return root, first, err
	case "models":
		model, err := a.rooms.tracking.GetLoggedModel(ctx, stoa.Caller{}, &experiment.GetLoggedModelRequest{ModelID: first})
		if err != nil {
			return "", "", err
		}
		return model.Model.Info.ArtifactURI, model.Model.Info.SourceRunID, nil
	}
	return source, "", nil
}

// runRoot is where the model at a path of a run is: among the run's artifacts, or, since MLflow 3, with the logged model
// of that name that the run made last.
func (a *App) runRoot(ctx context.Context, runID, below string) (string, error) {
	answer, err := a.rooms.tracking.GetRun(ctx, stoa.Caller{}, &experiment.RunRequest{RunID: runID})
	if err != nil {
		return "", err
	}
	run := answer.Run
	root := strings.TrimSuffix(run.Info.ArtifactURI+"/"+below, "/")
	at, err := artifactPath(root, "")
	if err != nil {
		return "", err
	}
	if there, err := a.hasArtifact(ctx, at+"/MLmodel"); err != nil || there {
		return root, err
	}
	for _, output := range slices.Backward(run.Outputs.ModelOutputs) {
		model, err := a.rooms.tracking.GetLoggedModel(ctx, stoa.Caller{}, &experiment.GetLoggedModelRequest{ModelID: output.ModelID})
		if notFound(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		if model.Model.Info.Name == below {
			return model.Model.Info.ArtifactURI, nil
		}
	}
	return root, nil
}

func (a *App) hasArtifact(ctx context.Context, at string) (bool, error) {
	file, err := a.rooms.tracking.OpenArtifact(ctx, stoa.Caller{}, at)
	if notFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, file.Body.Close()
}

func notFound(err error) bool {
	var refusal *stoa.Refusal
	return errors.As(err, &refusal) && refusal.Reason == stoa.ReasonNotFound
}

// findONNX finds the ONNX file of the model in a directory of artifacts: the one that its flavour onnx names, otherwise
// one that lies beside it. The file is empty when there is none; then flavor says what the model is instead.
func (a *App) findONNX(ctx context.Context, at string) (file, flavor string, err error) {
	described, err := a.readMLmodel(ctx, at)
	if err != nil {
		return "", "", err
	}
	if onnx, has := described.Flavors["onnx"]; has && mlflow.SafePath(onnx.Data) {
		file := at + "/" + onnx.Data
		if there, err := a.hasArtifact(ctx, file); err != nil || there {
			return file, "onnx", err
		}
	}
	for _, directory := range []string{at, at + "/extra_files"} { // the second is where log_model puts what it is given
		listed, err := a.rooms.tracking.ListArtifactsAt(ctx, stoa.Caller{}, directory)
		if err != nil {
			return "", "", err
		}
		for _, f := range listed.Files {
			if !f.IsDir && strings.EqualFold(path.Ext(f.Path), ".onnx") {
				return directory + "/" + path.Base(f.Path), "onnx", nil
			}
		}
	}
	// Every flavour is also a python_function: the other one says more.
	names := slices.Sorted(maps.Keys(described.Flavors))
	slices.SortStableFunc(names, func(x, y string) int {
		return boolOrder(x == "python_function") - boolOrder(y == "python_function")
	})
	if len(names) == 0 {
		return "", "", nil
	}
	return "", names[0], nil
}

func boolOrder(b bool) int {
	if b {
		return 1
	}
	return 0
}

// readMLmodel reads the file that describes a model. It is the zero value when there is none that can be read.
func (a *App) readMLmodel(ctx context.Context, at string) (m mlmodel, err error) {
	file, err := a.rooms.tracking.OpenArtifact(ctx, stoa.Caller{}, at+"/MLmodel")
	if notFound(err) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, file.Body.Close()) }()
	if file.Size > maxMLmodel {
		return m, nil
	}
	text, err := io.ReadAll(file.Body)
	if err != nil {
		return m, err
	}
	if yaml.Unmarshal(text, &m) != nil {
		return mlmodel{}, nil
	}
	return m, nil
}

// unservable says why a model without an ONNX file does not serve, and what could serve it.
func unservable(flavor string) string {
	if flavor == "" {
		return "there is no MLmodel file and no ONNX file at its source; log the model with mlflow.onnx.log_model, or upload " +
			"its files before registering it"
	}
	converters := map[string]string{
		"sklearn": "skl2onnx", "lightgbm": "onnxmltools", "xgboost": "onnxmltools", "catboost": "save_model(format='onnx')",
		"pytorch": "torch.onnx.export", "tensorflow": "tf2onnx", "keras": "tf2onnx",
	}
	with := converters[flavor]
	if with == "" {
		with = "a converter"
	}
	return fmt.Sprintf("the flavour %s needs Python and this process runs ONNX: a Python server (mlflow models serve) could "+
		"serve it, or convert it (%s) and log the file with it (extra_files=['model.onnx']) or with mlflow.onnx.log_model", flavor, with)
}

// describeRun fills in what the run of a version is known by.
func (a *App) describeRun(ctx context.Context, found *registry.Resolved) error {
	if found.RunID == "" {
		return nil
	}
	answer, err := a.rooms.tracking.GetRun(ctx, stoa.Caller{}, &experiment.RunRequest{RunID: found.RunID})
	if err != nil {
		if notFound(err) {
			return nil // a run of another server, which a client may name
		}
		return err
	}
	run := answer.Run
	for _, input := range run.Inputs.DatasetInputs {
		if input.Dataset != nil && (found.DataDigest == "" || used(input) == "training") {
			found.DataDigest = input.Dataset.Digest
		}
	}
	found.Code = tag(run.Data.Tags, "mlflow.source.name")
	if commit := tag(run.Data.Tags, "mlflow.source.git.commit"); commit != "" {
		found.Code += "@" + commit
	}
	found.Parameters, found.Metrics = runParams(run), runMetrics(run)
	return nil
}

// used says as what a run used a data set.
func used(input experiment.DatasetInput) string { return tag(input.Tags, "mlflow.data.context") }

func tag(tags []experiment.Tag, key string) string {
	for _, t := range tags {
		if t.Key == key {
			return t.Value
		}
	}
	return ""
}

func runParams(run experiment.Run) map[string]string {
	m := make(map[string]string, len(run.Data.Params))
	for _, p := range run.Data.Params {
		m[p.Key] = p.Value
	}
	return m
}

func runMetrics(run experiment.Run) map[string]float64 {
	m := make(map[string]float64, len(run.Data.Metrics))
	for _, one := range run.Data.Metrics {
		if one.Value != nil {
			m[one.Key] = float64(*one.Value)
		}
	}
	return m
}

// lineageRun tells the registry of a run.
func (a *App) lineageRun(ctx context.Context, id string) (registry.Run, error) {
	answer, err := a.rooms.tracking.GetRun(ctx, stoa.Caller{}, &experiment.RunRequest{RunID: id})
	if err != nil {
		return registry.Run{}, err
	}
	run := answer.Run
	r := registry.Run{
		ID: run.Info.RunID, Name: run.Info.RunName, Experiment: run.Info.ExperimentID, User: run.Info.UserID,
		Status: run.Info.Status, StartedAt: time.UnixMilli(int64(run.Info.StartTime)).UTC(),
		Commit: tag(run.Data.Tags, "mlflow.source.git.commit"), Entry: tag(run.Data.Tags, "mlflow.source.name"),
		Parameters: runParams(run), Metrics: runMetrics(run),
	}
	if run.Info.EndTime != nil {
		r.EndedAt = time.UnixMilli(int64(*run.Info.EndTime)).UTC()
	}
	for _, input := range run.Inputs.DatasetInputs {
		if input.Dataset != nil {
			r.Datasets = append(r.Datasets, registry.Dataset{
				Name: input.Dataset.Name, Digest: input.Dataset.Digest, Context: used(input),
			})
		}
	}
	return r, nil
}

// inService is the reference of the version that answers for a model that has no endpoint in the workload file: the
// champion, and until there is one the newest version that can be served. When there are versions and none of them can,
// the refusal says why the newest cannot.
func (a *App) inService(ctx context.Context, model string) (string, error) {
	if _, err := a.rooms.registry.Version(ctx, model, stoa.AliasChampion); err == nil {
		return stoa.AliasChampion, nil
	}
	all, _ := a.rooms.registry.Versions(ctx, model) // an unknown model has no versions
	for _, v := range slices.Backward(all) {
		if v.Servable {
			return strconv.Itoa(v.Number), nil
		}
	}
	if len(all) == 0 {
		return stoa.AliasChampion, nil
	}
	newest := all[len(all)-1]
	return "", &stoa.Refusal{
		Reason: stoa.ReasonUnsupported, Message: fmt.Sprintf("version %d of %s cannot be served: %s", newest.Number, model, newest.Unservable),
	}
}
