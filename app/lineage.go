package app

import (
	"context"
	"net/http"
	"slices"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/reliability/registry"
)

// Where a version comes from, and who must agree to what becomes of it.

func (a *App) getLineage(r *http.Request, _ stoa.Caller) (any, error) {
	return a.rooms.registry.Lineage(r.Context(), r.PathValue("model"), r.PathValue("version"))
}

func (a *App) getCard(r *http.Request, _ stoa.Caller) (any, error) {
	l, err := a.rooms.registry.Lineage(r.Context(), r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return nil, err
	}
	return l.Card(), nil
}

// postAliasProposal proposes the move of an alias, for those to approve who may. Proposing is open to every key.
func (a *App) postAliasProposal(r *http.Request, caller stoa.Caller) (any, error) {
	var req AliasRequest
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	entry, err := a.rooms.registry.ProposeMove(r.Context(), registry.Move{
		Model: r.PathValue("model"), Alias: r.PathValue("alias"), Version: req.Version, By: caller.Name, Why: req.Why,
	})
	if err != nil {
		return nil, err
	}
	return proposalView(entry), nil
}

// aliasRule is what the workload file asks for before an alias moves.
func (a *App) aliasRule(model, alias string) registry.Rule {
	rule := a.plan.Load().workload.Security.Aliases[model][alias]
	if rule == nil {
		return registry.Rule{}
	}
	return registry.Rule{Movers: rule.Movers, Gates: rule.Gates, People: rule.People}
}

// mayDecide reports whether a key may decide on proposals about a model: an owner, an approver, or one who may move an
// alias of it.
func (a *App) mayDecide(caller stoa.Caller, model string) bool {
	if caller.Owner || slices.Contains(a.approvers(model), caller.Name) {
		return true
	}
	for _, rule := range a.plan.Load().workload.Security.Aliases[model] {
		if slices.Contains(rule.Movers, caller.Name) {
			return true
		}
	}
	return false
}

// approve approves an entry by the rules of the registry, which carries out the move of an alias with the last approval
// that it needs.
func (a *App) approve(ctx context.Context, id int64, by, why string) (ledger.Entry, error) {
	entry, err := a.rooms.registry.Approve(ctx, id, by, why)
	if err == nil && entry.Kind == ledger.KindAlias && entry.State == ledger.StateDone {
		a.lg.Info("alias moved with the approval of a proposal", "model", entry.Subject, "entry", id, "by", by)
	}
	return entry, err
}
