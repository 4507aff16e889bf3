package registry

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

// A Rule is what the workload asks for before an alias of a model moves, beyond what the registry asks for itself. Its
// zero value asks for nothing.
//
// Gates hold for every move that points the alias at a version, whoever makes it. Movers and People hold for moves by
// hand and for entries of the kind alias. A rollout has its evidence in place of the mover, but not in place of a
// second pair of eyes: with People of 2 or more its entry needs the approvals as well.
type Rule struct {
	Movers []string // who may move the alias; empty leaves that to rules 1 and 2 of [Registry.MoveAlias]
	Gates  []string // gates that the version must have passed
	People int      // how many different people must agree to a move; less than 2 means that one is enough
}

// A Gate is the result of one evaluation of a version: "quality", "latency", "fairness", whatever the workload runs.
type Gate struct {
	Name   string    `json:"gate"`
	Passed bool      `json:"passed"`
	Detail string    `json:"detail,omitempty"` // what was measured, against what
	By     string    `json:"by"`               // who ran it
	Entry  int64     `json:"entry,omitempty"`  // entry of the ledger that it was run for; 0 for none
	At     time.Time `json:"at"`
}

// RecordGate keeps the result of a gate on a version, in place of an older one of the same name, and notes it in the
// ledger. The time is the registry's. The error is a *[stoa.Refusal]: invalid, unknown_model or unknown_version.
func (r *Registry) RecordGate(ctx context.Context, model string, number int, g Gate) error {
	if g.Name == "" || g.By == "" {
		return invalid("the result of a gate needs the gate's name and who ran it")
	}
	err := r.editVersion(ctx, model, number, func(tx *store.Tx, v *version, at time.Time) error {
		g.At = at
		v.gates = withKey(v.gates, g.Name, g)
		return r.config.Ledger.Note(ctx, tx, ledger.Act{
			Actor: g.By, What: "gate.record", Subject: model, Entry: g.Entry,
			Data: struct {
				Version int `json:"version"`
				Gate
			}{number, g},
		})
	})
	if err != nil {
		return fmt.Errorf("registry: record gate %s of %s version %d: %w", g.Name, model, number, err)
	}
	return nil
}

// Gates gives the newest result of each gate of a version, in the order of their names.
func (r *Registry) Gates(_ context.Context, model string, number int) ([]Gate, error) {
	m, err := r.current.Load().model(model)
	if err != nil {
		return nil, err
	}
	v, found := m.at(number)
	if !found {
		return nil, m.noVersion(model, fmt.Sprint(number))
	}
	return v.gateList(), nil
}

func (v *version) gateList() []Gate {
	list := make([]Gate, 0, len(v.gates))
	for _, name := range slices.Sorted(maps.Keys(v.gates)) {
		list = append(list, v.gates[name])
	}
	return list
}

// withKey gives a copy of m with one more key.
func withKey[V any](m map[string]V, key string, value V) map[string]V {
	next := maps.Clone(m)
	if next == nil {
		next = map[string]V{}
	}
	next[key] = value
	return next
}

// mayMove applies the rules of [Registry.MoveAlias] and the workload's [Rule].
func (r *Registry) mayMove(ctx context.Context, tx *store.Tx, model *model, m Move) error {
	protected := isProtected(m.Alias)
	if m.Alias == stoa.AliasChampion && m.Version == 0 {
		return noChampion(m.Model, stoa.ReasonConflict) // rule 4
	}
	v, found := model.at(m.Version)
	if protected && found && !v.Servable {
		return r.notServable(m, v) // rule 5
	}
	rule := r.config.Rule(m.Model, m.Alias)
	missing := missingGates(rule, v, found)
	who, err := r.missingPeople(ctx, tx, rule, m, protected)
	if err != nil {
		return err
	}
	if missing = append(missing, who...); len(missing) == 0 {
		return nil
	}
	hint := "propose a rollout, or ask an approver"
	if rule.People > 1 || len(rule.Movers) > 0 {
		hint = "meet what is missing, then move it, or propose the move and have it approved"
	}
	return &stoa.Refusal{
		Reason: stoa.ReasonForbidden,
		Message: fmt.Sprintf("%s of %q may not be moved to version %d: %s", m.Alias, m.Model, m.Version,
			strings.Join(missing, "; ")),
		Hint: hint,
	}
}

// isProtected reports whether an alias says what serves, or what to go back to.
func isProtected(alias string) bool {
	return alias == stoa.AliasChampion || alias == stoa.AliasPrevious
}

// noChampion refuses to take the champion away.
func noChampion(model string, reason stoa.Reason) error {
	return &stoa.Refusal{
		Reason: reason, Message: fmt.Sprintf("%q cannot be left without a champion", model),
		Hint: "move champion to another version instead",
	}
}

