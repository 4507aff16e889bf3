package mlflow_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// moments are when the server is killed: a few answers after an event of some kind has happened for the n-th time.
var moments = []juncture{
	{"batch is sent", 24, 3},
	{"file goes on", 64, 0},
	{"part goes on", 64, 0},
	{"join is sent", 2, 0},
	{"join is sent", 3, 2},
	{"file is sent", 6, 3},
	{"part is sent", 8, 2},
	{"batch is answered", 24, 3},
	{"join is sent", 2, 4},
	{"join is answered", 2, 0},
	{"", 0, 0}, // during its start
}

// A juncture is a point in a server's life.
type juncture struct {
	event string
	times int // at most, that the event happens before
	later int // most answers between the last of them and the kill
}

func (m juncture) String() string {
	if m.event == "" {
		return "during its start"
	}
	return "when a " + m.event
}

const (
	deaths  = 22
	writers = 4 // of batches, two to a run
	runs    = 2
)

// TestKilledWhileLogging kills a server at which several clients log batches and upload files, over and over, at
// moments chosen by a seed. After each restart all that was acknowledged is there, and what was not is there whole or
// not at all.
func TestKilledWhileLogging(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	workload := "apiVersion: stoa/v1\nname: clients\nmodels: {iris: {}}\nendpoints: {iris: {}}\n" +
		"operations: {log: {requests: false}}\n"
	if err := os.WriteFile(filepath.Join(dir, "workload.yaml"), []byte(workload), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &crashes{
		t: t, p: newProcess(t, bin, dir), r: rand.New(rand.NewPCG(2018, 6)),
		kills: map[string]int{}, within: map[string]int{}, left: map[string]int{},
	}
	for life := range deaths {
		when := moments[life%len(moments)]
		if when.event == "" {
			d.killDuringStart()
			continue
		}
		d.p.start()
		d.examine(d.lives[max(0, len(d.lives)-1):])
		d.live(life, when)
		if life%5 == 4 {
			d.p.run("audit", "verify", "--offline", "--data", d.p.data)
		}
	}
	d.p.start()
	d.examine(d.lives[len(d.lives)-1:])
	d.collect()
	d.examine(d.lives)
	d.p.run("audit", "verify", "--data", d.p.data)
	d.covered()
}

// crashes is the test under way.
type crashes struct {
	t     *testing.T
	p     *process
	r     *rand.Rand
	lives [][]client

	kills  map[string]int // by moment
	within map[string]int // requests that a kill met, by what they were
	left   map[string]int // what was not acknowledged, by what a restart found of it

	mu sync.Mutex
}

// A client works at a server until it is killed, and knows what it is owed.
type client interface {
	step(p *process) (what string, err error)
	examine(d *crashes) error
}

// killDuringStart kills the server after it has printed some of its first lines, or none.
func (d *crashes) killDuringStart() {
	d.t.Helper()
	lines := d.p.begin()
	for range d.r.IntN(3) {
		<-lines
	}
	d.p.kill()
	d.kills[juncture{}.String()]++
	for range lines { // until the pipe is closed
	}
}

// live lets clients work in fresh runs until the moment has come.
func (d *crashes) live(life int, when juncture) {
	d.t.Helper()
	clients := d.clients(life)
	d.lives = append(d.lives, clients)
	r := rand.New(rand.NewPCG(2018, uint64(life)))
	times, later := 1+r.IntN(when.times), r.IntN(when.later+1)
	var mu sync.Mutex
	d.p.watch(func(event string) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case times > 0 && event == when.event:
			times--
		case times == 0 && strings.HasSuffix(event, " is answered"):
			later--
		}
		if times == 0 && later <= 0 {
			d.p.kill()
		}
	})
	var busy sync.WaitGroup
	for _, c := range clients {
		busy.Go(func() {
			for {
				what, err := c.step(d.p)
				if err == nil {
					continue
				}
				d.p.kill() // the others end as well
				if !errors.Is(err, errGone) {
					d.t.Errorf("%s: %v", what, err)
				}
				d.mu.Lock()
				d.within[what]++
				d.mu.Unlock()
				return
			}
		})
	}
	busy.Wait()
	d.p.watch(func(string) {})
	d.kills[when.String()]++
	if d.t.Failed() {
		d.t.FailNow()
	}
}

