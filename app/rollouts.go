package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/operations/delivery"
	"github.com/stoaproject/stoa/reliability/registry"
	"github.com/stoaproject/stoa/store"
)

// A rolloutPayload is what a rollout entry of the ledger proposes.
type rolloutPayload struct {
	Version int   `json:"version"`
	Retrain int64 `json:"retrain,omitempty"` // entry of the retraining that made the version
}

// A rolloutResult is what came of it.
type rolloutResult struct {
	Outcome    string               `json:"outcome"` // promoted or withdrawn
	Version    int                  `json:"version"`
	Phase      delivery.Phase       `json:"phase,omitempty"` // in which it was decided
	Reason     delivery.Reason      `json:"reason,omitempty"`
	Statistics *delivery.Statistics `json:"statistics,omitempty"`
	Text       string               `json:"text"`
}

// A liveRollout is what the request path knows of a rollout.
type liveRollout struct {
	id         int64
	champion   int
	challenger *served
	share      float64 // 0 in shadow
}

// canary reports whether the challenger answers a prediction.
func (r *liveRollout) canary(id string) bool {
	return r.share > 0 && delivery.Assign(r.id, id, r.share)
}

// rollout is the rollout of a model that live traffic takes part in, or nil.
func (l *lifecycle) rollout(model string) *liveRollout {
	if all := l.live.Load(); all != nil {
		return (*all)[model]
	}
	return nil
}

// canaryFailed says that the challenger could not answer a call of its share.
func (l *lifecycle) canaryFailed(model string, err error) {
	l.lg.Warn("canary failed, the champion answered", "model", model, "err", err)
	l.rooms.watch(model).Fault(stoa.RoleCanary)
	l.wake()
}

// publishRollouts shows the rollouts to the request path.
func (l *lifecycle) publishRollouts(ctx context.Context) error {
	live := make(map[string]*liveRollout, len(l.rollouts))
	for model, r := range l.rollouts {
		challenger, err := l.rooms.models.at(ctx, model, strconv.Itoa(r.Challenger))
		if err != nil {
			return err
		}
		one := &liveRollout{id: r.ID, champion: r.Champion, challenger: challenger}
		if r.Phase == delivery.PhaseCanary {
			one.share = r.Policy.Share
		}
		live[model] = one
	}
	l.live.Store(&live)
	return nil
}

// beginRollouts starts the rollouts that are approved.
func (l *lifecycle) beginRollouts(ctx context.Context) error {
	entries, err := l.rooms.ledger.List(ctx, ledger.Filter{
		Kind: ledger.KindRollout, States: []ledger.State{ledger.StateApproved, ledger.StateRunning},
	})
	if err != nil {
		return err
	}
	for _, e := range entries {
		if r := l.rollouts[e.Subject]; r != nil {
			if r.ID == e.ID {
				if err := l.nameChallenger(ctx, r); err != nil { // a crash may have come in between
					return err
				}
			}
			continue
		}
		if err := l.beginRollout(ctx, e); err != nil {
			return fmt.Errorf("entry %d: %w", e.ID, err)
		}
	}
	return nil
}

func (l *lifecycle) beginRollout(ctx context.Context, e ledger.Entry) error {
	var p rolloutPayload
	if err := json.Unmarshal(e.Payload, &p); err != nil {
		return err
	}
	champion := l.states[e.Subject].Champion
	if champion == 0 || champion == p.Version {
		return l.promoteFirst(ctx, e, p)
	}
	r, err := delivery.New(e.ID, e.Subject, champion, p.Version, l.rolloutPolicy(e.Subject), time.Now())
	if err != nil {
		return err
	}
	err = l.rooms.db.Write(ctx, func(tx *store.Tx) error {
		if _, err := l.rooms.ledger.StartTx(ctx, tx, e.ID); err != nil {
			return err
		}
		text := fmt.Sprintf("version %d shadows version %d", p.Version, champion)
		if err := l.rooms.ledger.StepTx(ctx, tx, e.ID, "shadow", map[string]any{"version": p.Version, "text": text}); err != nil {
			return err
		}
		return l.rooms.delivery.SaveTx(ctx, tx, r)
	})
	if err != nil {
		return err
	}
	l.rollouts[e.Subject] = r
	l.rooms.watch(e.Subject).Reset()
	return l.nameChallenger(ctx, r)
}

// nameChallenger points the alias challenger at the version in rollout.
func (l *lifecycle) nameChallenger(ctx context.Context, r *delivery.Rollout) error {
	return l.pointAlias(ctx, r, stoa.AliasChallenger, r.Challenger, "rollout under way")
}

func (l *lifecycle) pointAlias(ctx context.Context, r *delivery.Rollout, alias string, version int, why string) error {
	aliases, err := l.rooms.registry.Aliases(ctx, r.Model)
	if err != nil || aliases[alias] == version {
		return err
	}
	err = l.rooms.registry.MoveAlias(ctx, registry.Move{
		Model: r.Model, Alias: alias, Version: version, By: "rollout", Entry: r.ID, Why: why,
	})
	if err == nil {
		l.rooms.telemetry.AliasMoved(r.Model, alias)
	}
	return err
}

// promoteFirst brings a version into service that has no champion to be compared with.
func (l *lifecycle) promoteFirst(ctx context.Context, e ledger.Entry, p rolloutPayload) error {
	if _, err := l.rooms.ledger.Start(ctx, e.ID); err != nil {
		return err
	}
	r := &delivery.Rollout{ID: e.ID, Model: e.Subject, Challenger: p.Version}
	if err := l.pointAlias(ctx, r, stoa.AliasChampion, p.Version, "the model had no version in service"); err != nil {
		return err
	}
	err := l.countEnd(ctx, e.Subject, func(c *LifecycleCounts) { c.Promotions++ }, func(tx *store.Tx) error {
		_, err := l.rooms.ledger.FinishTx(ctx, tx, e.ID, rolloutResult{
			Outcome: "promoted", Version: p.Version,
			Text: fmt.Sprintf("version %d promoted: the model had no version in service", p.Version),
		})
		return err
	})
	if err != nil {
		return err
	}
	return l.follow(ctx)
}

