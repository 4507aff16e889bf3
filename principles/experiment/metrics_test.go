package experiment_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/principles/experiment"
)

// history reads the whole history of a metric, page by page.
func (r *room) history(t testing.TB, runID, key string, size experiment.Int64) []string {
	t.Helper()
	var all []string
	req := &experiment.GetMetricHistoryRequest{RunID: runID, MetricKey: key, MaxResults: &size}
	for {
		found, err := r.GetMetricHistory(t.Context(), r.caller, req)
		ok(t, err)
		for _, m := range found.Metrics {
			all = append(all, fmt.Sprintf("%d/%d=%v", *m.Timestamp, m.Step, *m.Value))
		}
		if req.PageToken = found.NextPageToken; req.PageToken == "" {
			return all
		}
	}
}

func TestRetriedBatchChangesNothing(t *testing.T) {
	r, ctx := open(t), t.Context()
	runID := r.run(t, "0")
	body := `{"run_id": "` + runID + `", "params": [{"key": "p", "value": "1"}], "tags": [{"key": "t", "value": "a"}],
		"metrics": [{"key": "m", "value": 2, "timestamp": 1, "step": 1}, {"key": "m", "value": "NaN", "timestamp": 1, "step": 1},
			{"key": "m", "value": 1, "timestamp": 1, "step": 1}, {"key": "m", "value": 1, "timestamp": 1, "step": 1},
			{"key": "m", "value": 0, "timestamp": 1, "step": 1}, {"key": "m", "value": 9, "timestamp": 0, "step": 2}]}`
	for range 3 {
		_, err := r.LogBatch(ctx, r.caller, decode[experiment.LogBatchRequest](t, body))
		ok(t, err)
	}
	for _, size := range []experiment.Int64{1, 2, 5, 100} {
		if got, want := strings.Join(r.history(t, runID, "m", size), " "), "0/2=9 1/1=0 1/1=NaN 1/1=1 1/1=2"; got != want {
			t.Errorf("the history in pages of %d is %s, want %s", size, got, want)
		}
	}
	if m := r.get(t, runID).Data.Metrics; len(m) != 1 || *m[0].Value != 9 {
		t.Errorf("the latest value is %v", m)
	}
	// A batch of which one row is refused leaves nothing behind.
	_, err := r.LogBatch(ctx, r.caller, decode[experiment.LogBatchRequest](t, `{"run_id": "`+runID+`",
		"metrics": [{"key": "n", "value": 2, "timestamp": 1}], "params": [{"key": "p", "value": "2"}]}`))
	refused(t, err, stoa.ReasonInvalid, "Changing param values is not allowed")
	if m := r.get(t, runID).Data.Metrics; len(m) != 1 {
		t.Errorf("a refused batch left %v", m)
	}
}

