package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/manifest"
	"github.com/stoaproject/stoa/operations/delivery"
	"github.com/stoaproject/stoa/operations/monitor"
	"github.com/stoaproject/stoa/reliability/retrain"
	"github.com/stoaproject/stoa/store"
)

// The second flow: a decaying model. One goroutine owns it. It
//
//  1. folds new judgements, in their durable order, into the detector of each model and into its rollout; an alarm
//     becomes a proposal to retrain, approved by policy or left for a person (watch);
//  2. carries out what the rollouts decide: canary, promotion, withdrawal (rollouts.go);
//  3. begins the rollouts that are approved (rollouts.go);
//  4. begins the retrainings that are approved, and takes their results through the gates to a rollout (retraining.go).
//
// The cursor over the judgements, the detectors, the rollouts and the ledger entries that follow from them are written in
// one transaction, so that every judgement counts exactly once. After a crash the loop reads them and goes on; after a
// failed transaction it reads them again, so that memory never runs ahead of the store.

const (
	lifecycleEvery = time.Second // for what only time brings: timeouts, late judgements
	foldChunk      = 1000        // judgements in one transaction
	cursorState    = "lifecycle.cursor"
	policyActor    = "policy" // who approves what the workload file lets run by itself
)

// A lifecycle runs the second flow.
type lifecycle struct {
	rooms   *rooms
	plan    func() *plan
	trainer *retrain.Trainer
	lg      *slog.Logger

	asked  atomic.Int64  // how often the loop was asked to look
	done   atomic.Int64  // the value of asked that its last complete pass began with
	signal chan struct{} // wakes the loop
	ended  chan jobEnd   // results of retraining jobs
	live   atomic.Pointer[map[string]*liveRollout]

	mu    sync.Mutex // guards what a view reads
	views map[string]LifecycleView

	// Owned by the loop.
	cursor   int64
	states   map[string]*modelState
	rollouts map[string]*delivery.Rollout             // under way, by model
	jobs     map[string]*job                          // under way, by model
	dropped  struct{ monitor, labels, shadows int64 } // counted in the metrics so far
	wg       sync.WaitGroup                           // of jobs
}

// A modelState is what the loop remembers of one model; it is stored as JSON.
type modelState struct {
	Champion  int               `json:"champion"` // version that Detector watches
	Detector  *monitor.Detector `json:"detector,omitempty"`
	Pending   *stoa.Alarm       `json:"pending,omitempty"` // raised while no retraining could be proposed
	Labels    int64             `json:"labels"`            // labels on live answers since the first version
	Retrained retrain.Last      `json:"retrained"`         // when a retraining was last proposed
	Counts    LifecycleCounts   `json:"counts"`
}

// startLifecycle restores the state and starts the loop.
func (a *App) startLifecycle(ctx context.Context) error {
	l := a.rooms.lifecycle
	if err := l.restore(ctx); err != nil {
		return fmt.Errorf("restoring the lifecycle: %w", err)
	}
	if err := l.cleanJobs(ctx); err != nil {
		return fmt.Errorf("clearing up old retraining jobs: %w", err)
	}
	stats := l.rooms.monitor.Stats()
	l.dropped.labels = stats.Evicted + stats.Expired // the database remembers them, the metrics do not
	run, stop := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		l.run(run)
	}()
	a.down.add("lifecycle", func(context.Context) error {
		stop()
		<-stopped
		l.wg.Wait()
		return nil
	})
	l.wake()
	return nil
}

// cleanJobs removes what retrainings that are over have left.
func (l *lifecycle) cleanJobs(ctx context.Context) error {
	running, err := l.rooms.ledger.List(ctx, ledger.Filter{Kind: ledger.KindRetrain, States: []ledger.State{ledger.StateRunning}})
	if err != nil {
		return err
	}
	keep := make([]int64, len(running))
	for i, e := range running {
		keep[i] = e.ID
	}
	return l.trainer.Clean(keep...)
}

// wake asks the loop to look.
func (l *lifecycle) wake() {
	l.asked.Add(1)
	select {
	case l.signal <- struct{}{}:
	default: // it will look anyway
	}
}

func (l *lifecycle) run(ctx context.Context) {
	tick := time.NewTicker(lifecycleEvery)
	defer tick.Stop()
	for {
		var err error
		asked := l.asked.Load()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.signal:
			asked = l.asked.Load()
		case end := <-l.ended:
			err = l.jobEnded(ctx, end)
		}
		if err == nil {
			err = l.pass(ctx)
		}
		if err == nil {
			l.done.Store(asked)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		l.lg.Error("lifecycle pass failed; it will be tried again", "err", err)
		if err := l.restore(ctx); err != nil {
			l.lg.Error("lifecycle state cannot be read", "err", err)
		}
	}
}

