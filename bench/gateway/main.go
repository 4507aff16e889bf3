// Command gateway measures what one inference request costs Stoa, with a reverse proxy beside it on the same work.
//
// It starts (a) a bare httputil.ReverseProxy, in a process of its own, in front of an empty handler in another, and (b)
// stoa up with a model of 100 trees that stoa train made, with everything on: keys, metrics, counters, logs. It sends
// both the same one-row request over the same number of kept-alive HTTP/1.1 connections from the same load generator,
// in turns, and reads from /proc what CPU time each of the two processes took. The CPU of the load generator and of the
// handler behind the proxy count for neither. The proxy keeps enough idle connections to never dial anew, which the
// default transport would not.
//
// It prints the median CPU time per request of each, their ratio, the resident memory of Stoa after all requests, and
// the time from starting stoa up on an empty data directory to the first 200 from /readyz. It needs Linux.
//
//	go run ./bench/gateway --stoa bin/stoa
//	go run ./bench/gateway --url http://127.0.0.1:8080 --key "$KEY" --model price-direction --pid 4711
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	stoa, workload, data string
	url, key, model      string
	body                 string
	pid                  int
	requests, conns      int
	rounds, starts       int
	out, role, upstream  string
}

// result is what is written as JSON. Times are in microseconds per request, of CPU time or of the clock as named.
type result struct {
	Machine     string    `json:"machine"`
	CPUs        int       `json:"cpus"`
	Go          string    `json:"go"`
	At          time.Time `json:"at"`
	Requests    int       `json:"requests"` // to each of the two
	Connections int       `json:"connections"`
	Rounds      int       `json:"rounds"`
	Stoa        side      `json:"stoa"`
	Proxy       side      `json:"reverse_proxy"`
	Ratio       float64   `json:"cpu_ratio"` // median over the rounds of Stoa's CPU time by the proxy's
	ReadyMillis []float64 `json:"ready_ms,omitempty"`
	ReadyMedian float64   `json:"ready_ms_median,omitempty"`
}

// side is one of the two that are compared.
type side struct {
	CPUMicros   float64 `json:"cpu_us_per_request"`
	CPUMin      float64 `json:"cpu_us_min"` // over the rounds
	CPUMax      float64 `json:"cpu_us_max"`
	Rate        float64 `json:"requests_per_second"`
	P50Micros   float64 `json:"p50_us"`
	P99Micros   float64 `json:"p99_us"`
	RSSMegabyte float64 `json:"rss_mb"`      // when all was done
	PeakRSS     float64 `json:"peak_rss_mb"` // the most there was
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/gateway:", err)
		os.Exit(1)
	}
}

func parseFlags() (options, error) {
	var o options
	flag.StringVar(&o.stoa, "stoa", "bin/stoa", "stoa `binary` to start; make build makes it")
	flag.StringVar(&o.workload, "workload", "examples/electricity", "workload `directory` to serve")
	flag.StringVar(&o.data, "data", "examples/electricity/elec.csv.gz", "`file` to train the model from")
	flag.StringVar(&o.url, "url", "", "measure the server at this `URL` instead of starting one; needs --key and --pid")
	flag.StringVar(&o.key, "key", "", "`key` for --url")
	flag.IntVar(&o.pid, "pid", 0, "process `id` of the server at --url")
	flag.StringVar(&o.model, "model", "price-direction", "`endpoint` to ask")
	flag.StringVar(&o.body, "body", `{"inputs":[{"name":"input","datatype":"FP32","shape":[1,6],`+
		`"data":[0.5,0.06,0.44,0.003,0.42,0.41]}]}`, "`request` to send")
	flag.IntVar(&o.requests, "requests", 1_000_000, "requests to each of the two")
	flag.IntVar(&o.conns, "connections", 8, "connections kept alive")
	flag.IntVar(&o.rounds, "rounds", 10, "turns that the requests are divided into")
	flag.IntVar(&o.starts, "starts", 11, "starts on an empty data directory; 0 leaves them out")
	flag.StringVar(&o.out, "out", "bench/results/gateway.json", "`file` for the result as JSON; empty writes none")
	flag.StringVar(&o.role, "role", "", "used by the program itself: be the proxy or the empty handler")
	flag.StringVar(&o.upstream, "upstream", "", "used by the program itself: what the proxy stands in front of")
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case o.requests < o.rounds*o.conns || o.rounds < 1 || o.conns < 1:
		return o, errors.New("--requests must be at least --rounds times --connections")
	case o.url != "" && (o.key == "" || o.pid == 0):
		return o, errors.New("--url needs --key and --pid, the process whose CPU time is read")
	}
	return o, nil
}

