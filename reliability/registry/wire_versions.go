package registry

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

// The stages of a version, for clients from before aliases.
const (
	stageNone       = "None"
	stageStaging    = "Staging"
	stageProduction = "Production"
	stageArchived   = "Archived"
)

// canonicalStage gives a stage as it is written, however the request writes it.
func canonicalStage(stage string) (string, error) {
	all := []string{stageNone, stageStaging, stageProduction, stageArchived}
	for _, known := range all {
		if strings.EqualFold(stage, known) {
			return known, nil
		}
	}
	return "", invalid("Invalid Model Version stage: " + stage + ". Value must be one of " + strings.Join(all, ", ") +
		".")
}

// wire is the version as MLflow shows it; searches and lists of the newest leave the aliases out, as upstream does.
func (v *version) wire(aliases []string) ModelVersion {
	shown := ModelVersion{
		Name: v.Model, Version: strconv.Itoa(v.Number), CreationTimestamp: v.CreatedAt.UnixMilli(),
		LastUpdatedTimestamp: v.updatedAt.UnixMilli(), Description: v.description, CurrentStage: v.stage,
		Source: v.Source, RunID: v.RunID, Status: "READY", Tags: wireTags(v.tags), RunLink: v.runLink, Aliases: aliases,
	}
	if !v.Servable && v.tags[promptTag] == "" {
		shown.StatusMessage = "not servable in this process: " + v.Unservable
	}
	return shown
}

// modelVersion shows a version as it is now.
func (w *Wire) modelVersion(name, number string) (*ModelVersionReply, error) {
	m, v, err := w.registry.current.Load().versionNamed(name, number)
	if err != nil {
		return nil, err
	}
	return &ModelVersionReply{ModelVersion: v.wire(m.aliasesOf(v.Number))}, nil
}

// GetModelVersion is GET model-versions/get.
func (w *Wire) GetModelVersion(_ context.Context, _ stoa.Caller, req *ModelVersionRequest) (*ModelVersionReply, error) {
	if err := required("name", req.Name, "version", req.Version); err != nil {
		return nil, err
	}
	return w.modelVersion(req.Name, req.Version)
}

// GetModelVersionDownloadURI is GET model-versions/get-download-uri.
func (w *Wire) GetModelVersionDownloadURI(
	_ context.Context, _ stoa.Caller, req *ModelVersionRequest,
) (*DownloadURIReply, error) {
	_, v, err := w.registry.current.Load().versionNamed(req.Name, req.Version)
	if err != nil {
		return nil, err
	}
	if uri := w.registry.located(v); uri != "" {
		return &DownloadURIReply{ArtifactURI: uri}, nil
	}
	return nil, &stoa.Refusal{
		Reason: stoa.ReasonNotFound,
		Message: fmt.Sprintf("Model Version (name=%s, version=%d) was registered without files for MLflow to download",
			req.Name, v.Number),
	}
}

// located says where the files of a version are; empty when nowhere that MLflow's client can reach.
func (r *Registry) located(v version) string {
	switch {
	case v.storage != "":
		return v.storage
	case v.Source == "" && r.config.Locate != nil:
		return r.config.Locate(clone(v.Version))
	}
	return v.Source
}

// UpdateModelVersion is PATCH model-versions/update.
func (w *Wire) UpdateModelVersion(
	ctx context.Context, _ stoa.Caller, req *UpdateModelVersionRequest,
) (*ModelVersionReply, error) {
	if err := required("name", req.Name, "version", req.Version); err != nil {
		return nil, err
	}
	if req.Description != nil {
		if err := tooLong("description", *req.Description, maxDescription); err != nil {
			return nil, err
		}
	}
	err := w.editVersion(ctx, req.Name, req.Version, func(v *version, at time.Time) {
		v.description, v.updatedAt = req.Description, at
	})
	if err != nil {
		return nil, err
	}
	return w.modelVersion(req.Name, req.Version)
}

// editVersion changes what is said about a version that the wire names.
func (w *Wire) editVersion(ctx context.Context, name, number string, fn func(v *version, at time.Time)) error {
	_, v, err := w.registry.current.Load().versionNamed(name, number)
	if err != nil {
		return err
	}
	return w.registry.editVersion(ctx, name, v.Number, func(_ *store.Tx, v *version, at time.Time) error {
		fn(v, at)
		return nil
	})
}

// SetModelVersionTag is POST model-versions/set-tag.
func (w *Wire) SetModelVersionTag(ctx context.Context, _ stoa.Caller, req *SetModelVersionTagRequest) (*Empty, error) {
	if err := required("name", req.Name, "version", req.Version, "key", req.Key); err != nil {
		return nil, err
	}
	if err := checkTag(Tag{Key: req.Key, Value: req.Value}); err != nil {
		return nil, err
	}
	return &Empty{}, w.editVersion(ctx, req.Name, req.Version, func(v *version, _ time.Time) {
		v.tags = withKey(v.tags, req.Key, req.Value)
	})
}

