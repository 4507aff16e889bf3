package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/manifest"
	"github.com/stoaproject/stoa/operations/monitor"
	"github.com/stoaproject/stoa/performance/runtime"
	"github.com/stoaproject/stoa/reliability/registry"
	"github.com/stoaproject/stoa/reliability/retrain"
	"github.com/stoaproject/stoa/store"
)

// Metrics that a version made by a retraining carries: the reference of its decay detector.
const (
	metricHoldoutAccuracy = "holdout_accuracy"
	metricHoldoutRows     = "holdout_rows"
)

// A retrainPayload is what a retraining entry of the ledger proposes.
type retrainPayload struct {
	Alarm *stoa.Alarm `json:"alarm,omitempty"` // nil when a person asked
}

// A retrainResult is what came of it.
type retrainResult struct {
	Version  int            `json:"version"`
	Accepted bool           `json:"accepted"`
	Gates    []gateView     `json:"gates"`
	Job      retrain.Result `json:"job"`
	Text     string         `json:"text"`
}

// A gateView is one gate that a candidate stood before.
type gateView struct {
	Gate   string        `json:"gate"`
	Passed bool          `json:"passed"`
	Why    string        `json:"why"`
	Exam   *retrain.Gate `json:"exam,omitempty"`
}

// A job is a retraining under way.
type job struct {
	entry int64
}

// A jobEnd is the end of one.
type jobEnd struct {
	entry    ledger.Entry
	champion int // version that the candidate was compared with; 0 for none
	result   retrain.Result
	exam     retrain.Gate
	err      error
}

// beginRetrainings starts the jobs of the entries that are approved, and resumes those that a crash interrupted. A model
// has one at a time.
func (l *lifecycle) beginRetrainings(ctx context.Context) error {
	entries, err := l.rooms.ledger.List(ctx, ledger.Filter{
		Kind: ledger.KindRetrain, States: []ledger.State{ledger.StateApproved, ledger.StateRunning},
	})
	if err != nil {
		return err
	}
	for _, e := range entries {
		if l.jobs[e.Subject] != nil {
			continue
		}
		if _, err := l.rooms.ledger.Start(ctx, e.ID); err != nil {
			return fmt.Errorf("entry %d: %w", e.ID, err)
		}
		l.jobs[e.Subject] = &job{entry: e.ID}
		l.state(e.Subject) // of a model that may have no version yet
		l.wg.Go(func() {
			end := l.runJob(ctx, e)
			if ctx.Err() != nil {
				return // the entry stays running, and is resumed with the next start
			}
			l.ended <- end
		})
	}
	return nil
}

// runJob trains a candidate and examines it against the champion of the moment.
func (l *lifecycle) runJob(ctx context.Context, e ledger.Entry) jobEnd {
	end := jobEnd{entry: e}
	w := l.plan().workload
	settings, data := w.Reliability.Retrain[e.Subject], w.DataOf(e.Subject)
	if settings == nil || data == nil || data.Target == nil {
		end.err = errors.New("the workload file no longer says how to retrain this model")
		return end
	}
	end.result, end.err = l.trainer.Run(ctx, retrain.Job{
		ID: e.ID, Model: e.Subject, Data: data.Source, Target: data.Target.Name, Time: data.Time,
		WindowRows: settings.WindowRows, Holdout: settings.Holdout, Command: settings.Command, Timeout: settings.Timeout,
	})
	if end.err != nil {
		return end
	}
	end.exam, end.champion, end.err = l.examine(ctx, e.Subject, data, settings, end.result)
	return end
}

// examine asks champion and candidate about the hold-out.
func (l *lifecycle) examine(
	ctx context.Context, model string, data *manifest.Data, settings *manifest.Retrain, made retrain.Result,
) (retrain.Gate, int, error) {
	raw, err := os.ReadFile(made.Model)
	if err != nil {
		return retrain.Gate{}, 0, err
	}
	candidate, err := loadCandidate(model, raw)
	if err != nil {
		return retrain.Gate{}, 0, err
	}
	exam := retrain.Exam{Holdout: made.Holdout, Target: data.Target.Name, Margin: settings.Margin}
	for _, f := range data.Features {
		exam.Features = append(exam.Features, f.Name)
	}
	champion, err := l.rooms.models.at(ctx, model, stoa.AliasChampion)
	var refusal *stoa.Refusal
	if errors.As(err, &refusal) {
		champion, err = nil, nil // none yet
	}
	if err != nil {
		return retrain.Gate{}, 0, err
	}
	version := 0
	var byChampion retrain.Predict
	if champion != nil {
		version, byChampion = champion.version.Number, champion.predict
	}
	gate, err := retrain.Evaluate(ctx, exam, byChampion, candidate.predict)
	return gate, version, err
}