func run() (err error) {
	o, err := parseFlags()
	if err != nil {
		return err
	}
	if o.role != "" {
		return serve(o.role, o.upstream)
	}
	scratch, err := os.MkdirTemp("", "stoa-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	res := result{
		Machine: cpuModel(), CPUs: runtime.NumCPU(), Go: runtime.Version(), At: time.Now().UTC().Truncate(time.Second),
		Requests: o.requests / o.rounds * o.rounds, Connections: o.conns, Rounds: o.rounds,
	}
	if o.url == "" && o.starts > 0 {
		if res.ReadyMillis, err = startTimes(o, scratch); err != nil {
			return err
		}
		res.ReadyMedian = median(res.ReadyMillis)
		fmt.Printf("start to ready, empty data directory: median %.0f ms of %d\n", res.ReadyMedian, o.starts)
	}
	house, proxy, stop, err := startBoth(o, scratch)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	if err := compare(o, &res, house, proxy); err != nil {
		return err
	}
	report(res)
	if o.out == "" {
		return nil
	}
	encoded, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(o.out, append(encoded, '\n'), 0o644)
}

// compare sends the requests in turns and reads what they cost.
func compare(o options, res *result, house, proxy endpoint) error {
	var ratios []float64
	sides := []*struct {
		endpoint
		cpu, rate []float64
		latencies []time.Duration
		side      *side
	}{{endpoint: proxy, side: &res.Proxy}, {endpoint: house, side: &res.Stoa}}
	for _, s := range sides { // connections, pools and code paths warm up
		if _, err := load(s.endpoint, o.conns, max(o.requests/100, o.conns)); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for round := range o.rounds {
		for _, s := range sides {
			before, err := cpuTime(s.pid)
			if err != nil {
				return err
			}
			start := time.Now()
			latencies, err := load(s.endpoint, o.conns, o.requests/o.rounds)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			took := time.Since(start)
			after, err := cpuTime(s.pid)
			if err != nil {
				return err
			}
			n := float64(len(latencies))
			s.cpu = append(s.cpu, float64((after-before).Microseconds())/n)
			s.rate = append(s.rate, n/took.Seconds())
			s.latencies = append(s.latencies, latencies...)
		}
		ratios = append(ratios, sides[1].cpu[round]/sides[0].cpu[round])
		fmt.Printf("round %2d: CPU per request %6.1f µs reverse proxy, %6.1f µs stoa, ratio %.2f\n",
			round+1, sides[0].cpu[round], sides[1].cpu[round], ratios[round])
	}
	res.Ratio = median(ratios)
	for _, s := range sides {
		slices.Sort(s.latencies)
		s.side.CPUMicros, s.side.CPUMin, s.side.CPUMax = median(s.cpu), slices.Min(s.cpu), slices.Max(s.cpu)
		s.side.Rate = median(s.rate)
		s.side.P50Micros = float64(s.latencies[len(s.latencies)/2].Nanoseconds()) / 1e3
		s.side.P99Micros = float64(s.latencies[len(s.latencies)*99/100].Nanoseconds()) / 1e3
		var err error
		if s.side.RSSMegabyte, s.side.PeakRSS, err = memory(s.pid); err != nil {
			return err
		}
	}
	return nil
}

func report(r result) {
	fmt.Printf("\n%d requests to each, over %d connections, on %d × %s, %s\n\n",
		r.Requests, r.Connections, r.CPUs, r.Machine, r.Go)
	fmt.Printf("%-14s %14s %12s %10s %10s %10s\n", "", "CPU/request", "requests/s", "p50", "p99", "RSS")
	for _, s := range []struct {
		name string
		side
	}{{"reverse proxy", r.Proxy}, {"stoa", r.Stoa}} {
		fmt.Printf("%-14s %11.1f µs %12.0f %7.0f µs %7.0f µs %7.1f MB\n",
			s.name, s.CPUMicros, s.Rate, s.P50Micros, s.P99Micros, s.RSSMegabyte)
	}
	fmt.Printf("\nratio of CPU per request: %.2f\n", r.Ratio)
}

// median of a list that is not empty.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
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
