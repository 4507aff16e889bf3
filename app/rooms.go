package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/cost/meter"
	"github.com/stoaproject/stoa/gateway"
	"github.com/stoaproject/stoa/gateway/mlflow"
	"github.com/stoaproject/stoa/gateway/oip"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/operations/delivery"
	"github.com/stoaproject/stoa/operations/monitor"
	"github.com/stoaproject/stoa/operations/telemetry"
	"github.com/stoaproject/stoa/performance/runtime"
	"github.com/stoaproject/stoa/principles/experiment"
	"github.com/stoaproject/stoa/reliability/registry"
	"github.com/stoaproject/stoa/reliability/retrain"
	"github.com/stoaproject/stoa/security/access"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/blob"
)

// rooms is what lives as long as the process.
type rooms struct {
	db        *store.DB
	ledger    *ledger.Ledger
	registry  *registry.Registry
	tracking  *experiment.Tracking
	mlflow    *mlflow.API
	models    *models
	access    *access.Access
	meter     *meter.Meter
	telemetry *telemetry.Telemetry
	monitor   *monitor.Monitor
	states    *monitor.States
	delivery  *delivery.Store
	shadows   *shadows
	lifecycle *lifecycle
	gateway   *gateway.Gateway
	implicit  implicitEndpoints
	faults    injectedFaults

	mu      sync.Mutex
	watches map[string]*delivery.Watch // by model
}

// watch counts what happens to a model's live answers between two looks of the lifecycle.
func (r *rooms) watch(model string) *delivery.Watch {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.watches[model]
	if w == nil {
		w = delivery.NewWatch()
		r.watches[model] = w
	}
	return w
}

// openRooms acquires everything below the gateway, and the gateway.
func (a *App) openRooms(ctx context.Context) error {
	r := &rooms{watches: map[string]*delivery.Watch{}}
	a.rooms = r
	r.telemetry = telemetry.New(telemetry.Config{Build: a.opt.Version})
	if err := a.openCellar(ctx, r); err != nil {
		return err
	}
	w := a.plan.Load().workload
	var err error
	if r.access, err = access.New(ctx, access.Config{DB: r.db, Ledger: r.ledger, Dir: a.opt.Data, Logger: a.lg}); err != nil {
		return fmt.Errorf("opening the keys: %w", err)
	}
	if r.meter, err = meter.New(ctx, meter.Config{DB: r.db, Logger: a.lg, Every: w.Cost.Meter.Flush}); err != nil {
		return fmt.Errorf("opening the meter: %w", err)
	}
	a.down.add("meter", r.meter.Close)
	wait, pending := labelBounds(a.plan.Load())
	r.monitor, err = monitor.New(ctx, monitor.Config{
		DB: r.db, Classes: a.classes, Wait: wait, Pending: pending, Logger: a.lg,
	})
	if err != nil {
		return fmt.Errorf("opening the monitor: %w", err)
	}
	a.down.add("monitor", r.monitor.Close)
	r.states = r.monitor.States()
	if r.delivery, err = delivery.NewStore(ctx, r.db); err != nil {
		return fmt.Errorf("opening the rollouts: %w", err)
	}
	r.shadows = newShadows(a.lg, r.monitor.Shadow)
	a.down.add("shadows", r.shadows.close)
	trainer, err := retrain.New(retrain.Config{
		Workload: a.opt.Dir, Work: filepath.Join(a.opt.Data, "jobs"), Self: a.opt.Self, Logger: a.lg,
	})
	if err != nil {
		return openRefusal(a.opt.Data, err)
	}
	r.lifecycle = &lifecycle{
		rooms: r, plan: a.plan.Load, trainer: trainer, lg: a.lg,
		signal: make(chan struct{}, 1), ended: make(chan jobEnd, 16),
	}
	if err := a.openMLflow(ctx, r); err != nil {
		return err
	}
	return a.openGateway(r)
}

