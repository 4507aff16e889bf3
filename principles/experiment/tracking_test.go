package experiment_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/principles/experiment"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/blob"
	"github.com/stoaproject/stoa/store/storetest"
)

// A room is a tracking room of a test with its cellar.
type room struct {
	*experiment.Tracking
	blobs  store.Blobs
	caller stoa.Caller
}

func open(t testing.TB) *room {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	db, err := storetest.OpenAt(t.Context(), storetest.Place(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	blobs := blob.Memory()
	tracking, err := experiment.New(t.Context(), experiment.Config{
		DB: db, Blobs: blobs, Logger: logger, Now: func() time.Time { return time.UnixMilli(1700000000000) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return &room{tracking, blobs, stoa.Caller{ID: "k1", Name: "ann"}}
}

// run starts a run in an experiment and returns its id.
func (r *room) run(t testing.TB, experimentID string) string {
	t.Helper()
	made, err := r.CreateRun(t.Context(), r.caller, &experiment.CreateRunRequest{
		ExperimentID: experimentID, UserID: "ann", StartTime: 1000, RunName: "first",
	})
	if err != nil {
		t.Fatal(err)
	}
	return made.Run.Info.RunID
}

// get reads a run.
func (r *room) get(t testing.TB, runID string) experiment.Run {
	t.Helper()
	found, err := r.GetRun(t.Context(), r.caller, &experiment.RunRequest{RunID: runID})
	if err != nil {
		t.Fatal(err)
	}
	return found.Run
}

// refused checks the reason and a part of the message of a refusal.
func refused(t testing.TB, err error, reason stoa.Reason, message string) {
	t.Helper()
	var refusal *stoa.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != reason || !strings.Contains(refusal.Message, message) {
		t.Errorf("got %v, want %s: %s", err, reason, message)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// decode reads a request from the JSON of the wire.
func decode[T any](t testing.TB, text string) *T {
	t.Helper()
	var into T
	if err := json.Unmarshal([]byte(text), &into); err != nil {
		t.Fatal(err)
	}
	return &into
}

// encode writes a response as the JSON of the wire.
func encode(t testing.TB, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestExperiments(t *testing.T) {
	r, ctx := open(t), t.Context()
	found, err := r.GetExperiment(ctx, r.caller, &experiment.GetExperimentRequest{ExperimentID: "0"})
	ok(t, err)
	if e := found.Experiment; e.Name != "Default" || e.ArtifactLocation != "mlflow-artifacts:/0" || e.LifecycleStage != "active" {
		t.Errorf("the default experiment is %+v", e)
	}
	made, err := r.CreateExperiment(ctx, r.caller, decode[experiment.CreateExperimentRequest](t,
		`{"name": "houses", "tags": [{"key": "team", "value": "a"}, {"key": "team", "value": "b"}]}`))
	ok(t, err)
	if made.ExperimentID != "1" {
		t.Errorf("the first experiment has the id %s", made.ExperimentID)
	}
	named, err := r.GetExperimentByName(ctx, r.caller, &experiment.GetExperimentByNameRequest{ExperimentName: "houses"})
	ok(t, err)
	if got := encode(t, named); got != `{"experiment":{"experiment_id":"1","name":"houses",`+
		`"artifact_location":"mlflow-artifacts:/1","lifecycle_stage":"active","last_update_time":1700000000000,`+
		`"creation_time":1700000000000,"tags":[{"key":"team","value":"b"}]}}` {
		t.Error(got)
	}

	_, err = r.CreateExperiment(ctx, r.caller, &experiment.CreateExperimentRequest{Name: "houses"})
	refused(t, err, stoa.ReasonConflict, "Experiment(name=houses) already exists.")
	_, err = r.CreateExperiment(ctx, r.caller, &experiment.CreateExperimentRequest{})
	refused(t, err, stoa.ReasonInvalid, "Missing value for required parameter 'name'.")
	_, err = r.CreateExperiment(ctx, r.caller, &experiment.CreateExperimentRequest{Name: strings.Repeat("é", 501)})
	refused(t, err, stoa.ReasonInvalid, "'name' exceeds the maximum length of 500 characters")
	_, err = r.GetExperiment(ctx, r.caller, &experiment.GetExperimentRequest{ExperimentID: "7"})
	refused(t, err, stoa.ReasonNotFound, "No Experiment with id=7 exists")
	_, err = r.GetExperiment(ctx, r.caller, &experiment.GetExperimentRequest{ExperimentID: "x"})
	refused(t, err, stoa.ReasonInvalid, "Invalid experiment ID 'x'. Experiment ID must be a valid integer.")

	runID := r.run(t, "1")
	_, err = r.DeleteExperiment(ctx, r.caller, &experiment.GetExperimentRequest{ExperimentID: "1"})
	ok(t, err)
	if stage := r.get(t, runID).Info.LifecycleStage; stage != "deleted" {
		t.Errorf("the run of a deleted experiment is %s", stage)
	}
	_, err = r.DeleteExperiment(ctx, r.caller, &experiment.GetExperimentRequest{ExperimentID: "1"})
	refused(t, err, stoa.ReasonNotFound, "No Experiment with id=1 exists")
	_, err = r.CreateRun(ctx, r.caller, &experiment.CreateRunRequest{ExperimentID: "1"})
	refused(t, err, stoa.ReasonInvalid, "The experiment 1 must be in the 'active' state. Current state is deleted.")
	_, err = r.UpdateExperiment(ctx, r.caller, &experiment.UpdateExperimentRequest{ExperimentID: "1", NewName: "x"})
	refused(t, err, stoa.ReasonInvalid, "Cannot rename a non-active experiment.")
	_, err = r.RestoreExperiment(ctx, r.caller, &experiment.GetExperimentRequest{ExperimentID: "1"})
	ok(t, err)
	if stage := r.get(t, runID).Info.LifecycleStage; stage != "active" {
		t.Errorf("the run of a restored experiment is %s", stage)
	}
	_, err = r.UpdateExperiment(ctx, r.caller, &experiment.UpdateExperimentRequest{ExperimentID: "1", NewName: "Default"})
	refused(t, err, stoa.ReasonConflict, "already exists")
	_, err = r.DeleteExperimentTag(ctx, r.caller, &experiment.DeleteExperimentTagRequest{ExperimentID: "1", Key: "none"})
	refused(t, err, stoa.ReasonNotFound, "No tag with name: none in experiment with id 1")
}

func TestRunOnTheWire(t *testing.T) {
	r, ctx := open(t), t.Context()
	runID := r.run(t, "")
	_, err := r.LogBatch(ctx, r.caller, decode[experiment.LogBatchRequest](t, `{"run_id": "`+runID+`",
		"metrics": [{"key": "acc", "value": "NaN", "timestamp": "5", "step": 2}, {"key": "acc", "value": 1, "timestamp": 6},
			{"key": "loss", "value": "Infinity", "timestamp": 6.0, "step": "3"}],
		"params": [{"key": "lr", "value": "0.1"}], "tags": [{"key": "team", "value": "a"}], "unknown": {"x": [1]}}`))
	ok(t, err)
	_, err = r.UpdateRun(ctx, r.caller, decode[experiment.UpdateRunRequest](t,
		`{"run_uuid": "`+runID+`", "status": "FINISHED", "end_time": "9"}`))
	ok(t, err)
	got := strings.ReplaceAll(encode(t, r.get(t, runID)), runID, "RUN")
	if want := `{"info":{"run_uuid":"RUN","run_id":"RUN","run_name":"first","experiment_id":"0","user_id":"ann",` +
		`"status":"FINISHED","start_time":1000,"end_time":9,"artifact_uri":"mlflow-artifacts:/0/RUN/artifacts",` +
		`"lifecycle_stage":"active"},"data":{"metrics":[{"key":"acc","value":"NaN","timestamp":5,"step":2},` +
		`{"key":"loss","value":1.7976931348623157e+308,"timestamp":6,"step":3}],"params":[{"key":"lr","value":"0.1"}],` +
		`"tags":[{"key":"mlflow.runName","value":"first"},{"key":"team","value":"a"}]},"inputs":{},"outputs":{}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestRefusedRuns(t *testing.T) {
	r, ctx := open(t), t.Context()
	runID := r.run(t, "0")
	_, err := r.LogParam(ctx, r.caller, &experiment.LogParamRequest{RunID: runID, Key: "lr", Value: "1"})
	ok(t, err)
	_, err = r.LogParam(ctx, r.caller, &experiment.LogParamRequest{RunID: runID, Key: "lr", Value: "1"})
	ok(t, err)
	for body, want := range map[string]string{
		`{"params": [{"key": "lr", "value": "2"}]}`: "Changing param values is not allowed. Params were already logged=" +
			"'[{'key': 'lr', 'old_value': '1', 'new_value': '2'}]' for run ID=",
		`{"params": [{"key": "a"}, {"key": "a"}]}`:    "Duplicate parameter keys have been submitted: ['a'].",
		`{"metrics": [{"key": "a", "timestamp": 1}]}`: "Missing value for required parameter 'metrics[0].value'.",
		`{"metrics": [{"key": "a", "value": 1}]}`:     "Missing value for required parameter 'metrics[0].timestamp'.",
		`{"metrics": [{"key": "a", "value": 1, "timestamp": -1}]}`: "Invalid value -1 for parameter 'metrics[0].timestamp'" +
			" supplied: metric 'a' (value=1.0). Timestamp must be a nonnegative long (64-bit integer) ",
		`{"metrics": [{"key": "../a", "value": 1, "timestamp": 1}]}`: `Invalid value "../a" for parameter 'metrics[0].name'` +
			` supplied: Names may be treated as files`,
		`{"tags": [{"key": "a?", "value": "x"}]}`: `Invalid value "a?" for parameter 'tags[0].key' supplied: Names may only`,
		`{"params": [{"key": "a", "value": "` + strings.Repeat("x", 6001) + `"}]}`: "'Param value' exceeds the maximum length" +
			" of 6000 characters",
		`{"tags": [` + strings.Repeat(`{"key":"a"},`, 100) + `{"key":"a"}]}`: "A batch logging request can contain at most" +
			" 100 tags. Got 101 tags. Please split up tags across multiple requests and try again.",
	} {
		req := decode[experiment.LogBatchRequest](t, body)
		req.RunID = runID
		_, err := r.LogBatch(ctx, r.caller, req)
		refused(t, err, stoa.ReasonInvalid, want)
	}
	_, err = r.LogParam(ctx, r.caller, &experiment.LogParamRequest{RunID: runID, Key: "lr", Value: "2"})
	refused(t, err, stoa.ReasonInvalid, "Param with key='lr' was already logged with value='1' for run ID='"+runID+
		"'. Attempted logging new value '2'.")
	_, err = r.LogBatch(ctx, r.caller, &experiment.LogBatchRequest{RunID: "-"})
	refused(t, err, stoa.ReasonInvalid, `Invalid value "-" for parameter 'run_id' supplied.`)
	_, err = r.GetRun(ctx, r.caller, &experiment.RunRequest{RunID: "nope"})
	refused(t, err, stoa.ReasonNotFound, "Run with id=nope not found")
	_, err = r.DeleteTag(ctx, r.caller, &experiment.DeleteTagRequest{RunID: runID, Key: "none"})
	refused(t, err, stoa.ReasonNotFound, "No tag with name: none in run with id "+runID)
	_, err = r.UpdateRun(ctx, r.caller, &experiment.UpdateRunRequest{RunID: runID, Status: "DONE"})
	refused(t, err, stoa.ReasonInvalid, "status")
	_, err = r.CreateRun(ctx, r.caller, decode[experiment.CreateRunRequest](t,
		`{"run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}]}`))
	refused(t, err, stoa.ReasonInvalid, "Both 'run_name' argument and 'mlflow.runName' tag are specified")

	_, err = r.DeleteRun(ctx, r.caller, &experiment.RunRequest{RunID: runID})
	ok(t, err)
	_, err = r.SetTag(ctx, r.caller, &experiment.SetTagRequest{RunID: runID, Key: "a", Value: "b"})
	refused(t, err, stoa.ReasonInvalid, "The run "+runID+" must be in the 'active' state. Current state is deleted.")
	_, err = r.RestoreRun(ctx, r.caller, &experiment.RunRequest{RunID: runID})
	ok(t, err)
}

func TestRunNames(t *testing.T) {
	r, ctx := open(t), t.Context()
	made, err := r.CreateRun(ctx, r.caller, &experiment.CreateRunRequest{})
	ok(t, err)
	run := made.Run
	if run.Info.RunName == "" || len(run.Data.Tags) != 1 || run.Data.Tags[0].Value != run.Info.RunName {
		t.Errorf("a run without a name is %+v", run)
	}
	_, err = r.SetTag(ctx, r.caller, &experiment.SetTagRequest{RunID: run.Info.RunID, Key: "mlflow.runName", Value: "new"})
	ok(t, err)
	if name := r.get(t, run.Info.RunID).Info.RunName; name != "new" {
		t.Errorf("after setting the tag of the name, the name is %q", name)
	}
}
