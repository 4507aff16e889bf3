package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/stoaproject/stoa/store"
)

// Get finds an entry; an unknown id gives a *[stoa.Refusal] (not_found).
func (l *Ledger) Get(ctx context.Context, id int64) (entry Entry, err error) {
	err = l.db.Read(ctx, func(tx *store.Tx) error {
		entry, err = l.GetTx(ctx, tx, id)
		return err
	})
	return entry, err
}

// GetTx is [Ledger.Get] in the caller's transaction.
func (l *Ledger) GetTx(ctx context.Context, tx *store.Tx, id int64) (Entry, error) {
	r, err := readRecord(ctx, tx, id)
	if err != nil {
		return Entry{}, err
	}
	return r.public(), nil
}

// List gives the entries that f chooses, oldest first.
func (l *Ledger) List(ctx context.Context, f Filter) ([]Entry, error) {
	query, args := "SELECT "+recordColumns+" FROM ledger_entry WHERE id > ?", []any{f.After}
	if f.Kind != "" {
		query, args = query+" AND kind = ?", append(args, string(f.Kind))
	}
	if f.Subject != "" {
		query, args = query+" AND subject = ?", append(args, f.Subject)
	}
	if len(f.States) > 0 {
		query += " AND state IN (?" + strings.Repeat(", ?", len(f.States)-1) + ")"
		for _, state := range f.States {
			args = append(args, string(state))
		}
	}
	query += " ORDER BY id"
	if f.Limit > 0 {
		query, args = query+" LIMIT ?", append(args, f.Limit)
	}
	return collect(ctx, l.db, query, args, func(scan func(...any) error) (Entry, error) {
		r, err := scanRecord(scan)
		return r.public(), err
	})
}

// Steps gives the records that an entry left while it ran, oldest first. An unknown id has none.
func (l *Ledger) Steps(ctx context.Context, id int64) ([]Step, error) {
	query := "SELECT " + eventColumns + " FROM ledger_event WHERE entry = ? AND what = ? ORDER BY seq"
	return collect(ctx, l.db, query, []any{id, whatStep}, func(scan func(...any) error) (Step, error) {
		e, err := scanEvent(scan)
		return Step{Seq: e.seq, Name: e.step, Data: raw(e.data), At: fromMicros(e.at)}, err
	})
}

// Events gives at most limit events with a seq above after, oldest first; a limit of 0 gives all.
func (l *Ledger) Events(ctx context.Context, after int64, limit int) ([]Event, error) {
	query, args := "SELECT "+eventColumns+" FROM ledger_event WHERE seq > ? ORDER BY seq", []any{after}
	if limit > 0 {
		query, args = query+" LIMIT ?", append(args, limit)
	}
	return collect(ctx, l.db, query, args, func(scan func(...any) error) (Event, error) {
		e, err := scanEvent(scan)
		return e.public(), err
	})
}

// collect reads all rows of a query.
func collect[T any](ctx context.Context, db *store.DB, query string, args []any,
	read func(scan func(...any) error) (T, error)) ([]T, error) {
	var all []T
	err := db.Read(ctx, func(tx *store.Tx) error {
		return each(ctx, tx, query, args, func(rows *sql.Rows) error {
			one, err := read(rows.Scan)
			all = append(all, one)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return all, nil
}

// each calls fn for each row of a query.
func each(ctx context.Context, tx *store.Tx, query string, args []any, fn func(*sql.Rows) error) (err error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
