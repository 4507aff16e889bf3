package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// actorItself is the actor of the moves that the process makes in carrying an entry out.
const actorItself = "stoa"

// Propose asks for a change. When an entry with the proposal's key exists, whatever its state, Propose returns it and
// false, and records nothing; if that entry is of another kind or subject, the error is a *[stoa.Refusal] (conflict).
func (l *Ledger) Propose(ctx context.Context, p Proposal) (entry Entry, created bool, err error) {
	err = l.db.Write(ctx, func(tx *store.Tx) error {
		entry, created, err = l.ProposeTx(ctx, tx, p)
		return err
	})
	return entry, created && err == nil, err
}

// ProposeTx is [Ledger.Propose] in the caller's transaction.
func (l *Ledger) ProposeTx(ctx context.Context, tx *store.Tx, p Proposal) (entry Entry, created bool, err error) {
	if p.Key == "" || p.Kind == "" || p.By == "" {
		return Entry{}, false, &stoa.Refusal{
			Reason:  stoa.ReasonInvalid,
			Message: fmt.Sprintf("a proposal needs a key, a kind and who makes it; got %q, %q, %q", p.Key, p.Kind, p.By),
		}
	}
	existing, err := scanRecord(
		tx.QueryRow(ctx, "SELECT "+recordColumns+" FROM ledger_entry WHERE key = ?", p.Key).Scan)
	switch {
	case err == nil && (existing.kind != string(p.Kind) || existing.subject != p.Subject):
		return Entry{}, false, &stoa.Refusal{
			Reason: stoa.ReasonConflict,
			Message: fmt.Sprintf("the key %q belongs to entry %d, a %s of %q", p.Key, existing.id, existing.kind,
				existing.subject),
			Hint: "use another key",
		}
	case err == nil:
		return existing.public(), false, nil
	case !errors.Is(err, sql.ErrNoRows):
		return Entry{}, false, fmt.Errorf("ledger: propose %q: %w", p.Key, err)
	}
	data, err := encode(p.Payload)
	if err != nil {
		return Entry{}, false, err
	}
	entry, err = l.record(ctx, tx, record{}, &event{
		what: whatProposed, actor: p.By, kind: string(p.Kind), subject: p.Subject, key: p.Key, why: p.Why, data: data,
	})
	return entry, err == nil, err
}

// Approve lets a proposed entry be started.
func (l *Ledger) Approve(ctx context.Context, id int64, by, why string) (Entry, error) {
	return l.inTx(ctx, func(tx *store.Tx) (Entry, error) { return l.ApproveTx(ctx, tx, id, by, why) })
}

// ApproveTx is [Ledger.Approve] in the caller's transaction.
func (l *Ledger) ApproveTx(ctx context.Context, tx *store.Tx, id int64, by, why string) (Entry, error) {
	return l.decide(ctx, tx, id, &event{what: whatApproved, actor: by, why: why})
}

// Reject ends a proposed entry.
func (l *Ledger) Reject(ctx context.Context, id int64, by, why string) (Entry, error) {
	return l.inTx(ctx, func(tx *store.Tx) (Entry, error) { return l.RejectTx(ctx, tx, id, by, why) })
}

// RejectTx is [Ledger.Reject] in the caller's transaction.
func (l *Ledger) RejectTx(ctx context.Context, tx *store.Tx, id int64, by, why string) (Entry, error) {
	return l.decide(ctx, tx, id, &event{what: whatRejected, actor: by, why: why})
}

// Start begins to carry out an approved entry. Starting a running entry again, after a crash, is recorded too.
func (l *Ledger) Start(ctx context.Context, id int64) (Entry, error) {
	return l.inTx(ctx, func(tx *store.Tx) (Entry, error) { return l.StartTx(ctx, tx, id) })
}

// StartTx is [Ledger.Start] in the caller's transaction.
func (l *Ledger) StartTx(ctx context.Context, tx *store.Tx, id int64) (Entry, error) {
	return l.move(ctx, tx, id, &event{what: whatStarted, actor: actorItself})
}

