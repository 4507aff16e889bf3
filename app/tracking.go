package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/gateway/mlflow"
	"github.com/stoaproject/stoa/principles/experiment"
	"github.com/stoaproject/stoa/reliability/registry"
	"github.com/stoaproject/stoa/store/blob"
)

// MLflow's wire, on one page: the tracking room and the registry behind the envelope of gateway/mlflow. Any key may read
// and write; what of the registry is protected, the registry protects.

// openTracking acquires the tracking room. Its artifacts have a directory of their own, because it deletes what none of
// its paths names.
func (a *App) openTracking(ctx context.Context, r *rooms) error {
	blobs, err := blob.Dir(filepath.Join(a.opt.Data, "artifacts"))
	if err != nil {
		return openRefusal(a.opt.Data, err)
	}
	r.tracking, err = experiment.New(ctx, experiment.Config{
		DB: r.db, Blobs: blobs, Held: r.heldByVersion, Ledger: r.ledger, Logger: a.lg,
	})
	if err != nil {
		return fmt.Errorf("opening the tracking: %w", err)
	}
	return nil
}

// openMLflow builds the handler of MLflow's wire.
func (a *App) openMLflow(ctx context.Context, r *rooms) error {
	api, err := mlflow.New(mlflow.Config{Admit: r.access.Admit, Explain: storageRefusal, Logger: a.lg})
	if err != nil {
		return err
	}
	t := r.tracking
	experimentCalls(api, t)
	runCalls(api, t)
	loggedModelCalls(api, t)
	traceCalls(api, t)
	a.registryCalls(api, r.registry.Wire())
	mlflow.HandleArtifacts(api, a.withVersions(artifactFiles(t)))
	mlflow.HandleTraces(api, takeSpans(t))
	fileCalls(api, t)
	mlflow.Handle(api.Since("3.0"), "GET", "server-info", serverInfo)
	r.mlflow = api
	return a.openWebhooks(ctx, r, api)
}

func experimentCalls(api *mlflow.API, t *experiment.Tracking) {
	mlflow.Handle(api, "POST", "experiments/create", t.CreateExperiment)
	mlflow.Handle(api, "GET", "experiments/get", t.GetExperiment)
	mlflow.Handle(api, "GET", "experiments/get-by-name", t.GetExperimentByName)
	mlflow.Handle(api, "GET POST", "experiments/search", t.SearchExperiments)
	mlflow.Handle(api, "POST", "experiments/delete", t.DeleteExperiment)
	mlflow.Handle(api, "POST", "experiments/restore", t.RestoreExperiment)
	mlflow.Handle(api, "POST", "experiments/update", t.UpdateExperiment)
	mlflow.Handle(api, "POST", "experiments/set-experiment-tag", t.SetExperimentTag)
	mlflow.Handle(api, "POST", "experiments/delete-experiment-tag", t.DeleteExperimentTag)
	mlflow.Handle(api, "POST", "experiments/search-datasets", t.SearchDatasets)
}

func runCalls(api *mlflow.API, t *experiment.Tracking) {
	mlflow.Handle(api, "POST", "runs/create", t.CreateRun)
	mlflow.Handle(api, "POST", "runs/update", t.UpdateRun)
	mlflow.Handle(api, "GET", "runs/get", t.GetRun)
	mlflow.Handle(api, "POST", "runs/search", t.SearchRuns)
	mlflow.Handle(api, "POST", "runs/delete", t.DeleteRun)
	mlflow.Handle(api, "POST", "runs/restore", t.RestoreRun)
	mlflow.Handle(api, "POST", "runs/log-metric", t.LogMetric)
	mlflow.Handle(api, "POST", "runs/log-parameter", t.LogParam)
	mlflow.Handle(api, "POST", "runs/log-batch", t.LogBatch)
	mlflow.Handle(api, "POST", "runs/log-inputs", t.LogInputs)
	mlflow.Handle(api, "POST", "runs/outputs", t.LogOutputs)
	mlflow.Handle(api, "POST", "runs/log-model", t.LogModel)
	mlflow.Handle(api, "POST", "runs/set-tag", t.SetTag)
	mlflow.Handle(api, "POST", "runs/delete-tag", t.DeleteTag)
	mlflow.Handle(api, "GET", "metrics/get-history", t.GetMetricHistory)
	mlflow.Handle(api, "GET", "metrics/get-history-bulk", t.GetMetricHistoryBulk)
	mlflow.Handle(api, "GET", "metrics/get-history-bulk-interval", t.GetMetricHistoryBulkInterval)
	mlflow.Handle(api, "GET", "artifacts/list", t.ListArtifacts)
}

