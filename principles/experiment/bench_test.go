package experiment

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/blob"
	"github.com/stoaproject/stoa/store/storetest"
)

func openBench(b *testing.B) *Tracking {
	b.Helper()
	logger := slog.New(slog.DiscardHandler)
	db, err := storetest.OpenAt(b.Context(), storetest.Place(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	t, err := New(b.Context(), Config{DB: db, Blobs: blob.Memory(), Logger: logger})
	if err != nil {
		b.Fatal(err)
	}
	return t
}

func benchRun(b *testing.B, t *Tracking) string {
	b.Helper()
	made, err := t.CreateRun(b.Context(), stoa.Caller{}, &CreateRunRequest{})
	if err != nil {
		b.Fatal(err)
	}
	return made.Run.Info.RunID
}

// quantiles reports the median and the 95th and 99th percentile of times.
func quantiles(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	for name, share := range map[string]float64{"p50-ms": .5, "p95-ms": .95, "p99-ms": .99} {
		b.ReportMetric(took[int(share*float64(len(took)-1))].Seconds()*1000, name)
	}
}

func BenchmarkLogMetric(b *testing.B) {
	t := openBench(b)
	runID := benchRun(b, t)
	took := make([]time.Duration, 0, b.N)
	for i := 0; b.Loop(); i++ {
		value, at := Float64(i), Int64(i)
		begun := time.Now()
		if _, err := t.LogMetric(b.Context(), stoa.Caller{}, &LogMetricRequest{
			RunID: runID, Key: "loss", Value: &value, Timestamp: &at, Step: at,
		}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	quantiles(b, took)
}

func BenchmarkLogBatch(b *testing.B) {
	t := openBench(b)
	runID := benchRun(b, t)
	rows := 0
	for b.Loop() {
		req := &LogBatchRequest{RunID: runID}
		for i := range maxBatchMetrics {
			value, at := Float64(i), Int64(rows+i)
			req.Metrics = append(req.Metrics, Metric{Key: fmt.Sprintf("metric_%d", i%10), Value: &value, Timestamp: &at, Step: at})
		}
		rows += maxBatchMetrics
		if _, err := t.LogBatch(b.Context(), stoa.Caller{}, req); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}

// fill makes n runs with five metrics, five params and four tags each, as their rows.
func fill(b *testing.B, t *Tracking, n int) {
	b.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	var runs, latest []any
	err := t.write(b.Context(), func(tx *store.Tx) error {
		for i := 1; i <= n; i++ {
			runs = append(runs, i, randomHex(), 0, "run", "me", statusFinished, 1000+i, "mlflow-artifacts:/0/x", stageActive)
			for _, key := range []string{"accuracy", "loss", "val_accuracy", "val_loss", "f1"} {
				latest = append(latest, i, 0, key, 1, 1, random.Float64(), 0)
			}
			var params, tags []Tag
			for _, key := range []string{"depth", "leaves", "lr", "optimizer", "seed"} {
				params = append(params, Tag{key, fmt.Sprint(random.IntN(100))})
			}
			for _, key := range []string{"mlflow.runName", "mlflow.source.name", "mlflow.user", "team"} {
				tags = append(tags, Tag{key, fmt.Sprint("v", random.IntN(5))})
			}
			if err := runParams.add(b.Context(), tx, owner{int64(i), 0}, params); err != nil {
				return err
			}
			if err := runTags.add(b.Context(), tx, owner{int64(i), 0}, tags); err != nil {
				return err
			}
		}
		if err := insertRows(b.Context(), tx, `INSERT INTO experiment_run
			(id, run_id, experiment, name, user_id, status, started, location, stage)`, 9, runs, ""); err != nil {
			return err
		}
		return insertRows(b.Context(), tx, `INSERT INTO experiment_latest
			(run, experiment, key, at, step, value, is_nan)`, 7, latest, "")
	})
	if err != nil {
		b.Fatal(err)
	}
}

func BenchmarkSearchRuns(b *testing.B) {
	t := openBench(b)
	fill(b, t, 20000)
	for name, req := range map[string]SearchRunsRequest{
		"two metrics and a tag, ordered": {
			Filter:  "metrics.accuracy > 0.5 AND metrics.loss < 0.5 AND tags.team = 'v1'",
			OrderBy: []string{"metrics.accuracy DESC"},
		},
		"half of all, ordered":  {Filter: "metrics.accuracy > 0.5", OrderBy: []string{"metrics.loss ASC"}},
		"all, newest first":     {},
		"one tag like a string": {Filter: "tags.team LIKE 'v%1'"},
	} {
		for _, limit := range []Int64{100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", name, limit), func(b *testing.B) {
				req.ExperimentIDs, req.MaxResults = []string{"0"}, &limit
				took := make([]time.Duration, 0, b.N)
				for b.Loop() {
					begun := time.Now()
					found, err := t.SearchRuns(b.Context(), stoa.Caller{}, &req)
					if err != nil {
						b.Fatal(err)
					}
					if len(found.Runs) < int(limit)/2 {
						b.Fatalf("found %d runs", len(found.Runs))
					}
					took = append(took, time.Since(begun))
				}
				quantiles(b, took)
			})
		}
	}
}
