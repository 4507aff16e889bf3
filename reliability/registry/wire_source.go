package registry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// Resolved is what [Config.Resolve] found out about the source of a version.
type Resolved struct {
	Storage    string // mlflow-artifacts:/ URI at which the client finds the files; empty means the source itself
	RunID      string // run that made it
	Format     string // of the artifact, or the flavour when there is none; empty means FormatONNX
	Unservable string // why there is no artifact to serve, and what could serve it
	DataDigest string
	Code       string
	Parameters map[string]string
	Metrics    map[string]float64
}

// CreateModelVersion is POST model-versions/create. The source is resolved within Stoa: what can be served in process
// is servable as soon as the reply is out, and whatever else it is becomes a version that says why it is not.
func (w *Wire) CreateModelVersion(
	ctx context.Context, caller stoa.Caller, req *CreateModelVersionRequest,
) (*ModelVersionReply, error) {
	if err := required("name", req.Name, "source", req.Source); err != nil {
		return nil, err
	}
	if err := cmp.Or(tooLong("source", req.Source, maxSource), tooLong("run_link", req.RunLink, maxSource),
		tooLong("description", req.Description, maxDescription)); err != nil {
		return nil, err
	}
	tags, err := tagMap(req.Tags)
	if err != nil {
		return nil, err
	}
	r := w.registry
	if _, err := r.current.Load().modelNamed(req.Name); err != nil {
		return nil, err
	}
	v := version{
		Version: stoa.Version{Model: req.Name, CreatedBy: actor(caller), Source: req.Source}, runLink: req.RunLink,
		description: &req.Description, stage: stageNone, tags: tags,
	}
	if req.RunID != nil {
		v.RunID = *req.RunID
	}
	if req.ModelID != nil {
		v.modelID = *req.ModelID
	}
	before := r.Generation()
	if v, err = r.keepResolved(ctx, v, req); err != nil {
		return nil, err
	}
	r.changed(before)
	return w.modelVersion(req.Name, strconv.Itoa(v.Number))
}

// keepResolved resolves the source of v and makes v the next version of its model.
func (r *Registry) keepResolved(ctx context.Context, v version, req *CreateModelVersionRequest) (version, error) {
	artifact, err := r.resolve(ctx, &v, req)
	if err != nil {
		return version{}, err
	}
	r.sweeping.RLock()
	defer r.sweeping.RUnlock()
	if artifact != nil {
		if v.Digest, v.Size, err = r.config.Blobs.Put(ctx, bytes.NewReader(artifact)); err != nil {
			return version{}, err
		}
	}
	err = r.config.DB.Write(ctx, func(tx *store.Tx) (err error) {
		now := r.current.Load()
		m, err := now.modelNamed(req.Name)
		if err != nil {
			return err
		}
		if artifact == nil && v.Digest != "" && !now.names(v.Digest) {
			// A copy has the blob of its original, which a deletion may have let go in the meantime.
			return &stoa.Refusal{Reason: stoa.ReasonUnknownVersion, Message: "the version behind " + v.Source + " is gone"}
		}
		if v.Parent == 0 {
			v.Parent = m.aliases[stoa.AliasChampion]
		}
		v, err = r.keepRow(ctx, tx, m, v)
		return err
	})
	return v, err
}

// names reports whether a version has an artifact.
func (s *snapshot) names(digest string) bool {
	for _, m := range s.models {
		if slices.ContainsFunc(m.versions, func(v version) bool { return !v.deleted && v.Digest == digest }) {
			return true
		}
	}
	return false
}