func loggedModelCalls(api *mlflow.API, t *experiment.Tracking) {
	mlflow.Handle(api, "POST", "logged-models", t.CreateLoggedModel)
	mlflow.Handle(api, "POST", "logged-models/search", t.SearchLoggedModels)
	mlflow.Handle(api, "GET", "logged-models/{model_id}", t.GetLoggedModel)
	mlflow.Handle(api, "PATCH", "logged-models/{model_id}", t.FinalizeLoggedModel)
	mlflow.Handle(api, "DELETE", "logged-models/{model_id}", t.DeleteLoggedModel)
	mlflow.Handle(api, "PATCH", "logged-models/{model_id}/tags", t.SetLoggedModelTags)
	mlflow.Handle(api, "DELETE", "logged-models/{model_id}/tags/{tag_key}", t.DeleteLoggedModelTag)
	mlflow.Handle(api, "POST", "logged-models/{model_id}/params", t.LogLoggedModelParams)
	mlflow.Handle(api, "GET", "logged-models/{model_id}/artifacts/directories", t.ListLoggedModelArtifacts)
}

func traceCalls(api *mlflow.API, t *experiment.Tracking) {
	newer := api.Since("3.0")
	mlflow.Handle(newer, "POST", "traces", t.StartTrace)
	mlflow.Handle(newer, "GET", "traces/get", t.GetTrace)
	mlflow.Handle(newer, "GET", "traces/batchGet", t.BatchGetTraces)
	mlflow.Handle(newer, "POST", "traces/batchGetInfos", t.BatchGetTraceInfos)
	mlflow.Handle(newer, "POST", "traces/search", t.SearchTraces)
	mlflow.Handle(newer, "GET", "traces/{trace_id}", t.GetTraceInfo)
	mlflow.Handle(api, "PATCH", "traces/{trace_id}/tags", t.SetTraceTag)
	mlflow.Handle(api, "DELETE", "traces/{trace_id}/tags", t.DeleteTraceTag)
	mlflow.Handle(api, "POST", "traces/delete-traces", t.DeleteTraces)
	mlflow.Handle(api, "POST", "traces/link-to-run", t.LinkTraces)
}

func (a *App) registryCalls(api *mlflow.API, w *registry.Wire) {
	mlflow.Handle(api, "POST", "registered-models/create", w.CreateRegisteredModel)
	mlflow.Handle(api, "GET", "registered-models/get", w.GetRegisteredModel)
	mlflow.Handle(api, "GET", "registered-models/search", w.SearchRegisteredModels)
	mlflow.Handle(api, "GET POST", "registered-models/get-latest-versions", w.GetLatestVersions)
	mlflow.Handle(api, "POST", "registered-models/rename", w.RenameRegisteredModel)
	mlflow.Handle(api, "PATCH", "registered-models/update", w.UpdateRegisteredModel)
	mlflow.Handle(api, "DELETE", "registered-models/delete", w.DeleteRegisteredModel)
	mlflow.Handle(api, "POST", "registered-models/set-tag", w.SetRegisteredModelTag)
	mlflow.Handle(api, "DELETE", "registered-models/delete-tag", w.DeleteRegisteredModelTag)
	mlflow.Handle(api, "GET", "registered-models/alias", w.GetModelVersionByAlias)
	mlflow.Handle(api, "POST", "registered-models/alias", moved(a, w.SetRegisteredModelAlias))
	mlflow.Handle(api, "DELETE", "registered-models/alias", moved(a, w.DeleteRegisteredModelAlias))

	mlflow.Handle(api, "POST", "model-versions/create", w.CreateModelVersion)
	mlflow.Handle(api, "GET", "model-versions/get", w.GetModelVersion)
	mlflow.Handle(api, "GET", "model-versions/search", w.SearchModelVersions)
	mlflow.Handle(api, "GET", "model-versions/get-download-uri", w.GetModelVersionDownloadURI)
	mlflow.Handle(api, "PATCH", "model-versions/update", w.UpdateModelVersion)
	mlflow.Handle(api, "DELETE", "model-versions/delete", w.DeleteModelVersion)
	mlflow.Handle(api, "POST", "model-versions/transition-stage", w.TransitionModelVersionStage)
	mlflow.Handle(api, "POST", "model-versions/set-tag", w.SetModelVersionTag)
	mlflow.Handle(api, "DELETE", "model-versions/delete-tag", w.DeleteModelVersionTag)
}

// moved has the loop look again when an alias was moved, as the control interface does.
func moved(
	a *App, do func(context.Context, stoa.Caller, *registry.AliasRequest) (*registry.Empty, error),
) func(context.Context, stoa.Caller, *registry.AliasRequest) (*registry.Empty, error) {
	return func(ctx context.Context, c stoa.Caller, req *registry.AliasRequest) (*registry.Empty, error) {
		resp, err := do(ctx, c, req)
		if err == nil {
			a.rooms.telemetry.AliasMoved(req.Name, req.Alias)
			a.rooms.lifecycle.wake()
		}
		return resp, err
	}
}

// A ServerInfo tells the client what the server can do.
type ServerInfo struct {
	StoreType          string          `json:"store_type"`
	WorkspacesEnabled  bool            `json:"workspaces_enabled"`
	ArchivalEnabled    bool            `json:"trace_archival_enabled"`
	MultipartUploads   bool            `json:"multipart_uploads_enabled"`
	MultipartDownloads bool            `json:"multipart_downloads_enabled"`
	Features           map[string]bool `json:"features_enabled"`
}