// restore reads everything that the loop owns from the store.
func (l *lifecycle) restore(ctx context.Context) error {
	states, rollouts := map[string]*modelState{}, map[string]*delivery.Rollout{}
	var cursor int64
	if _, err := l.rooms.states.Get(ctx, cursorState, &cursor); err != nil {
		return err
	}
	models, err := l.rooms.registry.Models(ctx)
	if err != nil {
		return err
	}
	for _, m := range models {
		s := &modelState{}
		if _, err := l.rooms.states.Get(ctx, stateName(m.Name), s); err != nil {
			return err
		}
		states[m.Name] = s
		r, err := l.rooms.delivery.Active(ctx, m.Name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil {
			rollouts[m.Name] = r
		}
	}
	l.cursor, l.states, l.rollouts = cursor, states, rollouts
	if l.jobs == nil {
		l.jobs = map[string]*job{}
	}
	return l.publish(ctx)
}

// state is what is remembered of a model, from now on if not before.
func (l *lifecycle) state(model string) *modelState {
	s := l.states[model]
	if s == nil {
		s = &modelState{}
		l.states[model] = s
	}
	return s
}

func stateName(model string) string { return "lifecycle.model." + model }

// pass does everything there is to do.
func (l *lifecycle) pass(ctx context.Context) error {
	if err := l.follow(ctx); err != nil {
		return err
	}
	for {
		more, err := l.fold(ctx)
		if err != nil {
			return fmt.Errorf("folding judgements: %w", err)
		}
		if err := l.decideRollouts(ctx); err != nil {
			return fmt.Errorf("carrying out a rollout: %w", err)
		}
		if !more {
			break
		}
	}
	if err := l.beginRollouts(ctx); err != nil {
		return fmt.Errorf("beginning a rollout: %w", err)
	}
	if err := l.beginRetrainings(ctx); err != nil {
		return fmt.Errorf("beginning a retraining: %w", err)
	}
	return l.publish(ctx)
}

// follow makes the detectors those of the versions in service now.
func (l *lifecycle) follow(ctx context.Context) error {
	models, err := l.rooms.registry.Models(ctx)
	if err != nil {
		return err
	}
	for _, m := range models {
		s := l.state(m.Name)
		champion := m.Aliases[stoa.AliasChampion]
		if champion == 0 || champion == s.Champion {
			continue
		}
		var d *monitor.Detector
		if settings := l.plan().workload.Operations.Monitor[m.Name]; settings != nil {
			if d, err = l.newDetector(ctx, m.Name, champion, settings.Decay); err != nil {
				return err
			}
		}
		s.Champion, s.Detector, s.Pending = champion, d, nil
	}
	return nil
}

// newDetector builds the detector for a version. Its reference is the error on the hold-out when the version was judged
// on one, and is learnt from its own first labels otherwise.
func (l *lifecycle) newDetector(ctx context.Context, model string, version int, decay manifest.Decay) (*monitor.Detector, error) {
	o := monitor.DetectorOptions{ERT: float64(decay.FalseAlarmLabels), Tolerance: decay.Tolerance}
	v, err := l.rooms.registry.Version(ctx, model, strconv.Itoa(version))
	if err != nil {
		return nil, err
	}
	if rows := v.Metrics[metricHoldoutRows]; rows > 0 {
		o.Reference = &monitor.Rate{Labels: int64(rows), Value: 1 - v.Metrics[metricHoldoutAccuracy]}
	}
	return monitor.NewDetector(model, version, o)
}

// fold takes the next judgements. It reports whether there may be more.
func (l *lifecycle) fold(ctx context.Context) (bool, error) {
	list, err := l.rooms.monitor.Judgements(ctx, l.cursor, foldChunk)
	if err != nil || len(list) == 0 {
		return false, err
	}
	err = l.rooms.db.Write(ctx, func(tx *store.Tx) error {
		touched := map[string]bool{}
		for _, j := range list {
			s := l.states[j.Model]
			if s == nil {
				continue // the model was never registered here
			}
			touched[j.Model] = true
			l.foldOne(s, j)
		}
		for _, model := range slices.Sorted(maps.Keys(touched)) {
			if r := l.rollouts[model]; r != nil {
				r.Operate(l.rooms.watch(model).Drain())
				if err := l.rooms.delivery.SaveTx(ctx, tx, r); err != nil {
					return err
				}
			}
			if err := l.proposePending(ctx, tx, model); err != nil {
				return err
			}
			if err := l.rooms.states.PutTx(ctx, tx, stateName(model), l.states[model]); err != nil {
				return err
			}
		}
		return l.rooms.states.PutTx(ctx, tx, cursorState, list[len(list)-1].Seq)
	})
	if err != nil {
		return false, err
	}
	l.cursor = list[len(list)-1].Seq
	return len(list) == foldChunk, nil
}

// foldOne takes one judgement into a model's detector and rollout.
func (l *lifecycle) foldOne(s *modelState, j stoa.Judgement) {
	if j.Role != stoa.RoleShadow && j.Role != stoa.RolePinned {
		s.Labels++
	}
	if r := l.rollouts[j.Model]; r != nil {
		r.Fold(j)
	}
	if s.Detector == nil {
		return
	}
	alarm := s.Detector.Fold(j)
	if alarm == nil || l.rollouts[j.Model] != nil || l.jobs[j.Model] != nil {
		return // a model that stays bad alarms again and again; while a successor is on its way that is no news
	}
	if s.Pending == nil {
		s.Counts.Alarms++
	}
	s.Pending = alarm
	l.lg.Warn("decay alarm", "model", j.Model, "version", alarm.Version, "observed", alarm.Observed,
		"reference", alarm.Reference, "labels", alarm.Labels, "since", alarm.Since)
}

// proposePending turns an alarm into a proposal to retrain, once the model is free: no retraining or rollout of it is
// open, and the cooldown since the last one is over.
func (l *lifecycle) proposePending(ctx context.Context, tx *store.Tx, model string) error {
	s := l.states[model]
	settings := l.plan().workload.Reliability.Retrain[model]
	if s.Pending == nil || settings == nil || l.rollouts[model] != nil || l.jobs[model] != nil {
		return nil
	}
	cooldown := retrain.Cooldown{Labels: int64(settings.CooldownLabels)}
	if due, _ := retrain.Due(cooldown, time.Now(), s.Labels, s.Retrained); !due {
		return nil
	}
	open, err := l.openEntries(ctx, model)
	if err != nil || open > 0 {
		return err
	}
	alarm := s.Pending
	why := fmt.Sprintf("%.1f %% of the last %d labels are errors where %.1f %% were expected, since %s (%s %.3g of %.3g)",
		100*alarm.Observed, alarm.Labels, 100*alarm.Reference, alarm.Since.Format(time.DateTime), alarm.Test,
		alarm.Statistic, alarm.Threshold)
	entry, created, err := l.rooms.ledger.ProposeTx(ctx, tx, ledger.Proposal{
		Key:  fmt.Sprintf("retrain/%s/%d/%d", model, alarm.Version, s.Labels),
		Kind: ledger.KindRetrain, Subject: model, Payload: retrainPayload{Alarm: alarm}, Why: why, By: "monitor",
	})
	if err != nil {
		return err
	}
	if created && settings.Approve == "auto" {
		if _, err := l.rooms.ledger.ApproveTx(ctx, tx, entry.ID, policyActor, "reliability.retrain.approve is auto"); err != nil {
			return err
		}
	}
	s.Pending, s.Retrained = nil, retrain.Last{At: time.Now(), Labels: s.Labels}
	return nil
}

// openEntries counts the retrainings and rollouts of a model that are not over.
func (l *lifecycle) openEntries(ctx context.Context, model string) (int, error) {
	n := 0
	for _, kind := range []ledger.Kind{ledger.KindRetrain, ledger.KindRollout} {
		list, err := l.rooms.ledger.List(ctx, ledger.Filter{
			Kind: kind, Subject: model, States: []ledger.State{ledger.StateProposed, ledger.StateApproved, ledger.StateRunning},
		})
		if err != nil {
			return 0, err
		}
		n += len(list)
	}
	return n, nil
}

// proposeRetrain proposes a retraining by hand.
func (l *lifecycle) proposeRetrain(ctx context.Context, model, by, why string) (ledger.Entry, error) {
	var none ledger.Entry
	settings := l.plan().workload.Reliability.Retrain[model]
	if settings == nil {
		return none, &stoa.Refusal{
			Reason: stoa.ReasonUnsupported, Message: "the workload file has no retraining for model " + model,
			Hint: "add it under reliability.retrain",
		}
	}
	open, err := l.openEntries(ctx, model)
	if err != nil {
		return none, err
	}
	if open > 0 {
		return none, &stoa.Refusal{
			Reason: stoa.ReasonConflict, Message: "a retraining or rollout of " + model + " is open already",
			Hint: "stoa proposals --subject " + model,
		}
	}
	if why == "" {
		why = "asked for by hand"
	}
	var entry ledger.Entry
	err = l.rooms.db.Write(ctx, func(tx *store.Tx) error {
		var err error
		entry, _, err = l.rooms.ledger.ProposeTx(ctx, tx, ledger.Proposal{
			Key:  fmt.Sprintf("retrain/%s/by-hand/%d", model, time.Now().UnixNano()),
			Kind: ledger.KindRetrain, Subject: model, Payload: retrainPayload{}, Why: why, By: by,
		})
		if err == nil && settings.Approve == "auto" {
			entry, err = l.rooms.ledger.ApproveTx(ctx, tx, entry.ID, policyActor, "reliability.retrain.approve is auto")
		}
		return err
	})
	if err == nil {
		l.wake()
	}
	return entry, err
}
