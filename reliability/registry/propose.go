package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

// ProposeMove puts a move of an alias on the ledger, as an entry of the kind alias, for others to approve. The same
// move finds the entry that waits already. m.Entry is not used; version 0 proposes to remove the alias.
//
// The error is a *[stoa.Refusal] when the move can never happen as it is: invalid, unknown_model, unknown_version or
// conflict. Gates may still be missing; they are looked at when the move is carried out.
func (r *Registry) ProposeMove(ctx context.Context, m Move) (ledger.Entry, error) {
	if err := checkAlias(m.Alias); err != nil {
		return ledger.Entry{}, err
	}
	var entry ledger.Entry
	err := r.config.DB.Write(ctx, func(tx *store.Tx) error {
		model, err := r.current.Load().model(m.Model)
		if err != nil {
			return err
		}
		v, there := model.at(m.Version)
		switch {
		case m.Version != 0 && !there:
			return model.noVersion(m.Model, fmt.Sprint(m.Version))
		case m.Version == 0 && m.Alias == stoa.AliasChampion:
			return noChampion(m.Model, stoa.ReasonConflict)
		case there && !v.Servable && isProtected(m.Alias):
			return r.notServable(m, v)
		case model.aliases[m.Alias] == m.Version:
			return &stoa.Refusal{
				Reason:  stoa.ReasonConflict,
				Message: fmt.Sprintf("%s of %q is at version %d already", m.Alias, m.Model, m.Version),
			}
		}
		entry, err = r.proposeTx(ctx, tx, m)
		return err
	})
	if err != nil {
		return ledger.Entry{}, fmt.Errorf("registry: propose to move %s of %s: %w", m.Alias, m.Model, err)
	}
	return entry, nil
}

// proposeTx finds the entry for a move that is under way, or makes one. Moves to and fro are different entries, so the
// key counts them.
func (r *Registry) proposeTx(ctx context.Context, tx *store.Tx, m Move) (ledger.Entry, error) {
	for nth := 1; ; nth++ {
		entry, _, err := r.config.Ledger.ProposeTx(ctx, tx, ledger.Proposal{
			Key:  fmt.Sprintf("alias/%s/%s/%d/%d", m.Model, m.Alias, m.Version, nth),
			Kind: ledger.KindAlias, Subject: m.Model, Payload: target{Version: m.Version, Alias: m.Alias},
			Why: m.Why, By: m.By,
		})
		if err != nil || entry.State == ledger.StateProposed {
			return entry, err
		}
	}
}

// Approve is somebody's yes to an entry. An entry that moves an alias may need several people ([Rule.People]), and is
// only approved with the last of them; each of them counts once, and so does who proposed it, when he may move the
// alias. An entry of the kind alias is carried out, in the same transaction, as soon as it is approved. A rollout that
// needs several people takes their approvals while it runs as well.
//
// For any other entry Approve is [ledger.Ledger.Approve]. The error is a *[stoa.Refusal]: not_found, forbidden when by
// may not move the alias or a condition is missing, conflict when the entry is past approving or by has approved it.
func (r *Registry) Approve(ctx context.Context, id int64, by, why string) (ledger.Entry, error) {
	before := r.Generation()
	var entry ledger.Entry
	err := r.config.DB.Write(ctx, func(tx *store.Tx) (err error) {
		if entry, err = r.config.Ledger.GetTx(ctx, tx, id); err != nil {
			return err
		}
		entry, err = r.approveTx(ctx, tx, entry, by, why)
		return err
	})
	if err != nil {
		return ledger.Entry{}, fmt.Errorf("registry: approve entry %d: %w", id, err)
	}
	r.changed(before)
	return entry, nil
}

func (r *Registry) approveTx(
	ctx context.Context, tx *store.Tx, entry ledger.Entry, by, why string,
) (ledger.Entry, error) {
	move, err := moveOf(entry)
	if err != nil {
		return entry, err
	}
	if move.Alias == "" {
		return r.config.Ledger.ApproveTx(ctx, tx, entry.ID, by, why)
	}
	rule := r.config.Rule(move.Model, move.Alias)
	movers := r.movers(rule, move.Model, isProtected(move.Alias))
	if len(rule.Movers) > 0 && !slices.Contains(movers, by) {
		return entry, &stoa.Refusal{
			Reason: stoa.ReasonForbidden,
			Message: fmt.Sprintf("%s may not approve entry %d: %s of %q is moved by %s", by, entry.ID, move.Alias, move.Model,
				listed(movers)),
		}
	}
	underWay := entry.Kind == ledger.KindRollout &&
		(entry.State == ledger.StateApproved || entry.State == ledger.StateRunning)
	if rule.People > 1 && (entry.State == ledger.StateProposed || underWay) {
		if err := r.keepApproval(ctx, tx, entry, by, why); err != nil {
			return entry, err
		}
		people, err := agreed(ctx, tx, entry, movers)
		if err != nil || underWay || len(people) < rule.People {
			return entry, err
		}
	}
	if entry, err = r.config.Ledger.ApproveTx(ctx, tx, entry.ID, by, why); err != nil || entry.Kind != ledger.KindAlias {
		return entry, err
	}
	return r.carryOut(ctx, tx, entry, move)
}

// keepApproval records one of several approvals.
func (r *Registry) keepApproval(ctx context.Context, tx *store.Tx, entry ledger.Entry, by, why string) error {
	if by == "" {
		return invalid("an approval needs somebody who approves")
	}
	given, err := approvals(ctx, tx, entry.ID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(given, func(a Approval) bool { return a.By == by }) {
		return &stoa.Refusal{
			Reason: stoa.ReasonConflict, Message: fmt.Sprintf("%s has approved entry %d already", by, entry.ID),
			Hint: "somebody else has to",
		}
	}
	_, err = tx.Exec(ctx, "INSERT INTO registry_approval (entry, approved_by, why, approved_at) VALUES (?, ?, ?, ?)",
		entry.ID, by, why, r.config.Now().UnixMicro())
	if err != nil {
		return err
	}
	return r.config.Ledger.Note(ctx, tx, ledger.Act{
		Actor: by, What: "alias.approve", Subject: entry.Subject, Entry: entry.ID, Why: why,
	})
}

// carryOut moves the alias of an approved entry.
func (r *Registry) carryOut(ctx context.Context, tx *store.Tx, entry ledger.Entry, m Move) (ledger.Entry, error) {
	entry, err := r.config.Ledger.StartTx(ctx, tx, entry.ID)
	if err != nil {
		return entry, err
	}
	m.By, m.Entry, m.Why = entry.DecidedBy, entry.ID, entry.Why
	if err := r.moveAlias(ctx, tx, m); err != nil {
		return entry, err
	}
	return r.config.Ledger.FinishTx(ctx, tx, entry.ID, target{Version: m.Version, Alias: m.Alias})
}

// moveOf gives the move that an entry is for; without an alias when it is for something else.
func moveOf(entry ledger.Entry) (Move, error) {
	if entry.Kind != ledger.KindAlias && entry.Kind != ledger.KindRollout {
		return Move{}, nil
	}
	var named target
	if err := json.Unmarshal(entry.Payload, &named); err != nil {
		return Move{}, errors.Join(invalid(fmt.Sprintf("the payload of entry %d does not name a version", entry.ID)), err)
	}
	if named.Alias == "" {
		named.Alias = stoa.AliasChampion
	}
	return Move{Model: entry.Subject, Alias: named.Alias, Version: named.Version}, nil
}
