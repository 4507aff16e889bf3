// Package transfer copies what one MLflow tracking server keeps to another: into Stoa, and out of it.
//
// A [Source] is read and a [Server] is written to, over MLflow's wire and nothing else, so that the same code moves in
// and out and what the receiving server refuses stays refused. A source is a running server or the SQLite database file
// of one.
//
// The receiving server gives ids of its own. The old one stays on the copy as a tag, and that tag is the whole state of
// a transfer: one that broke off, or is run again later, finds by it what is there already, completes what is not, and
// copies nothing twice. A run is marked complete when all that belongs to it is there; a complete run is not looked at
// again. References between runs, logged models and versions are rewritten to the new ids. What cannot be carried over
// is named in the [Report], and never stops the rest.
package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
)

// The tags on a copy.
const (
	tagRun      = "transfer.run"      // id that the run had
	tagComplete = "transfer.complete" // on a run that is there whole
	tagModel    = "transfer.model"    // id that the logged model had
	tagVersion  = "transfer.version"  // number that the version had, "@" and when it was made
	tagParent   = "mlflow.parentRunId"
)

// A Source is what is copied from. Its methods call yield for one thing after another, oldest first, and end with the
// first error that yield returns. Deleted experiments and runs are not among them.
type Source interface {
	Experiments(ctx context.Context, yield func(Experiment) error) error
	Runs(ctx context.Context, experiment string, yield func(*Run) error) error
	// History gives the values of a metric of a run in lists of at most 1000.
	History(ctx context.Context, run, key string, yield func([]Metric) error) error
	LoggedModels(ctx context.Context, experiment string, yield func(*LoggedModel) error) error
	Files(ctx context.Context, of Owner, yield func(File) error) error
	RegisteredModels(ctx context.Context, yield func(*RegisteredModel) error) error
	// Omitted names what the source holds that no transfer carries.
	Omitted(ctx context.Context) ([]string, error)
}

// An Owner is the run or the logged model that artifacts belong to.
type Owner struct {
	Model    bool // a logged model, not a run
	ID       string
	Location string // artifact URI
}

// String names the owner for a report.
func (o Owner) String() string {
	if o.Model {
		return "logged model " + o.ID
	}
	return "run " + o.ID
}

// A File is one artifact. Path is beneath its owner's location.
type File struct {
	Path string
	Size int64 // bytes; -1 when unknown
	Open func() (io.ReadCloser, error)
}

// A Report counts what was copied and names what was not.
type Report struct {
	Experiments  int      `json:"experiments"`
	Runs         int      `json:"runs"`
	RunsBefore   int      `json:"runs_there_before"` // by an earlier transfer
	Metrics      int      `json:"metric_values"`
	Files        int      `json:"files"`
	Bytes        int64    `json:"bytes"`
	LoggedModels int      `json:"logged_models"`
	Models       int      `json:"registered_models"`
	Versions     int      `json:"versions"`
	Aliases      int      `json:"aliases"`
	NotCarried   []string `json:"not_carried"`
}

// A mover is one transfer.
type mover struct {
	from   Source
	to     *Server
	say    func(string)
	report Report
	runs   map[string]string // new id by old
	models map[string]string
}

// Copy copies everything from a source to a server and reports what it did, also when it broke off with an error. Say
// is called with a line of progress now and then.
func Copy(ctx context.Context, from Source, to *Server, say func(string)) (Report, error) {
	m := &mover{
		from: from, to: to, say: say, report: Report{NotCarried: []string{}},
		runs: map[string]string{}, models: map[string]string{},
	}
	err := m.experiments(ctx)
	if err == nil {
		err = from.RegisteredModels(ctx, func(r *RegisteredModel) error { return m.registered(ctx, r) })
	}
	if err == nil {
		var omitted []string
		omitted, err = from.Omitted(ctx)
		m.report.NotCarried = append(m.report.NotCarried, omitted...)
	}
	return m.report, err
}

func (m *mover) lost(format string, args ...any) {
	m.report.NotCarried = append(m.report.NotCarried, fmt.Sprintf(format, args...))
}

// experiments copies the experiments with their runs and logged models. The list is read before the first is copied:
// a source need not answer while it is being read.
func (m *mover) experiments(ctx context.Context) error {
	var all []Experiment
	if err := m.from.Experiments(ctx, func(e Experiment) error {
		all = append(all, e)
		return nil
	}); err != nil {
		return err
	}
	for i, e := range all {
		m.say(fmt.Sprintf("experiment %d of %d: %s", i+1, len(all), e.Name))
		if err := m.experiment(ctx, e); err != nil {
			return fmt.Errorf("experiment %q: %w", e.Name, err)
		}
		m.report.Experiments++
	}
	return nil
}

