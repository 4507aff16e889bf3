package monitor

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// A seriesIndex maps each Series to its number in the database and back. It only ever holds what is committed.
type seriesIndex struct {
	mu      sync.RWMutex
	numbers map[Series]int64
	names   map[int64]Series
}

func newSeriesIndex() *seriesIndex {
	return &seriesIndex{numbers: make(map[Series]int64), names: make(map[int64]Series)}
}

func (x *seriesIndex) load(ctx context.Context, tx *store.Tx) error {
	rows, err := tx.Query(ctx, `SELECT id, model, version, role FROM monitor_series`)
	if err != nil {
		return fmt.Errorf("read series: %w", err)
	}
	defer rows.Close()
	found := make(map[Series]int64)
	for rows.Next() {
		var (
			number int64
			s      Series
			role   string
		)
		if err := rows.Scan(&number, &s.Model, &s.Version, &role); err != nil {
			return fmt.Errorf("read series: %w", err)
		}
		s.Role = stoa.Role(role)
		found[s] = number
	}
	x.add(found)
	return rows.Err()
}

func (x *seriesIndex) add(fresh map[Series]int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	maps.Copy(x.numbers, fresh)
	for s, n := range fresh {
		x.names[n] = s
	}
}

func (x *seriesIndex) number(s Series) (int64, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n, ok := x.numbers[s]
	return n, ok
}

func (x *seriesIndex) name(n int64) (Series, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	s, ok := x.names[n]
	return s, ok
}

func (x *seriesIndex) len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.numbers)
}

// ofModel returns the series of a model by number.
func (x *seriesIndex) ofModel(model string) map[int64]Series {
	x.mu.RLock()
	defer x.mu.RUnlock()
	found := make(map[int64]Series)
	for s, n := range x.numbers {
		if s.Model == model {
			found[n] = s
		}
	}
	return found
}
