package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/gateway"
	"github.com/stoaproject/stoa/manifest"
	"github.com/stoaproject/stoa/reliability/fallback"
)

// The first flow: a request. The gateway admits the caller, resolves the endpoint to a target, parses the body and
// runs the stages; the target, a fallback policy over model versions, answers; the observers learn the outcome.
//
// A plan is what the workload file decides about it. It is built whole and exchanged whole.

// now is the clock of the request path.
func now() time.Time { return time.Now() }

// A plan is everything that a reload exchanges.
type plan struct {
	workload  *manifest.Workload
	endpoints map[string]*endpoint
}

// An endpoint answers calls under one name.
type endpoint struct {
	name   string
	model  string           // of the first target: what a version in the URL is looked up in
	ref    string           // version or alias of the first target
	policy *fallback.Policy // over the targets and fallbacks
}

// close lets the goroutines of the endpoints end. Calls under way are still answered.
func (p *plan) close() {
	for _, e := range p.endpoints {
		e.policy.Close()
	}
}

// newPlan builds the plan of a workload, or fails and leaves nothing behind.
func (a *App) newPlan(w *manifest.Workload) (*plan, error) {
	p := &plan{workload: w, endpoints: make(map[string]*endpoint, len(w.Endpoints))}
	for name, e := range w.Endpoints {
		var before *endpoint
		if old := a.plan.Load(); old != nil {
			before = old.endpoints[name]
		}
		built, err := a.newEndpoint(w, name, e, before)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("endpoint %s: %w", name, err)
		}
		p.endpoints[name] = built
	}
	return p, nil
}

func (a *App) newEndpoint(w *manifest.Workload, name string, e *manifest.Endpoint, before *endpoint) (*endpoint, error) {
	c := fallback.Config{Name: name, Rules: rules(w.Reliability.Inference), Observe: a.observeFallback}
	if before != nil {
		c.Inherit = before.policy
	}
	for _, t := range e.Targets {
		c.Candidates = append(c.Candidates, fallback.Candidate{
			Name: t.Model + "@" + string(t.Version), Weight: t.Weight, Target: a.versionTarget(t.Model, string(t.Version)),
		})
	}
	first := e.Targets[0]
	for i, f := range e.Fallback {
		candidate, err := a.newFallback(w, first.Model, i+1, f)
		if err != nil {
			return nil, err
		}
		c.Candidates = append(c.Candidates, candidate)
	}
	policy, err := fallback.New(c)
	if err != nil {
		return nil, err
	}
	return &endpoint{name: name, model: first.Model, ref: string(first.Version), policy: policy}, nil
}

// newFallback builds the n-th fallback of an endpoint whose first target is model.
func (a *App) newFallback(w *manifest.Workload, model string, n int, f *manifest.Fallback) (fallback.Candidate, error) {
	switch {
	case f.Model != "":
		return fallback.Candidate{
			Name: f.Model + "@" + string(f.Version), Target: a.versionTarget(f.Model, string(f.Version)),
		}, nil
	case f.Rule != nil:
		column, err := featureColumn(w, model, f.Rule.Feature)
		name := fmt.Sprintf("rule-%d", n)
		return fallback.Candidate{Name: name, Timeout: -1, Target: &fallback.Rule{
			Name: name, Feature: f.Rule.Feature, Index: column, Above: f.Rule.Above, Then: f.Rule.Then, Else: f.Rule.Else,
			Output: a.labelOutput(model),
		}}, err
	}
	name := fmt.Sprintf("answer-%d", n)
	return fallback.Candidate{Name: name, Timeout: -1, Target: &fallback.Fixed{
		Name: name, Label: f.Answer.Label, Output: a.labelOutput(model),
	}}, nil
}

// rules are the numbers of a fallback policy from the workload file.
func rules(i manifest.Inference) fallback.Rules {
	return fallback.Rules{
		Timeout: i.Timeout, Retries: i.Retries, Backoff: i.Backoff, RetryBudget: i.RetryBudget,
		Breaker: fallback.Breaker{
			Window: i.Breaker.Window, FailureRate: i.Breaker.FailureRate, OpenFor: i.Breaker.OpenFor, Ramp: i.Breaker.Ramp,
		},
	}
}

