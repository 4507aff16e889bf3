package electricity_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoaproject/stoa/examples/electricity"
)

// quicker makes the example's workload decide on less evidence, so that the few thousand half-hours of this test see
// many alarms, retrainings, shadows, canaries and promotions. The statistics are those of a careless operator.
var quicker = []struct{ setting, value string }{
	{`expected_labels_between_false_alarms: \d+`, "expected_labels_between_false_alarms: 100"},
	{`tolerance: [\d.]+`, "tolerance: 0.001"},
	{`--rounds, "\d+", --depth, "\d+"`, `--rounds, "20", --depth, "3"`},
	{`window_rows: \d+`, "window_rows: 600"},
	{`holdout: [\d.]+`, "holdout: 0.25"},
	{`cooldown_labels: \d+`, "cooldown_labels: 24"},
	{`alpha: [\d.]+\n      margin: [\d.]+`, "alpha: 0.99\n      margin: 0.5"},
	{`max_labels: \d+`, "max_labels: 240"},
	{`shadow: {min_labels: \d+}`, "shadow: {min_labels: 16}"},
	{`canary: {share: [\d.]+, min_labels: \d+}`, "canary: {share: 0.5, min_labels: 16}"},
	{`metric: accuracy, min: [\d.]+`, "metric: accuracy, min: 0.05"},
	{`timeout: 250ms`, "timeout: 20s"}, // a machine that is busy with other tests is not what is tested
}

