// Package app is the plan of the house: the only package that knows every room. It builds the process from the workload
// file, wires the rooms into three flows, and takes it down again.
//
//   - request.go: a request, from the gateway's stages to a target to the observers;
//   - lifecycle.go: a decaying model, from an alarm to a promotion;
//   - routes.go: every route on one page, with who may use it.
//
// The process is a value: New reads and checks, Start acquires, Reload exchanges what the workload file decides, Stop
// gives everything back. What lives as long as the process (the store, the ledger, the registry, the meter, the monitor)
// is in rooms; what a reload rebuilds is in plan, exchanged as a whole, so that a failed reload changes nothing.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/manifest"
	"github.com/stoaproject/stoa/operations/telemetry"
)

const (
	// WorkloadFile is the name of the workload file in a workload directory.
	WorkloadFile = "workload.yaml"
	// DefaultData is the data directory of a workload directory.
	DefaultData = ".stoa"
	// OwnerKeyFile is the file in the data directory that holds the owner's key.
	OwnerKeyFile = "owner.key"
	// ownerName is the name of the key in OwnerKeyFile, and the approver where the workload file names none.
	ownerName = "owner"
	// URLFile is the file in the data directory that holds the address of the server running on it.
	URLFile = "url"
)

// drainGrace is how long a stopping server at most still answers on connections that are open, closing each with its
// answer, before it closes those that are idle. Without it a request that is on its way while the server closes an idle
// connection would be lost.
const drainGrace = 300 * time.Millisecond

// Options say what to run and where.
type Options struct {
	Dir     string    // workload directory, which holds workload.yaml
	Data    string    // data directory; DefaultData inside Dir when empty
	DB      string    // URL of a PostgreSQL; the database is in the data directory when empty
	Listen  string    // address to listen on
	Version string    // version of this build, for metadata
	Log     io.Writer // where the log goes; discarded when nil
	Self    string    // the stoa binary, for a retraining command that names it; the running one when empty
}

// An App is one process running one workload.
type App struct {
	opt   Options
	lg    *slog.Logger
	level *slog.LevelVar
	down  teardown

	rooms  *rooms // set by Start
	plan   atomic.Pointer[plan]
	server *http.Server
	addr   net.Addr
	failed chan error
	first  bool // this start created the data directory

	connections connections
	draining    atomic.Bool

	mu      sync.Mutex // serialises Start, Stop and Reload
	started bool
	stopped bool
}

// New reads the workload file and checks it. It acquires nothing.
func New(opt Options) (*App, error) {
	var err error
	if opt.Dir, err = filepath.Abs(opt.Dir); err != nil {
		return nil, err
	}
	if opt.Data == "" {
		opt.Data = filepath.Join(opt.Dir, DefaultData)
	}
	if opt.Data, err = filepath.Abs(opt.Data); err != nil {
		return nil, err
	}
	if opt.Log == nil {
		opt.Log = io.Discard
	}
	if opt.Self == "" {
		if opt.Self, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	a := &App{opt: opt, failed: make(chan error, 1)}
	w, err := a.loadWorkload()
	if err != nil {
		return nil, err
	}
	a.level = new(slog.LevelVar)
	if err := a.level.UnmarshalText([]byte(w.Operations.Log.Level)); err != nil {
		return nil, fmt.Errorf("operations.log.level: %w", err)
	}
	a.lg = telemetry.NewLogger(opt.Log, a.level, w.Operations.Log.Format == "json")
	a.plan.Store(&plan{workload: w})
	return a, nil
}

func (a *App) loadWorkload() (*manifest.Workload, error) {
	path := filepath.Join(a.opt.Dir, WorkloadFile)
	w, err := manifest.Load(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonNotFound, Message: "there is no " + path,
			Hint: "stoa init " + a.opt.Dir + " writes one to start from", Err: err,
		}
	}
	return w, err
}

// Start acquires everything and serves. When it returns nil the process is ready; when it fails, everything acquired
// has been given back. An App starts once.
func (a *App) Start(ctx context.Context) (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.started {
		return errors.New("this app has been started before")
	}
	a.started = true
	defer func() {
		if err != nil {
			err = errors.Join(err, a.down.run(context.WithoutCancel(ctx), a.lg))
			a.stopped = true
		}
	}()
	// What runs in the background ends with Stop, not with the context of the start.
	ctx = context.WithoutCancel(ctx)
	_, statErr := os.Stat(filepath.Join(a.opt.Data, OwnerKeyFile))
	a.first = errors.Is(statErr, os.ErrNotExist)
	if err := a.openRooms(ctx); err != nil {
		return err
	}
	next, err := a.newPlan(a.plan.Load().workload)
	if err != nil {
		return err
	}
	a.exchange(next)
	a.down.add("endpoints", func(context.Context) error {
		a.plan.Load().close()
		a.rooms.implicit.close()
		return nil
	})
	if err := a.startLifecycle(ctx); err != nil {
		return err
	}
	return a.listen()
}

