package experiment_test

import (
	"fmt"
	"testing"

	"github.com/stoaproject/stoa/principles/experiment"
)

// TestPagesByMetric reads many runs by a metric with ties, some of them deleted and some without the metric.
func TestPagesByMetric(t *testing.T) {
	r, ctx := open(t), t.Context()
	const runs = 240
	values := map[string]float64{}
	for i := range runs {
		runID := r.run(t, "0")
		if i%6 == 0 {
			_, err := r.DeleteRun(ctx, r.caller, &experiment.RunRequest{RunID: runID})
			ok(t, err)
			_, err = r.RestoreRun(ctx, r.caller, &experiment.RunRequest{RunID: runID})
			ok(t, err)
		}
		if i%5 != 0 {
			_, err := r.LogBatch(ctx, r.caller, decode[experiment.LogBatchRequest](t, fmt.Sprintf(
				`{"run_id": "%s", "metrics": [{"key": "m", "value": %g, "timestamp": 1}]}`, runID, float64(i%37)/3)))
			ok(t, err)
			values[runID] = float64(i%37) / 3
		}
		if i%7 == 0 {
			_, err := r.DeleteRun(ctx, r.caller, &experiment.RunRequest{RunID: runID})
			ok(t, err)
			delete(values, runID)
		}
	}
	for _, size := range []experiment.Int64{1, 10, 50, 1000} {
		req := &experiment.SearchRunsRequest{
			ExperimentIDs: []string{"0"}, OrderBy: []string{"metrics.m DESC"}, MaxResults: &size, Filter: "metrics.m >= 0",
		}
		seen, before := map[string]bool{}, 1e9
		for {
			found, err := r.SearchRuns(ctx, r.caller, req)
			ok(t, err)
			for _, run := range found.Runs {
				value, active := values[run.Info.RunID]
				if !active || seen[run.Info.RunID] || value > before {
					t.Fatalf("pages of %d: %s with %g after %g, active %v", size, run.Info.RunID, value, before, active)
				}
				seen[run.Info.RunID], before = true, value
			}
			if req.PageToken = found.NextPageToken; req.PageToken == "" {
				break
			}
		}
		if len(seen) != len(values) {
			t.Errorf("pages of %d have %d runs of %d", size, len(seen), len(values))
		}
	}
}
