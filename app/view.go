package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/operations/monitor"
)

// publish makes what the loop knows visible to the request path and to views.
func (l *lifecycle) publish(ctx context.Context) error {
	if err := l.publishRollouts(ctx); err != nil {
		return err
	}
	views := make(map[string]LifecycleView, len(l.states))
	for model, s := range l.states {
		v := LifecycleView{Model: model, Counts: s.Counts, Judgements: s.Labels}
		if d := s.Detector; d != nil {
			v.Decay = &DecayView{
				Test: monitor.TestEDetector, Statistic: d.Statistic(), Threshold: d.Options.ERT, Reference: d.P0,
				Labels: d.Seen, Learning: d.Learning(),
			}
			l.rooms.telemetry.Drift(model, d.Statistic(), d.Options.ERT)
		}
		if j := l.jobs[model]; j != nil {
			v.Retraining = j.entry
		}
		if r := l.rollouts[model]; r != nil {
			st := r.Statistics()
			v.Rollout = &RolloutView{
				Entry: r.ID, Phase: string(r.Phase), Challenger: r.Challenger, Labels: st.Pairs.N(),
				Detail: fmt.Sprintf("won %d, lost %d, tied %d; better %.3g of %.3g, harm %.3g of %.3g",
					st.Pairs.Won, st.Pairs.Lost, st.Pairs.Tied, st.Better, st.BetterAt, st.Harm, st.HarmAt),
			}
		}
		views[model] = v
	}
	l.mu.Lock()
	l.views = views
	l.mu.Unlock()
	l.publishQueues()
	return nil
}

// publishQueues shows what waits in the bounded queues, and what they could not take.
func (l *lifecycle) publishQueues() {
	stats := l.rooms.monitor.Stats()
	l.rooms.telemetry.Pending(stats.Waiting)
	for _, q := range []struct {
		name string
		now  int64
		last *int64
	}{
		{"monitor", stats.Dropped, &l.dropped.monitor},
		{"labels", stats.Evicted + stats.Expired, &l.dropped.labels},
		{"shadows", l.rooms.shadows.dropped.Load(), &l.dropped.shadows},
	} {
		if n := q.now - *q.last; n > 0 {
			l.rooms.telemetry.Dropped(q.name, int(n))
		}
		*q.last = q.now
	}
}

// view is where a model stands.
func (l *lifecycle) view(ctx context.Context, model string) (LifecycleView, error) {
	// In this order: what the loop has done is read before the rest, so that settled is never said too early.
	settled := l.settled()
	aliases, err := l.rooms.registry.Aliases(ctx, model)
	if err != nil && l.plan().workload.Models[model] == nil { // a model that is declared may have no version yet
		return LifecycleView{}, err
	}
	l.mu.Lock()
	v, found := l.views[model]
	l.mu.Unlock()
	if !found {
		v.Model = model
	}
	v.Champion, v.Previous, v.Challenger = aliases[stoa.AliasChampion], aliases[stoa.AliasPrevious], aliases[stoa.AliasChallenger]
	v.Settled = settled && v.Retraining == 0
	return v, nil
}

// settled reports that the loop has seen everything there was when it was asked.
func (l *lifecycle) settled() bool {
	return l.done.Load() == l.asked.Load() && len(l.ended) == 0 && l.rooms.shadows.idle()
}

// eventView renders an event of the ledger with a sentence for people. A step or result that brings its own sentence, in
// the member "text" of its data, is told by that.
func eventView(e ledger.Event) EventView {
	v := EventView{
		Seq: e.Seq, At: e.At, Entry: e.Entry, Kind: string(e.Kind), What: e.What, Subject: e.Subject, Actor: e.Actor, Data: e.Data,
	}
	if e.Step != "" {
		v.What += "." + e.Step
	}
	var own struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal(e.Data, &own) // no sentence of its own
	var b strings.Builder
	if e.Subject != "" {
		b.WriteString(e.Subject + ": ")
	}
	switch {
	case own.Text != "":
		b.WriteString(own.Text)
	case e.What == "version.register":
		var v stoa.Version
		_ = json.Unmarshal(e.Data, &v) // a version without a number shows as 0
		fmt.Fprintf(&b, "version %d registered by %s", v.Number, v.CreatedBy)
	case e.What == "alias.move":
		var m struct {
			Alias    string
			From, To int
		}
		_ = json.Unmarshal(e.Data, &m) // likewise
		fmt.Fprintf(&b, "%s %s", m.Alias, aliasMove(m.From, m.To))
		if e.Why != "" {
			b.WriteString(": " + e.Why)
		}
	default:
		what := strings.TrimPrefix(v.What, "entry.")
		if e.Kind != "" {
			what = string(e.Kind) + " " + what
		}
		b.WriteString(what)
		if e.Why != "" {
			b.WriteString(": " + e.Why)
		}
	}
	if e.Error != "" {
		b.WriteString(": " + e.Error)
	}
	v.Text = b.String()
	return v
}

func aliasMove(from, to int) string {
	switch {
	case to == 0:
		return fmt.Sprintf("no longer points at version %d", from)
	case from == 0:
		return fmt.Sprintf("points at version %d", to)
	}
	return fmt.Sprintf("moves from version %d to %d", from, to)
}
