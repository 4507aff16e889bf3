package electricity_test

import (
	"fmt"
	"net/http"
	"slices"
)

// examine looks at a server that has just been started again: whatever it acknowledged is there, and nothing is half
// there. With all it asks every version for a prediction and gives every label again, otherwise the newest ones.
func (d *driver) examine(all bool) {
	d.t.Helper()
	before := d.last
	if err := d.look(); err != nil {
		d.t.Fatal(err)
	}
	d.compare(before, d.last)
	d.examineLedger()
	for _, name := range []string{model, other} {
		d.examineModel(name, all)
	}
	d.examineLabels(all)
	if d.t.Failed() {
		d.t.FailNow()
	}
}

// compare looks at the lifecycle before and after the restart: decisions that were told are not taken back.
func (d *driver) compare(before, now lifecycle) {
	d.t.Helper()
	if b, n := before.Rollout, now.Rollout; b != nil && n != nil && b.Entry == n.Entry && b.Phase == n.Phase {
		d.found[n.Phase]++
	}
	if before.phase() == "canary" && now.phase() == "shadow" && before.Rollout.Entry == now.Rollout.Entry {
		d.t.Errorf("rollout %d was in canary and is in shadow again", now.Rollout.Entry)
	}
	if now.Judgements < before.Judgements {
		d.t.Errorf("%d judgements were folded, now %d are", before.Judgements, now.Judgements)
	}
	b, n := before.Counts, now.Counts
	if n.Alarms < b.Alarms || n.Retrainings < b.Retrainings || n.Promotions < b.Promotions || n.Withdrawn < b.Withdrawn ||
		n.RolledBack < b.RolledBack || n.Blocked < b.Blocked {
		d.t.Errorf("decisions were forgotten: %+v before, %+v now", b, n)
	}
	if n.Failed > 0 {
		d.t.Errorf("%d retrainings failed: %+v", n.Failed, d.failures())
	}
}

func (d *driver) failures() (list []string) {
	for _, e := range d.entries() {
		if e.State == "failed" {
			list = append(list, e.Error)
		}
	}
	return list
}

// An entry is one entry of the ledger.
type entry struct {
	ID                          int64
	Kind, Subject, State, Error string
	Result                      struct {
		Outcome string
		Version int
	}
}

func (d *driver) entries() []entry {
	d.t.Helper()
	var page struct{ Proposals []entry }
	d.must(http.MethodGet, "/v1/proposals?limit=10000", nil, &page)
	return page.Proposals
}

// examineLedger verifies the hash chain, and that no entry vanished, came back from its end or runs twice.
func (d *driver) examineLedger() {
	d.t.Helper()
	var report struct {
		Rows   int64
		Broken []struct{ What string }
	}
	d.must(http.MethodGet, "/v1/audit", nil, &report)
	if len(report.Broken) > 0 || report.Rows == 0 {
		d.t.Errorf("the ledger does not verify: %+v", report)
	}
	rank := map[string]int{"proposed": 1, "approved": 2, "running": 3, "done": 4, "failed": 4, "rejected": 4}
	seen := map[int64]bool{}
	running := map[string]int{}
	for _, e := range d.entries() {
		seen[e.ID] = true
		if was := d.states[e.ID]; rank[e.State] < rank[was] {
			d.t.Errorf("entry %d was %s and is %s", e.ID, was, e.State)
		}
		d.states[e.ID] = e.State
		if e.State == "running" {
			running[e.Kind+" of "+e.Subject]++
		}
	}
	for id := range d.states {
		if !seen[id] {
			d.t.Errorf("entry %d is gone", id)
		}
	}
	for what, n := range running {
		if n > 1 {
			d.t.Errorf("%d entries run at once: %s", n, what)
		}
	}
}

// examineModel looks at the versions and aliases of a model: each version that was acknowledged is there, each that is
// there can predict, and no alias points nowhere.
func (d *driver) examineModel(name string, all bool) {
	d.t.Helper()
	var page struct {
		Versions []version
		Aliases  map[string]int
	}
	if err := d.p.call(http.MethodGet, "/v1/models/"+name+"/versions", nil, &page); err != nil {
		if name == other && len(d.versions[name]) == 0 {
			return // it has no version yet
		}
		d.t.Fatal(err)
	}
	digests := map[int]string{}
	for i, v := range page.Versions {
		if v.Number != i+1 {
			d.t.Errorf("%s: version %d stands where %d should", name, v.Number, i+1)
		}
		digests[v.Number] = v.Digest
		if all || i == len(page.Versions)-1 {
			d.ask(name, fmt.Sprint(v.Number))
		}
	}
	for number, digest := range d.versions[name] {
		if digests[number] != digest {
			d.t.Errorf("%s: version %d was acknowledged as %s and is %q", name, number, digest, digests[number])
		}
	}
	d.versions[name] = digests
	for alias, number := range page.Aliases {
		if digests[number] == "" {
			d.t.Errorf("%s: alias %s points at version %d, which is not there", name, alias, number)
		}
		d.ask(name, alias)
	}
	if name == other && page.Aliases["latest"] < d.latest {
		d.t.Errorf("alias latest was acknowledged at version %d and is at %d", d.latest, page.Aliases["latest"])
	}
	if name == model && page.Aliases["champion"] == 0 {
		d.t.Error("there is no champion")
	}
}

// ask has a version predict, without a record.
func (d *driver) ask(name, version string) {
	d.t.Helper()
	body := map[string]any{"inputs": input(d.market[0].features), "parameters": map[string]bool{"record": false}}
	d.must(http.MethodPost, "/v2/models/"+name+"/versions/"+version+"/infer", body, nil)
}

// examineLabels gives labels again that the server has acknowledged: it has to know them.
func (d *driver) examineLabels(all bool) {
	d.t.Helper()
	known := d.acked
	if !all {
		known = known[max(0, len(known)-200):]
	}
	for some := range slices.Chunk(known, 5000) {
		refused, err := d.post(some, d.p.call)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, l := range some {
			if reason := refused[l.ID]; reason != "duplicate_label" {
				d.t.Errorf("label of %s was acknowledged; given again it is answered with %q", l.ID, reason)
			}
		}
	}
}