// jobEnded takes the end of a job into the ledger: a version, the gates, and a rollout when it passed them.
func (l *lifecycle) jobEnded(ctx context.Context, end jobEnd) error {
	model := end.entry.Subject
	delete(l.jobs, model)
	var result retrainResult
	var err error
	if end.err == nil {
		if result, err = l.registerCandidate(ctx, end); err != nil {
			var refusal *stoa.Refusal
			if _, faulty := store.Reason(err); faulty || !errors.As(err, &refusal) {
				return err // the store's fault: the entry stays running, and the job's result is found again
			}
			end.err = err // the artifact is not one that can be registered
		}
	}
	outcome := "accepted"
	switch {
	case end.err != nil:
		outcome = "failed"
	case !result.Accepted:
		outcome = "blocked"
	}
	count := func(c *LifecycleCounts) {
		c.Retrainings++
		switch outcome {
		case "failed":
			c.Failed++
		case "blocked":
			c.Blocked++
		}
	}
	err = l.countEnd(ctx, model, count, func(tx *store.Tx) (err error) {
		switch outcome {
		case "failed":
			_, err = l.rooms.ledger.FailTx(ctx, tx, end.entry.ID, end.err)
		case "blocked":
			_, err = l.rooms.ledger.FinishTx(ctx, tx, end.entry.ID, result)
		default:
			err = l.passTx(ctx, tx, end, result)
		}
		return err
	})
	if err != nil {
		return err
	}
	l.rooms.telemetry.Retrained(model, outcome)
	return l.trainer.Remove(end.entry.ID)
}

// passTx finishes the retraining and proposes the rollout that follows from it.
func (l *lifecycle) passTx(ctx context.Context, tx *store.Tx, end jobEnd, result retrainResult) error {
	if _, err := l.rooms.ledger.FinishTx(ctx, tx, end.entry.ID, result); err != nil {
		return err
	}
	entry, _, err := l.rooms.ledger.ProposeTx(ctx, tx, ledger.Proposal{
		Key:  fmt.Sprintf("rollout/%s/%d/%d", end.entry.Subject, result.Version, end.entry.ID),
		Kind: ledger.KindRollout, Subject: end.entry.Subject,
		Payload: rolloutPayload{Version: result.Version, Retrain: end.entry.ID}, Why: result.Text, By: "retrain",
	})
	if err != nil {
		return err
	}
	_, err = l.rooms.ledger.ApproveTx(ctx, tx, entry.ID, policyActor, "every gate was passed")
	return err
}

// registerCandidate makes a version of what the job trained and puts it before the gates.
func (l *lifecycle) registerCandidate(ctx context.Context, end jobEnd) (retrainResult, error) {
	out := retrainResult{Job: end.result}
	file, err := os.Open(end.result.Model)
	if err != nil {
		return out, err
	}
	defer file.Close()
	metrics := map[string]float64{metricHoldoutAccuracy: end.exam.Candidate, metricHoldoutRows: float64(end.exam.Rows)}
	for name, v := range end.result.Metrics {
		metrics["train_"+name] = v
	}
	v, err := l.rooms.registry.Register(ctx, registry.Candidate{
		Model: end.entry.Subject, Artifact: file, Parent: end.champion, DataDigest: end.result.DataDigest,
		Code: strings.Join(end.result.Command, " "), Parameters: end.result.Parameters, Metrics: metrics,
		By: fmt.Sprintf("retrain:%d", end.entry.ID),
	})
	if err != nil {
		return out, err
	}
	out.Version = v.Number
	out.Gates = l.gates(end, v)
	if err := l.recordGates(ctx, end, v, out.Gates); err != nil {
		return out, err
	}
	out.Accepted = true
	for _, g := range out.Gates {
		if !g.Passed {
			out.Accepted = false
			out.Text = fmt.Sprintf("candidate version %d blocked by gate %s: %s", v.Number, g.Gate, g.Why)
			return out, nil
		}
	}
	out.Text = fmt.Sprintf("candidate version %d passed: %s", v.Number, end.exam.Why)
	return out, nil
}

