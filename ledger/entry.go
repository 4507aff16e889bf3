package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// record is an [Entry] as stored. Compatibility: every field is a function of the entry's events, by apply.
type record struct {
	id, createdAt, updatedAt int64

	key, kind, subject, state, payload, result, why, decision, proposedBy, decidedBy, failure string
}

// apply gives the record after e. It is the state machine of the package comment: live moves and [Verify] both go
// through it.
func apply(r record, e *event) (record, error) {
	if e.what == whatProposed {
		if r.id != 0 {
			return r, fmt.Errorf("entry %d is proposed a second time", r.id)
		}
		return record{
			id: e.seq, createdAt: e.at, updatedAt: e.at, key: e.key, kind: e.kind, subject: e.subject,
			state: string(StateProposed), payload: e.data, why: e.why, proposedBy: e.actor,
		}, nil
	}
	move, known := moves()[e.what]
	if !known {
		return r, fmt.Errorf("%q is no event of an entry", e.what)
	}
	if r.state != string(move.from) && r.state != string(move.again) {
		return r, &stoa.Refusal{
			Reason:  stoa.ReasonConflict,
			Message: fmt.Sprintf("entry %d is %s; to be %s it has to be %s", r.id, r.state, move.name, move.from),
			Hint:    "look at the entry: somebody else may have moved it",
		}
	}
	r.state, r.updatedAt = string(move.to), e.at
	switch e.what {
	case whatApproved, whatRejected:
		r.decidedBy, r.decision = e.actor, e.why
	case whatDone:
		r.result = e.data
	case whatFailed:
		r.failure = e.failure
	}
	return r, nil
}

// A transition leads from a state, or from again, to another.
type transition struct {
	from, again, to State
	name            string
}

// moves gives the transitions by the event that makes them.
func moves() map[string]transition {
	return map[string]transition{
		whatApproved: {from: StateProposed, again: StateProposed, to: StateApproved, name: "approved"},
		whatRejected: {from: StateProposed, again: StateProposed, to: StateRejected, name: "rejected"},
		whatStarted:  {from: StateApproved, again: StateRunning, to: StateRunning, name: "started"},
		whatStep:     {from: StateRunning, again: StateRunning, to: StateRunning, name: "taken a step further"},
		whatDone:     {from: StateRunning, again: StateRunning, to: StateDone, name: "finished"},
		whatFailed:   {from: StateRunning, again: StateRunning, to: StateFailed, name: "failed"},
	}
}

// public gives the API form.
func (r *record) public() Entry {
	return Entry{
		ID: r.id, Key: r.key, Kind: Kind(r.kind), Subject: r.subject, State: State(r.state), Payload: raw(r.payload),
		Result: raw(r.result), Why: r.why, Decision: r.decision, ProposedBy: r.proposedBy, DecidedBy: r.decidedBy,
		Error: r.failure, CreatedAt: fromMicros(r.createdAt), UpdatedAt: fromMicros(r.updatedAt),
	}
}

const recordColumns = "id, key, kind, subject, state, payload, result, why, decision, proposed_by, decided_by, " +
	"error, created_at, updated_at"

// scanRecord reads a row of recordColumns.
func scanRecord(scan func(...any) error) (record, error) {
	var r record
	err := scan(&r.id, &r.key, &r.kind, &r.subject, &r.state, &r.payload, &r.result, &r.why, &r.decision,
		&r.proposedBy, &r.decidedBy, &r.failure, &r.createdAt, &r.updatedAt)
	return r, err
}

// readRecord finds an entry by its id.
func readRecord(ctx context.Context, tx *store.Tx, id int64) (record, error) {
	r, err := scanRecord(tx.QueryRow(ctx, "SELECT "+recordColumns+" FROM ledger_entry WHERE id = ?", id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return record{}, &stoa.Refusal{Reason: stoa.ReasonNotFound, Message: fmt.Sprintf("there is no entry %d", id)}
	}
	if err != nil {
		return record{}, fmt.Errorf("ledger: read entry %d: %w", id, err)
	}
	return r, nil
}

// writeRecord stores an entry's new state.
func writeRecord(ctx context.Context, tx *store.Tx, r *record) error {
	_, err := tx.Exec(ctx, "INSERT INTO ledger_entry ("+recordColumns+
		") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state, "+
		"result = excluded.result, decision = excluded.decision, decided_by = excluded.decided_by, "+
		"error = excluded.error, updated_at = excluded.updated_at",
		r.id, r.key, r.kind, r.subject, r.state, r.payload, r.result, r.why, r.decision, r.proposedBy, r.decidedBy,
		r.failure, r.createdAt, r.updatedAt)
	if err != nil {
		return fmt.Errorf("ledger: write entry %d: %w", r.id, err)
	}
	return nil
}
