// Package monitor watches predictions without keeping what was asked. It counts decisions, joins them with labels that
// come later, and tests whether the version in service has decayed.
//
// # What is kept
//
// Of every prediction the monitor keeps a counter (model, version, role, decision, hour) and, until its label arrives,
// the prediction id with the decision of each row. No input and no score is stored. A label turns a waiting row into a
// judgement, one for each role that predicted it, and into a count in the confusion table; the waiting row is removed.
//
// # The path of a prediction
//
// [Monitor.After] and [Monitor.Shadow] append to a queue in memory and return; they never wait for a disk. The queue is
// two arenas that take turns, so recording allocates nothing once they have grown. A background flusher writes a full
// arena in transactions of at most [chunk] predictions, and in rows of [segmentSize]: an index of every id would cost a
// fifth of serving the request, so each row has a Bloom filter of its ids in memory instead. When the disk is slower
// than the traffic the queue reaches its bound in bytes and further predictions are dropped and counted: the service is
// worth more than its statistics.
//
// Predictions that wait for a label are bounded twice: by age (Config.Wait) and by rows (Config.Pending). The oldest go
// first, a segment at a time, and are counted as expired or evicted.
//
// # The path of a label
//
// [Monitor.Label] first writes the predictions still in memory, then joins, all before it returns: an acknowledged
// label survives a crash. Labels that cannot be joined are reported one by one with a reason; the others join. A shadow
// decision that arrives after the label of its row is joined when it is written, so the order of the two does not
// matter.
//
// # The test
//
// [Detector] is a pure value that is fed judgements and raises a [stoa.Alarm]. Its state, like that of everything else
// that follows the judgements, is kept with [States] in the transaction that moves the reader's cursor.
package monitor

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// chunk is how many predictions are written in one transaction.
const chunk = 4 * segmentSize

// Defaults of [Config].
const (
	DefaultWait    = 7 * 24 * time.Hour
	DefaultPending = 1_000_000
	DefaultQueue   = 4 << 20
	DefaultEvery   = 500 * time.Millisecond
	DefaultKeep    = 1_000_000
	MaxLabels      = 10_000 // labels accepted in one call of [Monitor.Label]
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config says what a Monitor needs. DB is required; the zero value of every other field takes its default.
type Config struct {
	DB      *store.DB
	Classes func(model string, version int) []string // class names in the order of a score tensor's columns
	Wait    time.Duration                            // how long a prediction waits for its label
	Pending int64                                    // most rows that wait for a label
	Queue   int                                      // most bytes of predictions in memory, per arena
	Every   time.Duration                            // longest time a prediction stays in memory only
	Keep    int64                                    // judgements kept; readers must not fall further behind
	Logger  *slog.Logger
	Now     func() time.Time
}

func (c Config) withDefaults() (Config, error) {
	if c.DB == nil {
		return c, errors.New("monitor: a database is required")
	}
	if c.Classes == nil {
		c.Classes = func(string, int) []string { return nil }
	}
	if c.Wait <= 0 {
		c.Wait = DefaultWait
	}
	if c.Pending <= 0 {
		c.Pending = DefaultPending
	}
	if c.Queue <= 0 {
		c.Queue = DefaultQueue
	}
	if c.Every <= 0 {
		c.Every = DefaultEvery
	}
	if c.Keep <= 0 {
		c.Keep = DefaultKeep
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

// A Monitor records predictions and joins labels. It is safe for concurrent use and implements [stoa.Observer].
type Monitor struct {
	config Config
	queue  queue
	series *seriesIndex
	totals atomic.Pointer[totals] // as of the last commit

	writing  sync.Mutex // held by whoever writes to the database; guards what follows
	taken    *batch     // being written; kept when a write fails, so that the next one resumes it
	segments segments   // as of the last commit
	judged   recent

	undecided atomic.Int64
	stop      context.CancelFunc
	stopped   chan struct{}
}

// New brings the tables up to date and starts the flusher. Close the Monitor before its database.
func New(ctx context.Context, config Config) (*Monitor, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("monitor: migrations: %w", err)
	}
	if err := config.DB.Migrate(ctx, "monitor", files); err != nil {
		return nil, fmt.Errorf("monitor: migrate: %w", err)
	}
	m := &Monitor{config: config, series: newSeriesIndex(), stopped: make(chan struct{})}
	m.judged.set = make(map[int64]int)
	m.queue.limit = config.Queue
	m.queue.ready = make(chan struct{}, 1)
	err = config.DB.Read(ctx, func(tx *store.Tx) error {
		t, err := loadTotals(ctx, tx)
		if err != nil {
			return err
		}
		m.totals.Store(&t)
		if m.segments, err = loadSegments(ctx, tx); err != nil {
			return err
		}
		return m.series.load(ctx, tx)
	})
	if err != nil {
		return nil, fmt.Errorf("monitor: load: %w", err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	go m.run(run)
	return m, nil
}

// Close stops the flusher and writes what is still in memory. Predictions recorded afterwards are lost.
func (m *Monitor) Close(ctx context.Context) error {
	m.stop()
	<-m.stopped
	if err := m.flush(ctx, nil); err != nil {
		return fmt.Errorf("monitor: last flush: %w", err)
	}
	return nil
}

// Flush writes the predictions in memory and returns when they are durable.
func (m *Monitor) Flush(ctx context.Context) error { return m.flush(ctx, nil) }

// Stats are counts since the database was made, except those that say otherwise.
type Stats struct {
	Queued    int   // predictions in memory now
	Waiting   int64 // rows waiting for a label now
	Dropped   int64 // predictions lost because the queue was full, since start
	Undecided int64 // answers without a decision that could be read, since start
	Expired   int64 // rows whose label did not come in time
	Evicted   int64 // rows removed because too many were waiting
	Judged    int64 // judgements made
}

// Stats returns the monitor's own counts.
func (m *Monitor) Stats() Stats {
	t := m.totals.Load()
	queued, dropped := m.queue.stats()
	return Stats{
		Queued: queued, Dropped: dropped, Undecided: m.undecided.Load(),
		Waiting: t.Waiting, Expired: t.Expired, Evicted: t.Evicted, Judged: t.Judged,
	}
}

// After records the prediction that a call got, unless the client asked not to or nothing of ours predicted.
func (m *Monitor) After(call *stoa.Call, outcome *stoa.Outcome) {
	if call.Unrecorded || outcome.Answer == nil {
		return
	}
	m.record(call, outcome.Answer, outcome.Answer.Role)
}

// Shadow records an answer that nobody received, under the id of the call that also has another answer. It keeps
// neither call nor answer.
func (m *Monitor) Shadow(call *stoa.Call, answer *stoa.Answer) {
	if call.Unrecorded || answer == nil {
		return
	}
	m.record(call, answer, stoa.RoleShadow)
}

func (m *Monitor) record(call *stoa.Call, answer *stoa.Answer, role stoa.Role) {
	if answer.Model == "" || answer.Version == 0 || call.ID == "" {
		return
	}
	d, ok := readDecisions(answer, m.config.Classes(answer.Model, answer.Version))
	if !ok {
		m.undecided.Add(1)
		return
	}
	m.queue.put(call.ID, Series{Model: answer.Model, Version: answer.Version, Role: role}, d, m.config.Now().UnixMicro())
}
