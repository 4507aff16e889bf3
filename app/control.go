package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/gateway"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/operations/monitor"
	"github.com/stoaproject/stoa/reliability/registry"
	"github.com/stoaproject/stoa/store"
)

const (
	maxControlBody  = 4 << 20   // bytes of a JSON body
	maxArtifactBody = 512 << 20 // bytes of a registration
	pageSize        = 500       // events in one page
)

type callerKey struct{}

// guarded lets a request through when its caller may use the route.
func (a *App) guarded(needs permission, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var authorization string
		if values := r.Header["Authorization"]; len(values) == 1 {
			authorization = values[0]
		}
		caller, err := a.rooms.access.Admit(authorization)
		if err == nil && needs == ownersOnly && !caller.Owner {
			err = forbidden("this needs an owner's key")
		}
		if err != nil {
			gateway.WriteError(w, err)
			return
		}
		next(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, caller)))
	})
}

func forbidden(what string) error {
	return &stoa.Refusal{Reason: stoa.ReasonForbidden, Message: what, Hint: "ask an owner of the workload"}
}

// answer adapts a handler to HTTP.
func answer(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		caller, _ := r.Context().Value(callerKey{}).(stoa.Caller)
		v, err := h(r, caller)
		if err != nil {
			gateway.WriteError(w, storageRefusal(err))
			return
		}
		writeJSON(w, v)
	}
}

// storageRefusal gives a fault of the disk its reason, so that the client learns that its request was right.
func storageRefusal(err error) error {
	reason, found := store.Reason(err)
	var refusal *stoa.Refusal
	if !found || errors.As(err, &refusal) {
		return err
	}
	switch reason {
	case stoa.ReasonInvalid:
		return &stoa.Refusal{Reason: reason, Message: store.ErrText.Error(), Err: err}
	case stoa.ReasonStorageUnavailable:
		return &stoa.Refusal{
			Reason: reason, Message: "the database cannot be reached: the change was not acknowledged",
			Hint: "inference goes on; try again", RetryAfter: 5 * time.Second, Err: err,
		}
	}
	return &stoa.Refusal{
		Reason: reason, Message: "the store cannot take this now: nothing was changed",
		Hint: "inference goes on; make room or repair the data directory, then try again", RetryAfter: 10 * time.Second, Err: err,
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if v == nil {
		v = struct{}{}
	}
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

// readJSON decodes the body of a control request. An empty body leaves into as it is.
func readJSON(r *http.Request, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxControlBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if errors.Is(err, io.EOF) {
		return nil
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &stoa.Refusal{Reason: stoa.ReasonTooLarge, Message: fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)}
	case err != nil:
		return &stoa.Refusal{Reason: stoa.ReasonMalformed, Message: "the body is not the JSON expected: " + err.Error()}
	case dec.More():
		return &stoa.Refusal{Reason: stoa.ReasonMalformed, Message: "the body has something after its JSON document"}
	}
	return nil
}

// Workload and process.

func (a *App) getWorkload(*http.Request, stoa.Caller) (any, error) {
	w := a.plan.Load().workload
	return map[string]any{
		"name": w.Name, "description": w.Description, "owner": map[string]string{"team": w.Owner.Team, "contact": w.Owner.Contact},
		"criticality": w.Criticality, "risk": w.Risk, "version": a.opt.Version,
	}, nil
}

func (a *App) postReload(r *http.Request, caller stoa.Caller) (any, error) {
	if err := a.Reload(r.Context(), caller.Name); err != nil {
		var refusal *stoa.Refusal
		if !errors.As(err, &refusal) {
			err = &stoa.Refusal{Reason: stoa.ReasonInvalid, Message: "nothing was changed: " + err.Error()}
		}
		return nil, err
	}
	return map[string]any{"reloaded": true, "by": caller.Name}, nil
}

// Models.

func (a *App) getModels(r *http.Request, _ stoa.Caller) (any, error) {
	all, err := a.rooms.registry.Models(r.Context())
	if err != nil {
		return nil, err
	}
	views := make([]ModelView, 0, len(all))
	for _, m := range all {
		views = append(views, ModelView{Name: m.Name, Versions: m.Versions, Aliases: m.Aliases})
	}
	return map[string]any{"models": views}, nil
}

func (a *App) getVersions(r *http.Request, _ stoa.Caller) (any, error) {
	model := r.PathValue("model")
	all, err := a.rooms.registry.Versions(r.Context(), model)
	if err != nil {
		return nil, err
	}
	aliases, err := a.rooms.registry.Aliases(r.Context(), model)
	if err != nil {
		return nil, err
	}
	return map[string]any{"versions": all, "aliases": aliases}, nil
}

// postVersion registers a version: a form with a part "metadata" (JSON, optional) followed by a part "artifact".
func (a *App) postVersion(r *http.Request, caller stoa.Caller) (any, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "multipart/form-data" {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonMalformed, Message: "a registration is a multipart/form-data form",
			Hint: "stoa models register MODEL FILE sends one",
		}
	}
	r.Body = http.MaxBytesReader(nil, r.Body, maxArtifactBody)
	form, err := r.MultipartReader()
	if err != nil {
		return nil, badForm(err)
	}
	var meta RegisterRequest
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, badForm(errors.New(`there is no part "artifact"`))
		}
		if err != nil {
			return nil, badForm(err)
		}
		switch part.FormName() {
		case "metadata":
			dec := json.NewDecoder(io.LimitReader(part, maxControlBody))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&meta); err != nil {
				return nil, badForm(fmt.Errorf("metadata: %w", err))
			}
		case "artifact":
			return a.rooms.registry.Register(r.Context(), registry.Candidate{
				Model: r.PathValue("model"), Artifact: part, Format: meta.Format, Parent: meta.Parent,
				DataDigest: meta.DataDigest, Code: meta.Code, Parameters: meta.Parameters, Metrics: meta.Metrics, By: caller.Name,
			})
		default:
			return nil, badForm(fmt.Errorf("unknown part %q", part.FormName()))
		}
	}
}

