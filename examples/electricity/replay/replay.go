package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	endpoint  = "price-direction"
	champion  = "price-direction@champion" // candidate that fails for a day
	clients   = 4                          // requests in flight
	lateness  = perDay                     // half-hours until a label is known
	pollEvery = 5 * time.Millisecond

	breakerOpenFor = 1100 * time.Millisecond // a little more than open_for in the workload file
)

// trainArgs trains a model the way the workload file's own retraining command does.
func trainArgs(data, out string) []string {
	return []string{
		"train", data, "--target", "class", "--out", out, "--quiet", "--holdout", "0",
		"--rounds", "50", "--depth", "5", "--leaves", "31", "--learning-rate", "0.1", "--seed", "1",
	}
}

// window is how many of the latest labelled half-hours a retraining sees, here and in the workload file.
const window = 5376 // 16 weeks

// A replay is one run of the market through the server.
type replay struct {
	srv   *server
	rows  []row
	first int
	view  *view
	log   eventLog

	mu        sync.Mutex // guards the fields below, written by the clients
	managed   []string   // class predicted by the endpoint, by row
	latency   []time.Duration
	failed    int
	fallbacks map[string]int
	lastErr   error
}

func newReplay(srv *server, rows []row, first int, v *view) *replay {
	return &replay{
		srv: srv, rows: rows, first: first, view: v,
		managed: make([]string, len(rows)), fallbacks: map[string]int{},
		latency: make([]time.Duration, 0, len(rows)),
	}
}

