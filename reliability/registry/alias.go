package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

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
//  5. champion and previous point at servable versions only.
//  6. Where the workload sets conditions on an alias, they hold as well: see [Rule].
//
// The error is a *[stoa.Refusal]: invalid (rule 5), unknown_model, unknown_version, forbidden (rules 1 and 6, naming
// every condition that is missing) or conflict (rule 4).
func (r *Registry) MoveAlias(ctx context.Context, m Move) error {
	if err := checkAlias(m.Alias); err != nil {
		return err
	}
	return r.move(ctx, m)
}

// move is MoveAlias for an alias whose name has been checked.
func (r *Registry) move(ctx context.Context, m Move) error {
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
	if _, there := model.at(m.Version); m.Version != 0 && !there {
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
	if err := r.mayMove(ctx, tx, model, m); err != nil {
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
	if err := r.noteMove(ctx, tx, m, note); err != nil {
		return err
	}
	r.publish(tx, m.Model, model.withAliases(after))
	return nil
}

// noteMove records a move in the ledger, and for the lineage.
func (r *Registry) noteMove(ctx context.Context, tx *store.Tx, m Move, note moved) error {
	err := r.config.Ledger.Note(ctx, tx, ledger.Act{
		Actor: m.By, What: "alias.move", Subject: m.Model, Entry: m.Entry, Why: m.Why, Data: note,
	})
	if err != nil {
		return err
	}
	var newest int64
	if err := tx.QueryRow(ctx, "SELECT COALESCE(MAX(id), 0) FROM registry_move").Scan(&newest); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO registry_move (id, model, alias, from_number, to_number, moved_by, entry, why, "+
		"moved_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", newest+1, m.Model, note.Alias, note.From, note.To, m.By,
		m.Entry, m.Why, r.config.Now().UnixMicro())
	return err
}

// point sets an alias, or removes it.
func point(aliases map[string]int, alias string, version int) {
	if version == 0 {
		delete(aliases, alias)
		return
	}
	aliases[alias] = version
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