// prepare lays out a workload directory whose feed holds the first rows of the market.
func prepare(t *testing.T, known []row) string {
	t.Helper()
	text := string(electricity.Workload)
	for _, q := range quicker {
		setting := regexp.MustCompile(q.setting)
		if n := len(setting.FindAllString(text, -1)); n != 1 {
			t.Fatalf("workload.yaml has %s %d times, want once", q.setting, n)
		}
		text = setting.ReplaceAllLiteralString(text, q.value)
	}
	text = strings.Replace(text, "operations:\n", "operations:\n  log: {requests: false}\n", 1)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "workload.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var feed bytes.Buffer
	feed.WriteString("period,nswprice,nswdemand,vicprice,vicdemand,transfer,class\n")
	for _, r := range known {
		feed.WriteString(r.line())
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "feed.csv"), feed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// moments are when the server is killed. Each is reached by watching its lifecycle, and a few requests later it dies.
var moments = []moment{
	{"at any time", func(_, _ lifecycle) bool { return true }, 120},
	{"while a retraining runs", func(_, now lifecycle) bool { return now.Retraining != 0 }, 6},
	{"in shadow", func(_, now lifecycle) bool { return now.phase() == "shadow" }, 12},
	{"in canary", func(_, now lifecycle) bool { return now.phase() == "canary" }, 12},
	{"as a version is promoted", func(before, now lifecycle) bool {
		return now.Champion != before.Champion || now.Counts.Promotions > before.Counts.Promotions
	}, 3},
	{"as a retraining ends", func(before, now lifecycle) bool { return before.Retraining != 0 && now.Retraining == 0 }, 3},
	{"during its start", nil, 0},
}

// A moment is a point in a server's life.
type moment struct {
	name    string
	reached func(before, now lifecycle) bool
	later   int // most requests between the moment and the kill
}

const (
	deaths   = 50
	firstDay = 500 // half-hours that version 1 is trained on
	patience = 60  // chunks of half-hours to wait for a moment
)

// TestKilledFiftyTimes kills a server that is at work, over and over, at moments chosen by a seed, and looks after each
// restart that nothing it had acknowledged is missing and nothing it had begun is left half done.
func TestKilledFiftyTimes(t *testing.T) {
	market := readMarket(t)
	dir := prepare(t, market[:firstDay])
	p := newProcess(t, build(t), dir)
	d := newDriver(t, p, market, firstDay)

	p.start()
	p.run("train", filepath.Join("data", "feed.csv"), "--target", "class", "--out", "v1.onnx", "--quiet", "--rounds", "5", "--depth", "3")
	p.run("models", "register", model, "v1.onnx", "--promote", "--why", "first version")
	d.artifact = mustRead(t, filepath.Join(dir, "v1.onnx"))
	p.kill()

	r := rand.New(rand.NewPCG(1996, 5))
	for life := range deaths {
		when := moments[life%len(moments)]
		if when.reached == nil {
			d.killDuringStart(r)
			continue
		}
		d.start()
		d.examine(life%10 == 0)
		d.play(r, when)
		if life%10 == 9 {
			p.run("audit", "verify", "--offline", "--data", p.data)
		}
	}
	d.start()
	d.examine(true)
	d.finish()
	d.history()
	d.covered()
}

// killDuringStart kills the server after it has printed some of its first lines, or none.
func (d *driver) killDuringStart(r *rand.Rand) {
	d.t.Helper()
	lines := d.p.begin()
	for range r.IntN(3) {
		<-lines
	}
	d.p.kill()
	d.kills["during its start"]++
	for range lines { // until the pipe is closed
	}
}

// covered fails when the kills did not meet the moments that matter.
func (d *driver) covered() {
	d.t.Helper()
	var parts []string
	for _, m := range moments {
		parts = append(parts, fmt.Sprintf("%d %s", d.kills[m.name], m.name))
	}
	d.t.Logf("kills: %s", strings.Join(parts, ", "))
	d.t.Logf("found on restart: %d retrainings begun again, %d rollouts in shadow, %d in canary",
		d.found["retraining"], d.found["shadow"], d.found["canary"])
	d.t.Logf("%d predictions, %d labels joined, %d versions of %s, %d of %s; %+v",
		d.predictions, len(d.acked), len(d.versions[model]), model, len(d.versions[other]), other, d.last.Counts)
	for _, what := range []string{"retraining", "shadow", "canary"} {
		if d.found[what] == 0 {
			d.t.Errorf("no kill met the lifecycle in %s", what)
		}
	}
	if d.last.Counts.Promotions < 3 {
		d.t.Errorf("%d promotions, want 3 at least", d.last.Counts.Promotions)
	}
}

// history reads the whole ledger. It counts the retrainings that were begun more than once, which are those that a kill
// had interrupted, and checks that a rollout that moved the champion says that it did.
func (d *driver) history() {
	d.t.Helper()
	began, moved := map[int64]int{}, map[int64]int{}
	for after := int64(0); ; {
		var page struct {
			Events []struct {
				Entry      int64
				Kind, What string
				Data       struct {
					Alias string
					To    int
				}
			}
			Next int64
		}
		d.must(http.MethodGet, fmt.Sprintf("/v1/events?after=%d", after), nil, &page)
		for _, e := range page.Events {
			switch {
			case e.Kind == "retrain" && e.What == "entry.started":
				began[e.Entry]++
			case e.What == "alias.move" && e.Data.Alias == "champion" && e.Entry != 0:
				moved[e.Entry] = e.Data.To
			}
		}
		if after = page.Next; after == 0 {
			break
		}
	}
	for _, n := range began {
		d.found["retraining"] += n - 1
	}
	for _, e := range d.entries() {
		if e.Kind != "rollout" || e.State != "done" {
			continue
		}
		if promoted := e.Result.Outcome == "promoted"; promoted != (moved[e.ID] == e.Result.Version) {
			d.t.Errorf("rollout %d of version %d ends as %q, and moved the champion to %d",
				e.ID, e.Result.Version, e.Result.Outcome, moved[e.ID])
		}
	}
}

// finish plays on until what was under way has come to an end.
func (d *driver) finish() {
	d.t.Helper()
	open := d.open()
	for range patience {
		if err := d.chunk(); err != nil {
			d.t.Fatal(err)
		}
		if !slices.ContainsFunc(d.open(), func(id int64) bool { return slices.Contains(open, id) }) {
			break
		}
	}
	for _, id := range d.open() {
		if slices.Contains(open, id) {
			d.t.Errorf("ledger entry %d never comes to an end: %+v", id, d.last)
		}
	}
	d.settle()
	if n := d.last.Judgements; n > int64(len(d.acked)) || n < int64(d.sameLife) {
		d.t.Errorf("%d labels count as judgements; %d were acknowledged, %d of them to the process that had predicted",
			n, len(d.acked), d.sameLife)
	}
}

// settle waits until the server has drawn its conclusions.
func (d *driver) settle() {
	d.t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for !d.last.Settled {
		select {
		case <-deadline.C:
			d.t.Fatalf("the lifecycle does not settle: %+v", d.last)
		default:
		}
		if err := d.look(); err != nil {
			d.t.Fatal(err)
		}
	}
}

// open lists the retrainings and rollouts of the ledger that are not over.
func (d *driver) open() []int64 {
	d.t.Helper()
	var list []int64
	for _, e := range d.entries() {
		if e.State == "approved" || e.State == "running" {
			list = append(list, e.ID)
		}
	}
	return list
}
