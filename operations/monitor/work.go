package monitor

import (
	"context"
	"fmt"

	"github.com/stoaproject/stoa/store"
)

// totals is the row of running totals.
type totals struct {
	Waiting, Expired, Evicted, Judged int64
}

func loadTotals(ctx context.Context, tx *store.Tx) (totals, error) {
	var t totals
	err := tx.QueryRow(ctx, `SELECT waiting, expired, evicted, judged FROM monitor_totals WHERE one = 1`).
		Scan(&t.Waiting, &t.Expired, &t.Evicted, &t.Judged)
	if err != nil {
		return t, fmt.Errorf("read totals: %w", err)
	}
	return t, nil
}

type countKey struct {
	series, hour int64
	decision     string
}

type confusionKey struct {
	series, hour    int64
	decision, truth string
}

// A work is one transaction of the monitor: what it adds up before it writes, and what memory may learn only once it is
// committed.
type work struct {
	m          *Monitor
	tx         *store.Tx
	totals     totals
	before     totals
	segments   segments
	filling    *segment // last segment, while this transaction adds to it
	fresh      map[Series]int64
	judgements []any   // columns of judgements not yet written
	joined     []int64 // slots of the ids that got labels
	counts     map[countKey]int64
	confusion  map[confusionKey]int64
}

// write runs do in one durable transaction. The caller holds m.writing.
func (m *Monitor) write(ctx context.Context, do func(context.Context, *work) error) error {
	var w *work
	err := m.config.DB.Write(ctx, func(tx *store.Tx) error {
		t := *m.totals.Load()
		w = &work{
			m: m, tx: tx, totals: t, before: t, segments: m.segments.clone(),
			fresh:     make(map[Series]int64),
			counts:    make(map[countKey]int64),
			confusion: make(map[confusionKey]int64),
		}
		if err := do(ctx, w); err != nil {
			return err
		}
		return w.finish(ctx)
	})
	if err != nil {
		return err
	}
	m.series.add(w.fresh)
	m.segments = w.segments
	m.judged.add(w.joined)
	m.totals.Store(&w.totals)
	return nil
}

// finish writes the counters and the totals.
func (w *work) finish(ctx context.Context) error {
	if err := w.writeJudgements(ctx); err != nil {
		return err
	}
	for k, n := range w.counts {
		_, err := w.tx.Exec(ctx, `INSERT INTO monitor_counts (series, hour, decision, n) VALUES (?, ?, ?, ?)
			ON CONFLICT (series, hour, decision) DO UPDATE SET n = monitor_counts.n + excluded.n`,
			k.series, k.hour, k.decision, n)
		if err != nil {
			return fmt.Errorf("count decisions: %w", err)
		}
	}
	for k, n := range w.confusion {
		_, err := w.tx.Exec(ctx, `INSERT INTO monitor_confusion (series, hour, decision, truth, n) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (series, hour, decision, truth) DO UPDATE SET n = monitor_confusion.n + excluded.n`,
			k.series, k.hour, k.decision, k.truth, n)
		if err != nil {
			return fmt.Errorf("count judgements: %w", err)
		}
	}
	if w.totals == w.before {
		return nil
	}
	t := w.totals
	_, err := w.tx.Exec(ctx, `UPDATE monitor_totals SET waiting = ?, expired = ?, evicted = ?, judged = ? WHERE one = 1`,
		t.Waiting, t.Expired, t.Evicted, t.Judged)
	if err != nil {
		return fmt.Errorf("write totals: %w", err)
	}
	return nil
}

// number returns the number of a series, which it inserts when it is new.
func (w *work) number(ctx context.Context, s Series) (int64, error) {
	if n, ok := w.m.series.number(s); ok {
		return n, nil
	}
	if n, ok := w.fresh[s]; ok {
		return n, nil
	}
	n := int64(w.m.series.len() + len(w.fresh) + 1)
	_, err := w.tx.Exec(ctx, `INSERT INTO monitor_series (id, model, version, role) VALUES (?, ?, ?, ?)`,
		n, s.Model, s.Version, string(s.Role))
	if err != nil {
		return 0, fmt.Errorf("add series: %w", err)
	}
	w.fresh[s] = n
	return n, nil
}

// name is the inverse of number.
func (w *work) name(n int64) (Series, bool) {
	if s, ok := w.m.series.name(n); ok {
		return s, true
	}
	for s, m := range w.fresh {
		if m == n {
			return s, true
		}
	}
	return Series{}, false
}

// slot hashes a prediction id (FNV-1a, 64 bits). Ids that share a slot are told apart by the id itself.
func slot[T string | []byte](id T) int64 {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	return int64(h)
}

// hourOf returns the hours since 1970 of a time in microseconds since 1970.
func hourOf(us int64) int64 { return us / 3_600_000_000 }

// recent remembers the slots of the ids that got labels lately. Only a shadow decision of one of these can have come
// too late to be joined, so that the others need no query.
type recent struct {
	ring [8192]int64
	next int
	set  map[int64]int // how often a slot is in the ring
}

func (r *recent) add(slots []int64) {
	for _, s := range slots {
		old := r.ring[r.next]
		if r.set[old]--; r.set[old] <= 0 {
			delete(r.set, old)
		}
		r.ring[r.next] = s
		r.set[s]++
		r.next = (r.next + 1) % len(r.ring)
	}
}

func (r *recent) has(slot int64) bool { return r.set[slot] > 0 }