// openCellar acquires the store, the ledger and the registry.
func (a *App) openCellar(ctx context.Context, r *rooms) error {
	db, release, err := openDB(ctx, a.opt.Data, a.opt.DB, a.lg)
	if err != nil {
		return err
	}
	r.db = db
	a.down.add("store", func(context.Context) error { return errors.Join(db.Close(), release()) })
	blobs, err := blob.Dir(filepath.Join(a.opt.Data, "blobs"))
	if err != nil {
		return openRefusal(a.opt.Data, err)
	}
	r.ledger, err = ledger.New(ctx, r.db, a.lg, ledger.WithAnchor(filepath.Join(a.opt.Data, ledger.AnchorFile)))
	if err != nil {
		return fmt.Errorf("opening the ledger: %w", err)
	}
	if err := a.openTracking(ctx, r); err != nil {
		return err
	}
	r.registry, err = registry.New(ctx, registry.Config{
		DB: r.db, Blobs: blobs, Ledger: r.ledger, Inspect: inspect, Approvers: a.approvers, Rule: a.aliasRule, Logger: a.lg,
		Resolve: a.resolveSource, Run: a.lineageRun, Locate: locate,
	})
	if err != nil {
		return fmt.Errorf("opening the registry: %w", err)
	}
	r.models = newModels(r.registry)
	n, err := r.registry.Sweep(ctx, nil)
	if err != nil {
		return fmt.Errorf("clearing up artifacts without a version: %w", err)
	}
	if n > 0 {
		a.lg.Info("cleared up artifacts without a version", "count", n)
	}
	return nil
}

// openGateway builds the request path.
func (a *App) openGateway(r *rooms) error {
	w := a.plan.Load().workload
	observers := []stoa.Observer{r.meter, r.monitor, rolloutWatch{r}, r.telemetry}
	if w.Operations.Log.Requests {
		requests := telemetry.NewAccessLog(telemetry.AccessLogConfig{
			Writer: a.opt.Log, JSON: w.Operations.Log.Format == "json", Level: a.level,
			Dropped: func(lines int) { r.telemetry.Dropped("access_log", lines) },
		})
		a.down.add("access log", requests.Close)
		observers = append(observers, requests)
	}
	var err error
	limits := oip.DefaultLimits()
	limits.Bytes = int(w.Performance.Runtime.MaxRequestBytes)
	r.gateway, err = gateway.New(gateway.Config{
		Name: "stoa", Version: a.opt.Version,
		Admit: r.access.Admit, Resolve: a.resolve, Describe: a.describe, Ready: a.ready, ServerReady: a.serverReady,
		Stages:    []stoa.Stage{rowLimit{a}},
		Observers: observers,
		Limits:    gateway.Limits{InFlight: w.Performance.Runtime.MaxInflight, Request: limits},
		Logger:    a.lg,
	})
	return err
}

// inspect is how the registry looks into an artifact before it takes it.
func inspect(artifact []byte) (inputs, outputs []stoa.TensorSpec, err error) {
	m, err := runtime.Load(artifact)
	if err != nil {
		return nil, nil, err
	}
	return m.Inputs(), m.Outputs(), nil
}

// classes are the class names of a version, in the order of its scores.
func (a *App) classes(model string, version int) []string {
	s, err := a.rooms.models.at(context.Background(), model, fmt.Sprint(version))
	if err != nil {
		return nil
	}
	return s.model.Classes()
}

// approvers are the names of the keys that may move a model's champion by hand.
func (a *App) approvers(model string) []string {
	w := a.plan.Load().workload
	if list := w.Security.Approvers[model]; len(list) > 0 {
		return list
	}
	return []string{ownerName}
}

// labelBounds are the widest bounds that any model asks for: predictions of all models wait in one place.
func labelBounds(p *plan) (wait time.Duration, pending int64) {
	for _, m := range p.workload.Operations.Monitor {
		wait, pending = max(wait, m.LabelWait), max(pending, int64(m.Pending))
	}
	return wait, pending
}

// openRefusal turns a failure to open the data directory into what to do about it.
func openRefusal(dir string, err error) error {
	reason, found := store.Reason(err)
	if !found {
		return fmt.Errorf("opening the data directory %s: %w", dir, err)
	}
	hints := map[stoa.Reason]string{
		stoa.ReasonStorageLocked:   "stop the other process, or give this one its own --data",
		stoa.ReasonStorageReadOnly: "make the directory writable for this user, or give another --data",
		stoa.ReasonStorageFull:     "make room on the disk",
	}
	return &stoa.Refusal{
		Reason: reason, Message: "cannot open the data directory " + dir, Hint: hints[reason], Err: err,
	}
}

// implicitEndpoints are the endpoints of registered models that the workload file does not name.
type implicitEndpoints struct {
	mu sync.RWMutex
	m  map[string]*endpoint
}

func (i *implicitEndpoints) get(name string) *endpoint {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.m[name]
}

func (i *implicitEndpoints) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range i.m {
		e.policy.Close()
	}
}

// put keeps e unless another was faster, and returns the one kept.
func (i *implicitEndpoints) put(name string, e *endpoint) *endpoint {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.m == nil {
		i.m = map[string]*endpoint{}
	}
	if first := i.m[name]; first != nil {
		e.policy.Close()
		return first
	}
	i.m[name] = e
	return e
}
