package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/stoaproject/stoa"
)

// The defaults of an [AccessLogConfig].
const (
	defaultQueue = 1 << 20
	defaultDelay = 100 * time.Millisecond
)

// AccessLogConfig is what [NewAccessLog] needs.
type AccessLogConfig struct {
	// Writer takes whole lines, many at once. When the process's logger writes to it too, it must be safe for concurrent
	// use, as an *os.File is.
	Writer  io.Writer
	JSON    bool             // lines of JSON, or of text
	Level   slog.Leveler     // requests less severe than this are left out; nil for all
	Queue   int              // bytes that may wait to be written; 0 for 1 MiB
	Delay   time.Duration    // how long a line may wait for others to be written with it; 0 for 100 ms
	Dropped func(lines int)  // told of lines that did not fit or could not be written; may be nil
	Now     func() time.Time // nil for time.Now
}

// An AccessLog writes a line per request. A request that ended with a status of 500 or more is an error, any other an
// information. It implements [stoa.Observer] and is safe for concurrent use.
type AccessLog struct {
	config AccessLogConfig

	mu      sync.Mutex
	clock   clock
	waiting []byte // lines to write
	spare   []byte // emptied buffer, to take the next lines while others are written
	lines   int    // in waiting
	dropped int    // since Dropped was last told
	closed  bool

	some    chan struct{} // there are lines to write
	full    chan struct{} // do not wait for more
	closing chan struct{} // nothing more will come
	stopped chan struct{}
}

// NewAccessLog starts an access log.
func NewAccessLog(config AccessLogConfig) *AccessLog {
	if config.Queue <= 0 {
		config.Queue = defaultQueue
	}
	if config.Delay <= 0 {
		config.Delay = defaultDelay
	}
	if config.Level == nil {
		config.Level = slog.LevelDebug
	}
	if config.Dropped == nil {
		config.Dropped = func(int) {}
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	l := &AccessLog{config: config, some: make(chan struct{}, 1), full: make(chan struct{}, 1),
		closing: make(chan struct{}), stopped: make(chan struct{})}
	go l.run()
	return l
}

// After puts a line for the call into the queue, or drops it when there is no room.
func (l *AccessLog) After(call *stoa.Call, outcome *stoa.Outcome) {
	level := slog.LevelInfo
	if outcome.Status >= 500 {
		level = slog.LevelError
	}
	if level < l.config.Level.Level() {
		return
	}
	now := l.config.Now()
	l.mu.Lock()
	before := len(l.waiting)
	if !l.closed {
		l.waiting = l.appendLine(l.waiting, now, level, call, outcome)
	}
	if l.closed || len(l.waiting) > l.config.Queue {
		l.waiting = l.waiting[:before]
		l.dropped++
		l.mu.Unlock()
		return
	}
	l.lines++
	after := len(l.waiting)
	l.mu.Unlock()
	if before == 0 {
		signal(l.some)
	}
	if half := l.config.Queue / 2; before < half && after >= half {
		signal(l.full)
	}
}

// signal leaves a token in a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Close writes what waits, and waits for that until ctx ends. Lines that come after it are dropped.
func (l *AccessLog) Close(ctx context.Context) error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.closing)
	}
	l.mu.Unlock()
	select {
	case <-l.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("access log: close: %w", context.Cause(ctx))
	}
}

// run writes what waits until the log is closed.
func (l *AccessLog) run() {
	defer close(l.stopped)
	for {
		select {
		case <-l.closing:
			l.write()
			return
		case <-l.some:
		}
		delay := time.NewTimer(l.config.Delay)
		select {
		case <-delay.C:
		case <-l.full:
		case <-l.closing:
		}
		delay.Stop()
		l.write()
	}
}

// write writes what waits.
func (l *AccessLog) write() {
	l.mu.Lock()
	lines, dropped, count := l.waiting, l.dropped, l.lines
	l.waiting, l.spare, l.dropped, l.lines = l.spare[:0], nil, 0, 0
	l.mu.Unlock()
	if len(lines) > 0 {
		if _, err := l.config.Writer.Write(lines); err != nil {
			dropped += count
		}
	}
	l.mu.Lock()
	l.spare = lines[:0]
	l.mu.Unlock()
	if dropped > 0 {
		l.config.Dropped(dropped)
	}
}

// appendLine appends the line of a call to b. The caller holds l.mu.
func (l *AccessLog) appendLine(
	b []byte, now time.Time, level slog.Level, call *stoa.Call, outcome *stoa.Outcome,
) []byte {
	e := encoder{buf: b, json: l.config.JSON}
	e.begin()
	e.time("time", now, &l.clock)
	e.plain("level", level.String())
	e.plain("msg", "request")
	e.text("request_id", call.ID)
	e.text("caller", call.Caller.ID)
	e.text("endpoint", call.Endpoint)
	if a := outcome.Answer; a != nil {
		e.text("target", a.Target)
		e.text("model", a.Model)
		e.number("version", int64(a.Version))
		e.plain("role", string(a.Role))
		e.number("attempts", int64(a.Attempts))
	}
	reason := outcome.Reason
	if a := outcome.Answer; reason == "" && a != nil {
		reason = a.Fallback
	}
	if reason != "" {
		e.text("reason", string(reason))
	}
	e.number("status", int64(outcome.Status))
	e.number("rows", int64(call.Rows))
	e.millis("latency_ms", outcome.Latency)
	if outcome.Err != nil && level >= slog.LevelError {
		e.text("error", outcome.Err.Error())
	}
	return e.end()
}
