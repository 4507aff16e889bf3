// Command mlflow measures the tracking of Stoa with `mlflow server` beside it on the same work.
//
// It starts each of the two on an empty directory with its defaults and SQLite, one after the other so that neither
// takes the processor from the other, and does the same with both over MLflow's wire: log single metrics over one
// connection; log batches of 1000 values; let twenty writers log to one run and count what arrived; make runs and search
// them with a filter on two metrics and a tag, ordered by a metric; send an artifact and fetch it back. The resident
// memory is that of the server's whole process group: `mlflow server` has four workers by default.
//
// The runs that are searched are made through the wire, by mlflow server only the first of them, as it would take an hour
// for all; seed.py puts the others into its database. The client encodes each request before the clock
// starts and does not look into an answer before it has stopped.
//
// It prints what both took, the ratio, and for Stoa whether the target is met, and writes all as JSON.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	stoa, mlflow string
	only         string
	metrics      int
	batches      int
	writers      int
	runs, page   int
	searches     int
	artifactMB   int64
	peerRuns     int
	python       string
	out          string
	strict       bool
}

// result is what is written as JSON.
type result struct {
	Machine  string    `json:"machine"`
	CPUs     int       `json:"cpus"`
	Go       string    `json:"go"`
	At       time.Time `json:"at"`
	Work     work      `json:"work"`
	Stoa     *side     `json:"stoa,omitempty"`
	MLflow   *side     `json:"mlflow_server,omitempty"`
	LoadWhen float64   `json:"load_average_at_start"` // of the machine, over one minute
}

