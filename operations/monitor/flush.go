package monitor

import (
	"context"
	"fmt"
	"slices"
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
	for i := range entries {
		e := &entries[i]
		number, err := w.number(ctx, e.series)
		if err != nil {
			return err
		}
		decided, rows := b.decisions[e.from:e.to], int64(0)
		for _, d := range decided {
			if d != "" {
				rows++
				w.counts[countKey{number, hourOf(e.at), d}]++
			}
		}
		id := b.ids[e.idFrom:e.idTo]
		if e.series.Role == stoa.RoleShadow && w.m.judged.has(slot(id)) {
			if decided, rows, err = w.joinLate(ctx, string(id), e, decided, rows); err != nil {
				return err
			}
		}
		if rows == 0 {
			continue
		}
		if err := w.keep(ctx, id, number, e.at, decided, rows); err != nil {
			return err
		}
	}
	if err := w.writeTail(ctx); err != nil {
		return err
	}
	return w.makeRoom(ctx)
}

// keep adds a prediction to the segment being filled, and begins another when that is full.
func (w *work) keep(ctx context.Context, id []byte, number, at int64, decided []string, rows int64) error {
	list := w.segments.list
	if w.segments.tail == nil || list[len(list)-1].entries == segmentSize {
		if err := w.writeTail(ctx); err != nil {
			return err
		}
		next := &segment{seq: 1}
		if len(list) > 0 {
			next.seq = list[len(list)-1].seq + 1
		}
		w.segments.list, w.segments.tail = append(list, next), make([]byte, 0, 4096)
		w.filling = next
	}
	list = w.segments.list
	if w.filling == nil { // the last segment is a committed one: fill a copy of it
		filling := *list[len(list)-1]
		w.filling, list[len(list)-1] = &filling, &filling
	}
	w.segments.tail = appendStored(w.segments.tail, id, number, at, decided)
	w.filling.entries++
	w.filling.waiting += rows
	w.filling.last = max(w.filling.last, at)
	w.filling.filter.add(slot(id))
	w.totals.Waiting += rows
	return nil
}

// writeTail writes the segment being filled, if this transaction has added to it.
func (w *work) writeTail(ctx context.Context) error {
	g := w.filling
	if g == nil {
		return nil
	}
	_, err := w.tx.Exec(ctx, `INSERT INTO monitor_segments (seq, entries, waiting, last_at, filter, body)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (seq) DO UPDATE SET entries = excluded.entries, waiting = excluded.waiting,
		last_at = excluded.last_at, filter = excluded.filter, body = excluded.body`,
		g.seq, g.entries, g.waiting, g.last, g.filter.encode(), w.segments.tail)
	if err != nil {
		return fmt.Errorf("write predictions: %w", err)
	}
	w.filling = nil
	return nil
}

// makeRoom removes the oldest waiting predictions, a segment at a time: those that waited too long, and those beyond
// the number of rows allowed.
func (w *work) makeRoom(ctx context.Context) error {
	oldest := w.m.config.Now().Add(-w.m.config.Wait).UnixMicro()
	var last int64
	for _, g := range w.segments.list {
		switch {
		case g.last < oldest:
			w.totals.Expired += g.waiting
		case w.totals.Waiting > w.m.config.Pending:
			w.totals.Evicted += g.waiting
		default:
			return w.removeUpTo(ctx, last)
		}
		w.totals.Waiting -= g.waiting
		last = g.seq
	}
	return w.removeUpTo(ctx, last)
}

func (w *work) removeUpTo(ctx context.Context, last int64) error {
	if last == 0 {
		return nil
	}
	if _, err := w.tx.Exec(ctx, `DELETE FROM monitor_segments WHERE seq <= ?`, last); err != nil {
		return fmt.Errorf("remove old predictions: %w", err)
	}
	w.segments.remove(func(g *segment) bool { return g.seq <= last })
	return nil
}

// remove removes segments from the list. It writes into a list of this transaction only.
func (s *segments) remove(gone func(*segment) bool) {
	if n := len(s.list); n > 0 && gone(s.list[n-1]) {
		s.tail = nil
	}
	s.list = slices.DeleteFunc(s.list, gone)
}