func (m *mover) experiment(ctx context.Context, e Experiment) error {
	id, err := m.to.experiment(ctx, e)
	if err != nil {
		return err
	}
	there, err := m.to.copies(ctx, id)
	if err != nil {
		return err
	}
	var unfinished []*Run
	err = m.from.Runs(ctx, e.ID, func(r *Run) error {
		c := there[r.Info.ID]
		if c.complete {
			m.runs[r.Info.ID] = c.id
			m.report.RunsBefore++
			return nil
		}
		if err := m.run(ctx, id, c.id, r); err != nil {
			return fmt.Errorf("run %s: %w", r.Info.ID, err)
		}
		r.Data = RunData{Tags: tagsNamed(r.Data.Tags, tagParent)} // all that linking needs of it
		unfinished = append(unfinished, r)
		if len(unfinished)%100 == 0 {
			m.say(fmt.Sprintf("  %d runs, %d metric values, %d files", m.report.Runs+len(unfinished), m.report.Metrics, m.report.Files))
		}
		return nil
	})
	if err != nil {
		return err
	}
	measured := map[string][]Metric{}
	if err := m.loggedModels(ctx, e.ID, id, measured); err != nil {
		return err
	}
	for _, r := range unfinished {
		if err := m.finish(ctx, r, measured[r.Info.ID]); err != nil {
			return fmt.Errorf("run %s: %w", r.Info.ID, err)
		}
		m.report.Runs++
	}
	return nil
}

func tagsNamed(tags []Tag, key string) []Tag {
	for _, t := range tags {
		if t.Key == key {
			return []Tag{t}
		}
	}
	return nil
}

// run copies what a run has of its own. What refers to others follows in finish.
func (m *mover) run(ctx context.Context, experiment, id string, r *Run) (err error) {
	old := r.Info.ID
	if id == "" {
		if id, err = m.to.createRun(ctx, experiment, r); err != nil {
			return err
		}
	}
	m.runs[old] = id
	var tags []Tag
	for _, t := range r.Data.Tags {
		if t.Key != tagParent && t.Key != tagRun && t.Key != tagComplete {
			tags = append(tags, t)
		}
	}
	for part := range chunks(r.Data.Params, 100) {
		if err := m.to.post(ctx, "runs/log-batch", object{"run_id": id, "params": part}, nil); err != nil {
			return err
		}
	}
	for part := range chunks(tags, 100) {
		if err := m.to.post(ctx, "runs/log-batch", object{"run_id": id, "tags": part}, nil); err != nil {
			return err
		}
	}
	for _, metric := range r.Data.Metrics {
		err := m.from.History(ctx, old, metric.Key, func(values []Metric) error {
			m.report.Metrics += len(values)
			return m.to.post(ctx, "runs/log-batch", object{"run_id": id, "metrics": values}, nil)
		})
		if err != nil {
			return err
		}
	}
	if len(r.Inputs.Datasets) > 0 {
		if err := m.to.post(ctx, "runs/log-inputs", object{"run_id": id, "datasets": r.Inputs.Datasets}, nil); err != nil {
			return err
		}
	}
	location, err := m.to.runLocation(ctx, id)
	if err != nil {
		return err
	}
	return m.files(ctx, Owner{ID: old, Location: r.Info.ArtifactURI}, location)
}

