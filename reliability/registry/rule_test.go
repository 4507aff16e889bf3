package registry_test

import (
	"strings"
	"testing"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/reliability/registry"
)

// ruled is a registry with two versions of price, whose aliases are subject to rules.
func ruled(t *testing.T, rules map[string]registry.Rule) (*house, *registry.Wire) {
	t.Helper()
	h, w := tracked(t, func(c *registry.Config) {
		c.Rule = func(model, alias string) registry.Rule {
			if model != "price" {
				return registry.Rule{}
			}
			return rules[alias]
		}
	})
	h.register(t, "price", 2)
	return h, w
}

// gate records the result of a gate on version 2.
func (h *house) gate(t *testing.T, name string, passed bool) {
	t.Helper()
	g := registry.Gate{Name: name, Passed: passed, Detail: "0.91 where 0.95 is asked", By: "retrain"}
	if err := h.RecordGate(t.Context(), "price", 2, g); err != nil {
		t.Fatal(err)
	}
}

func TestConditionsOnAnAlias(t *testing.T) {
	live := registry.Rule{Movers: []string{"ann", "bob"}, Gates: []string{"quality", "fairness"}}
	two := registry.Rule{Movers: []string{"ann", "bob"}, People: 2}
	for name, test := range map[string]struct {
		alias string
		rule  registry.Rule
		by    string
		gates map[string]bool
		want  []string // what the refusal names; nil when it moves
	}{
		"nothing is asked":       {"live", registry.Rule{}, "eve", nil, nil},
		"nobody of the movers":   {"live", live, "eve", nil, []string{"eve is not one of those who may move it: ann, bob"}},
		"a gate was not run":     {"live", live, "ann", map[string]bool{"quality": true}, []string{`gate "fairness" has not been run`}},
		"a gate failed":          {"live", live, "ann", map[string]bool{"quality": true, "fairness": false}, []string{`failed gate "fairness": 0.91`}},
		"all is there":           {"live", live, "ann", map[string]bool{"quality": true, "fairness": true}, nil},
		"everything is missing":  {"live", live, "eve", nil, []string{"quality", "fairness", "eve"}},
		"one of two people":      {"live", two, "ann", nil, []string{"it takes 2 different people, and this is one"}},
		"two of anybody":         {"live", registry.Rule{People: 2}, "eve", nil, []string{"2 different people"}},
		"champion by a mover":    {"champion", registry.Rule{Movers: []string{"ann"}}, "ann", nil, nil},
		"champion by its former": {"champion", registry.Rule{Movers: []string{"ann"}}, "approver of price", nil, []string{"ann"}},
		"champion without gates": {"champion", registry.Rule{Gates: []string{"quality"}}, "approver of price", nil, []string{"quality"}},
	} {
		t.Run(name, func(t *testing.T) {
			h, w := ruled(t, map[string]registry.Rule{test.alias: test.rule})
			for gate, passed := range test.gates {
				h.gate(t, gate, passed)
			}
			req := &registry.AliasRequest{Name: "price", Alias: test.alias, Version: "2"}
			_, err := w.SetRegisteredModelAlias(t.Context(), stoa.Caller{Name: test.by}, req)
			if test.want == nil && err != nil || test.want != nil && reason(err) != stoa.ReasonForbidden {
				t.Fatalf("error %v", err)
			}
			for _, named := range test.want {
				if !strings.Contains(err.Error(), named) {
					t.Errorf("%v does not name %q", err, named)
				}
			}
			aliases, err := h.Aliases(t.Context(), "price")
			if moved := aliases[test.alias] == 2; err != nil || moved != (test.want == nil) {
				t.Errorf("aliases %v, %v", aliases, err)
			}
			h.sound(t)
		})
	}
}