// DeleteModelVersionTag is DELETE model-versions/delete-tag. Deleting a tag that is not there is no error.
func (w *Wire) DeleteModelVersionTag(
	ctx context.Context, _ stoa.Caller, req *DeleteModelVersionTagRequest,
) (*Empty, error) {
	if err := required("name", req.Name, "version", req.Version, "key", req.Key); err != nil {
		return nil, err
	}
	if err := checkTagKey(req.Key); err != nil {
		return nil, err
	}
	return &Empty{}, w.editVersion(ctx, req.Name, req.Version, func(v *version, _ time.Time) {
		v.tags = maps.Clone(v.tags)
		delete(v.tags, req.Key)
	})
}

// TransitionModelVersionStage is POST model-versions/transition-stage. Stages are labels for old clients: what serves
// is the alias champion.
func (w *Wire) TransitionModelVersionStage(
	ctx context.Context, caller stoa.Caller, req *TransitionStageRequest,
) (*ModelVersionReply, error) {
	if err := required("name", req.Name, "version", req.Version, "stage", req.Stage); err != nil {
		return nil, err
	}
	stage, err := canonicalStage(req.Stage)
	if err != nil {
		return nil, err
	}
	if req.ArchiveExistingVersions && stage != stageStaging && stage != stageProduction {
		return nil, invalid("Model version transition cannot archive existing model versions because '" + req.Stage +
			"' is not an Active stage. Valid stages are ['Staging', 'Production']")
	}
	_, v, err := w.registry.current.Load().versionNamed(req.Name, req.Version)
	if err != nil {
		return nil, err
	}
	err = w.registry.editModel(ctx, req.Name, func(tx *store.Tx, m *model, at time.Time) error {
		v, found := m.at(v.Number)
		if !found {
			return noModelVersion(req.Name, v.Number)
		}
		from := v.stage
		for _, other := range m.versions {
			if req.ArchiveExistingVersions && !other.deleted && other.Number != v.Number && other.stage == stage {
				if err := setStage(ctx, tx, m, other, stageArchived, at); err != nil {
					return err
				}
			}
		}
		if err := setStage(ctx, tx, m, v, stage, at); err != nil {
			return err
		}
		m.updatedAt = at
		return w.registry.config.Ledger.Note(ctx, tx, ledger.Act{
			Actor: actor(caller), What: "version.stage", Subject: req.Name,
			Data: map[string]any{"version": v.Number, "from": from, "to": stage},
		})
	})
	if err != nil {
		return nil, err
	}
	return w.modelVersion(req.Name, req.Version)
}

// setStage changes the stage of one version of m.
func setStage(ctx context.Context, tx *store.Tx, m *model, v version, stage string, at time.Time) error {
	v.stage, v.updatedAt = stage, at
	*m = *m.withVersion(v)
	return updateVersion(ctx, tx, v)
}

// DeleteModelVersion is DELETE model-versions/delete. The version's number stays taken, its aliases go, its artifact
// goes with the next [Registry.Sweep] when no other version has it. The versions that champion and previous point at
// cannot be deleted.
func (w *Wire) DeleteModelVersion(ctx context.Context, caller stoa.Caller, req *ModelVersionRequest) (*Empty, error) {
	if err := required("name", req.Name, "version", req.Version); err != nil {
		return nil, err
	}
	_, v, err := w.registry.current.Load().versionNamed(req.Name, req.Version)
	if err != nil {
		return nil, err
	}
	r := w.registry
	return &Empty{}, r.editModel(ctx, req.Name, func(tx *store.Tx, m *model, at time.Time) error {
		v, found := m.at(v.Number)
		if !found {
			return noModelVersion(req.Name, v.Number)
		}
		before, after := m.aliases, maps.Clone(m.aliases)
		for _, alias := range m.aliasesOf(v.Number) {
			if alias == stoa.AliasChampion || alias == stoa.AliasPrevious {
				return &stoa.Refusal{
					Reason:  stoa.ReasonForbidden,
					Message: fmt.Sprintf("version %d of %q cannot be deleted: it is its %s", v.Number, req.Name, alias),
					Hint:    "move the alias to another version first",
				}
			}
			gone := Move{Model: req.Name, Alias: alias, By: actor(caller), Why: "its version was deleted"}
			if err := r.mayMove(ctx, tx, m, gone); err != nil {
				return err
			}
			delete(after, alias)
			if err := r.noteMove(ctx, tx, gone, moved{Alias: alias, From: v.Number}); err != nil {
				return err
			}
		}
		if err := writeAliases(ctx, tx, req.Name, before, after); err != nil {
			return err
		}
		v.deleted, v.description, v.updatedAt = true, nil, at
		v.Source, v.RunID, v.runLink, v.storage = "", "", "", ""
		*m = *m.withVersion(v).withAliases(after)
		m.updatedAt = at
		if err := updateVersion(ctx, tx, v); err != nil {
			return err
		}
		return r.config.Ledger.Note(ctx, tx, ledger.Act{
			Actor: actor(caller), What: "version.delete", Subject: req.Name, Data: map[string]int{"version": v.Number},
		})
	})
}
