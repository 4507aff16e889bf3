package registry_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/reliability/registry"
)

// told is what the tracking server tells of runs.
func told(_ context.Context, id string) (registry.Run, error) {
	if id != "r1" {
		return registry.Run{}, &stoa.Refusal{Reason: stoa.ReasonNotFound, Message: "Run with id=" + id + " not found"}
	}
	return registry.Run{
		ID: id, Name: "night | shift", Experiment: "prices", User: "ann", Commit: "c0ffee",
		Datasets: []registry.Dataset{{Name: "2024", Digest: "d1", Context: "training"}},
	}, nil
}

func TestLineage(t *testing.T) {
	h, w := tracked(t, func(c *registry.Config) {
		c.Run = told
		c.Rule = func(string, string) registry.Rule { return registry.Rule{Movers: []string{"ann", "bob"}, People: 2} }
	})
	h.register(t, "price", 1)
	first := call(t, w.CreateModelVersion, &registry.CreateModelVersionRequest{
		Name: "price", Source: "runs:/r1/model", Description: "# <b>better</b>", Tags: []registry.Tag{{Key: "k", Value: "v"}},
	})
	if first.ModelVersion.Version != "2" {
		t.Fatalf("%+v", first)
	}
	call(t, w.CreateModelVersion, &registry.CreateModelVersionRequest{Name: "price", Source: "models:/price/2"})
	gate := registry.Gate{Name: "quality", Passed: true, Detail: "0.97", By: "retrain"}
	if err := h.RecordGate(t.Context(), "price", 3, gate); err != nil {
		t.Fatal(err)
	}
	h.entry(t, ledger.KindRollout, "price", map[string]int{"version": 3}, ledger.StateDone)
	h.entry(t, ledger.KindRollout, "price", map[string]int{"version": 1}, ledger.StateDone)
	e, err := h.ProposeMove(t.Context(), registry.Move{Model: "price", Alias: "live", Version: 3, By: "ann", Why: "better"})
	if err != nil {
		t.Fatal(err)
	}
	for _, by := range []string{"ann", "bob"} {
		if _, err := h.Approve(t.Context(), e.ID, by, "seen"); err != nil {
			t.Fatal(err)
		}
	}
	l, err := h.Lineage(t.Context(), "price", "live")
	if err != nil {
		t.Fatal(err)
	}
	if l.Version.Number != 3 || l.Run == nil || l.Run.Name != "night | shift" || l.Commit != "c0ffee" ||
		len(l.Data) != 1 || l.Data[0].Digest != "d1" {
		t.Errorf("version, run, data or code: %+v", l)
	}
	if len(l.Ancestors) != 1 || l.Ancestors[0].Version != 2 || len(l.Gates) != 1 || !l.Gates[0].Passed {
		t.Errorf("ancestors %+v, gates %+v", l.Ancestors, l.Gates)
	}
	if len(l.Rollouts) != 1 || len(l.Decisions) != 1 || len(l.Decisions[0].Approvals) != 2 ||
		l.Decisions[0].DecidedBy != "bob" || l.Decisions[0].Alias != "live" {
		t.Errorf("rollouts %+v, decisions %+v", l.Rollouts, l.Decisions)
	}
	if len(l.Moves) != 1 || l.Moves[0].To != 3 || l.Moves[0].Entry != e.ID || l.Moves[0].By != "bob" {
		t.Errorf("moves %+v", l.Moves)
	}
	card := l.Card()
	for _, want := range []string{"# price, version 3", "| quality | passed | 0.97 | retrain |", "c0ffee", `night \| shift`,
		"training 2024 d1", "version 2, registered", "| alias | done | ann | ann, bob | better |", "servable, not in service"} {
		if !strings.Contains(card.Markdown, want) {
			t.Errorf("the card lacks %q:\n%s", want, card.Markdown)
		}
	}
	text, err := json.Marshal(card)
	if err != nil || !strings.Contains(string(text), `"gates":[{"gate":"quality"`) {
		t.Errorf("%s, %v", text, err)
	}
	two, err := h.Lineage(t.Context(), "price", "2")
	if page := two.Markdown(); err != nil || !strings.Contains(page, `\# \<b\>better\</b\>`) {
		t.Errorf("what people wrote is markup in:\n%s\n%v", page, err)
	}
}

func TestLineageOfLittle(t *testing.T) {
	h, w := tracked(t, func(c *registry.Config) { c.Run = told })
	h.register(t, "price", 1)
	run := "gone"
	if _, err := w.CreateModelVersion(t.Context(), ann, &registry.CreateModelVersionRequest{
		Name: "price", Source: "runs:/gone/model", RunID: &run,
	}); reason(err) != stoa.ReasonNotFound {
		t.Errorf("of a run that is not there: %v", err)
	}
	l, err := h.Lineage(t.Context(), "price", "1")
	if err != nil || l.Run != nil || l.RunMissing != "" || len(l.Data)+len(l.Ancestors)+len(l.Moves)+len(l.Decisions) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
	for _, want := range []string{"registered directly", "No gate has been run", "Nothing was decided", "not recorded"} {
		if !strings.Contains(l.Markdown(), want) {
			t.Errorf("the card lacks %q", want)
		}
	}
	for ref, want := range map[string]stoa.Reason{"9": stoa.ReasonUnknownVersion, "none": stoa.ReasonUnknownVersion} {
		if _, err := h.Lineage(t.Context(), "price", ref); reason(err) != want {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := h.Lineage(t.Context(), "none", "1"); reason(err) != stoa.ReasonUnknownModel {
		t.Errorf("an unknown model: %v", err)
	}
}