// files copies the artifacts of an owner to a location of the receiving server.
func (m *mover) files(ctx context.Context, of Owner, location string) error {
	err := m.from.Files(ctx, of, func(f File) error {
		if _, proxied := proxyPath(location); !proxied {
			return &lostError{"the receiving server keeps artifacts at " + location + ", which it does not take over the wire"}
		}
		body, err := f.Open()
		if unreadable(err) {
			m.lost("artifact %s of %s: %v", f.Path, of, err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		defer body.Close()
		counted := &counter{Reader: body}
		if err := m.to.upload(ctx, location, f.Path, counted, f.Size); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		m.report.Files++
		m.report.Bytes += counted.n
		return nil
	})
	if lost, ok := asLost(err); ok {
		m.lost("artifacts of %s: %s", of, lost)
		return nil
	}
	return err
}

// unreadable reports whether the source is there and does not give a file. What else fails ends the transfer, which can be
// taken up again.
func unreadable(err error) bool {
	if answer, ok := asAnswer(err); ok {
		return answer.status < http.StatusInternalServerError && answer.status != http.StatusUnauthorized
	}
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

// finish writes what a run refers to, and that it is complete.
func (m *mover) finish(ctx context.Context, r *Run, ofModels []Metric) error {
	id := m.runs[r.Info.ID]
	for part := range chunks(ofModels, 1000) {
		if err := m.to.post(ctx, "runs/log-batch", object{"run_id": id, "metrics": part}, nil); err != nil {
			return err
		}
	}
	var inputs, outputs []object
	for _, in := range r.Inputs.Models {
		if model, ok := m.models[in.ID]; ok {
			inputs = append(inputs, object{"model_id": model})
		} else {
			m.lost("run %s: its use of the logged model %s, which was not copied", r.Info.ID, in.ID)
		}
	}
	for _, out := range r.Outputs.Models {
		if model, ok := m.models[out.ID]; ok {
			outputs = append(outputs, object{"model_id": model, "step": out.Step})
		} else {
			m.lost("run %s: its output %s, a logged model that was not copied", r.Info.ID, out.ID)
		}
	}
	if len(inputs) > 0 {
		if err := m.to.post(ctx, "runs/log-inputs", object{"run_id": id, "models": inputs}, nil); err != nil {
			return err
		}
	}
	if len(outputs) > 0 {
		if err := m.to.post(ctx, "runs/outputs", object{"run_id": id, "models": outputs}, nil); err != nil {
			return err
		}
	}
	tags := []Tag{{tagComplete, "true"}}
	if len(r.Data.Tags) > 0 {
		parent := r.Data.Tags[0].Value
		if copied, ok := m.runs[parent]; ok {
			tags = append(tags, Tag{tagParent, copied})
		} else {
			m.lost("run %s: its parent %s, which was not copied", r.Info.ID, parent)
		}
	}
	state := object{"run_id": id, "status": r.Info.Status}
	if r.Info.EndTime != 0 {
		state["end_time"] = r.Info.EndTime
	}
	if err := m.to.post(ctx, "runs/update", state, nil); err != nil {
		return err
	}
	return m.to.post(ctx, "runs/log-batch", object{"run_id": id, "tags": tags}, nil)
}

// loggedModels copies the logged models of an experiment. Their metrics were logged by runs and are copied with those:
// measured collects them by the old id of the run.
func (m *mover) loggedModels(ctx context.Context, from, to string, measured map[string][]Metric) error {
	there := map[string]*LoggedModel{}
	if err := m.to.LoggedModels(ctx, to, func(l *LoggedModel) error {
		if t := tagsNamed(l.Info.Tags, tagModel); t != nil {
			there[t[0].Value] = l
		}
		return nil
	}); err != nil {
		return err
	}
	return m.from.LoggedModels(ctx, from, func(l *LoggedModel) error {
		model := there[l.Info.ID]
		if model == nil {
			var err error
			if model, err = m.to.createModel(ctx, to, m.runs[l.Info.SourceRun], l); err != nil {
				return fmt.Errorf("logged model %s: %w", l.Info.ID, err)
			}
		}
		m.models[l.Info.ID] = model.Info.ID
		for _, metric := range l.Data.Metrics {
			metric.ModelID = model.Info.ID
			run := metric.RunID
			metric.RunID = ""
			measured[run] = append(measured[run], metric)
		}
		if model.Info.Status != modelPending || l.Info.Status == modelPending {
			return nil
		}
		owner := Owner{Model: true, ID: l.Info.ID, Location: l.Info.ArtifactURI}
		if err := m.files(ctx, owner, model.Info.ArtifactURI); err != nil {
			return fmt.Errorf("%s: %w", owner, err)
		}
		m.report.LoggedModels++
		return m.to.finalizeModel(ctx, model.Info.ID, l.Info.Status)
	})
}

// chunks cuts a list into lists of at most n.
func chunks[T any](list []T, n int) func(func([]T) bool) {
	return func(yield func([]T) bool) {
		for len(list) > 0 {
			size := min(n, len(list))
			if !yield(list[:size]) {
				return
			}
			list = list[size:]
		}
	}
}

// A counter counts the bytes read through it.
type counter struct {
	io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// object is a JSON object to send.
type object = map[string]any

// integer is an int64 that the wire may carry as a number or as a string.
type integer int64

// UnmarshalJSON implements json.Unmarshaler.
func (i *integer) UnmarshalJSON(text []byte) error {
	var n int64
	if err := json.Unmarshal([]byte(strings.Trim(string(text), `"`)), &n); err != nil {
		return err
	}
	*i = integer(n)
	return nil
}
