package app_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/app"
	"github.com/stoaproject/stoa/cli"
)

// TestMain lets the test binary be the program that a retraining command calls stoa.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "train" {
		os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// lively is the workload with settings that make decisions come soon.
var lively = strings.NewReplacer(
	"security:", `operations:
  monitor: {price: {decay: {expected_labels_between_false_alarms: 200, tolerance: 0.05}}}
  rollout: {price: {canary: {share: 0.5, min_labels: 5}, shadow: {min_labels: 10}}}
security:`,
	"window_rows: 100", "window_rows: 200, cooldown_labels: 100",
).Replace(workload)

// A market asks for predictions and knows the truth, which can change.
type market struct {
	*server
	r      *rand.Rand
	n      int
	turned bool // the classes have changed places
}

func newMarket(t *testing.T, text string) *market {
	m := &market{server: newServer(t, text), r: rand.New(rand.NewPCG(7, 7))}
	if err := os.WriteFile(filepath.Join(m.dir, "feed.csv"), []byte("a,b,class\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	return m
}

func (m *market) truth(a, b float64) string {
	if (a+0.3*b > 0.6) != m.turned {
		return "UP"
	}
	return "DOWN"
}

// trade asks for n predictions, tells their labels, appends them to the feed, and waits until the server has drawn its
// conclusions.
func (m *market) trade(n int) app.LifecycleView {
	m.t.Helper()
	var labels []stoa.Label
	var feed strings.Builder
	for range n {
		a, b := m.r.Float64(), m.r.Float64()
		m.n++
		id := fmt.Sprintf("trade-%d", m.n)
		body := fmt.Sprintf(`{"id":%q,"inputs":[{"name":"input","datatype":"FP32","shape":[1,2],"data":[%.4f,%.4f]}]}`, id, a, b)
		if got := m.infer(body); got.status != http.StatusOK {
			m.t.Fatalf("infer: %d %s", got.status, got.body)
		}
		truth := m.truth(a, b)
		labels = append(labels, stoa.Label{ID: id, Value: truth})
		fmt.Fprintf(&feed, "%.4f,%.4f,%s\n", a, b, truth)
	}
	file, err := os.OpenFile(filepath.Join(m.dir, "feed.csv"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := file.WriteString(feed.String()); err != nil {
		m.t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		m.t.Fatal(err)
	}
	var report app.LabelReport
	m.must(http.MethodPost, "/v1/labels", app.LabelRequest{Labels: labels}, &report)
	if report.Joined < n {
		m.t.Fatalf("%d of %d labels joined: %+v", report.Joined, n, report.Refused)
	}
	return m.settle()
}

func (m *market) settle() app.LifecycleView {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		var v app.LifecycleView
		m.must(http.MethodGet, "/v1/models/price/lifecycle", nil, &v)
		if v.Settled {
			return v
		}
	}
	m.t.Fatal("the lifecycle does not settle")
	panic("unreachable")
}

func (m *market) proposals(state string) []app.ProposalView {
	m.t.Helper()
	var list struct{ Proposals []app.ProposalView }
	m.must(http.MethodGet, "/v1/proposals?state="+state, nil, &list)
	return list.Proposals
}

// decay serves version 1, turns the market, and trades until there is a proposal to retrain.
func (m *market) decay() app.ProposalView {
	m.t.Helper()
	m.serveVersion(model(m.t, 1))
	for range 12 { // the reference is learnt from 500 labels
		m.trade(50)
	}
	if v := m.settle(); v.Decay == nil || v.Decay.Learning || v.Counts.Alarms != 0 {
		m.t.Fatalf("before the change: %+v %+v", v.Decay, v.Counts)
	}
	m.turned = true
	for range 10 {
		m.trade(50)
		if list := m.proposals("proposed"); len(list) > 0 {
			return list[0]
		}
	}
	m.t.Fatal("the decay was not noticed")
	panic("unreachable")
}

func TestDecayRetrainRollout(t *testing.T) {
	m := newMarket(t, lively)
	p := m.decay()
	if p.Kind != "retrain" || p.ProposedBy != "monitor" || !strings.Contains(p.Why, "errors") {
		t.Errorf("proposal %+v", p)
	}
	if v := m.trade(200); v.Counts.Retrainings != 0 || v.Champion != 1 {
		t.Fatalf("it retrained without approval: %+v", v)
	}
	if list := m.proposals("proposed"); len(list) != 1 {
		t.Errorf("%d proposals for one decay", len(list))
	}
	m.must(http.MethodPost, fmt.Sprintf("/v1/proposals/%d/approve", p.ID), app.DecisionRequest{Why: "test"}, nil)
	v := m.settle()
	if v.Rollout == nil || v.Rollout.Phase != "shadow" || v.Challenger != 2 || v.Champion != 1 {
		t.Fatalf("after the retraining: %+v %+v", v, v.Rollout)
	}
	phases := map[string]bool{v.Rollout.Phase: true}
	for range 30 {
		if v = m.trade(20); v.Rollout == nil {
			break
		}
		phases[v.Rollout.Phase] = true
	}
	if v.Champion != 2 || v.Previous != 1 || v.Challenger != 0 || v.Counts.Promotions != 1 {
		t.Fatalf("after the rollout: %+v", v)
	}
	if !phases["shadow"] || !phases["canary"] {
		t.Errorf("phases seen: %v", phases)
	}
	if done := m.proposals("done"); len(done) != 2 {
		t.Errorf("entries done: %+v", done)
	}
	var audit app.AuditView
	m.must(http.MethodGet, "/v1/audit", nil, &audit)
	if len(audit.Broken) > 0 {
		t.Errorf("the ledger does not verify: %+v", audit.Broken)
	}
	metrics := string(m.do(http.MethodGet, "/metrics", nil).body)
	for _, want := range []string{"stoa_drift_statistic", "stoa_retrains_total", "stoa_rollouts_total", "stoa_alias_moves_total"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

func TestRejectedRetrainingDoesNotRun(t *testing.T) {
	m := newMarket(t, lively)
	p := m.decay()
	m.must(http.MethodPost, fmt.Sprintf("/v1/proposals/%d/reject", p.ID), app.DecisionRequest{Why: "not now"}, nil)
	if v := m.trade(90); v.Counts.Retrainings != 0 || v.Champion != 1 {
		t.Errorf("it retrained all the same: %+v", v)
	}
	if list := m.proposals("proposed"); len(list) != 0 {
		t.Errorf("it proposes again before the cooldown is over: %+v", list)
	}
	m.trade(60)
	if list := m.proposals("proposed"); len(list) != 1 {
		t.Errorf("%d proposals after the cooldown, want one", len(list))
	}
	again := m.do(http.MethodPost, fmt.Sprintf("/v1/proposals/%d/approve", p.ID), nil)
	if again.status != http.StatusConflict {
		t.Errorf("approving what was rejected: %d %s", again.status, again.body)
	}
}

func TestLifecycleResumesAfterARestart(t *testing.T) {
	m := newMarket(t, lively)
	p := m.decay()
	m.trade(200) // a window of the market as it is now
	m.must(http.MethodPost, fmt.Sprintf("/v1/proposals/%d/approve", p.ID), nil, nil)
	before := m.settle()
	if before.Rollout == nil {
		t.Fatalf("no rollout: %+v", before)
	}
	if err := m.app.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.start()
	after := m.settle()
	if after.Rollout == nil || *after.Rollout != *before.Rollout || after.Counts != before.Counts {
		t.Fatalf("the rollout is not resumed:\n%+v\n%+v", before.Rollout, after.Rollout)
	}
	var v app.LifecycleView
	for range 30 {
		if v = m.trade(20); v.Rollout == nil {
			break
		}
	}
	if v.Champion != 2 {
		t.Errorf("the resumed rollout did not promote: %+v", v)
	}
}

func TestRetrainingThatFailsChangesNothing(t *testing.T) {
	for name, command := range map[string]string{
		"no such program": `[/nonexistent/program, "{data}", "{model}"]`,
		"exits with 1":    `[sh, -c, "exit 1", "{data}", "{model}"]`,
		"makes no model":  `[sh, -c, "exit 0", "{data}", "{model}"]`,
		"makes rubbish":   `[sh, -c, "echo rubbish > $1", "{data}", "{model}"]`,
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(lively, `[stoa, train, "{data}", --target, class, --out, "{model}"]`, command, 1)
			m := newMarket(t, text)
			m.serveVersion(model(t, 1))
			m.trade(60)
			var p app.ProposalView
			m.must(http.MethodPost, "/v1/models/price/retrain", nil, &p)
			if a := m.do(http.MethodPost, "/v1/models/price/retrain", nil); a.status != http.StatusConflict {
				t.Errorf("a second retraining at once: %d %s", a.status, a.body)
			}
			m.must(http.MethodPost, fmt.Sprintf("/v1/proposals/%d/approve", p.ID), nil, nil)
			if v := m.settle(); v.Champion != 1 || v.Counts.Failed != 1 || v.Rollout != nil {
				t.Errorf("%+v", v)
			}
			list := m.proposals("failed")
			if len(list) != 1 || list[0].Error == "" {
				t.Errorf("the ledger does not say why it failed: %+v", list)
			}
			if a := m.infer(oneRow); a.status != http.StatusOK {
				t.Errorf("it no longer serves: %d %s", a.status, a.body)
			}
		})
	}
}

func TestCanaryThatFailsCostsNobodyAnything(t *testing.T) {
	m := newMarket(t, lively)
	p := m.decay()
	m.trade(200)
	m.must(http.MethodPost, fmt.Sprintf("/v1/proposals/%d/approve", p.ID), nil, nil)
	v := m.settle()
	for range 30 {
		if v.Rollout == nil || v.Rollout.Phase == "canary" {
			break
		}
		v = m.trade(10)
	}
	if v.Rollout == nil || v.Rollout.Phase != "canary" {
		t.Fatalf("no canary: %+v", v)
	}
	m.must(http.MethodPut, "/v1/models/price/aliases/champion", app.AliasRequest{Version: 1, Why: "no move"}, nil)
	if v = m.settle(); v.Rollout == nil {
		t.Fatal("moving the champion to where it is ended the rollout")
	}
	m.serveVersion(model(t, 3)) // a person puts another version in service
	if v = m.settle(); v.Rollout != nil || v.Challenger != 0 || v.Counts.RolledBack != 1 {
		t.Errorf("the rollout goes on against another champion: %+v", v)
	}
}

func TestFirstVersionByRetraining(t *testing.T) {
	m := newMarket(t, lively)
	var feed strings.Builder
	for range 200 {
		a, b := m.r.Float64(), m.r.Float64()
		fmt.Fprintf(&feed, "%.4f,%.4f,%s\n", a, b, m.truth(a, b))
	}
	if err := os.WriteFile(filepath.Join(m.dir, "feed.csv"), []byte("a,b,class\n"+feed.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var p app.ProposalView
	m.must(http.MethodPost, "/v1/models/price/retrain", app.RetrainRequest{Why: "the first version"}, &p)
	m.must(http.MethodPost, fmt.Sprintf("/v1/proposals/%d/approve", p.ID), nil, nil)
	want := app.LifecycleCounts{Retrainings: 1, Promotions: 1}
	if v := m.settle(); v.Champion != 1 || v.Counts != want {
		t.Fatalf("%+v", v)
	}
	if a := m.infer(oneRow); a.status != http.StatusOK {
		t.Errorf("it does not serve: %d %s", a.status, a.body)
	}
	if err := m.app.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.start()
	if v := m.settle(); v.Counts != want {
		t.Errorf("a restart forgets what was done: %+v", v.Counts)
	}
}