func TestTwoPeopleMoveAnAlias(t *testing.T) {
	rule := registry.Rule{Movers: []string{"ann", "bob", "cid"}, Gates: []string{"quality"}, People: 2}
	h, _ := ruled(t, map[string]registry.Rule{"champion": rule})
	move := registry.Move{Model: "price", Alias: "champion", Version: 2, By: "ann", Why: "better"}
	entry, err := h.ProposeMove(t.Context(), move)
	if err != nil || entry.State != ledger.StateProposed || entry.Kind != ledger.KindAlias {
		t.Fatalf("%+v, %v", entry, err)
	}
	if again, err := h.ProposeMove(t.Context(), move); err != nil || again.ID != entry.ID {
		t.Errorf("proposed again: %+v, %v", again, err)
	}
	approve := func(by string) (ledger.State, error) {
		e, err := h.Approve(t.Context(), entry.ID, by, "fine")
		return e.State, err
	}
	if _, err := approve("eve"); reason(err) != stoa.ReasonForbidden || !strings.Contains(err.Error(), "ann, bob, cid") {
		t.Errorf("by somebody: %v", err)
	}
	if state, err := approve("ann"); err != nil || state != ledger.StateProposed {
		t.Errorf("by who proposed it: %s, %v", state, err)
	}
	if _, err := approve("ann"); reason(err) != stoa.ReasonConflict {
		t.Errorf("by the same again: %v", err)
	}
	if _, err := approve("bob"); reason(err) != stoa.ReasonForbidden || !strings.Contains(err.Error(), `gate "quality"`) {
		t.Errorf("without the gate: %v", err)
	}
	h.gate(t, "quality", true)
	if state, err := approve("bob"); err != nil || state != ledger.StateDone {
		t.Errorf("by the second: %s, %v", state, err)
	}
	if _, err := approve("cid"); reason(err) != stoa.ReasonConflict {
		t.Errorf("when it is done: %v", err)
	}
	if v, err := h.Version(t.Context(), "price", "champion"); err != nil || v.Number != 2 {
		t.Errorf("champion is %+v, %v", v, err)
	}
	// The ledger is not a way around: an entry that one person approved there moves nothing.
	e := h.entry(t, ledger.KindAlias, "price", map[string]any{"version": 1, "alias": "champion"}, ledger.StateApproved)
	err = h.MoveAlias(t.Context(), registry.Move{Model: "price", Alias: "champion", Version: 1, By: "ann", Entry: e})
	if reason(err) != stoa.ReasonForbidden {
		t.Errorf("by an entry with one approval: %v", err)
	}
	h.sound(t)
}

func TestRolloutUnderARule(t *testing.T) {
	begin := func(h *house) (move func() error, entry int64) {
		entry = h.entry(t, ledger.KindRollout, "price", map[string]int{"version": 2}, ledger.StateRunning)
		m := registry.Move{Model: "price", Alias: "champion", Version: 2, By: "delivery", Entry: entry}
		return func() error { return h.MoveAlias(t.Context(), m) }, entry
	}
	h, _ := ruled(t, map[string]registry.Rule{"champion": {Movers: []string{"ann"}, Gates: []string{"quality"}}})
	promote, _ := begin(h)
	if err := promote(); reason(err) != stoa.ReasonForbidden || !strings.Contains(err.Error(), "quality") {
		t.Errorf("a rollout without the gate: %v", err)
	}
	h.gate(t, "quality", true)
	if err := promote(); err != nil {
		t.Errorf("a rollout has its evidence in place of the mover: %v", err)
	}
	h, _ = ruled(t, map[string]registry.Rule{"champion": {Movers: []string{"ann", "bob"}, People: 2}})
	promote, entry := begin(h)
	if err := promote(); reason(err) != stoa.ReasonForbidden || !strings.Contains(err.Error(), "approval of nobody, of 2 needed") {
		t.Errorf("a rollout without people: %v", err)
	}
	for _, by := range []string{"ann", "bob"} {
		if e, err := h.Approve(t.Context(), entry, by, ""); err != nil || e.State != ledger.StateRunning {
			t.Errorf("approved by %s while it runs: %+v, %v", by, e, err)
		}
	}
	if err := promote(); err != nil {
		t.Errorf("a rollout that two people approved: %v", err)
	}
	h.sound(t)
}

