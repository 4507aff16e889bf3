package registry

import (
	"context"
	"fmt"
	"slices"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

// RenameRegisteredModel is POST registered-models/rename. The rules on who moves an alias go by the model's name: a
// model that has a champion, or one whose aliases are subject to a [Rule], is renamed only by somebody who is an
// approver of both names.
func (w *Wire) RenameRegisteredModel(
	ctx context.Context, caller stoa.Caller, req *RenameRegisteredModelRequest,
) (*RegisteredModelReply, error) {
	if err := required("name", req.Name, "new_name", req.NewName); err != nil {
		return nil, err
	}
	if err := checkModelName("new_name", req.NewName); err != nil {
		return nil, err
	}
	if err := checkModelName("name", req.Name); err != nil {
		return nil, err
	}
	r := w.registry
	before := r.Generation()
	err := r.config.DB.Write(ctx, func(tx *store.Tx) error {
		m, err := r.current.Load().modelNamed(req.Name)
		if err != nil || req.Name == req.NewName {
			return err
		}
		if r.current.Load().models[req.NewName] != nil {
			return alreadyThere(req.NewName, false, false)
		}
		if err := r.mayReplace(m, "rename", caller, req.Name, req.NewName); err != nil {
			return err
		}
		return r.rename(ctx, tx, m, req, actor(caller))
	})
	if err != nil {
		return nil, err
	}
	r.changed(before)
	return w.registeredModel(req.NewName)
}

// mayReplace lets a model that is protected be renamed or deleted by an approver of all the names only.
func (r *Registry) mayReplace(m *model, what string, caller stoa.Caller, names ...string) error {
	aliases := []string{stoa.AliasChampion, stoa.AliasPrevious}
	for alias := range m.aliases {
		aliases = append(aliases, alias)
	}
	guarded := m.aliases[stoa.AliasChampion] != 0
	for _, name := range names {
		for _, alias := range aliases {
			rule := r.config.Rule(name, alias)
			guarded = guarded || len(rule.Movers) > 0 || len(rule.Gates) > 0 || rule.People > 1
		}
	}
	for _, name := range names {
		if guarded && !slices.Contains(r.config.Approvers(name), actor(caller)) {
			return &stoa.Refusal{
				Reason: stoa.ReasonForbidden,
				Message: fmt.Sprintf("%q is protected: %s is not an approver of %q and may not %s it", names[0],
					actor(caller), name, what),
				Hint: "ask an approver",
			}
		}
	}
	return nil
}

// rename gives a model, with all that belongs to it, another name.
func (r *Registry) rename(
	ctx context.Context, tx *store.Tx, m *model, req *RenameRegisteredModelRequest, by string,
) error {
	next := *m
	next.updatedAt = r.now()
	next.versions = slices.Clone(m.versions)
	for i := range next.versions {
		next.versions[i].Model = req.NewName
		next.versions[i].updatedAt = next.updatedAt
	}
	// The new name is there before anything refers to it, and the old one goes when nothing does any more.
	if err := writeAliases(ctx, tx, req.Name, m.aliases, nil); err != nil {
		return err
	}
	if err := writeAbout(ctx, tx, req.NewName, next.about); err != nil {
		return err
	}
	for _, statement := range []struct {
		query string
		args  []any
	}{
		{"UPDATE registry_version SET model = ?, updated_at = ? WHERE model = ?",
			[]any{req.NewName, next.updatedAt.UnixMicro(), req.Name}},
		{"UPDATE registry_move SET model = ? WHERE model = ?", []any{req.NewName, req.Name}},
		{"DELETE FROM registry_model WHERE name = ?", []any{req.Name}},
	} {
		if _, err := tx.Exec(ctx, statement.query, statement.args...); err != nil {
			return err
		}
	}
	if err := writeAliases(ctx, tx, req.NewName, nil, m.aliases); err != nil {
		return err
	}
	r.publish(tx, req.Name, nil)
	r.publish(tx, req.NewName, &next)
	return r.config.Ledger.Note(ctx, tx, ledger.Act{
		Actor: by, What: "model.rename", Subject: req.Name, Data: map[string]string{"to": req.NewName},
	})
}

// DeleteRegisteredModel is DELETE registered-models/delete. It takes the versions along; their artifacts go with the
// next [Registry.Sweep]. A model that is protected is deleted by an approver only.
func (w *Wire) DeleteRegisteredModel(
	ctx context.Context, caller stoa.Caller, req *DeleteRegisteredModelRequest,
) (*Empty, error) {
	if err := required("name", req.Name); err != nil {
		return nil, err
	}
	r := w.registry
	before := r.Generation()
	err := r.config.DB.Write(ctx, func(tx *store.Tx) error {
		m, err := r.current.Load().modelNamed(req.Name)
		if err != nil {
			return err
		}
		if err := r.mayReplace(m, "delete", caller, req.Name); err != nil {
			return err
		}
		for _, query := range []string{
			"DELETE FROM registry_alias WHERE model = ?", "DELETE FROM registry_version WHERE model = ?",
			"DELETE FROM registry_move WHERE model = ?", "DELETE FROM registry_model WHERE name = ?",
		} {
			if _, err := tx.Exec(ctx, query, req.Name); err != nil {
				return err
			}
		}
		r.publish(tx, req.Name, nil)
		return r.config.Ledger.Note(ctx, tx, ledger.Act{
			Actor: actor(caller), What: "model.delete", Subject: req.Name, Data: map[string]int{"versions": len(m.versions)},
		})
	})
	if err != nil {
		return nil, err
	}
	r.changed(before)
	return &Empty{}, nil
}
