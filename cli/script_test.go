package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/sqlite"
)

// raceOptions spare a command built with the race detector the second that it waits at its end for other threads.
const raceOptions = "atexit_sleep_ms=0"

// TestMain lets the test binary be the stoa command: testscript puts a link to it, named stoa, on the PATH of the
// scripts, and what runs under that name is Main. A retraining that calls stoa train therefore finds it too.
func TestMain(m *testing.M) {
	os.Setenv("GORACE", raceOptions)
	testscript.Main(m, map[string]func(){
		"stoa": func() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the scripts in testdata/script, which a user can read as documentation of the command line. They know
// a few commands of their own:
//
//	ready DATA                 wait until the server on a data directory is ready
//	until REGEXP COMMAND…      run a command again and again until its output matches
//	code N COMMAND…            run a command that has to exit with N
//	json PATH [VALUE]          the last output is JSON; the member at PATH (a.0.b) is VALUE, or is there
//	capture NAME PATH          set an environment variable to a member of the last output
//	tamper DATA edit|delete|truncate|swap   change the ledger behind the server's back
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   filepath.Join("testdata", "script"),
		Setup: setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready": ready, "until": until, "code": code, "json": checkJSON, "capture": capture, "tamper": tamper,
		},
		RequireUniqueNames: true,
	})
}

// setupScript gives every script a small workload in shop/ and labelled data to train from in data.csv.
func setupScript(env *testscript.Env) error {
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("GORACE", raceOptions)
	workload, err := os.ReadFile(filepath.Join("testdata", "shop.yaml"))
	if err != nil {
		return err
	}
	var csv strings.Builder
	csv.WriteString("basket,visits,class\n")
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		basket, visits := r.Float64(), r.Float64()
		class := "LEAVES"
		if basket+visits/3 > 0.6 {
			class = "BUYS"
		}
		fmt.Fprintf(&csv, "%.4f,%.4f,%s\n", basket, visits, class)
	}
	shop := filepath.Join(env.WorkDir, "shop")
	if err := os.MkdirAll(shop, 0o755); err != nil {
		return err
	}
	for path, text := range map[string]string{
		filepath.Join(shop, "workload.yaml"):   string(workload),
		filepath.Join(shop, "history.csv"):     csv.String(),
		filepath.Join(env.WorkDir, "data.csv"): csv.String(),
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// eventually calls done at every tick until it reports true, for a minute at most.
func eventually(ts *testscript.TestScript, what string, done func() bool) {
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline.C:
			ts.Fatalf("waited a minute for %s", what)
		case <-tick.C:
		}
	}
}

func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready DATA")
	}
	file := filepath.Join(ts.MkAbs(args[0]), "url")
	eventually(ts, "the server of "+args[0], func() bool {
		text, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		resp, err := http.Get(strings.TrimSpace(string(text)) + "/readyz")
		if err != nil {
			return false // a url file that a killed server has left
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND…")
	}
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	eventually(ts, args[0], func() bool {
		ts.Check(ts.Exec(args[1], args[2:]...))
		return want.MatchString(ts.ReadFile("stdout"))
	})
}

func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// member finds a member of the last output, which has to be one JSON document.
func member(ts *testscript.TestScript, path string) any {
	var v any
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		ts.Fatalf("the output is not JSON: %v", err)
	}
	if dec.More() {
		ts.Fatalf("the output is more than one JSON document")
	}
	for _, name := range strings.Split(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			found := false
			if v, found = in[name]; !found {
				ts.Fatalf("%s: there is no member %q in %v", path, name, in)
			}
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(in) {
				ts.Fatalf("%s: there is no element %q in %v", path, name, in)
			}
			v = in[i]
		default:
			ts.Fatalf("%s: nothing has a member %q in %v", path, name, v)
		}
	}
	return v
}

func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: json PATH [VALUE]")
	}
	if got := fmt.Sprint(member(ts, args[0])); len(args) == 2 && got != args[1] {
		ts.Fatalf("%s is %s, want %s", args[0], got, args[1])
	}
}

func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME PATH")
	}
	ts.Setenv(args[0], fmt.Sprint(member(ts, args[1])))
}

// tampering changes the ledger the way somebody would who may write the file of the database.
var tampering = map[string][]string{
	"edit":     {"UPDATE ledger_event SET actor = 'somebody else' WHERE seq = 3"},
	"delete":   {"DELETE FROM ledger_event WHERE seq = 3"},
	"truncate": {"DELETE FROM ledger_event WHERE seq = (SELECT max(seq) FROM ledger_event)"},
	"swap": {
		"UPDATE ledger_event SET seq = -1 WHERE seq = 3",
		"UPDATE ledger_event SET seq = 3 WHERE seq = 4",
		"UPDATE ledger_event SET seq = 4 WHERE seq = -1",
	},
}

func tamper(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || tampering[args[1]] == nil {
		ts.Fatalf("usage: tamper DATA edit|delete|truncate|swap")
	}
	ctx := context.Background()
	db, err := sqlite.Open(ctx, ts.MkAbs(args[0]), slog.New(slog.DiscardHandler))
	ts.Check(err)
	defer func() { ts.Check(db.Close()) }()
	ts.Check(db.Write(ctx, func(tx *store.Tx) error {
		for _, statement := range tampering[args[1]] {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}))
}

// TestCompletion asks for the completion script of each shell.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var out, errs bytes.Buffer
		if code := Main([]string{"completion", shell}, nil, &out, &errs); code != 0 || out.Len() < 1000 || errs.Len() > 0 {
			t.Errorf("%s: exit %d, %d bytes, %s", shell, code, out.Len(), &errs)
		}
	}
}