// Step records how far a running entry has come. data is encoded as JSON; nil for none.
func (l *Ledger) Step(ctx context.Context, id int64, step string, data any) error {
	return l.db.Write(ctx, func(tx *store.Tx) error { return l.StepTx(ctx, tx, id, step, data) })
}

// StepTx is [Ledger.Step] in the caller's transaction.
func (l *Ledger) StepTx(ctx context.Context, tx *store.Tx, id int64, step string, data any) error {
	encoded, err := encode(data)
	if err != nil {
		return err
	}
	_, err = l.move(ctx, tx, id, &event{what: whatStep, actor: actorItself, step: step, data: encoded})
	return err
}

// Finish ends a running entry that succeeded. result is encoded as JSON; nil for none.
func (l *Ledger) Finish(ctx context.Context, id int64, result any) (Entry, error) {
	return l.inTx(ctx, func(tx *store.Tx) (Entry, error) { return l.FinishTx(ctx, tx, id, result) })
}

// FinishTx is [Ledger.Finish] in the caller's transaction.
func (l *Ledger) FinishTx(ctx context.Context, tx *store.Tx, id int64, result any) (Entry, error) {
	encoded, err := encode(result)
	if err != nil {
		return Entry{}, err
	}
	return l.move(ctx, tx, id, &event{what: whatDone, actor: actorItself, data: encoded})
}

// Fail ends a running entry that did not succeed. cause, which must not be nil, is kept as its text, in which U+FFFD
// stands for what a store cannot keep: an entry can always fail.
func (l *Ledger) Fail(ctx context.Context, id int64, cause error) (Entry, error) {
	return l.inTx(ctx, func(tx *store.Tx) (Entry, error) { return l.FailTx(ctx, tx, id, cause) })
}

// FailTx is [Ledger.Fail] in the caller's transaction.
func (l *Ledger) FailTx(ctx context.Context, tx *store.Tx, id int64, cause error) (Entry, error) {
	return l.move(ctx, tx, id, &event{what: whatFailed, actor: actorItself, failure: storable(cause.Error())})
}

// inTx runs a move in a transaction of its own.
func (l *Ledger) inTx(ctx context.Context, fn func(*store.Tx) (Entry, error)) (Entry, error) {
	var entry Entry
	err := l.db.Write(ctx, func(tx *store.Tx) (err error) {
		entry, err = fn(tx)
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	return entry, nil
}

// decide is a move that somebody answers for.
func (l *Ledger) decide(ctx context.Context, tx *store.Tx, id int64, e *event) (Entry, error) {
	if e.actor == "" {
		return Entry{}, &stoa.Refusal{
			Reason: stoa.ReasonInvalid, Message: fmt.Sprintf("deciding on entry %d needs somebody who decides", id),
		}
	}
	return l.move(ctx, tx, id, e)
}

// move takes the entry id through e.
func (l *Ledger) move(ctx context.Context, tx *store.Tx, id int64, e *event) (Entry, error) {
	before, err := readRecord(ctx, tx, id)
	if err != nil {
		return Entry{}, err
	}
	if _, err := apply(before, e); err != nil {
		return Entry{}, err
	}
	e.entry, e.kind, e.subject, e.key = before.id, before.kind, before.subject, before.key
	return l.record(ctx, tx, before, e)
}

// record appends e and stores what it makes of before.
func (l *Ledger) record(ctx context.Context, tx *store.Tx, before record, e *event) (Entry, error) {
	if err := l.append(ctx, tx, e); err != nil {
		return Entry{}, err
	}
	after, err := apply(before, e)
	if err != nil {
		return Entry{}, err
	}
	if err := writeRecord(ctx, tx, &after); err != nil {
		return Entry{}, err
	}
	return after.public(), nil
}

// storable gives text as every store can keep it; see [store.ErrText].
func storable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
