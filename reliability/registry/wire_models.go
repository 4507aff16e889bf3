package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

// CreateRegisteredModel is POST registered-models/create.
func (w *Wire) CreateRegisteredModel(
	ctx context.Context, caller stoa.Caller, req *CreateRegisteredModelRequest,
) (*RegisteredModelReply, error) {
	if err := required("name", req.Name); err != nil {
		return nil, err
	}
	if err := checkModelName("name", req.Name); err != nil {
		return nil, err
	}
	tags, err := tagMap(req.Tags)
	if err != nil {
		return nil, err
	}
	if err := tooLong("description", req.Description, maxDescription); err != nil {
		return nil, err
	}
	r := w.registry
	before := r.Generation()
	err = r.config.DB.Write(ctx, func(tx *store.Tx) error {
		m := &model{about: about{description: req.Description, tags: tags}, aliases: map[string]int{}}
		if there := r.current.Load().models[req.Name]; there != nil {
			return alreadyThere(req.Name, there.isPrompt(), m.isPrompt())
		}
		m.createdAt = r.now()
		m.updatedAt = m.createdAt
		if err := writeAbout(ctx, tx, req.Name, m.about); err != nil {
			return err
		}
		r.publish(tx, req.Name, m)
		return r.config.Ledger.Note(ctx, tx, ledger.Act{Actor: actor(caller), What: "model.create", Subject: req.Name})
	})
	if err != nil {
		return nil, err
	}
	r.changed(before)
	return w.registeredModel(req.Name)
}

// alreadyThere refuses a name that is taken, in upstream's words.
func alreadyThere(name string, existingPrompt, newPrompt bool) error {
	kinds := map[bool]string{false: "registered model", true: "prompt"}
	message := fmt.Sprintf("Registered Model (name=%s) already exists.", name)
	if newPrompt {
		message = fmt.Sprintf("Prompt (name=%s) already exists.", name)
	}
	if existingPrompt != newPrompt {
		message = fmt.Sprintf("Tried to create a %s with name '%s', but the name is already taken by a %s. MLflow does "+
			"not allow creating a model and a prompt with the same name.", kinds[newPrompt], name, kinds[existingPrompt])
	}
	return &stoa.Refusal{Reason: stoa.ReasonConflict, Message: message}
}

// actor names a caller in the ledger.
func actor(caller stoa.Caller) string {
	if caller.Name != "" {
		return caller.Name
	}
	return caller.ID
}

// registeredModel shows a model as it is now.
func (w *Wire) registeredModel(name string) (*RegisteredModelReply, error) {
	m, err := w.registry.current.Load().modelNamed(name)
	if err != nil {
		return nil, err
	}
	return &RegisteredModelReply{RegisteredModel: m.wire(name)}, nil
}

// wire is the model as MLflow shows it.
func (m *model) wire(name string) RegisteredModel {
	shown := RegisteredModel{
		Name: name, CreationTimestamp: m.createdAt.UnixMilli(), LastUpdatedTimestamp: m.updatedAt.UnixMilli(),
		Description: m.description, Tags: wireTags(m.tags),
	}
	for _, v := range m.latest() {
		shown.LatestVersions = append(shown.LatestVersions, v.wire(nil))
	}
	for _, alias := range slices.Sorted(maps.Keys(m.aliases)) {
		shown.Aliases = append(shown.Aliases, AliasOf{Alias: alias, Version: strconv.Itoa(m.aliases[alias])})
	}
	return shown
}

// latest gives the newest version of each stage, in the order of their numbers.
func (m *model) latest() []version {
	var newest []version
	seen := map[string]bool{}
	for _, v := range slices.Backward(m.versions) {
		if !v.deleted && !seen[v.stage] {
			seen[v.stage] = true
			newest = append(newest, v)
		}
	}
	slices.Reverse(newest)
	return newest
}

func wireTags(tags map[string]string) []Tag {
	var list []Tag
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, Tag{Key: key, Value: tags[key]})
	}
	return list
}

// GetRegisteredModel is GET registered-models/get.
func (w *Wire) GetRegisteredModel(
	_ context.Context, _ stoa.Caller, req *GetRegisteredModelRequest,
) (*RegisteredModelReply, error) {
	if err := required("name", req.Name); err != nil {
		return nil, err
	}
	return w.registeredModel(req.Name)
}

// UpdateRegisteredModel is PATCH registered-models/update.
func (w *Wire) UpdateRegisteredModel(
	ctx context.Context, _ stoa.Caller, req *UpdateRegisteredModelRequest,
) (*RegisteredModelReply, error) {
	if err := required("name", req.Name); err != nil {
		return nil, err
	}
	if err := tooLong("description", req.Description, maxDescription); err != nil {
		return nil, err
	}
	err := w.editModel(ctx, req.Name, func(m *model, at time.Time) {
		m.description, m.updatedAt = req.Description, at
	})
	if err != nil {
		return nil, err
	}
	return w.registeredModel(req.Name)
}

// editModel changes what is said about a model that the wire names.
func (w *Wire) editModel(ctx context.Context, name string, fn func(m *model, at time.Time)) error {
	if _, err := w.registry.current.Load().modelNamed(name); err != nil {
		return err
	}
	return w.registry.editModel(ctx, name, func(_ *store.Tx, m *model, at time.Time) error {
		fn(m, at)
		return nil
	})
}