// notServable refuses to put a version into service that nothing here can serve.
func (r *Registry) notServable(m Move, v version) error {
	return &stoa.Refusal{
		Reason: stoa.ReasonInvalid,
		Message: fmt.Sprintf("%s of %q may not be moved to version %d: it cannot be served in this process: %s", m.Alias,
			m.Model, m.Version, v.Unservable),
		Hint: "register a version with an ONNX model",
	}
}

// missingGates names the gates that a version has not passed. Removing an alias asks for none.
func missingGates(rule Rule, v version, found bool) []string {
	var missing []string
	for _, gate := range rule.Gates {
		switch result, run := v.gates[gate]; {
		case !found:
		case !run:
			missing = append(missing, fmt.Sprintf("gate %q has not been run on it", gate))
		case !result.Passed:
			missing = append(missing, strings.TrimSuffix(fmt.Sprintf("it failed gate %q: %s", gate, result.Detail), ": "))
		}
	}
	return missing
}

// missingPeople says who is missing for a move, or nothing.
func (r *Registry) missingPeople(
	ctx context.Context, tx *store.Tx, rule Rule, m Move, protected bool,
) ([]string, error) {
	var entry ledger.Entry
	if m.Entry != 0 {
		var err error
		if entry, err = r.config.Ledger.GetTx(ctx, tx, m.Entry); err != nil {
			return nil, err
		}
	}
	if !protected && len(rule.Movers) == 0 && rule.People < 2 {
		return nil, nil // rule 2
	}
	movers := r.movers(rule, m.Model, protected)
	if m.Entry == 0 {
		return r.missingHand(rule, movers, m), nil
	}
	if rule.People < 2 && len(rule.Movers) == 0 && slices.Contains(movers, m.By) {
		return nil, nil // rule 1, by an approver
	}
	if err := lets(entry, m); err != nil {
		return []string{fmt.Sprintf("entry %d does not let it: %s", m.Entry, err)}, nil
	}
	if rule.People < 2 && (entry.Kind == ledger.KindRollout || len(rule.Movers) == 0) {
		return nil, nil // rule 1, by an entry
	}
	agreed, err := agreed(ctx, tx, entry, movers)
	if err != nil {
		return nil, err
	}
	if need := max(1, rule.People); len(agreed) < need {
		return []string{fmt.Sprintf("entry %d has the approval of %s, of %d needed from %s", m.Entry,
			listed(agreed), need, listed(movers))}, nil
	}
	return nil, nil
}

// missingHand says what keeps somebody from moving an alias by hand.
func (r *Registry) missingHand(rule Rule, movers []string, m Move) []string {
	var missing []string
	if movers != nil && !slices.Contains(movers, m.By) {
		if len(rule.Movers) > 0 {
			missing = append(missing, fmt.Sprintf("%s is not one of those who may move it: %s", m.By, listed(movers)))
		} else {
			missing = append(missing, "no ledger entry is given, and "+m.By+" is not one of the model's approvers")
		}
	}
	if rule.People > 1 {
		missing = append(missing, fmt.Sprintf("it takes %d different people, and this is one", rule.People))
	}
	return missing
}

// movers are the names that count when an alias moves; nil means that every name does.
func (r *Registry) movers(rule Rule, model string, protected bool) []string {
	if len(rule.Movers) > 0 || !protected {
		return rule.Movers
	}
	return append([]string{}, r.config.Approvers(model)...)
}

func listed(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// agreed are the different people behind an entry, of those who count: who proposed it, who decided on it and who
// approved it before there were enough.
func agreed(ctx context.Context, tx *store.Tx, entry ledger.Entry, movers []string) ([]string, error) {
	names := []string{entry.ProposedBy}
	if entry.State != ledger.StateRejected && entry.DecidedBy != "" {
		names = append(names, entry.DecidedBy)
	}
	approvals, err := approvals(ctx, tx, entry.ID)
	if err != nil {
		return nil, err
	}
	for _, a := range approvals {
		names = append(names, a.By)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if movers != nil {
		names = slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(movers, name) })
	}
	return names, nil
}

// An Approval is one person's yes to an entry.
type Approval struct {
	By  string    `json:"by"`
	Why string    `json:"why,omitempty"`
	At  time.Time `json:"at"`
}

// approvals reads who has approved an entry that needs several people, in the order of their names.
func approvals(ctx context.Context, tx *store.Tx, entry int64) ([]Approval, error) {
	var list []Approval
	const query = "SELECT approved_by, why, approved_at FROM registry_approval WHERE entry = ? ORDER BY approved_by"
	err := each(ctx, tx, query, func(rows *sql.Rows) error {
		var a Approval
		var at int64
		if err := rows.Scan(&a.By, &a.Why, &at); err != nil {
			return err
		}
		a.At = fromMicros(at)
		list = append(list, a)
		return nil
	}, entry)
	return list, err
}
