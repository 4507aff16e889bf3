package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// side is what was measured of one server. Rates are per second, memory is in MB of 10^6 bytes.
type side struct {
	ReadyMillis float64   `json:"ready_ms"`
	LogMetric   latencies `json:"log_metric_ms"`
	BatchRows   float64   `json:"log_batch_values_per_second"`
	Writers     contest   `json:"writers_on_one_run"`
	RunRate     float64   `json:"runs_made_per_second"`
	Search      latencies `json:"search_ms"`
	Upload      float64   `json:"artifact_up_mb_per_second"`
	Download    float64   `json:"artifact_down_mb_per_second"`
	RSSReady    float64   `json:"rss_ready_mb"`
	RSSArtifact float64   `json:"rss_artifact_peak_mb"`
	RSSEnd      float64   `json:"rss_end_mb"`
}

// latencies are in milliseconds.
type latencies struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

// contest is what came of many writers on one run.
type contest struct {
	Sent   int     `json:"values_sent"`
	Errors int     `json:"errors"`
	Lost   int     `json:"lost"` // acknowledged and not found
	Rate   float64 `json:"values_per_second"`
}

// measure starts a server, does all of the work with it and stops it.
func measure(o options, dir string, start func(options, string) (*server, error)) (m *side, err error) {
	s, err := start(o, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	m = &side{ReadyMillis: millis(s.ready)}
	if m.RSSReady, err = s.memory(); err != nil {
		return nil, err
	}
	c := &client{server: s, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	for _, step := range []struct {
		name string
		do   func(options, *client, *side) error
	}{
		{"single metrics", logMetrics}, {"batches", logBatches}, {"writers on one run", contend},
		{"runs", makeRuns}, {"searches", search}, {"artifact", moveArtifact},
	} {
		begun := time.Now()
		if err := step.do(o, c, m); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Printf("  %-20s %6.1f s\n", step.name, time.Since(begun).Seconds())
	}
	m.RSSEnd, err = s.memory()
	return m, err
}

// A client speaks MLflow's wire.
type client struct {
	*server
	http *http.Client
}

// send posts a body to a call and gives the answer's. Any status but 200 is an error.
func (c *client) send(method, path string, body io.Reader, size int64) (io.ReadCloser, error) {
	req, err := http.NewRequest(method, c.url+path, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", "application/json")
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return nil, errors.Join(fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text), err, resp.Body.Close())
	}
	return resp.Body, nil
}

// post makes a call and reads the whole answer.
func (c *client) post(call string, body []byte) ([]byte, error) {
	answer, err := c.send(http.MethodPost, "/api/2.0/mlflow/"+call, bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(answer)
	return text, errors.Join(err, answer.Close())
}

// call is post with JSON on either side.
func (c *client) call(name string, in, out any) error {
	answer, err := c.post(name, encode(in))
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

// object is a JSON object.
type object = map[string]any

// encode writes JSON of what surely can be.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// run starts a run.
func (c *client) run(experiment string, tags ...object) (string, error) {
	var made struct {
		Run struct {
			Info struct {
				ID string `json:"run_id"`
			} `json:"info"`
		} `json:"run"`
	}
	err := c.call("runs/create", object{"experiment_id": experiment, "start_time": time.Now().UnixMilli(), "tags": tags}, &made)
	return made.Run.Info.ID, err
}

func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// summary sorts times and takes their quantiles.
func summary(times []time.Duration) latencies {
	slices.Sort(times)
	at := func(percent int) float64 { return millis(times[min(len(times)*percent/100, len(times)-1)]) }
	return latencies{P50: at(50), P95: at(95), P99: at(99)}
}

// logMetrics logs single values over one connection.
func logMetrics(o options, c *client, m *side) error {
	run, err := c.run("0")
	if err != nil {
		return err
	}
	const warm = 50
	times := make([]time.Duration, 0, o.metrics)
	for i := range warm + o.metrics {
		body := encode(object{"run_id": run, "key": "loss", "value": 1 / float64(i+1), "timestamp": 1_700_000_000_000 + i, "step": i})
		start := time.Now()
		if _, err := c.post("runs/log-metric", body); err != nil {
			return err
		}
		if i >= warm {
			times = append(times, time.Since(start))
		}
	}
	m.LogMetric = summary(times)
	return nil
}

// batch is a request with values of ten metrics.
func batch(run, prefix string, first, n int) []byte {
	metrics := make([]object, n)
	for i := range metrics {
		metrics[i] = object{
			"key": fmt.Sprintf("%smetric_%d", prefix, i%10), "value": float64(first+i) / 7, "timestamp": 1_700_000_000_000 + first + i,
			"step": (first + i) / 10,
		}
	}
	return encode(object{"run_id": run, "metrics": metrics})
}

// logBatches logs batches of 1000 values over four connections, each to a run of its own.
func logBatches(o options, c *client, m *side) error {
	const conns = 4
	bodies := make([][][]byte, conns)
	for i := range conns {
		run, err := c.run("0")
		if err != nil {
			return err
		}
		for b := range (o.batches + conns - 1) / conns {
			bodies[i] = append(bodies[i], batch(run, "", b*1000, 1000))
		}
	}
	errs := make([]error, conns)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range conns {
		wg.Go(func() {
			for _, body := range bodies[i] {
				if _, err := c.post("runs/log-batch", body); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	m.BatchRows = float64(conns*len(bodies[0])*1000) / time.Since(start).Seconds()
	return errors.Join(errs...)
}

// contend lets many writers log to one run at once and counts what arrived.
func contend(o options, c *client, m *side) error {
	const batches, rows = 10, 100
	run, err := c.run("0")
	if err != nil {
		return err
	}
	var failed atomic.Int64
	acknowledged := make([]int, o.writers)
	var wg sync.WaitGroup
	start := time.Now()
	for w := range o.writers {
		wg.Go(func() {
			for b := range batches {
				body := batch(run, fmt.Sprintf("writer_%d_", w), b*rows, rows)
				if _, err := c.post("runs/log-batch", body); err != nil {
					failed.Add(1)
					continue
				}
				acknowledged[w] += rows
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	found := 0
	for w := range o.writers {
		for k := range 10 {
			n, err := c.history(run, fmt.Sprintf("writer_%d_metric_%d", w, k))
			if err != nil {
				return err
			}
			found += n
		}
	}
	sum := 0
	for _, n := range acknowledged {
		sum += n
	}
	m.Writers = contest{
		Sent: o.writers * batches * rows, Errors: int(failed.Load()), Lost: max(sum-found, 0), Rate: float64(sum) / took.Seconds(),
	}
	return nil
}

// history counts the values of a metric.
func (c *client) history(run, key string) (int, error) {
	query := url.Values{"run_id": {run}, "metric_key": {key}}
	answer, err := c.send(http.MethodGet, "/api/2.0/mlflow/metrics/get-history?"+query.Encode(), nil, 0)
	if err != nil {
		return 0, err
	}
	var values struct {
		Metrics []json.RawMessage `json:"metrics"`
	}
	err = json.NewDecoder(answer).Decode(&values)
	return len(values.Metrics), errors.Join(err, answer.Close())
}

// searched is the experiment whose runs are searched.
const searched = "searched"

// makeRuns makes the runs that are searched, each with a tag, three params and four metrics, over four connections. A
// server that has a seed makes only the first through the wire.
func makeRuns(o options, c *client, m *side) error {
	var made struct {
		ID string `json:"experiment_id"`
	}
	if err := c.call("experiments/create", object{"name": searched}, &made); err != nil {
		return err
	}
	const conns = 4
	wired := o.runs
	if c.seed != nil {
		wired = min(wired, o.peerRuns)
	}
	errs := make([]error, conns)
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for i := range conns {
		wg.Go(func() {
			for errs[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= wired {
					return
				}
				errs[i] = c.trial(made.ID, newTrial(n))
			}
		})
	}
	wg.Wait()
	m.RunRate = float64(wired) / time.Since(start).Seconds()
	if err := errors.Join(errs...); err != nil || wired == o.runs {
		return err
	}
	var rest bytes.Buffer
	for n := wired; n < o.runs; n++ {
		rest.Write(encode(newTrial(n)))
		rest.WriteByte('\n')
	}
	return c.seed(made.ID, &rest)
}

// A trial is one of the runs that are searched.
type trial struct {
	At      int64              `json:"at"`
	Team    string             `json:"team"`
	Metrics map[string]float64 `json:"metrics"`
	Params  map[string]string  `json:"params"`
}

// newTrial is run number n. The same number has the same values on either side.
func newTrial(n int) trial {
	t := trial{
		At: 1_700_000_000_000 + int64(n), Team: []string{"red", "green", "blue", "white"}[n%4],
		Metrics: map[string]float64{}, Params: map[string]string{},
	}
	r := rand.New(rand.NewPCG(uint64(n), 1))
	for _, key := range []string{"accuracy", "loss", "f1", "seconds"} {
		t.Metrics[key] = r.Float64()
	}
	for _, key := range []string{"depth", "rate", "rounds"} {
		t.Params[key] = fmt.Sprint(r.IntN(100))
	}
	return t
}

// trial makes a run through the wire.
func (c *client) trial(experiment string, t trial) error {
	run, err := c.run(experiment, object{"key": "team", "value": t.Team})
	if err != nil {
		return err
	}
	var metrics, params []object
	for key, value := range t.Metrics {
		metrics = append(metrics, object{"key": key, "value": value, "timestamp": t.At, "step": 0})
	}
	for key, value := range t.Params {
		params = append(params, object{"key": key, "value": value})
	}
	_, err = c.post("runs/log-batch", encode(object{"run_id": run, "metrics": metrics, "params": params}))
	return err
}

// search asks for the best runs by two metrics and a tag, with another bound each time.
func search(o options, c *client, m *side) error {
	var found struct {
		Experiment struct {
			ID string `json:"experiment_id"`
		} `json:"experiment"`
	}
	answer, err := c.send(http.MethodGet, "/api/2.0/mlflow/experiments/get-by-name?experiment_name="+searched, nil, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(json.NewDecoder(answer).Decode(&found), answer.Close()); err != nil {
		return err
	}
	const warm = 3
	times := make([]time.Duration, 0, o.searches)
	for i := range warm + o.searches {
		body := encode(object{
			"experiment_ids": []string{found.Experiment.ID}, "max_results": o.page, "order_by": []string{"metrics.accuracy DESC"},
			"filter": fmt.Sprintf("metrics.accuracy > %.4f and metrics.loss < %.4f and tags.team = 'red'",
				0.3+0.4*float64(i)/float64(warm+o.searches), 0.6-0.2*float64(i)/float64(warm+o.searches)),
		})
		start := time.Now()
		text, err := c.post("runs/search", body)
		if err != nil {
			return err
		}
		if i >= warm {
			times = append(times, time.Since(start))
		}
		var page struct {
			Runs []json.RawMessage `json:"runs"`
		}
		if err := json.Unmarshal(text, &page); err != nil {
			return err
		}
		if o.runs >= 20_000 && o.page <= 100 && len(page.Runs) != o.page {
			return fmt.Errorf("a search found %d runs, not a page of %d", len(page.Runs), o.page)
		}
	}
	m.Search = summary(times)
	return nil
}

// moveArtifact sends a file of random bytes and fetches it back, watching the memory of the server.
func moveArtifact(o options, c *client, m *side) error {
	run, err := c.run("0")
	if err != nil {
		return err
	}
	path := "/api/2.0/mlflow-artifacts/artifacts/0/" + run + "/artifacts/large.bin"
	size := o.artifactMB * 1_000_000
	most := c.watch()
	sent, received := crc32.NewIEEE(), crc32.NewIEEE()
	block := make([]byte, 1<<20)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(block) // it never fails
	start := time.Now()
	answer, err := c.send(http.MethodPut, path, io.TeeReader(io.LimitReader(&repeated{block: block}, size), sent), size)
	if err == nil {
		_, err = io.Copy(io.Discard, answer)
		err = errors.Join(err, answer.Close())
	}
	m.Upload = float64(o.artifactMB) / time.Since(start).Seconds()
	var n int64
	if err == nil {
		start = time.Now()
		if answer, err = c.send(http.MethodGet, path, nil, 0); err == nil {
			n, err = io.Copy(received, answer)
			err = errors.Join(err, answer.Close())
			m.Download = float64(o.artifactMB) / time.Since(start).Seconds()
		}
	}
	var failed error
	m.RSSArtifact, failed = most()
	if err == nil && failed == nil && (n != size || sent.Sum32() != received.Sum32()) {
		err = fmt.Errorf("%d bytes came back of %d, or others than were sent", n, size)
	}
	return errors.Join(err, failed)
}

// repeated reads one block again and again, numbered so that no two are the same.
type repeated struct {
	block []byte
	at, n int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.at == len(r.block) {
		r.at, r.n = 0, r.n+1
		copy(r.block, fmt.Sprintf("%016d", r.n))
	}
	n := copy(p, r.block[r.at:])
	r.at += n
	return n, nil
}
