package monitor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stoaproject/stoa"
)

// run writes the queue at every tick, and earlier when it is half full, until ctx ends.
func (m *Monitor) run(ctx context.Context) {
	defer close(m.stopped)
	tick := time.NewTicker(m.config.Every)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-m.queue.ready:
			if failing { // a full queue must not turn a full disk into a busy loop
				continue
			}
		}
		err := m.flush(ctx, nil)
		if err != nil && ctx.Err() == nil && !failing {
			m.config.Logger.Error("predictions are not being written; they wait in memory and are dropped when it is full",
				"err", err)
		}
		if err == nil && failing {
			m.config.Logger.Info("predictions are being written again")
		}
		failing = err != nil
	}
}

// flush writes what is in memory, at most chunk predictions in a transaction. last, when given, runs in the last of
// these transactions, so that a label costs no transaction of its own to find the prediction that came just before it.
func (m *Monitor) flush(ctx context.Context, last func(context.Context, *work) error) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.taken == nil { // otherwise a write has failed; what has come since waits its turn
		m.taken = m.queue.take()
	}
	for m.taken != nil {
		b := m.taken
		to := min(b.written+chunk, len(b.entries))
		ends := to == len(b.entries)
		err := m.write(ctx, func(ctx context.Context, w *work) error {
			if err := w.insert(ctx, b, b.entries[b.written:to]); err != nil {
				return err
			}
			if ends && last != nil {
				return last(ctx, w)
			}
			return nil
		})
		if err != nil {
			return err
		}
		b.written = to
		if ends {
			m.taken = nil
			m.queue.give(b)
			return nil
		}
	}
	if last == nil {
		return nil
	}
	return m.write(ctx, last)
}

// insert writes predictions and makes room for them.
func (w *work) insert(ctx context.Context, b *batch, entries []entry) error {
	var seq int64
	if err := w.tx.QueryRow(ctx, `SELECT COALESCE(MAX(seq), 0) FROM monitor_predictions`).Scan(&seq); err != nil {
		return fmt.Errorf("number predictions: %w", err)
	}
	args := make([]any, 0, len(entries)*7)
	for i := range entries {
		e := &entries[i]
		number, err := w.number(ctx, e.series)
		if err != nil {
			return err
		}
		decided := b.decisions[e.from:e.to]
		waiting := int64(0)
		for _, d := range decided {
			if d != "" {
				waiting++
				w.counts[countKey{number, hourOf(e.at), d}]++
			}
		}
		id := b.id(e)
		if e.series.Role == stoa.RoleShadow {
			if decided, waiting, err = w.joinLate(ctx, id, e, decided, waiting); err != nil {
				return err
			}
		}
		if waiting == 0 {
			continue
		}
		seq++
		w.totals.Waiting += waiting
		args = append(args, seq, slot(id), id, number, e.at, waiting, encodeDecisions(decided))
	}
	if err := w.insertRows(ctx, args); err != nil {
		return err
	}
	return w.makeRoom(ctx)
}

// insertRows writes prediction rows with few statements: parsing one costs as much as inserting a row.
func (w *work) insertRows(ctx context.Context, args []any) error {
	const (
		columns = 7
		most    = 50
		head    = `INSERT INTO monitor_predictions (seq, slot, id, series, at, waiting, decisions) VALUES `
		row     = `(?, ?, ?, ?, ?, ?, ?)`
	)
	for len(args) > 0 {
		n := min(len(args)/columns, most)
		query := head + strings.Repeat(row+", ", n-1) + row
		if _, err := w.tx.Exec(ctx, query, args[:n*columns]...); err != nil {
			return fmt.Errorf("write predictions: %w", err)
		}
		args = args[n*columns:]
	}
	return nil
}

// makeRoom removes the oldest waiting predictions: those too old, and those beyond the number allowed.
func (w *work) makeRoom(ctx context.Context) error {
	oldest := w.m.config.Now().Add(-w.m.config.Wait).UnixMicro()
	for {
		last, rows, expired, full, err := w.surplus(ctx, oldest)
		if err != nil || rows == 0 {
			return err
		}
		if _, err := w.tx.Exec(ctx, `DELETE FROM monitor_predictions WHERE seq <= ?`, last); err != nil {
			return fmt.Errorf("remove old predictions: %w", err)
		}
		w.totals.Waiting -= rows
		w.totals.Expired += expired
		w.totals.Evicted += rows - expired
		if !full {
			return nil
		}
	}
}

// surplus finds the first predictions to remove: the sequence number of the last of them, their waiting rows, and how
// many of these waited too long. full says that there may be more.
func (w *work) surplus(ctx context.Context, oldest int64) (last, rows, expired int64, full bool, err error) {
	found, err := w.tx.Query(ctx, `SELECT seq, at, waiting FROM monitor_predictions ORDER BY seq LIMIT ?`, 2*chunk)
	if err != nil {
		return 0, 0, 0, false, fmt.Errorf("find old predictions: %w", err)
	}
	defer found.Close()
	n := 0
	for found.Next() {
		var seq, at, waiting int64
		if err := found.Scan(&seq, &at, &waiting); err != nil {
			return 0, 0, 0, false, fmt.Errorf("find old predictions: %w", err)
		}
		switch {
		case at < oldest:
			expired += waiting
		case w.totals.Waiting-rows > w.m.config.Pending:
		default:
			return last, rows, expired, false, found.Err()
		}
		last, rows = seq, rows+waiting
		n++
	}
	return last, rows, expired, n == 2*chunk, found.Err()
}