func TestTwentyWritersOnOneRun(t *testing.T) {
	r, ctx := open(t), t.Context()
	runID := r.run(t, "0")
	const writers, batches, rows = 20, 3, 50
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for b := range batches {
				req := &experiment.LogBatchRequest{RunID: runID, Tags: []experiment.Tag{{Key: "t", Value: fmt.Sprint(w)}}}
				for i := range rows {
					value, at := experiment.Float64(w), experiment.Int64(b*rows+i)
					req.Metrics = append(req.Metrics, experiment.Metric{
						Key: fmt.Sprintf("m%d", i%5), Value: &value, Timestamp: &at, Step: at,
					})
				}
				if _, err := r.LogBatch(ctx, r.caller, req); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	total := 0
	for i := range 5 {
		total += len(r.history(t, runID, fmt.Sprintf("m%d", i), 25000))
	}
	if total != writers*batches*rows {
		t.Errorf("%d of %d rows are there", total, writers*batches*rows)
	}
	for _, m := range r.get(t, runID).Data.Metrics {
		if *m.Value != writers-1 {
			t.Errorf("the latest value of %s is %v", m.Key, *m.Value)
		}
	}
}

func TestHistories(t *testing.T) {
	r, ctx := open(t), t.Context()
	first, second := r.run(t, "0"), r.run(t, "0")
	for i, runID := range []string{first, second} {
		req := &experiment.LogBatchRequest{RunID: runID}
		for step := range 100 * (i + 1) {
			value, at := experiment.Float64(step), experiment.Int64(step)
			req.Metrics = append(req.Metrics, experiment.Metric{Key: "m", Value: &value, Timestamp: &at, Step: at})
		}
		_, err := r.LogBatch(ctx, r.caller, req)
		ok(t, err)
	}
	ten, from, to := experiment.Int64(10), experiment.Int64(20), experiment.Int64(29)
	for _, c := range []struct {
		req  experiment.GetMetricHistoryBulkIntervalRequest
		want int
	}{
		{experiment.GetMetricHistoryBulkIntervalRequest{}, 300},
		{experiment.GetMetricHistoryBulkIntervalRequest{MaxResults: &ten}, 20},
		{experiment.GetMetricHistoryBulkIntervalRequest{StartStep: &from, EndStep: &to}, 20},
		{experiment.GetMetricHistoryBulkIntervalRequest{StartStep: &from, EndStep: &from, MaxResults: &ten}, 2},
	} {
		c.req.RunIDs, c.req.MetricKey = []string{first, second}, "m"
		found, err := r.GetMetricHistoryBulkInterval(ctx, r.caller, &c.req)
		ok(t, err)
		if len(found.Metrics) != c.want {
			t.Errorf("%+v gives %d values, want %d", c.req, len(found.Metrics), c.want)
		}
		if last := found.Metrics[len(found.Metrics)-1]; c.req.StartStep == nil && (last.Step != 199 || last.RunID != second) {
			t.Errorf("the last value is %+v", last)
		}
	}
	bulk, err := r.GetMetricHistoryBulk(ctx, r.caller, &experiment.GetMetricHistoryBulkRequest{
		RunIDs: []string{second, first}, MetricKey: "m", MaxResults: &ten,
	})
	ok(t, err)
	if len(bulk.Metrics) != 10 {
		t.Errorf("%d values, want 10", len(bulk.Metrics))
	}
	_, err = r.GetMetricHistoryBulkInterval(ctx, r.caller, &experiment.GetMetricHistoryBulkIntervalRequest{
		RunIDs: []string{first}, MetricKey: "m", StartStep: &to, EndStep: &from,
	})
	refused(t, err, stoa.ReasonInvalid, "end_step must be greater than start_step. Found start_step=29 and end_step=20.")
	zero := experiment.Int64(0)
	_, err = r.GetMetricHistory(ctx, r.caller, &experiment.GetMetricHistoryRequest{RunID: first, MetricKey: "m", MaxResults: &zero})
	refused(t, err, stoa.ReasonInvalid, "It must be a positive integer.")
}

func TestInputs(t *testing.T) {
	r, ctx := open(t), t.Context()
	runID, other := r.run(t, "0"), r.run(t, "0")
	for _, id := range []string{runID, runID, other} {
		_, err := r.LogInputs(ctx, r.caller, decode[experiment.LogInputsRequest](t, `{"run_id": "`+id+`", "models":
			[{"model_id": "m-1"}], "datasets": [{"tags": [{"key": "mlflow.data.context", "value": "training"}], "dataset":
			{"name": "houses", "digest": "abc", "source_type": "http", "source": "http://169.254.169.254/", "schema": "s"}}]}`))
		ok(t, err)
	}
	got := encode(t, r.get(t, runID).Inputs)
	if want := `{"dataset_inputs":[{"tags":[{"key":"mlflow.data.context","value":"training"}],"dataset":{"name":"houses",` +
		`"digest":"abc","source_type":"http","source":"http://169.254.169.254/","schema":"s"}}],` +
		`"model_inputs":[{"model_id":"m-1"}]}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for filter, want := range map[string]int{
		"dataset.name = 'houses'": 2, "datasets.context LIKE 'train%' AND dataset.digest IN ('abc')": 2,
		"dataset.name != 'houses'": 0, "dataset.context = 'test'": 0,
	} {
		found, err := r.SearchRuns(ctx, r.caller, &experiment.SearchRunsRequest{ExperimentIDs: []string{"0"}, Filter: filter})
		ok(t, err)
		if len(found.Runs) != want {
			t.Errorf("%s finds %d runs, want %d", filter, len(found.Runs), want)
		}
	}
	found, err := r.SearchDatasets(ctx, r.caller, &experiment.SearchDatasetsRequest{ExperimentIDs: []string{"0"}})
	ok(t, err)
	if got := encode(t, found); got != `{"dataset_summaries":[{"experiment_id":"0","name":"houses","digest":"abc",`+
		`"context":"training"}]}` {
		t.Error(got)
	}
	_, err = r.LogInputs(ctx, r.caller, decode[experiment.LogInputsRequest](t, `{"run_id": "`+runID+
		`", "datasets": [{"dataset": {"name": "`+strings.Repeat("x", 501)+`", "digest": "d", "source_type": "s", "source": "x"}}]}`))
	refused(t, err, stoa.ReasonInvalid, "'name' exceeds the maximum length of 500 characters")
}

func TestModelsOfVersionTwo(t *testing.T) {
	r, ctx := open(t), t.Context()
	runID := r.run(t, "0")
	req := &experiment.LogModelRequest{RunID: runID, ModelJSON: `{"artifact_path": "model", "flavors": {"onnx":
		{"data": "model.onnx", "config": {}}}, "utc_time_created": "now", "run_id": "x", "signature": {}}`}
	for range 2 {
		_, err := r.LogModel(ctx, r.caller, req)
		ok(t, err)
	}
	if got := r.get(t, runID).Data.Tags[0]; got.Value != `[{"artifact_path":"model","flavors":{"onnx":{"data":"model.onnx"}},`+
		`"run_id":"x","utc_time_created":"now"}]` {
		t.Error(got)
	}
	_, err := r.LogModel(ctx, r.caller, &experiment.LogModelRequest{RunID: runID, ModelJSON: `{"flavors": {}, "run_id": "x"}`})
	refused(t, err, stoa.ReasonInvalid, "Model json is missing mandatory fields: {'artifact_path', 'utc_time_created'}")
}