// gates puts a candidate before every gate; none is left out because another failed.
func (l *lifecycle) gates(end jobEnd, v stoa.Version) []gateView {
	list := []gateView{{Gate: "quality", Passed: end.exam.Accepted, Why: end.exam.Why, Exam: &end.exam}}
	if v.Number == end.champion {
		list = append(list, gateView{Gate: "new", Why: "it is the version in service, bit for bit"})
	}
	if g := l.plan().workload.Principles.Gates[end.entry.Subject]; g != nil {
		list = append(list, gateView{
			Gate: g.Metric, Passed: end.exam.Candidate >= g.Min,
			Why: fmt.Sprintf("%s %.4f on the hold-out where at least %.4f is asked", g.Metric, end.exam.Candidate, g.Min),
		})
	}
	return list
}

// recordGates keeps with the version what it passed, for the conditions on aliases and for its lineage. That a version is
// not new says nothing about it.
func (l *lifecycle) recordGates(ctx context.Context, end jobEnd, v stoa.Version, gates []gateView) error {
	for _, g := range gates {
		if g.Gate == "new" {
			continue
		}
		err := l.rooms.registry.RecordGate(ctx, v.Model, v.Number, registry.Gate{
			Name: g.Gate, Passed: g.Passed, Detail: g.Why, By: fmt.Sprintf("retrain:%d", end.entry.ID), Entry: end.entry.ID,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// loadCandidate makes a model that can predict of an artifact that is not registered yet.
func loadCandidate(model string, artifact []byte) (*served, error) {
	m, err := runtime.Load(artifact)
	if err != nil {
		return nil, fmt.Errorf("the command made a model that cannot be served: %w", err)
	}
	return &served{version: stoa.Version{Model: model}, model: m}, nil
}

// predict decides the class of rows of text, as they stand in a data file.
func (s *served) predict(_ context.Context, rows [][]string) ([]string, error) {
	inputs, err := tensors(s.model.Inputs(), rows)
	if err != nil {
		return nil, err
	}
	answer, err := s.infer(&stoa.Call{Inputs: inputs, Rows: len(rows)}, "exam", stoa.RolePinned)
	if err != nil {
		return nil, err
	}
	classes, ok := monitor.Decisions(answer, s.model.Classes())
	if !ok {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonUnsupported, Message: "the model's outputs hold no decision",
			Hint: "a classifier has an output named label, or one of scores with a column for each class",
		}
	}
	return classes, nil
}

// tensors lays rows of text out as a model's inputs: one input takes all columns, else each input takes the next one.
func tensors(specs []stoa.TensorSpec, rows [][]string) ([]stoa.Tensor, error) {
	if len(rows) == 0 {
		return nil, errors.New("there are no rows")
	}
	columns := len(rows[0])
	if len(specs) == 1 {
		t, err := column(specs[0], rows, 0, columns)
		return []stoa.Tensor{t}, err
	}
	if len(specs) != columns {
		return nil, fmt.Errorf("the model has %d inputs, the data %d features", len(specs), columns)
	}
	out := make([]stoa.Tensor, len(specs))
	for i, spec := range specs {
		var err error
		if out[i], err = column(spec, rows, i, i+1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// column lays the columns [from, to) of rows out as one tensor. An empty field is a missing value.
func column(spec stoa.TensorSpec, rows [][]string, from, to int) (stoa.Tensor, error) {
	t := stoa.Tensor{Name: spec.Name, Datatype: spec.Datatype, Shape: []int64{int64(len(rows)), int64(to - from)}}
	var err error
	switch spec.Datatype {
	case stoa.FP32:
		t.Data, err = fields(rows, from, to, func(s string) (float32, error) {
			v, err := number(s)
			return float32(v), err
		})
	case stoa.FP64:
		t.Data, err = fields(rows, from, to, number)
	case stoa.Int64:
		t.Data, err = fields(rows, from, to, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) })
	case stoa.Bytes:
		t.Data, err = fields(rows, from, to, func(s string) (string, error) { return s, nil })
	default:
		err = fmt.Errorf("input %s is %s, which a data file cannot give", spec.Name, spec.Datatype)
	}
	return t, err
}

func number(s string) (float64, error) {
	if s == "" {
		s = "NaN"
	}
	return strconv.ParseFloat(s, 64)
}

func fields[T any](rows [][]string, from, to int, parse func(string) (T, error)) ([]T, error) {
	out := make([]T, 0, len(rows)*(to-from))
	for i, row := range rows {
		for _, s := range row[from:to] {
			v, err := parse(s)
			if err != nil {
				return nil, fmt.Errorf("row %d: %w", i+1, err)
			}
			out = append(out, v)
		}
	}
	return out, nil
}