func TestProposalsThatCannotBe(t *testing.T) {
	h, w := ruled(t, nil)
	call(t, w.CreateModelVersion, &registry.CreateModelVersionRequest{Name: "price", Source: "runs:/r1/pickle"})
	if err := h.MoveAlias(t.Context(), registry.Move{Model: "price", Alias: "x", Version: 1, By: "ann"}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		move registry.Move
		want stoa.Reason
	}{
		"an unknown model":   {registry.Move{Model: "none", Alias: "x", Version: 1, By: "ann"}, stoa.ReasonUnknownModel},
		"an unknown version": {registry.Move{Model: "price", Alias: "x", Version: 9, By: "ann"}, stoa.ReasonUnknownVersion},
		"no champion":        {registry.Move{Model: "price", Alias: "champion", By: "ann"}, stoa.ReasonConflict},
		"not servable":       {registry.Move{Model: "price", Alias: "champion", Version: 3, By: "ann"}, stoa.ReasonInvalid},
		"there already":      {registry.Move{Model: "price", Alias: "x", Version: 1, By: "ann"}, stoa.ReasonConflict},
		"no alias":           {registry.Move{Model: "price", Version: 1, By: "ann"}, stoa.ReasonInvalid},
		"nobody":             {registry.Move{Model: "price", Alias: "x", Version: 2}, stoa.ReasonInvalid},
	} {
		if _, err := h.ProposeMove(t.Context(), test.move); reason(err) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	first, err := h.ProposeMove(t.Context(), registry.Move{Model: "price", Alias: "x", Version: 2, By: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if done, err := h.Approve(t.Context(), first.ID, "bob", ""); err != nil || done.State != ledger.StateDone {
		t.Errorf("%+v, %v", done, err)
	}
	if err := h.MoveAlias(t.Context(), registry.Move{Model: "price", Alias: "x", Version: 1, By: "ann"}); err != nil {
		t.Fatal(err)
	}
	second, err := h.ProposeMove(t.Context(), registry.Move{Model: "price", Alias: "x", Version: 2, By: "ann"})
	if err != nil || second.ID == first.ID {
		t.Errorf("the same move later is another entry: %+v, %v", second, err)
	}
	if _, err := h.Approve(t.Context(), 999, "bob", ""); reason(err) != stoa.ReasonNotFound {
		t.Errorf("an unknown entry: %v", err)
	}
	h.sound(t)
}

// TestProtectedModelsStay proves that the champion cannot be taken away by renaming, deleting or emptying its model.
func TestProtectedModelsStay(t *testing.T) {
	h, w := ruled(t, nil)
	for _, m := range []registry.Move{{Version: 1}, {Version: 2}} {
		m.Model, m.Alias, m.By = "price", "champion", boss.Name
		if err := h.MoveAlias(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	rename := &registry.RenameRegisteredModelRequest{Name: "price", NewName: "mine"}
	for name, do := range map[string]func() error{
		"rename":                            func() error { _, err := w.RenameRegisteredModel(t.Context(), ann, rename); return err },
		"rename by an approver of one name": func() error { _, err := w.RenameRegisteredModel(t.Context(), boss, rename); return err },
		"delete": func() error {
			_, err := w.DeleteRegisteredModel(t.Context(), ann, &registry.DeleteRegisteredModelRequest{Name: "price"})
			return err
		},
		"delete the champion": func() error {
			_, err := w.DeleteModelVersion(t.Context(), boss, &registry.ModelVersionRequest{Name: "price", Version: "2"})
			return err
		},
		"delete the version to go back to": func() error {
			_, err := w.DeleteModelVersion(t.Context(), boss, &registry.ModelVersionRequest{Name: "price", Version: "1"})
			return err
		},
		"delete the alias": func() error {
			_, err := w.DeleteRegisteredModelAlias(t.Context(), boss, &registry.AliasRequest{Name: "price", Alias: "champion"})
			return err
		},
	} {
		if err := do(); reason(err) != stoa.ReasonForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v, err := h.Version(t.Context(), "price", "champion"); err != nil || v.Number != 2 {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := w.DeleteRegisteredModel(t.Context(), boss, &registry.DeleteRegisteredModelRequest{Name: "price"}); err != nil {
		t.Errorf("by an approver: %v", err)
	}
	if n, err := h.Sweep(t.Context(), nil); err != nil || n != 2 {
		t.Errorf("swept %d artifacts of a deleted model, %v", n, err)
	}
	h.sound(t)
}
