package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/cost/meter"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/operations/telemetry"
	"github.com/stoaproject/stoa/reliability/fallback"
	"github.com/stoaproject/stoa/store"
)

// A rowLimit is the stage that refuses calls with more rows than the workload file allows.
type rowLimit struct{ app *App }

// Before refuses a call that has too many rows.
func (s rowLimit) Before(_ context.Context, call *stoa.Call) error {
	if most := s.app.plan.Load().workload.Performance.Runtime.MaxRows; call.Rows > most {
		return &stoa.Refusal{
			Reason: stoa.ReasonTooLarge, Message: fmt.Sprintf("the request has %d rows, at most %d are taken", call.Rows, most),
			Hint: "send several requests, or raise performance.runtime.max_rows",
		}
	}
	return nil
}

// rolloutWatch is the observer that counts the answers of a rollout's arms.
type rolloutWatch struct{ rooms *rooms }

// After counts an answer of a model that is in a rollout.
func (o rolloutWatch) After(_ *stoa.Call, outcome *stoa.Outcome) {
	if a := outcome.Answer; a != nil && o.rooms.lifecycle.rollout(a.Model) != nil {
		o.rooms.watch(a.Model).Served(a.Role)
	}
}

// observeFallback takes what happens in the fallback policies to the log and the metrics.
func (a *App) observeFallback(e fallback.Event) {
	level := slog.LevelDebug // one line per request is the access log's business
	switch e.Kind {
	case fallback.BreakerOpened:
		level = slog.LevelWarn
		a.rooms.telemetry.Breaker(e.Candidate, telemetry.BreakerOpen)
	case fallback.BreakerHalfOpened:
		level = slog.LevelInfo
		a.rooms.telemetry.Breaker(e.Candidate, telemetry.BreakerHalfOpen)
	case fallback.BreakerClosed:
		level = slog.LevelInfo
		a.rooms.telemetry.Breaker(e.Candidate, telemetry.BreakerClosed)
	case fallback.Abandoned, fallback.FaultInjected, fallback.FaultRemoved:
		level = slog.LevelWarn
	}
	a.lg.Log(context.Background(), level, "fallback", "event", e.Kind, "endpoint", e.Endpoint, "candidate", e.Candidate, "reason", e.Reason)
}

// injectedFaults are the faults that someone injected on purpose, by endpoint.
type injectedFaults struct {
	mu      sync.Mutex
	restore map[string][]func()
}

func (a *App) getEndpoints(*http.Request, stoa.Caller) (any, error) {
	type view struct {
		Name       string                    `json:"name"`
		Model      string                    `json:"model"`
		Candidates []fallback.CandidateState `json:"candidates"`
	}
	views := []view{}
	for name, e := range a.plan.Load().endpoints {
		views = append(views, view{name, e.model, e.policy.States()})
	}
	slices.SortFunc(views, func(x, y view) int {
		if x.Name < y.Name {
			return -1
		}
		return 1
	})
	return map[string]any{"endpoints": views}, nil
}

// putFault makes a candidate of an endpoint fail on purpose. The act is in the ledger before it has an effect.
func (a *App) putFault(r *http.Request, caller stoa.Caller) (any, error) {
	var req FaultRequest
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	name := r.PathValue("endpoint")
	e, err := a.endpoint(name)
	if err != nil {
		return nil, err
	}
	possible := []stoa.Reason{stoa.ReasonTargetError, stoa.ReasonTimeout, stoa.ReasonUnreachable}
	if !slices.Contains(possible, req.Reason) {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonBadInput, Message: fmt.Sprintf("a candidate cannot fail with %q on purpose", req.Reason),
			Hint: fmt.Sprint("one of ", possible),
		}
	}
	states := e.policy.States()
	if !slices.ContainsFunc(states, func(s fallback.CandidateState) bool { return s.Name == req.Candidate }) {
		var names []string
		for _, s := range states {
			names = append(names, s.Name)
		}
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonNotFound, Message: fmt.Sprintf("endpoint %s has no candidate %q", name, req.Candidate),
			Hint: fmt.Sprint("its candidates are ", names),
		}
	}
	text := fmt.Sprintf("candidate %s of endpoint %s fails with %s on purpose", req.Candidate, name, req.Reason)
	if err := a.note(r.Context(), caller, "fault.inject", e.model, req.Why, text); err != nil {
		return nil, err
	}
	restore, err := e.policy.Break(req.Candidate, req.Reason)
	if err != nil {
		return nil, err
	}
	f := &a.rooms.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.restore == nil {
		f.restore = map[string][]func(){}
	}
	f.restore[name] = append(f.restore[name], restore)
	return map[string]string{"endpoint": name, "candidate": req.Candidate, "reason": string(req.Reason)}, nil
}

