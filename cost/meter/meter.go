// Package meter counts what is used, by whom and on which model: requests, rows and seconds of computing per caller,
// model, version and hour.
//
// Counting is in the request path, so it touches memory only: a cell per caller, model, version and hour, found in one of
// a few sharded maps and changed by atomic additions. A flush takes the cells away and adds them to the database in one
// transaction; what the database refuses is put back and counted again with the next flush. A crash loses what was
// counted since the last flush, at most one interval.
//
// The number of cells between two flushes is bounded. What does not fit is counted under the caller [Other], without
// model and version, so that totals stay right; [Meter.Overflowed] says how often that happened.
package meter

import (
	"context"
	"embed"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Other is the caller under which is counted what does not fit.
const Other = "other"

// The defaults of a [Config].
const (
	defaultEvery = 5 * time.Second
	defaultCells = 10_000
)

// Config is what [New] needs.
type Config struct {
	DB     *store.DB
	Logger *slog.Logger
	Every  time.Duration    // between flushes; 0 for 5 s
	Cells  int              // cells between two flushes; 0 for 10,000
	Now    func() time.Time // nil for time.Now
}

// A Usage is what one caller used of one version of a model within an hour.
type Usage struct {
	Hour     time.Time     `json:"hour"`              // its beginning, UTC
	Caller   string        `json:"caller"`            // id; empty for requests of nobody known
	Model    string        `json:"model,omitempty"`   // empty when no model answered
	Version  int           `json:"version,omitempty"` // 0 when no model answered
	Requests int64         `json:"requests"`          // failed ones included
	Failed   int64         `json:"failed,omitempty"`  // without an answer
	Rows     int64         `json:"rows"`              // of answered requests
	Compute  time.Duration `json:"compute_ns"`        // time spent computing answers
}

// cellKey is what a cell counts for.
type cellKey struct {
	caller, model string
	version       int
	hour          int64 // since 1970
}

type cell struct {
	requests, failed, rows, compute atomic.Int64
}

func (c *cell) add(requests, failed, rows, compute int64) {
	c.requests.Add(requests)
	c.failed.Add(failed)
	c.rows.Add(rows)
	c.compute.Add(compute)
}

// shards is the number of maps over which the cells are spread; callers on different shards do not share a lock.
const shards = 16

type shard struct {
	mu    sync.RWMutex // held to read by who counts, to write by who adds or takes away cells
	cells map[cellKey]*cell
	_     [32]byte // keeps the locks on cache lines of their own
}

// A Meter counts use. It is safe for concurrent use.
type Meter struct {
	config     Config
	seed       maphash.Seed
	shards     [shards]shard
	cells      atomic.Int64
	overflowed atomic.Int64

	flushing sync.Mutex // held while counts are on their way to the database
	failing  bool       // the last flush failed; under flushing
	stop     chan struct{}
	stopped  chan struct{}
	closing  sync.Once
}

// New makes the tables where they do not exist, and starts to flush.
func New(ctx context.Context, config Config) (*Meter, error) {
	if config.Every <= 0 {
		config.Every = defaultEvery
	}
	if config.Cells <= 0 {
		config.Cells = defaultCells
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if err := config.DB.Migrate(ctx, "meter", migrations); err != nil {
		return nil, fmt.Errorf("meter: %w", err)
	}
	m := &Meter{config: config, seed: maphash.MakeSeed(), stop: make(chan struct{}), stopped: make(chan struct{})}
	for i := range m.shards {
		m.shards[i].cells = make(map[cellKey]*cell)
	}
	go m.run()
	return m, nil
}

// After counts a call.
func (m *Meter) After(call *stoa.Call, outcome *stoa.Outcome) {
	received := call.Received
	if received.IsZero() {
		received = m.config.Now()
	}
	key := cellKey{caller: call.Caller.ID, hour: received.Unix() / 3600}
	if a := outcome.Answer; a != nil {
		key.model, key.version = a.Model, a.Version
		m.count(key, 1, 0, int64(call.Rows), int64(a.Compute))
		return
	}
	m.count(key, 1, 1, 0, 0)
}

// Overflowed returns how many calls were counted under Other.
func (m *Meter) Overflowed() int64 { return m.overflowed.Load() }

// count adds to a cell, making it if there is room.
func (m *Meter) count(key cellKey, requests, failed, rows, compute int64) {
	s := m.shard(key)
	s.mu.RLock()
	if c := s.cells[key]; c != nil {
		c.add(requests, failed, rows, compute)
		s.mu.RUnlock()
		return
	}
	s.mu.RUnlock()
	if other := (cellKey{caller: Other, hour: key.hour}); key != other && m.cells.Load() >= int64(m.config.Cells) {
		m.overflowed.Add(requests)
		m.put(other, requests, failed, rows, compute)
		return
	}
	m.put(key, requests, failed, rows, compute)
}

// put adds to a cell, making it if need be.
func (m *Meter) put(key cellKey, requests, failed, rows, compute int64) {
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cells[key]
	if c == nil {

		c = new(cell)
		s.cells[key] = c
		m.cells.Add(1)
	}
	c.add(requests, failed, rows, compute)
}

func (m *Meter) shard(key cellKey) *shard {
	return &m.shards[maphash.String(m.seed, key.caller)%shards]
}

// Close flushes for the last time and ends the flushing. Calls after it are not kept.
func (m *Meter) Close(ctx context.Context) error {
	m.closing.Do(func() { close(m.stop) })
	select {
	case <-m.stopped:
	case <-ctx.Done():
		return fmt.Errorf("meter: close: %w", context.Cause(ctx))
	}
	return m.Flush(ctx)
}

// run flushes until the meter is closed.
func (m *Meter) run() {
	defer close(m.stopped)
	ticker := time.NewTicker(m.config.Every)
	defer ticker.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-ticker.C:
			// Flush says what went wrong in the log, and the next one tries again.
			_ = m.Flush(context.Background())
		}
	}
}
