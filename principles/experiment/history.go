package experiment

import (
	"context"
	"slices"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

const (
	maxHistory         = 25000 // values in a page of a history
	maxHistoryRuns     = 100   // runs in one request
	defaultHistorySize = 2500  // values per run in a sample
)

// GetMetricHistory gives the values of one metric of a run by time, step and value: all of them, or a page when
// MaxResults is set.
func (t *Tracking) GetMetricHistory(
	ctx context.Context, _ stoa.Caller, req *GetMetricHistoryRequest,
) (*GetMetricHistoryResponse, error) {
	runID, err := runIDOf(req.RunID, req.RunUUID)
	if err != nil {
		return nil, err
	}
	if err := required("metric_key", req.MetricKey); err != nil {
		return nil, err
	}
	limit := int64(-1)
	if req.MaxResults != nil {
		if *req.MaxResults <= 0 {
			return nil, invalid("Invalid value %d for parameter 'max_results' supplied. It must be a positive integer.",
				*req.MaxResults)
		}
		limit = min(int64(*req.MaxResults), maxHistory)
	}
	after, err := historyAfter(req.PageToken)
	if err != nil {
		return nil, err
	}
	found := &GetMetricHistoryResponse{}
	err = t.read(ctx, func(tx *store.Tx) error {
		run, _, err := findRun(ctx, tx, runID)
		if err != nil {
			return err
		}
		query, args := `SELECT at, step, value, is_nan FROM experiment_metric WHERE run = ? AND key = ?`,
			[]any{run.id, req.MetricKey}
		if after != nil {
			query += ` AND (at, step, value, is_nan) > (?, ?, ?, ?)`
			args = append(args, after.At, after.Step, float64(after.Value), after.IsNaN)
		}
		query += ` ORDER BY at, step, value, is_nan`
		if limit >= 0 {
			query += ` LIMIT ?`
			args = append(args, limit+1)
		}
		points, err := readPoints(ctx, tx, req.MetricKey, query, args...)
		if err != nil {
			return err
		}
		if limit >= 0 && int64(len(points)) > limit {
			points = points[:limit]
			last := points[limit-1]
			found.NextPageToken = encodeToken(historyToken{last.at, last.step, Float64(last.value), last.isNaN})
		}
		for _, p := range points {
			found.Metrics = append(found.Metrics, p.wire())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// A historyToken is the last value of a page.
type historyToken struct {
	At    int64   `json:"t"`
	Step  int64   `json:"s"`
	Value Float64 `json:"v"`
	IsNaN int64   `json:"n"`
}

func historyAfter(token string) (*historyToken, error) {
	if token == "" {
		return nil, nil
	}
	var after historyToken
	if err := decodeToken(token, &after); err != nil {
		return nil, err
	}
	return &after, nil
}

// readPoints reads values of a metric.
func readPoints(ctx context.Context, tx *store.Tx, key, query string, args ...any) ([]point, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	var points []point
	err = scanAll(rows, func() error {
		p := point{key: key}
		err := rows.Scan(&p.at, &p.step, &p.value, &p.isNaN)
		points = append(points, p)
		return err
	})
	return points, err
}

// GetMetricHistoryBulk gives the values of one metric of several runs, by run id, time, step and value.
func (t *Tracking) GetMetricHistoryBulk(
	ctx context.Context, _ stoa.Caller, req *GetMetricHistoryBulkRequest,
) (*MetricsResponse, error) {
	if len(req.RunIDs) == 0 {
		return nil, invalid("GetMetricHistoryBulk request must specify at least one run_id.")
	}
	if n := len(req.RunIDs); n > maxHistoryRuns {
		return nil, invalid("GetMetricHistoryBulk request cannot specify more than %d run_ids. Received %d run_ids.",
			maxHistoryRuns, n)
	}
	if req.MetricKey == "" {
		return nil, invalid("GetMetricHistoryBulk request must specify a metric_key.")
	}
	left := int64(maxHistory)
	if req.MaxResults != nil && *req.MaxResults > 0 {
		left = min(left, int64(*req.MaxResults))
	}
	runs := slices.Clone(req.RunIDs)
	slices.SortFunc(runs, strings.Compare)
	found := &MetricsResponse{}
	err := t.read(ctx, func(tx *store.Tx) error {
		for _, runID := range slices.Compact(runs) {
			run, _, err := findRun(ctx, tx, runID)
			if err != nil {
				return err
			}
			points, err := readPoints(ctx, tx, req.MetricKey, `SELECT at, step, value, is_nan FROM experiment_metric
				WHERE run = ? AND key = ? ORDER BY at, step, value, is_nan LIMIT ?`, run.id, req.MetricKey, left)
			if err != nil {
				return err
			}
			found.add(runID, points)
			left -= int64(len(points))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// add appends values of a run.
func (r *MetricsResponse) add(runID string, points []point) {
	for _, p := range points {
		m := p.wire()
		m.RunID = runID
		r.Metrics = append(r.Metrics, m)
	}
}

// GetMetricHistoryBulkInterval gives a sample of the values of one metric for each of several runs: at most MaxResults,
// evenly spread over the values by step, time and value, the first and the last among them.
func (t *Tracking) GetMetricHistoryBulkInterval(
	ctx context.Context, _ stoa.Caller, req *GetMetricHistoryBulkIntervalRequest,
) (*MetricsResponse, error) {
	if len(req.RunIDs) == 0 {
		return nil, missing("run_ids")
	}
	if n := len(req.RunIDs); n > maxHistoryRuns {
		return nil, invalid("GetMetricHistoryBulkInterval request must specify at most %d run_ids. Received %d run_ids.%s",
			maxHistoryRuns, n, seeDocs)
	}
	if err := required("metric_key", req.MetricKey); err != nil {
		return nil, err
	}
	size := int64(defaultHistorySize)
	if req.MaxResults != nil {
		if size = int64(*req.MaxResults); size < 1 || size > defaultHistorySize {
			return nil, invalid("max_results must be between 1 and %d.%s", defaultHistorySize, seeDocs)
		}
	}
	where, bounds := "", []any(nil)
	switch {
	case (req.StartStep == nil) != (req.EndStep == nil):
		return nil, invalid("If either start step or end step are specified, both must be specified.")
	case req.StartStep != nil && *req.StartStep > *req.EndStep:
		return nil, invalid("end_step must be greater than start_step. Found start_step=%d and end_step=%d.",
			*req.StartStep, *req.EndStep)
	case req.StartStep != nil:
		where, bounds = ` AND step >= ? AND step <= ?`, []any{int64(*req.StartStep), int64(*req.EndStep)}
	}
	found := &MetricsResponse{}
	err := t.read(ctx, func(tx *store.Tx) error {
		for _, runID := range req.RunIDs {
			run, _, err := findRun(ctx, tx, runID)
			if err != nil {
				return err
			}
			args := append([]any{run.id, req.MetricKey}, bounds...)
			// The rows are numbered by the database, so that only the sample leaves it.
			args = append(args, size, size)
			points, err := readPoints(ctx, tx, req.MetricKey, `SELECT at, step, value, is_nan FROM (
				SELECT at, step, value, is_nan,
					ROW_NUMBER() OVER (ORDER BY step, at, value, is_nan) - 1 AS place, COUNT(*) OVER () AS total
				FROM experiment_metric WHERE run = ? AND key = ?`+where+`) AS numbered
				WHERE place = total - 1 OR (place * ?) / total <> ((place - 1) * ?) / total OR place = 0
				ORDER BY step, at, value, is_nan`, args...)
			if err != nil {
				return err
			}
			if n := int64(len(points)); n > size {
				points = append(points[:size-1], points[n-1])
			}
			found.add(runID, points)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}
