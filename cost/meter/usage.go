package meter

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stoaproject/stoa/store"
)

// counts are the plain numbers of a cell.
type counts struct{ requests, failed, rows, compute int64 }

// Flush writes what was counted to the database, in one transaction.
func (m *Meter) Flush(ctx context.Context) error {
	m.flushing.Lock()
	defer m.flushing.Unlock()
	taken := m.take()
	if len(taken) == 0 {
		return nil
	}
	err := m.config.DB.Write(ctx, func(tx *store.Tx) error {
		for key, c := range taken {
			_, err := tx.Exec(ctx, `INSERT INTO meter_usage (hour, caller, model, version, requests, failed, num_rows, compute)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT (hour, caller, model, version) DO UPDATE SET
					requests = meter_usage.requests + excluded.requests,
					failed = meter_usage.failed + excluded.failed,
					num_rows = meter_usage.num_rows + excluded.num_rows,
					compute = meter_usage.compute + excluded.compute`,
				key.hour, key.caller, key.model, key.version, c.requests, c.failed, c.rows, c.compute)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for key, c := range taken {
			m.put(key, c.requests, c.failed, c.rows, c.compute)
		}
		if !m.failing {
			m.config.Logger.ErrorContext(ctx, "usage cannot be written; it is kept in memory and tried again", "error", err)
		}
		m.failing = true
		return fmt.Errorf("meter: flush: %w", err)
	}
	if m.failing {
		m.config.Logger.InfoContext(ctx, "usage is written again")
	}
	m.failing = false
	return nil
}

// take returns all cells and leaves none. Nobody else adds to a cell taken: counting holds the shard's lock.
func (m *Meter) take() map[cellKey]counts {
	taken := make(map[cellKey]counts)
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for key, c := range s.cells {
			taken[key] = c.read()
		}
		m.cells.Add(-int64(len(s.cells)))
		clear(s.cells)
		s.mu.Unlock()
	}
	return taken
}

func (c *cell) read() counts {
	return counts{c.requests.Load(), c.failed.Load(), c.rows.Load(), c.compute.Load()}
}

// Usage returns what was used in the hours from the one of since, what is not flushed yet included, in the order of hour,
// caller, model and version.
func (m *Meter) Usage(ctx context.Context, since time.Time) ([]Usage, error) {
	// Without a flush under way, a count is either in the database or in a cell.
	m.flushing.Lock()
	defer m.flushing.Unlock()
	from := since.Unix() / 3600
	all, err := m.stored(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("meter: usage: %w", err)
	}
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.RLock()
		for key, c := range s.cells {
			if key.hour >= from {
				all[key] = all[key].plus(c.read())
			}
		}
		s.mu.RUnlock()
	}
	usage := make([]Usage, 0, len(all))
	for key, c := range all {
		usage = append(usage, Usage{Hour: time.Unix(key.hour*3600, 0).UTC(), Caller: key.caller, Model: key.model,
			Version: key.version, Requests: c.requests, Failed: c.failed, Rows: c.rows, Compute: time.Duration(c.compute)})
	}
	slices.SortFunc(usage, func(a, b Usage) int {
		return cmp.Or(a.Hour.Compare(b.Hour), strings.Compare(a.Caller, b.Caller), strings.Compare(a.Model, b.Model),
			cmp.Compare(a.Version, b.Version))
	})
	return usage, nil
}

// stored returns what the database has from an hour on.
func (m *Meter) stored(ctx context.Context, from int64) (map[cellKey]counts, error) {
	all := make(map[cellKey]counts)
	err := m.config.DB.Read(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(ctx, `SELECT hour, caller, model, version, requests, failed, num_rows, compute
			FROM meter_usage WHERE hour >= ?`, from)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key cellKey
			var c counts
			err := rows.Scan(&key.hour, &key.caller, &key.model, &key.version, &c.requests, &c.failed, &c.rows, &c.compute)
			if err != nil {
				return err
			}
			all[key] = c
		}
		return rows.Err()
	})
	return all, err
}

func (c counts) plus(d counts) counts {
	return counts{c.requests + d.requests, c.failed + d.failed, c.rows + d.rows, c.compute + d.compute}
}