// listen binds the address and serves on it.
func (a *App) listen() error {
	l, err := net.Listen("tcp", a.opt.Listen)
	if err != nil {
		return &stoa.Refusal{
			Reason: stoa.ReasonUnreachable, Message: "cannot listen on " + a.opt.Listen,
			Hint: "is another server running there? --listen 127.0.0.1:0 picks a free port", Err: err,
		}
	}
	a.down.add("listener", func(context.Context) error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	a.addr = l.Addr()
	a.server = &http.Server{
		Handler:           a.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       5 * time.Minute,
		WriteTimeout:      10 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(a.lg.Handler(), slog.LevelDebug),
	}
	a.server.ConnState = a.connections.change
	go func() {
		if err := a.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			a.failed <- fmt.Errorf("serving: %w", err)
		}
	}()
	a.down.add("server", a.drain)

	path := filepath.Join(a.opt.Data, URLFile)
	if err := os.WriteFile(path, []byte(a.URL()+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing the server's address: %w", err)
	}
	a.down.add("address file", func(context.Context) error {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
	a.lg.Info("ready", "url", a.URL(), "workload", a.plan.Load().workload.Name, "data", a.opt.Data, "version", a.opt.Version)
	return nil
}

// drain waits for what is in flight. While it does the process is not ready, so that a load balancer turns away, but it
// still answers what comes, and closes each connection with the answer.
func (a *App) drain(ctx context.Context) error {
	a.draining.Store(true)
	grace := time.NewTimer(drainGrace)
	defer grace.Stop()
	select {
	case <-a.connections.none():
	case <-grace.C:
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return a.server.Shutdown(ctx)
}

// Stop gives everything back, last acquired first: requests in flight are answered, queues are written out. The errors
// of the steps are joined. A second Stop does nothing.
func (a *App) Stop(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.started || a.stopped {
		return nil
	}
	a.stopped = true
	a.lg.Info("stopping")
	err := a.down.run(ctx, a.lg)
	a.lg.Info("stopped", "err", err)
	return err
}

// Reload reads the workload file again and exchanges what it decides: endpoints, fallbacks, policies. The ledger has it as
// an act of by. On an error nothing has changed. Settings of the process itself (log format, meter interval) take effect
// with the next start, those of the decay test with the next champion.
func (a *App) Reload(ctx context.Context, by string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.started || a.stopped {
		return errors.New("this app is not running")
	}
	w, err := a.loadWorkload()
	if err != nil {
		return err
	}
	next, err := a.newPlan(w)
	if err != nil {
		return err
	}
	if err := a.noteReload(ctx, next, by); err != nil {
		next.close()
		return err
	}
	a.exchange(next)
	a.rooms.lifecycle.wake()
	a.lg.Info("reloaded", "workload", w.Name)
	return nil
}

// exchange puts a plan in force. Calls under way end by the plan that they began with.
func (a *App) exchange(next *plan) {
	a.plan.Swap(next).close()
	a.rooms.telemetry.Serve(slices.Collect(maps.Keys(next.endpoints)))
}

// noteReload records in the ledger that the workload file was read again.
func (a *App) noteReload(ctx context.Context, next *plan, by string) error {
	w := next.workload
	text := fmt.Sprintf("workload file read again: %d models, %d endpoints", len(w.Models), len(w.Endpoints))
	return a.note(ctx, stoa.Caller{Name: by}, "workload.reload", "", "", text)
}

// URL is the address of the running server.
func (a *App) URL() string { return "http://" + a.addr.String() }

// OwnerKey is the path of the owner's key.
func (a *App) OwnerKey() string { return filepath.Join(a.opt.Data, OwnerKeyFile) }

// FirstStart reports whether this start created the data directory.
func (a *App) FirstStart() bool { return a.first }

// Failed receives the error that ended the server, should it end by itself.
func (a *App) Failed() <-chan error { return a.failed }