func badForm(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &stoa.Refusal{Reason: stoa.ReasonTooLarge, Message: fmt.Sprintf("the form is larger than %d bytes", tooLarge.Limit)}
	}
	return &stoa.Refusal{Reason: stoa.ReasonMalformed, Message: "the form cannot be read: " + err.Error()}
}

// putAlias moves an alias. champion and previous move only for an approver, which the registry checks; the others for an
// owner.
func (a *App) putAlias(r *http.Request, caller stoa.Caller) (any, error) {
	var req AliasRequest
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	model, alias := r.PathValue("model"), r.PathValue("alias")
	if alias != stoa.AliasChampion && alias != stoa.AliasPrevious && !caller.Owner {
		return nil, forbidden("moving an alias needs an owner's key")
	}
	err := a.rooms.registry.MoveAlias(r.Context(), registry.Move{
		Model: model, Alias: alias, Version: req.Version, By: caller.Name, Why: req.Why,
	})
	if err != nil {
		return nil, err
	}
	a.rooms.telemetry.AliasMoved(model, alias)
	a.rooms.lifecycle.wake()
	return map[string]any{"model": model, "alias": alias, "version": req.Version}, nil
}

func (a *App) getLifecycle(r *http.Request, _ stoa.Caller) (any, error) {
	return a.rooms.lifecycle.view(r.Context(), r.PathValue("model"))
}

func (a *App) getAccuracy(r *http.Request, _ stoa.Caller) (any, error) {
	n := 1000
	if text := r.URL.Query().Get("last"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > 1_000_000 {
			return nil, &stoa.Refusal{Reason: stoa.ReasonBadInput, Message: "last is a number of judgements from 1 to 1000000"}
		}
	}
	list, err := a.rooms.monitor.Recent(r.Context(), r.PathValue("model"), n)
	if err != nil {
		return nil, err
	}
	return map[string]any{"accuracy": list}, nil
}

func (a *App) postRetrain(r *http.Request, caller stoa.Caller) (any, error) {
	var req RetrainRequest
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	entry, err := a.rooms.lifecycle.proposeRetrain(r.Context(), r.PathValue("model"), caller.Name, req.Why)
	if err != nil {
		return nil, err
	}
	return proposalView(entry), nil
}

// Labels.

func (a *App) postLabels(r *http.Request, caller stoa.Caller) (any, error) {
	var req LabelRequest
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	if len(req.Labels) == 0 {
		return nil, &stoa.Refusal{Reason: stoa.ReasonBadInput, Message: "there are no labels", Hint: `{"labels":[{"id":…,"label":…}]}`}
	}
	labels := make([]monitor.Label, len(req.Labels))
	for i, l := range req.Labels {
		labels[i] = monitor.Label{Label: l, Model: req.Model}
	}
	report, err := a.rooms.monitor.Label(r.Context(), labels, caller.Name)
	if err != nil {
		return nil, err
	}
	a.rooms.lifecycle.wake()
	out := LabelReport{Joined: report.Joined}
	refused := slices.Concat(report.Unknown, report.Duplicate)
	if len(req.Labels) == 1 && len(refused) == 1 { // of many labels each has its own reason; one is the whole request
		a.rooms.telemetry.Labels(0, len(report.Unknown), len(report.Duplicate))
		return nil, labelRefused(refused[0])
	}
	for _, l := range refused {
		out.Refused = append(out.Refused, RefusedLabel{ID: l.ID, Row: l.Row, Reason: l.Reason})
	}
	a.rooms.telemetry.Labels(report.Joined, len(report.Unknown), len(report.Duplicate))
	return out, nil
}