// labelOutput is the output that a rule or a fixed answer imitates: that of the model's champion, or the zero value when
// there is none.
func (a *App) labelOutput(model string) stoa.TensorSpec {
	if v, err := a.rooms.registry.Version(context.Background(), model, stoa.AliasChampion); err == nil {
		for _, o := range v.Outputs {
			if o.Name == "label" || o.Name == "output_label" {
				return o
			}
		}
	}
	return stoa.TensorSpec{}
}

// featureColumn is the column of a feature in the requests of a model.
func featureColumn(w *manifest.Workload, model, feature string) (int, error) {
	m := w.Models[model]
	if m == nil || m.Data == "" {
		return 0, fmt.Errorf("a rule needs the data set of model %s", model)
	}
	i := slices.IndexFunc(w.Data[m.Data].Features, func(f *manifest.Feature) bool { return f.Name == feature })
	if i < 0 {
		return 0, fmt.Errorf("data set %s has no feature %s", m.Data, feature)
	}
	return i, nil
}

// resolve finds the target for an endpoint and version of a URL. A version is looked up in the model of the endpoint's
// first target; a name that is no endpoint but a registered model is served by its champion, or by its newest version until there is one.
func (a *App) resolve(name, version string) (stoa.Target, error) {
	e, err := a.endpoint(name)
	if err != nil {
		return nil, err
	}
	if version == "" && a.plan.Load().endpoints[name] == nil {
		ref, err := a.inService(context.Background(), e.model)
		if err != nil {
			return nil, err
		}
		if ref != stoa.AliasChampion {
			return &aliasTarget{app: a, model: e.model, ref: ref, name: e.model + "@" + ref}, nil
		}
	}
	if version == "" {
		// An endpoint whose model is not there yet says so, rather than answering by a fallback for ever.
		if _, err := a.rooms.registry.Version(context.Background(), e.model, e.ref); err != nil {
			return nil, a.noVersion(e.model, "", err)
		}
		return e.policy, nil
	}
	if _, err := a.rooms.registry.Version(context.Background(), e.model, version); err != nil {
		return nil, err
	}
	return &pinned{a.rooms.models, e.model, version}, nil
}

func (a *App) endpoint(name string) (*endpoint, error) {
	p := a.plan.Load()
	if e := p.endpoints[name]; e != nil {
		return e, nil
	}
	if e := a.rooms.implicit.get(name); e != nil {
		return e, nil
	}
	if _, err := a.rooms.registry.Versions(context.Background(), name); err == nil {
		e, err := a.newEndpoint(p.workload, name, &manifest.Endpoint{
			Targets: []*manifest.EndpointTarget{{Model: name, Version: stoa.AliasChampion, Weight: 1}},
		}, nil)
		if err != nil {
			return nil, err
		}
		return a.rooms.implicit.put(name, e), nil
	}
	return nil, &stoa.Refusal{
		Reason: stoa.ReasonUnknownEndpoint, Message: fmt.Sprintf("there is no endpoint %q", name),
		Hint: "endpoints are declared in the workload file; a registered model is one by itself",
	}
}

// describe gives the metadata of an endpoint.
func (a *App) describe(name, version string) (gateway.Metadata, error) {
	e, err := a.endpoint(name)
	if err != nil {
		return gateway.Metadata{}, err
	}
	ctx := context.Background()
	ref := version
	switch {
	case ref != "":
	case a.plan.Load().endpoints[name] == nil:
		if ref, err = a.inService(ctx, e.model); err != nil {
			return gateway.Metadata{}, err
		}
	default:
		ref = stoa.AliasChampion
	}
	v, err := a.rooms.registry.Version(ctx, e.model, ref)
	if err != nil {
		return gateway.Metadata{}, a.noVersion(e.model, version, err)
	}
	all, err := a.rooms.registry.Versions(ctx, e.model)
	if err != nil {
		return gateway.Metadata{}, err
	}
	meta := gateway.Metadata{Platform: v.Format, Inputs: v.Inputs, Outputs: v.Outputs}
	for _, one := range all {
		meta.Versions = append(meta.Versions, strconv.Itoa(one.Number))
	}
	return meta, nil
}