// work is how much both had to do.
type work struct {
	Metrics    int   `json:"single_metrics"`
	Batches    int   `json:"batches_of_1000"`
	Writers    int   `json:"writers"`
	Runs       int   `json:"runs"`
	PeerRuns   int   `json:"runs_made_by_mlflow_server"` // through the wire
	Page       int   `json:"runs_per_page"`
	Searches   int   `json:"searches"`
	ArtifactMB int64 `json:"artifact_mb"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/mlflow:", err)
		os.Exit(1)
	}
}

func parseFlags() (options, error) {
	var o options
	flag.StringVar(&o.stoa, "stoa", "bin/stoa", "stoa `binary`; make build makes it")
	flag.StringVar(&o.mlflow, "mlflow", "mlflow", "mlflow `command`")
	flag.StringVar(&o.only, "only", "", "measure this `side` alone: stoa or mlflow")
	flag.IntVar(&o.metrics, "metrics", 2000, "single metrics to log")
	flag.IntVar(&o.batches, "batches", 200, "batches of 1000 values to log, over four connections")
	flag.IntVar(&o.writers, "writers", 20, "writers on one run")
	flag.IntVar(&o.runs, "runs", 20_000, "runs to search in")
	flag.IntVar(&o.peerRuns, "peer-runs", 500, "runs that mlflow server makes through the wire; the others are put into its database")
	flag.StringVar(&o.python, "python", "python3", "Python `command` that puts them there")
	flag.IntVar(&o.page, "page", 100, "runs on a page of a search")
	flag.IntVar(&o.searches, "searches", 100, "searches")
	flag.Int64Var(&o.artifactMB, "artifact-mb", 256, "size of the artifact, in MB of 10^6 bytes; 5000 is the 5 GB of the promise")
	flag.StringVar(&o.out, "out", "bench/results/mlflow.json", "`file` for the result as JSON; empty writes none")
	flag.BoolVar(&o.strict, "strict", false, "fail when a target is missed")
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case o.only != "" && o.only != "stoa" && o.only != "mlflow":
		return o, errors.New("--only is stoa or mlflow")
	case min(o.metrics, o.batches, o.writers, o.runs, o.page, o.searches, o.peerRuns) < 1 || o.artifactMB < 1:
		return o, errors.New("every number must be at least 1")
	}
	return o, nil
}

func run() (err error) {
	o, err := parseFlags()
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "stoa-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	res := result{
		Machine: cpuModel(), CPUs: runtime.NumCPU(), Go: runtime.Version(), At: time.Now().UTC().Truncate(time.Second),
		LoadWhen: loadAverage(),
		Work: work{
			Metrics: o.metrics, Batches: o.batches, Writers: o.writers, Runs: o.runs, PeerRuns: min(o.peerRuns, o.runs), Page: o.page, Searches: o.searches,
			ArtifactMB: o.artifactMB,
		},
	}
	for _, s := range []struct {
		name  string
		start func(options, string) (*server, error)
		into  **side
	}{{"stoa", startStoa, &res.Stoa}, {"mlflow", startMLflow, &res.MLflow}} {
		if o.only != "" && o.only != s.name {
			continue
		}
		dir := filepath.Join(scratch, s.name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		fmt.Printf("%s:\n", s.name)
		if *s.into, err = measure(o, dir, s.start); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	missed := report(res)
	if o.out != "" && o.only == "" {
		encoded, err := json.MarshalIndent(res, "", "  ")
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(o.out, append(encoded, '\n'), 0o644); err != nil {
			return err
		}
	}
	if o.strict && missed > 0 {
		return fmt.Errorf("%d targets missed", missed)
	}
	return nil
}

// report prints a table of both sides and returns how many targets Stoa missed.
func report(r result) int {
	fmt.Printf("\non %d × %s, load average %.1f at the start\n\n", r.CPUs, r.Machine, r.LoadWhen)
	fmt.Printf("%-34s %14s %14s %9s  %s\n", "", "stoa", "mlflow server", "ratio", "target")
	missed := 0
	for _, l := range lines() {
		texts := [2]string{"-", "-"}
		var values [2]float64
		for i, s := range []*side{r.Stoa, r.MLflow} {
			if s != nil {
				values[i] = l.value(s)
				texts[i] = fmt.Sprintf("%.*f %s", l.digits, values[i], l.unit)
			}
		}
		ratio := "-"
		if r.Stoa != nil && r.MLflow != nil && min(values[0], values[1]) > 0 {
			better := values[1] / values[0]
			if l.atLeast {
				better = 1 / better
			}
			ratio = fmt.Sprintf("%.1f x", better)
		}
		verdict := ""
		if r.Stoa != nil && l.target != nil {
			sign, met := "<", values[0] < *l.target
			if l.atLeast {
				sign, met = ">=", values[0] >= *l.target
			}
			if l.exact {
				sign, met = "=", values[0] == *l.target
			}
			verdict = fmt.Sprintf("%s %.0f %s", sign, *l.target, l.unit)
			if !met {
				verdict += "  MISSED"
				missed++
			}
		}
		fmt.Printf("%-34s %14s %14s %9s  %s\n", l.name, texts[0], texts[1], ratio, verdict)
	}
	return missed
}

// A line of the report.
type line struct {
	name, unit string
	digits     int
	value      func(*side) float64
	target     *float64
	atLeast    bool // more is better
	exact      bool
}

func lines() []line {
	target := func(v float64) *float64 { return &v }
	return []line{
		{name: "start to ready", unit: "ms", value: func(s *side) float64 { return s.ReadyMillis }, target: target(200)},
		{name: "log_metric, median", unit: "ms", digits: 2, value: func(s *side) float64 { return s.LogMetric.P50 }, target: target(1)},
		{name: "log_metric, p99", unit: "ms", digits: 2, value: func(s *side) float64 { return s.LogMetric.P99 }, target: target(5)},
		{
			name: "log_batch, values per second", unit: "/s", value: func(s *side) float64 { return s.BatchRows },
			target: target(50_000), atLeast: true,
		},
		{name: "writers on one run: errors", value: func(s *side) float64 { return float64(s.Writers.Errors) }, target: target(0), exact: true},
		{name: "writers on one run: lost values", value: func(s *side) float64 { return float64(s.Writers.Lost) }, target: target(0), exact: true},
		{name: "writers on one run: values", unit: "/s", value: func(s *side) float64 { return s.Writers.Rate }, atLeast: true},
		{name: "make a run", unit: "/s", value: func(s *side) float64 { return s.RunRate }, atLeast: true},
		{name: "search runs, median", unit: "ms", digits: 1, value: func(s *side) float64 { return s.Search.P50 }},
		{name: "search runs, p95", unit: "ms", digits: 1, value: func(s *side) float64 { return s.Search.P95 }, target: target(20)},
		{name: "artifact up", unit: "MB/s", value: func(s *side) float64 { return s.Upload }, atLeast: true},
		{name: "artifact down", unit: "MB/s", value: func(s *side) float64 { return s.Download }, atLeast: true},
		{name: "memory, ready", unit: "MB", value: func(s *side) float64 { return s.RSSReady }},
		{name: "memory, most while artifacts move", unit: "MB", value: func(s *side) float64 { return s.RSSArtifact }},
		{name: "memory, after all", unit: "MB", value: func(s *side) float64 { return s.RSSEnd }, target: target(100)},
	}
}

// cpuModel is the name of the processor.
func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