// run plays the whole story and returns its result.
func (r *replay) run(ctx context.Context) (*result, error) {
	if err := r.firstVersion(ctx); err != nil {
		return nil, err
	}
	var weekly, frozen []string
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { weekly, err = r.weekly(gctx); return err })
	g.Go(func() (err error) { frozen, err = r.frozen(gctx); return err })
	g.Go(func() error { return r.play(gctx) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var state lifecycle
	if _, err := r.srv.call(ctx, http.MethodGet, "/v1/models/"+endpoint+"/lifecycle", nil, &state); err != nil {
		return nil, err
	}
	return r.summarise(weekly, frozen, state), nil
}

// firstVersion shows that an endpoint without a version says so, then trains, registers and promotes version 1.
func (r *replay) firstVersion(ctx context.Context) error {
	_, err := r.srv.call(ctx, http.MethodPost, "/v2/models/"+endpoint+"/infer", inferBody(nil, "", r.rows[:1], true), nil)
	var refused *apiError
	if !errors.As(err, &refused) || refused.status != http.StatusServiceUnavailable {
		return fmt.Errorf("an endpoint without a version should answer 503, got: %w", err)
	}
	r.view.note("before the first version: 503 %s", refused.Reason)

	out := filepath.Join(r.srv.dir, "v1.onnx")
	if _, err := r.srv.run(ctx, trainArgs(filepath.Join("data", "feed.csv"), out)...); err != nil {
		return err
	}
	if _, err := r.srv.run(ctx, "models", "register", endpoint, out, "--promote", "--why", "first version"); err != nil {
		return err
	}
	r.view.note("version 1 trained on %d half-hours and promoted", r.first)
	return nil
}

// play replays the market day by day.
func (r *replay) play(ctx context.Context) error {
	days := (len(r.rows) - r.first) / perDay
	failFrom := days / 2
	feedFile, err := os.OpenFile(filepath.Join(r.srv.dir, "data", "feed.csv"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer feedFile.Close()

	for day := range days {
		from := r.first + day*perDay
		switch day {
		case failFrom:
			err = r.breakTarget(ctx)
		case failFrom + 1:
			err = r.mendTarget(ctx)
		}
		if err != nil {
			return err
		}
		if err := r.predictDay(ctx, from); err != nil {
			return err
		}
		if day > 0 { // yesterday's labels are known now
			if err := r.label(ctx, from-lateness, feedFile); err != nil {
				return err
			}
		}
		if err := r.settle(ctx); err != nil {
			return err
		}
		r.view.progress(r.progressAt(from + perDay))
	}
	return feedFile.Close()
}

// predictDay sends one day's half-hours through the endpoint, a request each.
func (r *replay) predictDay(ctx context.Context, from int) error {
	g, gctx := errgroup.WithContext(ctx)
	for c := range clients {
		g.Go(func() error {
			for i := from + c; i < from+perDay; i += clients {
				r.predict(gctx, i)
			}
			return gctx.Err()
		})
	}
	return g.Wait()
}

func (r *replay) predict(ctx context.Context, i int) {
	body := inferBody(nil, predictionID(i), r.rows[i:i+1], false)
	began := time.Now()
	var p prediction
	head, err := r.srv.call(ctx, http.MethodPost, "/v2/models/"+endpoint+"/infer", body, &p)
	took := time.Since(began)
	var class []string
	if err == nil {
		class, err = p.classes()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || len(class) != 1 {
		r.failed++
		r.lastErr = err
		return
	}
	r.latency = append(r.latency, took)
	r.managed[i] = class[0]
	if reason := head.Get("Stoa-Fallback"); reason != "" {
		r.fallbacks[reason]++
	}
}

// label tells the server the truth about the day that starts at row from, and appends it to the workload's feed.
func (r *replay) label(ctx context.Context, from int, feedFile *os.File) error {
	type label struct {
		ID    string `json:"id"`
		Label string `json:"label"`
	}
	labels := make([]label, perDay)
	for i := range labels {
		labels[i] = label{predictionID(from + i), r.rows[from+i].class}
	}
	if _, err := feedFile.Write(feed(r.rows[from : from+perDay])); err != nil {
		return err
	}
	_, err := r.srv.call(ctx, http.MethodPost, "/v1/labels", map[string]any{"model": endpoint, "labels": labels}, nil)
	return err
}

// settle holds the market's clock until the server has drawn its conclusions from what it knows, and shows the new
// events.
func (r *replay) settle(ctx context.Context) error {
	for {
		var state lifecycle
		if _, err := r.srv.call(ctx, http.MethodGet, "/v1/models/"+endpoint+"/lifecycle", nil, &state); err != nil {
			return err
		}
		r.view.state(state)
		if state.Settled {
			return r.showEvents(ctx)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

func (r *replay) showEvents(ctx context.Context) error {
	var page struct {
		Events []event `json:"events"`
	}
	path := "/v1/events?subject=" + endpoint + "&after=" + strconv.FormatInt(r.log.last, 10)
	if _, err := r.srv.call(ctx, http.MethodGet, path, nil, &page); err != nil {
		return err
	}
	for _, e := range page.Events {
		r.log.last = e.Seq
		r.view.event(e)
	}
	return nil
}

// An eventLog remembers how far the ledger has been shown.
type eventLog struct{ last int64 }

// breakTarget makes the champion's target fail on purpose.
func (r *replay) breakTarget(ctx context.Context) error {
	r.view.note("the champion's target fails from now on, for one day")
	_, err := r.srv.call(ctx, http.MethodPut, "/v1/endpoints/"+endpoint+"/faults",
		map[string]string{"candidate": champion, "reason": "target_error", "why": "replay: see the fallback work"}, nil)
	return err
}

func (r *replay) mendTarget(ctx context.Context) error {
	r.mu.Lock()
	fallbacks := total(r.fallbacks)
	r.mu.Unlock()
	r.view.note("the champion's target is back; %d answers came from a fallback meanwhile", fallbacks)
	if _, err := r.srv.call(ctx, http.MethodDelete, "/v1/endpoints/"+endpoint+"/faults", nil, nil); err != nil {
		return err
	}
	// The breaker leaves the target alone for a while yet, by the wall's clock: far less than the half-hour that passes
	// before the market's next request.
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(breakerOpenFor):
		return nil
	}
}

// progressAt describes the run when every row before end has been predicted.
func (r *replay) progressAt(end int) progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := progress{done: end - r.first, date: dateOf(end - 1), failed: r.failed, fallbacks: total(r.fallbacks)}
	p.recent = accuracy(r.managed, r.rows, max(r.first, end-28*perDay), end)
	p.naive = naiveAccuracy(r.rows, max(r.first, end-28*perDay), end)
	return p
}

func predictionID(i int) string { return "half-hour-" + strconv.Itoa(i) }

func total(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

// accuracy is the share of rows in [from, to) whose predicted class came true; a missing prediction counts as wrong.
func accuracy(predicted []string, rows []row, from, to int) float64 {
	right := 0
	for i := from; i < to; i++ {
		if predicted[i] == rows[i].class {
			right++
		}
	}
	return float64(right) / float64(max(1, to-from))
}

// naiveAccuracy is the accuracy of repeating the last label known at the time.
func naiveAccuracy(rows []row, from, to int) float64 {
	right := 0
	for i := from; i < to; i++ {
		if rows[i-lateness].class == rows[i].class {
			right++
		}
	}
	return float64(right) / float64(max(1, to-from))
}

func writeFeed(path string, rows []row) error {
	text := append([]byte(strings.Join(header, ",")+"\n"), feed(rows)...)
	return os.WriteFile(path, text, 0o644)
}