// ready is nil when the endpoint can answer.
func (a *App) ready(name, version string) error {
	_, err := a.describe(name, version)
	return err
}

// noVersion turns the lack of a champion into the reason of its own: the endpoint is right, the model is not there yet.
func (a *App) noVersion(model, asked string, err error) error {
	var refusal *stoa.Refusal
	if asked != "" || !errors.As(err, &refusal) ||
		(refusal.Reason != stoa.ReasonUnknownVersion && refusal.Reason != stoa.ReasonUnknownModel) {
		return err
	}
	return &stoa.Refusal{
		Reason: stoa.ReasonNoVersion, Message: fmt.Sprintf("model %s has no version in service yet", model),
		Hint:       fmt.Sprintf("register one: stoa models register %s model.onnx --promote", model),
		RetryAfter: 5 * time.Second, Err: err,
	}
}

// A pinned answers with the version that the URL names.
type pinned struct {
	models *models
	model  string
	ref    string
}

// Infer runs the version named.
func (p *pinned) Infer(ctx context.Context, call *stoa.Call) (*stoa.Answer, error) {
	s, err := p.models.at(ctx, p.model, p.ref)
	if err != nil {
		return nil, err
	}
	return s.infer(call, p.model+"/"+p.ref, stoa.RolePinned)
}

// versionTarget is the target for a model at a version or alias, resolved anew for every call so that an alias that
// moves takes its traffic along.
func (a *App) versionTarget(model, ref string) stoa.Target {
	if ref == stoa.AliasChampion {
		return &championTarget{app: a, model: model, name: model + "@" + ref}
	}
	return &aliasTarget{app: a, model: model, ref: ref, name: model + "@" + ref}
}

// An aliasTarget answers with the version that an alias or number names now.
type aliasTarget struct {
	app              *App
	model, ref, name string
}

// Infer runs the version named.
func (t *aliasTarget) Infer(ctx context.Context, call *stoa.Call) (*stoa.Answer, error) {
	s, err := t.app.rooms.models.at(ctx, t.model, t.ref)
	if err != nil {
		return nil, t.app.noVersion(t.model, "", err)
	}
	return s.infer(call, t.name, stoa.RoleChampion)
}

// A championTarget answers with the champion, and lets the challenger of a rollout answer its share of the calls and
// shadow the rest.
type championTarget struct {
	app         *App
	model, name string
}

// Infer runs the version whose turn it is. A canary that fails costs the caller nothing: the champion answers.
func (t *championTarget) Infer(ctx context.Context, call *stoa.Call) (*stoa.Answer, error) {
	rooms := t.app.rooms
	champion, err := rooms.models.at(ctx, t.model, stoa.AliasChampion)
	if err != nil {
		return nil, t.app.noVersion(t.model, "", err)
	}
	live := rooms.lifecycle.rollout(t.model)
	if live == nil || live.champion != champion.version.Number {
		return champion.infer(call, t.name, stoa.RoleChampion)
	}
	if !live.canary(call.ID) {
		answer, err := champion.infer(call, t.name, stoa.RoleChampion)
		if err == nil {
			rooms.shadows.offer(call, live.challenger)
		}
		return answer, err
	}
	answer, err := live.challenger.infer(call, t.model+"@"+stoa.AliasChallenger, stoa.RoleCanary)
	if err == nil {
		rooms.shadows.offer(call, champion)
		return answer, nil
	}
	var refusal *stoa.Refusal
	if errors.As(err, &refusal) && !fallback.Faults[refusal.Reason].Next {
		return nil, err // the client's fault, and the champion would say the same
	}
	rooms.lifecycle.canaryFailed(t.model, err)
	if answer, err = champion.infer(call, t.name, stoa.RoleFallback); err != nil {
		return nil, err
	}
	answer.Fallback = stoa.ReasonTargetError
	return answer, nil
}