// resolve fills in what the source of v leads to. The artifact is nil when there is none, or when v shares that of the
// version that it is a copy of.
func (r *Registry) resolve(ctx context.Context, v *version, req *CreateModelVersionRequest) ([]byte, error) {
	if strings.EqualFold(v.tags[promptTag], "true") {
		if req.Source != "dummy-source" && req.Source != "prompt-template" {
			return nil, invalid("Invalid prompt source: '" + req.Source +
				"'. Prompt sources must use an MLflow placeholder.")
		}
		v.Unservable = "it is a prompt"
		return nil, nil
	}
	src, err := parseSource(req.Source)
	if err != nil {
		return nil, err
	}
	if src.scheme == "models" && src.modelID == "" {
		return nil, r.copyOf(v, src, req)
	}
	if src.modelID != "" && v.modelID != "" && src.modelID != v.modelID {
		return nil, badOwner(req.Source, "model_id")
	}
	if src.runID != "" && v.RunID != "" && src.runID != v.RunID {
		return nil, badOwner(req.Source, "run_id")
	}
	if v.RunID == "" {
		v.RunID = src.runID
	}
	if v.modelID == "" {
		v.modelID = src.modelID
	}
	if r.config.Resolve == nil {
		v.Unservable = "nothing here knows what " + src.scheme + ":/ names"
		return nil, nil
	}
	return r.resolveOutside(ctx, v)
}

// resolveOutside asks [Config.Resolve].
func (r *Registry) resolveOutside(ctx context.Context, v *version) (artifact []byte, err error) {
	reader, found, err := r.config.Resolve(ctx, v.Source, v.RunID)
	if err != nil {
		return nil, err
	}
	if reader != nil {
		defer func() { err = errors.Join(err, reader.Close()) }()
	}
	v.storage, v.Format, v.Unservable = found.Storage, found.Format, found.Unservable
	v.DataDigest, v.Code, v.Parameters, v.Metrics = found.DataDigest, found.Code, found.Parameters, finite(found.Metrics)
	if v.RunID == "" {
		v.RunID = found.RunID
	}
	if reader == nil {
		if v.Unservable == "" {
			v.Unservable = "it has no ONNX model"
		}
		return nil, nil
	}
	if v.Format == "" {
		v.Format = FormatONNX
	}
	artifact, err = io.ReadAll(io.LimitReader(reader, r.config.MaxArtifact+1))
	if err != nil {
		return nil, fmt.Errorf("registry: read the artifact of %s: %w", v.Source, err)
	}
	if int64(len(artifact)) > r.config.MaxArtifact {
		v.Unservable = fmt.Sprintf("its artifact is larger than %d bytes", r.config.MaxArtifact)
		return nil, nil
	}
	v.Inputs, v.Outputs, err = r.config.Inspect(artifact)
	var refusal *stoa.Refusal
	if errors.As(err, &refusal) {
		v.Unservable = refusal.Message
		return nil, nil
	}
	return artifact, err
}

// finite leaves out the metrics that JSON has no number for.
func finite(metrics map[string]float64) map[string]float64 {
	var kept map[string]float64
	for name, value := range metrics {
		if value-value == 0 { // neither NaN nor infinite
			kept = withKey(kept, name, value)
		}
	}
	return kept
}

// copyOf makes v a copy of the version that a models:/ source names.
func (r *Registry) copyOf(v *version, src source, req *CreateModelVersionRequest) error {
	m, err := r.current.Load().modelNamed(src.model)
	if err != nil {
		return err
	}
	if m.isPrompt() {
		return invalid("Invalid model version source: '" + req.Source +
			"'. Prompt versions cannot be used as model version sources.")
	}
	original, found := m.named(src.ref)
	if !found {
		return &stoa.Refusal{
			Reason:  stoa.ReasonUnknownVersion,
			Message: fmt.Sprintf("Model Version (name=%s, version=%s) not found", src.model, src.ref),
		}
	}
	if req.RunID != nil && *req.RunID != original.RunID || req.ModelID != nil && *req.ModelID != original.modelID {
		return invalid("Invalid model version source: '" + req.Source +
			"'. The run_id and model_id request parameters must match the referenced model version.")
	}
	model, by := v.Model, v.CreatedBy
	v.Version = clone(original.Version)
	v.Model, v.CreatedBy, v.Parent = model, by, 0
	v.Source = fmt.Sprintf("models:/%s/%d", src.model, original.Number)
	v.modelID, v.storage = original.modelID, r.located(original)
	if src.model == model {
		v.Parent = original.Number
	}
	return nil
}