// clients gives the clients of a life: writers of batches, two to a run, and those who upload whole files and parts.
func (d *crashes) clients(life int) []client {
	d.t.Helper()
	var list []client
	for i := range runs {
		var created struct {
			Run struct {
				Info struct {
					RunID       string `json:"run_id"`
					ArtifactURI string `json:"artifact_uri"`
				}
			}
		}
		in := map[string]any{"experiment_id": "0", "start_time": life}
		if _, err := d.p.do("run", "POST", "/api/2.0/mlflow/runs/create", in, &created); err != nil {
			d.t.Fatal(err)
		}
		run := created.Run.Info
		for w := range writers / runs {
			list = append(list, &writer{run: run.RunID, name: fmt.Sprintf("w%d", w)})
		}
		root, ours := strings.CutPrefix(run.ArtifactURI, "mlflow-artifacts:/")
		if !ours {
			d.t.Fatalf("the artifacts are at %s", run.ArtifactURI)
		}
		list = append(list, &shelf{
			directory: root + "/files", seed: uint64(life*runs + i), inParts: i == 0, have: map[string]string{},
		})
	}
	return list
}

// examine holds what the server has against what clients are owed, and has them send again what was not acknowledged.
func (d *crashes) examine(lives [][]client) {
	d.t.Helper()
	if half, err := filepath.Glob(filepath.Join(d.p.data, "artifacts", "tmp", "*")); err != nil || len(half) > 0 {
		d.t.Errorf("half a file is left: %v, %v", half, err)
	}
	for _, life := range lives {
		for _, c := range life {
			if err := c.examine(d); err != nil {
				d.t.Fatal(err)
			}
		}
	}
}

// collect deletes the files that nothing names, and fails unless exactly those that clients have acknowledged remain.
func (d *crashes) collect() {
	d.t.Helper()
	var done struct{ Stray int }
	if _, err := d.p.do("collection", "POST", "/v1/gc", map[string]string{"older_than": "0s"}, &done); err != nil {
		d.t.Fatal(err)
	}
	d.left["file without a name"] = done.Stray
	want := map[string]bool{}
	for _, life := range d.lives {
		for _, c := range life {
			if s, is := c.(*shelf); is {
				for _, digest := range s.have {
					want[digest] = true
				}
			}
		}
	}
	kept, err := os.ReadDir(filepath.Join(d.p.data, "artifacts", "sha256"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, file := range kept {
		if !want[file.Name()] {
			d.t.Errorf("%s is kept, and nothing names it", file.Name())
		}
		delete(want, file.Name())
	}
	if len(want) > 0 {
		d.t.Errorf("%d files are gone", len(want))
	}
}

// covered fails when the kills did not meet what matters.
func (d *crashes) covered() {
	d.t.Helper()
	batches, files := 0, 0
	for _, life := range d.lives {
		for _, c := range life {
			switch c := c.(type) {
			case *writer:
				batches += c.acked
			case *shelf:
				files += c.acked
			}
		}
	}
	d.t.Logf("%d kills %v; requests that they met: %v; what these left: %v; acknowledged in all: %d batches, %d files",
		deaths, d.kills, d.within, d.left, batches, files)
	for _, what := range []string{"batch", "file", "part", "join"} {
		if d.within[what] == 0 {
			d.t.Errorf("no kill met a %s", what)
		}
	}
	for _, what := range []string{"batch absent", "file absent"} {
		if d.left[what] == 0 {
			d.t.Errorf("no kill left a %s", what)
		}
	}
}