func serverInfo(context.Context, stoa.Caller, *struct{}) (*ServerInfo, error) {
	return &ServerInfo{StoreType: "SqlStore", MultipartUploads: true, Features: map[string]bool{"gateway": false}}, nil
}

// artifactFiles puts the artifacts of the tracking room behind the proxy.
func artifactFiles(t *experiment.Tracking) mlflow.Artifacts {
	return mlflow.Artifacts{
		Open: func(ctx context.Context, c stoa.Caller, path string) (io.ReadCloser, int64, error) {
			file, err := t.OpenArtifact(ctx, c, path)
			if err != nil {
				return nil, 0, err
			}
			return file.Body, file.Size, nil
		},
		Put: t.PutArtifact, Delete: t.DeleteArtifact,
		List: func(ctx context.Context, c stoa.Caller, path string) (any, error) {
			return t.ListArtifactsAt(ctx, c, path)
		},
		Create: func(ctx context.Context, c stoa.Caller, path string, _ int) (string, error) {
			return t.CreateUpload(ctx, c, path)
		},
		PutPart: t.PutPart,
		Abort: func(ctx context.Context, c stoa.Caller, upload, _ string) error {
			return t.AbortUpload(ctx, c, upload)
		},
		Complete: func(ctx context.Context, c stoa.Caller, upload, path string, parts []mlflow.Part) error {
			list := make([]experiment.Part, len(parts))
			for i, p := range parts {
				list[i] = experiment.Part{Number: p.Number, ETag: p.ETag}
			}
			return t.CompleteUpload(ctx, c, upload, path, list)
		},
	}
}

// takeSpans keeps the spans of an exporter, and links their traces to the run that it names.
func takeSpans(t *experiment.Tracking) func(*http.Request, stoa.Caller, string, string, []mlflow.Span) error {
	return func(r *http.Request, c stoa.Caller, in, run string, spans []mlflow.Span) error {
		list := make([]experiment.Span, len(spans))
		var ended []string
		for i, s := range spans {
			list[i] = experiment.Span(s)
			if s.ParentID == "" {
				ended = append(ended, s.TraceID)
			}
		}
		if err := t.StoreSpans(r.Context(), c, in, list); err != nil {
			return err
		}
		if run == "" || len(ended) == 0 {
			return nil
		}
		_, err := t.LinkTraces(r.Context(), c, &experiment.LinkTracesRequest{TraceIDs: ended, RunID: run})
		return err
	}
}

// fileCalls are the routes by which the stock interface, and old clients, fetch single files of runs and models.
func fileCalls(api *mlflow.API, t *experiment.Tracking) {
	serve := func(w http.ResponseWriter, r *http.Request, c stoa.Caller, root, below string) error {
		at, err := artifactPath(root, below)
		if err != nil {
			return err
		}
		file, err := t.OpenArtifact(r.Context(), c, at)
		if err != nil {
			return err
		}
		return mlflow.ServeFile(w, at, file.Size, file.Body)
	}
	ofRun := func(w http.ResponseWriter, r *http.Request, c stoa.Caller) error {
		run, err := t.GetRun(r.Context(), c, &experiment.RunRequest{
			RunID: r.URL.Query().Get("run_id"), RunUUID: r.URL.Query().Get("run_uuid"),
		})
		if err != nil {
			return err
		}
		return serve(w, r, c, run.Run.Info.ArtifactURI, r.URL.Query().Get("path"))
	}
	api.Raw("GET", "/get-artifact", ofRun)
	api.Raw("GET", "/ajax-api/2.0/mlflow/get-artifact", ofRun)
	api.Raw("GET", "/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files",
		func(w http.ResponseWriter, r *http.Request, c stoa.Caller) error {
			model, err := t.GetLoggedModel(r.Context(), c, &experiment.GetLoggedModelRequest{ModelID: r.PathValue("model_id")})
			if err != nil {
				return err
			}
			return serve(w, r, c, model.Model.Info.ArtifactURI, r.URL.Query().Get("artifact_file_path"))
		})
}

// artifactPath is the path of a file beneath an artifact URI of this server. What any other URI names is not opened.
func artifactPath(root, below string) (string, error) {
	at, own := strings.CutPrefix(root, artifactScheme)
	if !own {
		return "", &stoa.Refusal{
			Reason: stoa.ReasonUnsupported, Message: fmt.Sprintf("the artifacts are at %.200q, not on this server", root),
			Hint: "fetch them from there",
		}
	}
	at = strings.Trim(at, "/")
	if below != "" {
		at += "/" + strings.TrimSuffix(below, "/")
	}
	if !mlflow.SafePath(at) {
		return "", &stoa.Refusal{Reason: stoa.ReasonBadInput, Message: fmt.Sprintf("Invalid path: %.200q", below)}
	}
	return at, nil
}

// artifactScheme begins the URI of an artifact that this server keeps.
const artifactScheme = "mlflow-artifacts:/"