// named finds a version as a models:/ URI names it: a number, @alias, a stage or latest.
func (m *model) named(ref string) (version, bool) {
	if alias, is := strings.CutPrefix(ref, "@"); is {
		return m.at(m.aliases[alias])
	}
	if number, err := strconv.Atoi(ref); err == nil {
		return m.at(number)
	}
	for _, v := range slices.Backward(m.latest()) {
		if strings.EqualFold(ref, aliasLatest) || strings.EqualFold(ref, v.stage) {
			return v, true
		}
	}
	return version{}, false
}

// A source is the source of a version, taken apart. It names something in Stoa's own store, or nothing.
type source struct {
	scheme  string // runs, models or mlflow-artifacts
	runID   string // of runs:/
	modelID string // of models:/m-…
	model   string // of models:/NAME/REF and models:/NAME@ALIAS
	ref     string // number, @alias, stage or latest
}

// parseSource takes a source apart, and refuses one that names anything outside of Stoa's own store.
func parseSource(text string) (source, error) {
	scheme, rest, found := strings.Cut(text, ":")
	scheme = strings.ToLower(scheme)
	if !found || scheme == "file" || strings.ContainsAny(scheme, `/\`) {
		return source{}, invalid("Invalid model version source: '" + text + "'. To use a local path as a model version " +
			"source, the run_id request parameter has to be specified and the local path has to be contained within the " +
			"artifact directory of the run specified by the run_id.")
	}
	if !slices.Contains([]string{"runs", "models", "mlflow-artifacts"}, scheme) {
		return source{}, invalid("Invalid model version source: '" + text + "'. A source is a runs:/, models:/ or " +
			"mlflow-artifacts:/ URI; no other address is opened.")
	}
	if climbs(rest) {
		return source{}, invalid("Invalid model version source: '" + text + "'. If supplying a source as an http, https, " +
			"local file path, ftp, objectstore, or mlflow-artifacts uri, an absolute path must be provided without " +
			"relative path references present. Please provide an absolute path.")
	}
	owner := map[string]string{"runs": "run_id", "mlflow-artifacts": "run_id", "models": "model_id"}[scheme]
	path, plain := strings.CutPrefix(rest, "/")
	if !plain || strings.HasPrefix(path, "/") || path == "" {
		return source{}, badOwner(text, owner)
	}
	src := source{scheme: scheme}
	first, tail, deeper := strings.Cut(path, "/")
	switch {
	case scheme == "runs":
		src.runID = first
	case scheme == "models" && strings.HasPrefix(first, "m-") && !deeper && !strings.Contains(first, "@"):
		src.modelID = first
	case scheme == "models" && deeper && tail != "" && !strings.Contains(tail, "/"):
		src.model, src.ref = first, tail
	case scheme == "models":
		name, alias, is := strings.Cut(first, "@")
		if !is || deeper || name == "" || alias == "" {
			return source{}, badOwner(text, owner)
		}
		src.model, src.ref = name, "@"+alias
	}
	return src, nil
}

// climbs reports whether a path, decoded as often as it can be, has a step that is not a plain name: what some reader
// of it might follow out of where it should stay.
func climbs(path string) bool {
	for range len(path) + 1 {
		decoded, err := url.PathUnescape(path)
		if err != nil || decoded == path {
			break
		}
		path = decoded
	}
	if strings.ContainsAny(path, "\x00\\") || strings.ContainsFunc(path, isControl) {
		return true
	}
	return slices.ContainsFunc(strings.Split(path, "/"), func(step string) bool { return step == ".." || step == "." })
}

// badOwner is upstream's refusal of a source that does not belong to what the request says it does.
func badOwner(text, parameter string) error {
	return invalid("Invalid model version source: '" + text + "'. The " + parameter +
		" request parameter must identify the resource that contains the source.")
}