func (a *App) deleteFaults(r *http.Request, caller stoa.Caller) (any, error) {
	name := r.PathValue("endpoint")
	e, err := a.endpoint(name)
	if err != nil {
		return nil, err
	}
	f := &a.rooms.faults
	f.mu.Lock()
	restore := f.restore[name]
	delete(f.restore, name)
	f.mu.Unlock()
	for _, undo := range restore {
		undo()
	}
	text := fmt.Sprintf("%d faults injected into endpoint %s ended", len(restore), name)
	if err := a.note(r.Context(), caller, "fault.clear", e.model, "", text); err != nil {
		return nil, err
	}
	return map[string]int{"cleared": len(restore)}, nil
}

// note records an act that needed no approval.
func (a *App) note(ctx context.Context, caller stoa.Caller, what, subject, why, text string) error {
	return a.rooms.db.Write(ctx, func(tx *store.Tx) error {
		return a.rooms.ledger.Note(ctx, tx, ledger.Act{
			Actor: caller.Name, What: what, Subject: subject, Why: why, Data: map[string]string{"text": text},
		})
	})
}

// Use and keys.

func (a *App) getUsage(r *http.Request, _ stoa.Caller) (any, error) {
	since := 30 * 24 * time.Hour
	if text := r.URL.Query().Get("since"); text != "" {
		var err error
		if since, err = time.ParseDuration(text); err != nil || since <= 0 {
			return nil, &stoa.Refusal{Reason: stoa.ReasonBadInput, Message: "since is a duration like 24h"}
		}
	}
	hours, err := a.rooms.meter.Usage(r.Context(), time.Now().Add(-since))
	if err != nil {
		return nil, err
	}
	names, err := a.keyNames(r.Context())
	if err != nil {
		return nil, err
	}
	return map[string]any{"usage": sumUsage(hours, names)}, nil
}

// sumUsage adds the hours up per caller, model and version, in the order in which these were first seen.
func sumUsage(hours []meter.Usage, names map[string]string) []UsageView {
	type cell struct {
		caller, model string
		version       int
	}
	at := map[cell]int{}
	views := []UsageView{}
	for _, u := range hours {
		c := cell{u.Caller, u.Model, u.Version}
		i, found := at[c]
		if !found {
			i = len(views)
			at[c] = i
			name := names[u.Caller]
			if name == "" {
				name = u.Caller
			}
			views = append(views, UsageView{Caller: name, Model: u.Model, Version: u.Version})
		}
		views[i].Requests += u.Requests
		views[i].Refused += u.Failed
		views[i].Rows += u.Rows
		views[i].CPUSeconds += u.Compute.Seconds()
	}
	return views
}

func (a *App) keyNames(ctx context.Context) (map[string]string, error) {
	keys, err := a.rooms.access.List(ctx)
	if err != nil {
		return nil, err
	}
	names := map[string]string{"": "(nobody known)"}
	for _, k := range keys {
		names[k.ID] = k.Name
	}
	return names, nil
}

func (a *App) getKeys(r *http.Request, _ stoa.Caller) (any, error) {
	keys, err := a.rooms.access.List(r.Context())
	if err != nil {
		return nil, err
	}
	views := []KeyView{}
	for _, k := range keys {
		views = append(views, KeyView{ID: k.ID, Name: k.Name, Owner: k.Owner, CreatedAt: k.CreatedAt, Revoked: !k.RevokedAt.IsZero()})
	}
	return map[string]any{"keys": views}, nil
}

func (a *App) postKey(r *http.Request, caller stoa.Caller) (any, error) {
	var req struct {
		Name string `json:"name"`
	}
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	secret, made, err := a.rooms.access.Create(r.Context(), req.Name, caller)
	if err != nil {
		return nil, err
	}
	return NewKey{
		KeyView: KeyView{ID: made.ID, Name: made.Name, Owner: made.Owner, CreatedAt: time.Now().UTC()}, Secret: string(secret),
	}, nil
}

func (a *App) deleteKey(r *http.Request, caller stoa.Caller) (any, error) {
	return nil, a.rooms.access.Revoke(r.Context(), r.PathValue("id"), caller)
}