// labelRefused says why a label was not taken, and what to do.
func labelRefused(l monitor.Rejection) error {
	refusal := &stoa.Refusal{Reason: l.Reason, Message: fmt.Sprintf("prediction %q, row %d: %s", l.ID, l.Row, l.Reason)}
	switch l.Reason {
	case stoa.ReasonUnknownLabel:
		refusal.Message = fmt.Sprintf("no prediction %q of this model waits for a label of row %d", l.ID, l.Row)
		refusal.Hint = "the id is the one that the prediction was made with; after label_wait it is forgotten"
	case stoa.ReasonDuplicateLabel:
		refusal.Message = fmt.Sprintf("row %d of prediction %q has its label already", l.Row, l.ID)
		refusal.Hint = "the first label stands"
	}
	return refusal
}

// Ledger.

func proposalView(e ledger.Entry) ProposalView {
	return ProposalView{
		ID: e.ID, Key: e.Key, Kind: string(e.Kind), Subject: e.Subject, State: string(e.State), Why: e.Why,
		ProposedBy: e.ProposedBy, DecidedBy: e.DecidedBy, Error: e.Error, Payload: e.Payload, Result: e.Result,
		CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt,
	}
}

func (a *App) getProposals(r *http.Request, _ stoa.Caller) (any, error) {
	q := r.URL.Query()
	limit := 50
	if text := q.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > 10_000 {
			return nil, &stoa.Refusal{Reason: stoa.ReasonBadInput, Message: "limit is a number from 1 to 10000"}
		}
	}
	filter := ledger.Filter{Kind: ledger.Kind(q.Get("kind")), Subject: q.Get("subject")}
	if s := q.Get("state"); s != "" {
		filter.States = []ledger.State{ledger.State(s)}
	}
	entries, err := a.rooms.ledger.List(r.Context(), filter)
	if err != nil {
		return nil, err
	}
	slices.Reverse(entries)
	entries = entries[:min(limit, len(entries))]
	views := make([]ProposalView, 0, len(entries))
	for _, e := range entries {
		views = append(views, proposalView(e))
	}
	return map[string]any{"proposals": views}, nil
}

func (a *App) postApprove(r *http.Request, caller stoa.Caller) (any, error) {
	return a.decide(r, caller, a.approve)
}

func (a *App) postReject(r *http.Request, caller stoa.Caller) (any, error) {
	return a.decide(r, caller, a.rooms.ledger.Reject)
}

// decide approves or rejects a proposal; owners, the approvers of the proposal's model and the movers of its aliases may.
func (a *App) decide(
	r *http.Request, caller stoa.Caller, verb func(context.Context, int64, string, string) (ledger.Entry, error),
) (any, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return nil, &stoa.Refusal{Reason: stoa.ReasonBadInput, Message: "a proposal has a number"}
	}
	var req DecisionRequest
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	entry, err := a.rooms.ledger.Get(r.Context(), id)
	if err != nil {
		return nil, err
	}
	if !a.mayDecide(caller, entry.Subject) {
		return nil, forbidden("deciding on this proposal needs an approver of " + entry.Subject)
	}
	if entry, err = verb(r.Context(), id, caller.Name, req.Why); err != nil {
		return nil, err
	}
	a.rooms.lifecycle.wake()
	return proposalView(entry), nil
}

func (a *App) getEvents(r *http.Request, _ stoa.Caller) (any, error) {
	var after int64
	if text := r.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
			return nil, &stoa.Refusal{Reason: stoa.ReasonBadInput, Message: "after is the number of an event"}
		}
	}
	events, err := a.rooms.ledger.Events(r.Context(), after, pageSize)
	if err != nil {
		return nil, err
	}
	subject := r.URL.Query().Get("subject")
	views := []EventView{}
	for _, e := range events {
		if subject == "" || e.Subject == subject {
			views = append(views, eventView(e))
		}
	}
	var next int64
	if len(events) == pageSize {
		next = events[len(events)-1].Seq
	}
	return map[string]any{"events": views, "next": next}, nil
}

func (a *App) getAudit(r *http.Request, _ stoa.Caller) (any, error) {
	report, err := a.rooms.ledger.Verify(r.Context())
	if err != nil {
		return nil, err
	}
	return auditView(report), nil
}

func auditView(report ledger.Report) AuditView {
	view := AuditView{Rows: report.Rows, Head: report.Head, Broken: []BreakView{}}
	for _, b := range report.Broken {
		view.Broken = append(view.Broken, BreakView{Seq: b.Seq, What: b.What})
	}
	return view
}