// SetRegisteredModelTag is POST registered-models/set-tag.
func (w *Wire) SetRegisteredModelTag(
	ctx context.Context, _ stoa.Caller, req *SetRegisteredModelTagRequest,
) (*Empty, error) {
	if err := required("name", req.Name, "key", req.Key); err != nil {
		return nil, err
	}
	if err := checkModelName("name", req.Name); err != nil {
		return nil, err
	}
	if err := checkTag(Tag{Key: req.Key, Value: req.Value}); err != nil {
		return nil, err
	}
	return &Empty{}, w.editModel(ctx, req.Name, func(m *model, _ time.Time) {
		m.tags = withKey(m.tags, req.Key, req.Value)
	})
}

// DeleteRegisteredModelTag is DELETE registered-models/delete-tag. Deleting a tag that is not there is no error.
func (w *Wire) DeleteRegisteredModelTag(
	ctx context.Context, _ stoa.Caller, req *DeleteRegisteredModelTagRequest,
) (*Empty, error) {
	if err := required("name", req.Name, "key", req.Key); err != nil {
		return nil, err
	}
	if err := checkTagKey(req.Key); err != nil {
		return nil, err
	}
	return &Empty{}, w.editModel(ctx, req.Name, func(m *model, _ time.Time) {
		m.tags = maps.Clone(m.tags)
		delete(m.tags, req.Key)
	})
}

// GetLatestVersions is POST and GET registered-models/get-latest-versions.
func (w *Wire) GetLatestVersions(
	_ context.Context, _ stoa.Caller, req *GetLatestVersionsRequest,
) (*GetLatestVersionsReply, error) {
	if err := required("name", req.Name); err != nil {
		return nil, err
	}
	m, err := w.registry.current.Load().modelNamed(req.Name)
	if err != nil {
		return nil, err
	}
	wanted := make([]string, len(req.Stages))
	for i, stage := range req.Stages {
		if wanted[i], err = canonicalStage(stage); err != nil {
			return nil, err
		}
	}
	reply := &GetLatestVersionsReply{}
	for _, v := range m.latest() {
		if len(wanted) == 0 || slices.Contains(wanted, v.stage) {
			reply.ModelVersions = append(reply.ModelVersions, v.wire(m.aliasesOf(v.Number)))
		}
	}
	return reply, nil
}

// SetRegisteredModelAlias is POST registered-models/alias. An alias that is protected moves only as
// [Registry.MoveAlias] says; the refusal names what is missing.
func (w *Wire) SetRegisteredModelAlias(ctx context.Context, caller stoa.Caller, req *AliasRequest) (*Empty, error) {
	if err := required("name", req.Name, "alias", req.Alias, "version", req.Version); err != nil {
		return nil, err
	}
	if err := checkAliasName(req.Alias); err != nil {
		return nil, err
	}
	if err := checkAliasReserved(req.Alias); err != nil {
		return nil, err
	}
	_, v, err := w.registry.current.Load().versionNamed(req.Name, req.Version)
	if err != nil {
		return nil, err
	}
	return &Empty{}, w.registry.move(ctx, Move{
		Model: req.Name, Alias: req.Alias, Version: v.Number, By: actor(caller), Why: "set over the MLflow wire",
	})
}

// DeleteRegisteredModelAlias is DELETE registered-models/alias. Deleting an alias that is not there is no error.
func (w *Wire) DeleteRegisteredModelAlias(ctx context.Context, caller stoa.Caller, req *AliasRequest) (*Empty, error) {
	if err := required("name", req.Name, "alias", req.Alias); err != nil {
		return nil, err
	}
	if err := checkAliasName(req.Alias); err != nil {
		return nil, err
	}
	m, err := w.registry.current.Load().modelNamed(req.Name)
	if err != nil || m.aliases[req.Alias] == 0 {
		return &Empty{}, err
	}
	if req.Alias == stoa.AliasChampion {
		return nil, noChampion(req.Name, stoa.ReasonForbidden) // conflict would be RESOURCE_ALREADY_EXISTS to the client
	}
	return &Empty{}, w.registry.move(ctx, Move{
		Model: req.Name, Alias: req.Alias, By: actor(caller), Why: "deleted over the MLflow wire",
	})
}

// GetModelVersionByAlias is GET registered-models/alias.
func (w *Wire) GetModelVersionByAlias(_ context.Context, _ stoa.Caller, req *AliasRequest) (*ModelVersionReply, error) {
	if err := required("name", req.Name, "alias", req.Alias); err != nil {
		return nil, err
	}
	if err := checkAliasName(req.Alias); err != nil {
		return nil, err
	}
	m, err := w.registry.current.Load().modelNamed(req.Name)
	if err != nil {
		return nil, err
	}
	v, found := m.at(m.aliases[req.Alias])
	if newest := m.latest(); !found && strings.EqualFold(req.Alias, aliasLatest) {
		if len(newest) == 0 {
			return nil, &stoa.Refusal{
				Reason: stoa.ReasonUnknownVersion, Message: "Latest version not found for model " + req.Name + ".",
			}
		}
		v, found = newest[len(newest)-1], true
	}
	if !found {
		return nil, invalid("Registered model alias " + req.Alias + " not found.") // upstream's code for it, too
	}
	return &ModelVersionReply{ModelVersion: v.wire(m.aliasesOf(v.Number))}, nil
}
