package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stoaproject/stoa/store"
)

// A Break is a place where the ledger is not what it was when it was written. Seq is that of the event, or of the event
// that proposed the entry, or 0.
type Break struct {
	Seq  int64  `json:"seq"`
	What string `json:"what"`
}

// A Report is what [Verify] found.
type Report struct {
	Rows   int64   `json:"rows"`             // events read
	Head   string  `json:"head"`             // hash of the last one
	Broken []Break `json:"broken,omitempty"` // in the order they were found
}

// Verify reads the whole ledger in db and reports everything that is not as it was written: events that were edited,
// removed (also from the end), put in or moved, and entries that are not what their events add up to. With
// [WithAnchor] it compares the chain with the file too. It changes nothing, and a report without breaks is the only
// good one; the error is about being unable to read.
func Verify(ctx context.Context, db *store.DB, opts ...Option) (Report, error) {
	return verify(ctx, db, gather(opts))
}

func verify(ctx context.Context, db *store.DB, o options) (Report, error) {
	a := audit{entries: map[int64]record{}}
	var said anchored
	if o.anchor != "" {
		var err error
		if said, err = readAnchor(o.anchor); err != nil { // first: others may be writing
			return Report{}, fmt.Errorf("ledger: verify: %w", err)
		}
	}
	err := db.Read(ctx, func(tx *store.Tx) error {
		if err := a.readChain(ctx, tx); err != nil {
			return err
		}
		if err := a.compareHead(ctx, tx); err != nil {
			return err
		}
		if err := a.compareEntries(ctx, tx); err != nil {
			return err
		}
		if o.anchor == "" {
			return nil
		}
		trouble, err := said.check(ctx, tx)
		if trouble != "" {
			a.broken(0, "%s", trouble)
		}
		return err
	})
	if err != nil {
		return Report{}, fmt.Errorf("ledger: verify: %w", err)
	}
	return a.report, nil
}

// An audit is a verification under way.
type audit struct {
	report  Report
	last    head             // last event read
	entries map[int64]record // what the events read so far add up to
}

func (a *audit) broken(seq int64, format string, args ...any) {
	a.report.Broken = append(a.report.Broken, Break{Seq: seq, What: fmt.Sprintf(format, args...)})
}

// readChain checks every event and adds it up.
func (a *audit) readChain(ctx context.Context, tx *store.Tx) error {
	query := "SELECT " + eventColumns + " FROM ledger_event ORDER BY seq"
	return each(ctx, tx, query, nil, func(rows *sql.Rows) error {
		a.report.Rows++
		e, err := scanEvent(rows.Scan)
		if err != nil {
			a.broken(a.last.Seq+1, "the event cannot be read: %v", err)
			return nil
		}
		a.link(&e)
		a.add(&e)
		a.last = head{Seq: e.seq, Hash: e.hash}
		a.report.Head = e.hash
		return nil
	})
}

// link checks that e is what was written and follows the event before it.
func (a *audit) link(e *event) {
	switch want := a.last.Seq + 1; {
	case e.seq == want+1:
		a.broken(want, "the event is missing")
	case e.seq > want:
		a.broken(want, "the events %d to %d are missing", want, e.seq-1)
	case e.seq < want:
		a.broken(e.seq, "the event has no place before %d", want)
	}
	if e.prev != a.last.Hash {
		a.broken(e.seq, "the event does not follow the one before it: it names %.12q, which has the hash %.12q",
			e.prev, a.last.Hash)
	}
	if e.sum() != e.hash {
		a.broken(e.seq, "the event was edited: its fields do not have its hash")
	}
}

// add takes e into the entries.
func (a *audit) add(e *event) {
	if !strings.HasPrefix(e.what, reserved) {
		return
	}
	before, known := a.entries[e.entry]
	if !known && e.what != whatProposed {
		a.broken(e.seq, "the event moves entry %d, which nobody proposed", e.entry)
		return
	}
	after, err := apply(before, e)
	if err != nil {
		a.broken(e.seq, "the event cannot happen: %v", err)
		return
	}
	a.entries[e.entry] = after
}

// compareHead checks that the chain ends where the database says.
func (a *audit) compareHead(ctx context.Context, tx *store.Tx) error {
	var heads []head
	err := each(ctx, tx, "SELECT seq, hash FROM ledger_head", nil, func(rows *sql.Rows) error {
		var h head
		if err := rows.Scan(&h.Seq, &h.Hash); err != nil {
			a.broken(a.last.Seq, "the head cannot be read: %v", err)
			return nil
		}
		heads = append(heads, h)
		return nil
	})
	if err != nil {
		return err
	}
	if len(heads) != 1 {
		a.broken(a.last.Seq, "the chain has %d heads where there is one", len(heads))
		return nil
	}
	switch h := heads[0]; {
	case h.Seq > a.last.Seq:
		a.broken(a.last.Seq+1, "the chain ends at %d and its head says %d: the end was cut off", a.last.Seq, h.Seq)
	case h.Seq < a.last.Seq:
		a.broken(h.Seq+1, "the chain ends at %d and its head says %d: events were put in", a.last.Seq, h.Seq)
	case h.Hash != a.last.Hash:
		a.broken(h.Seq, "the head gives the last event another hash")
	}
	return nil
}

// compareEntries checks that the entries stored are those that the events add up to.
func (a *audit) compareEntries(ctx context.Context, tx *store.Tx) error {
	query := "SELECT " + recordColumns + " FROM ledger_entry ORDER BY id"
	err := each(ctx, tx, query, nil, func(rows *sql.Rows) error {
		stored, err := scanRecord(rows.Scan)
		if err != nil {
			a.broken(0, "an entry cannot be read: %v", err)
			return nil
		}
		want, known := a.entries[stored.id]
		delete(a.entries, stored.id)
		if !known {
			a.broken(stored.id, "entry %d is stored and nobody proposed it", stored.id)
		} else if stored != want {
			a.broken(stored.id, "entry %d is not what its events add up to: %s", stored.id, differences(stored, want))
		}
		return nil
	})
	for _, id := range slices.Sorted(maps.Keys(a.entries)) {
		a.broken(id, "entry %d was proposed and is not stored", id)
	}
	return err
}

// differences names the fields in which two records differ.
func differences(stored, want record) string {
	fields := []struct {
		name         string
		stored, want any
	}{
		{"key", stored.key, want.key}, {"kind", stored.kind, want.kind}, {"subject", stored.subject, want.subject},
		{"state", stored.state, want.state}, {"payload", stored.payload, want.payload},
		{"result", stored.result, want.result}, {"why", stored.why, want.why},
		{"decision", stored.decision, want.decision}, {"proposed_by", stored.proposedBy, want.proposedBy},
		{"decided_by", stored.decidedBy, want.decidedBy}, {"error", stored.failure, want.failure},
		{"created_at", stored.createdAt, want.createdAt}, {"updated_at", stored.updatedAt, want.updatedAt},
	}
	var differing []string
	for _, field := range fields {
		if field.stored != field.want {
			differing = append(differing, fmt.Sprintf("%s is %.80v, should be %.80v", field.name, field.stored, field.want))
		}
	}
	return strings.Join(differing, "; ")
}
