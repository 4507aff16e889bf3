package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

// A Move points an alias at a version.
type Move struct {
	Model   string
	Alias   string
	Version int    // 0 removes the alias
	By      string // who moves it
	Entry   int64  // ledger entry that it is moved for; 0 for none
	Why     string
}

// moved is what the ledger keeps of a move. Compatibility: fields are only added.
type moved struct {
	Alias    string `json:"alias"`
	From     int    `json:"from"` // 0 when the alias was not there
	To       int    `json:"to"`   // 0 when the alias was removed
	Previous int    `json:"previous,omitempty"`
}

// target is what a ledger entry's payload has to say to let an alias move.
type target struct {
	Version int    `json:"version"`
	Alias   string `json:"alias"`
}

// MoveAlias points an alias at a version. Where the alias is there already, nothing happens and nothing is recorded, so
// that a move may be repeated after a crash.
//
//  1. The aliases champion and previous move when Entry is an approved or running ledger entry of the kind rollout or
//     alias, its subject is the model, the "version" of its payload is the version, and the "alias" of its payload, if
//     it has one, is the alias; or when By is one of the model's approvers.
//  2. Other aliases move freely.
//  3. When champion moves, previous comes to be the version that was champion, in the same transaction.
//  4. Every alias but champion can be removed.
//
// The error is a *[stoa.Refusal]: invalid, unknown_model, unknown_version, forbidden (rule 1) or conflict (rule 4).
func (r *Registry) MoveAlias(ctx context.Context, m Move) error {
	if err := checkAlias(m.Alias); err != nil {
		return err
	}
	if m.By == "" {
		return invalid("moving an alias needs somebody who moves it")
	}
	before := r.Generation()
	err := r.config.DB.Write(ctx, func(tx *store.Tx) error { return r.moveAlias(ctx, tx, m) })
	if err != nil {
		return fmt.Errorf("registry: move alias %s of %s: %w", m.Alias, m.Model, err)
	}
	r.changed(before)
	return nil
}

func (r *Registry) moveAlias(ctx context.Context, tx *store.Tx, m Move) error {
	// The snapshot is what is committed: it is replaced before the next transaction begins.
	model, err := r.current.Load().model(m.Model)
	if err != nil {
		return err
	}
	if m.Version < 0 || m.Version > len(model.versions) {
		return &stoa.Refusal{
			Reason:  stoa.ReasonUnknownVersion,
			Message: fmt.Sprintf("model %q has no version %d", m.Model, m.Version),
			Hint:    fmt.Sprintf("it has the versions 1 to %d", len(model.versions)),
		}
	}
	from := model.aliases[m.Alias]
	if from == m.Version {
		return nil
	}
	if err := r.mayMove(ctx, tx, m); err != nil {
		return err
	}
	note := moved{Alias: m.Alias, From: from, To: m.Version}
	after := maps.Clone(model.aliases)
	point(after, m.Alias, m.Version)
	if m.Alias == stoa.AliasChampion && from != 0 {
		note.Previous = from
		point(after, stoa.AliasPrevious, from)
	}
	if err := writeAliases(ctx, tx, m.Model, model.aliases, after); err != nil {
		return err
	}
	err = r.config.Ledger.Note(ctx, tx, ledger.Act{
		Actor: m.By, What: "alias.move", Subject: m.Model, Entry: m.Entry, Why: m.Why, Data: note,
	})
	if err != nil {
		return err
	}
	tx.OnCommit(func() { r.current.Store(r.current.Load().withAliases(m.Model, after)) })
	return nil
}

// point sets an alias, or removes it.
func point(aliases map[string]int, alias string, version int) {
	if version == 0 {
		delete(aliases, alias)
		return
	}
	aliases[alias] = version
}

// mayMove applies the rules of [Registry.MoveAlias].
func (r *Registry) mayMove(ctx context.Context, tx *store.Tx, m Move) error {
	if m.Alias == stoa.AliasChampion && m.Version == 0 {
		return &stoa.Refusal{ // rule 4
			Reason: stoa.ReasonConflict, Message: fmt.Sprintf("%q cannot be left without a champion", m.Model),
			Hint: "move champion to another version instead",
		}
	}
	var entry ledger.Entry
	if m.Entry != 0 {
		var err error
		if entry, err = r.config.Ledger.GetTx(ctx, tx, m.Entry); err != nil {
			return err
		}
	}
	if m.Alias != stoa.AliasChampion && m.Alias != stoa.AliasPrevious {
		return nil // rule 2
	}
	if slices.Contains(r.config.Approvers(m.Model), m.By) {
		return nil // rule 1, by an approver
	}
	if m.Entry == 0 {
		return forbidden(m, "no ledger entry is given, and "+m.By+" is not one of the model's approvers")
	}
	if err := lets(entry, m); err != nil {
		return forbidden(m, fmt.Sprintf("entry %d does not let it: %s", m.Entry, err))
	}
	return nil // rule 1, by an entry
}

func forbidden(m Move, because string) error {
	return &stoa.Refusal{
		Reason:  stoa.ReasonForbidden,
		Message: fmt.Sprintf("%s of %q may not be moved to version %d: %s", m.Alias, m.Model, m.Version, because),
		Hint:    "propose a rollout, or ask an approver",
	}
}

// lets says why an entry does not let m happen, or nil when it does.
func lets(entry ledger.Entry, m Move) error {
	if entry.Kind != ledger.KindRollout && entry.Kind != ledger.KindAlias {
		return fmt.Errorf("it is a %s", entry.Kind)
	}
	if entry.State != ledger.StateApproved && entry.State != ledger.StateRunning {
		return fmt.Errorf("it is %s", entry.State)
	}
	if entry.Subject != m.Model {
		return fmt.Errorf("it is about %q", entry.Subject)
	}
	var named target
	if err := json.Unmarshal(entry.Payload, &named); err != nil {
		return errors.New("its payload does not name a version")
	}
	if named.Version != m.Version {
		return fmt.Errorf("it names version %d", named.Version)
	}
	if named.Alias != "" && named.Alias != m.Alias {
		return fmt.Errorf("it names the alias %q", named.Alias)
	}
	return nil
}