// countEnd writes the end of an entry, whatever write does for it, and the model's counts with it, in one transaction.
func (l *lifecycle) countEnd(
	ctx context.Context, model string, count func(*LifecycleCounts), write func(*store.Tx) error,
) error {
	s := l.state(model)
	before := s.Counts
	err := l.rooms.db.Write(ctx, func(tx *store.Tx) error {
		s.Counts = before
		count(&s.Counts)
		if err := write(tx); err != nil {
			return err
		}
		return l.rooms.states.PutTx(ctx, tx, stateName(model), s)
	})
	if err != nil {
		s.Counts = before
	}
	return err
}

// decideRollouts asks every rollout what to do, and does it.
func (l *lifecycle) decideRollouts(ctx context.Context) error {
	for model, r := range l.rollouts {
		r.Operate(l.rooms.watch(model).Drain())
		d := r.Decide(time.Now())
		switch champion := l.states[model].Champion; champion {
		case r.Champion:
		case r.Challenger: // a crash came between the promotion and the end of its entry, or a person was faster
			d.Action, d.Phase = delivery.ActionPromote, delivery.PhasePromoted
		default:
			d = delivery.Decision{
				Action: delivery.ActionWithdraw, Phase: delivery.PhaseWithdrawn, Reason: delivery.ReasonOver,
				Why: fmt.Sprintf("version %d was put in service by hand meanwhile", champion), Statistics: r.Statistics(),
			}
		}
		var err error
		switch d.Action {
		case delivery.ActionCanary:
			err = l.toCanary(ctx, r, d)
		case delivery.ActionPromote, delivery.ActionWithdraw:
			err = l.endRollout(ctx, r, d)
		}
		if err != nil {
			return fmt.Errorf("rollout %d: %w", r.ID, err)
		}
	}
	return nil
}

func (l *lifecycle) toCanary(ctx context.Context, r *delivery.Rollout, d delivery.Decision) error {
	r.Advance(d, time.Now())
	err := l.rooms.db.Write(ctx, func(tx *store.Tx) error {
		text := fmt.Sprintf("version %d takes %.0f %% of traffic: %s", r.Challenger, 100*r.Policy.Share, d.Why)
		data := map[string]any{"version": r.Challenger, "statistics": d.Statistics, "text": text}
		if err := l.rooms.ledger.StepTx(ctx, tx, r.ID, "canary", data); err != nil {
			return err
		}
		return l.rooms.delivery.SaveTx(ctx, tx, r)
	})
	if err != nil {
		return err
	}
	l.rooms.watch(r.Model).Reset()
	return l.publishRollouts(ctx)
}

// endRollout promotes or withdraws the challenger. The alias moves first: when a crash comes before the entry is
// finished, the rollout decides the same again and finds the alias where it should be.
func (l *lifecycle) endRollout(ctx context.Context, r *delivery.Rollout, d delivery.Decision) error {
	phase := r.Phase
	result := rolloutResult{
		Outcome: "withdrawn", Version: r.Challenger, Phase: phase, Reason: d.Reason, Statistics: &d.Statistics,
		Text: fmt.Sprintf("version %d withdrawn in %s: %s", r.Challenger, phase, d.Why),
	}
	if d.Action == delivery.ActionPromote {
		result.Outcome = "promoted"
		result.Text = fmt.Sprintf("version %d promoted: %s", r.Challenger, d.Why)
		if err := l.pointAlias(ctx, r, stoa.AliasChampion, r.Challenger, d.Why); err != nil {
			return err
		}
	}
	if err := l.pointAlias(ctx, r, stoa.AliasChallenger, 0, "the rollout is over"); err != nil {
		return err
	}
	r.Advance(d, time.Now())
	count := func(c *LifecycleCounts) {
		switch {
		case d.Action == delivery.ActionPromote:
			c.Promotions++
		case phase == delivery.PhaseCanary:
			c.RolledBack++
		default:
			c.Withdrawn++
		}
	}
	err := l.countEnd(ctx, r.Model, count, func(tx *store.Tx) error {
		if err := l.rooms.delivery.SaveTx(ctx, tx, r); err != nil {
			return err
		}
		_, err := l.rooms.ledger.FinishTx(ctx, tx, r.ID, result)
		return err
	})
	if err != nil {
		return err
	}
	l.rooms.telemetry.RolledOut(r.Model, result.Outcome)
	delete(l.rollouts, r.Model)
	if err := l.follow(ctx); err != nil {
		return err
	}
	return l.publishRollouts(ctx)
}

// rolloutPolicy is how much evidence a rollout of a model needs. A model that the workload file does not name gets the
// defaults.
func (l *lifecycle) rolloutPolicy(model string) delivery.Policy {
	s := l.plan().workload.Operations.Rollout[model]
	if s == nil {
		return delivery.Policy{}
	}
	return delivery.Policy{
		Alpha: s.Alpha, Share: s.Canary.Share, Margin: s.Margin, MinPairs: int64(s.Shadow.MinLabels),
		MinLabels: int64(s.Canary.MinLabels), MaxPairs: int64(s.MaxLabels),
		ShadowTimeout: s.Shadow.Timeout, CanaryTimeout: s.Canary.Timeout, Strikes: s.Strikes,
	}
}
