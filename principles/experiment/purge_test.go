package experiment_test

import (
	"testing"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/principles/experiment"
)

func TestPurge(t *testing.T) {
	r, ctx := open(t), t.Context()
	made, err := r.CreateExperiment(ctx, r.caller, &experiment.CreateExperimentRequest{Name: "short"})
	ok(t, err)
	gone, kept := r.run(t, made.ExperimentID), r.run(t, "0")
	dead := r.run(t, "0")
	for i, runID := range []string{gone, kept, dead} {
		root := "0/"
		if i == 0 {
			root = made.ExperimentID + "/"
		}
		r.put(t, root+runID+"/artifacts/same", "same bytes")
		r.put(t, root+runID+"/artifacts/own", runID)
		_, err := r.LogBatch(ctx, r.caller, decode[experiment.LogBatchRequest](t, `{"run_id": "`+runID+`",
			"metrics": [{"key": "m", "value": 1, "timestamp": 1}], "params": [{"key": "p", "value": "1"}]}`))
		ok(t, err)
	}
	model, err := r.CreateLoggedModel(ctx, r.caller, &experiment.CreateLoggedModelRequest{ExperimentID: "0"})
	ok(t, err)
	_, err = r.DeleteLoggedModel(ctx, r.caller, &experiment.DeleteLoggedModelRequest{ModelID: model.Model.Info.ModelID})
	ok(t, err)
	ok(t, r.StoreSpans(ctx, r.caller, made.ExperimentID, []experiment.Span{{TraceID: "tr-1", SpanID: "a", Wire: []byte(`{}`)}}))
	_, err = r.DeleteExperiment(ctx, r.caller, &experiment.GetExperimentRequest{ExperimentID: made.ExperimentID})
	ok(t, err)
	_, err = r.DeleteRun(ctx, r.caller, &experiment.RunRequest{RunID: dead})
	ok(t, err)

	// Everything was deleted at 1700000000000.
	purged, err := r.Purge(ctx, r.caller, time.UnixMilli(1700000000000))
	ok(t, err)
	if purged != (experiment.Purged{}) {
		t.Errorf("too early, %+v were purged", purged)
	}
	purged, err = r.Purge(ctx, r.caller, time.UnixMilli(1700000000001))
	ok(t, err)
	if want := (experiment.Purged{Runs: 2, Models: 1, Experiments: 1, Blobs: 2}); purged != want {
		t.Errorf("purged %+v, want %+v", purged, want)
	}
	for _, runID := range []string{gone, dead} {
		_, err := r.GetRun(ctx, r.caller, &experiment.RunRequest{RunID: runID})
		refused(t, err, stoa.ReasonNotFound, "not found")
	}
	_, err = r.GetTraceInfo(ctx, r.caller, &experiment.GetTraceInfoRequest{TraceID: "tr-1"})
	refused(t, err, stoa.ReasonNotFound, "not found")
	if got := r.read(t, "0/"+kept+"/artifacts/same"); got != "same bytes" || r.kept(t) != 2 {
		t.Errorf("after the purge there is %q and %d blobs", got, r.kept(t))
	}
	again, err := r.CreateExperiment(ctx, r.caller, &experiment.CreateExperimentRequest{Name: "short"})
	ok(t, err)
	if again.ExperimentID == made.ExperimentID {
		t.Error("the id of a purged experiment was given again")
	}
}
