package experiment

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// LogMetric logs one value of a metric of an active run.
func (t *Tracking) LogMetric(ctx context.Context, _ stoa.Caller, req *LogMetricRequest) (*Empty, error) {
	runID, err := runIDOf(req.RunID, req.RunUUID)
	if err != nil {
		return nil, err
	}
	if err := required("key", req.Key); err != nil {
		return nil, err
	}
	m := Metric{
		Key: req.Key, Value: req.Value, Timestamp: req.Timestamp, Step: req.Step,
		ModelID: req.ModelID, DatasetName: req.DatasetName, DatasetDigest: req.DatasetDigest,
	}
	if err := checkMetric("", &m); err != nil {
		return nil, err
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		at, err := activeRun(ctx, tx, runID)
		if err != nil {
			return err
		}
		return addMetrics(ctx, tx, runID, at, []Metric{m})
	}))
}

// LogParam logs one param of an active run. The same value again changes nothing; another one is refused.
func (t *Tracking) LogParam(ctx context.Context, _ stoa.Caller, req *LogParamRequest) (*Empty, error) {
	runID, err := runIDOf(req.RunID, req.RunUUID)
	if err != nil {
		return nil, err
	}
	if err := required("key", req.Key); err != nil {
		return nil, err
	}
	p := Param{req.Key, req.Value}
	if err := checkParam("", p); err != nil {
		return nil, err
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		at, err := activeRun(ctx, tx, runID)
		if err != nil {
			return err
		}
		changed, err := addParams(ctx, tx, at, []Param{p})
		if err == nil && len(changed) > 0 {
			err = invalid("Changing param values is not allowed. Param with key='%s' was already logged with value='%s' for"+
				" run ID='%s'. Attempted logging new value '%s'.", p.Key, changed[0].old, runID, p.Value)
		}
		return err
	}))
}

// LogBatch logs metrics, params and tags of an active run: all of them, or none.
func (t *Tracking) LogBatch(ctx context.Context, _ stoa.Caller, req *LogBatchRequest) (*Empty, error) {
	if err := required("run_id", req.RunID); err != nil {
		return nil, err
	}
	if err := checkBatch(req); err != nil {
		return nil, err
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		at, err := activeRun(ctx, tx, req.RunID)
		if err != nil {
			return err
		}
		changed, err := addParams(ctx, tx, at, req.Params)
		if err != nil {
			return err
		}
		if len(changed) > 0 {
			return invalid("Changing param values is not allowed. Params were already logged='%s' for run ID='%s'.",
				describe(changed), req.RunID)
		}
		if err := addMetrics(ctx, tx, req.RunID, at, req.Metrics); err != nil {
			return err
		}
		return setRunTags(ctx, tx, at, req.Tags)
	}))
}

// checkBatch refuses a batch that is not one.
func checkBatch(req *LogBatchRequest) error {
	if err := checkRunID(req.RunID); err != nil {
		return err
	}
	for i := range req.Metrics {
		if err := checkMetric(fmt.Sprintf("metrics[%d]", i), &req.Metrics[i]); err != nil {
			return err
		}
	}
	for i, p := range req.Params {
		if err := checkParam(fmt.Sprintf("params[%d]", i), p); err != nil {
			return err
		}
	}
	for i, tag := range req.Tags {
		if err := checkTag(fmt.Sprintf("tags[%d]", i), tag); err != nil {
			return err
		}
	}
	for _, limit := range []struct {
		what      string
		most, got int
	}{
		{"metrics", maxBatchMetrics, len(req.Metrics)},
		{"params", maxBatchParams, len(req.Params)},
		{"tags", maxBatchParams, len(req.Tags)},
		{"metrics, params, and tags", maxBatchEntities, len(req.Metrics) + len(req.Params) + len(req.Tags)},
	} {
		if limit.got > limit.most {
			return invalid("A batch logging request can contain at most %d %s. Got %d %s. Please split up %s across multiple"+
				" requests and try again.", limit.most, limit.what, limit.got, limit.what, limit.what)
		}
	}
	seen := make(map[string]bool, len(req.Params))
	var twice []string
	for _, p := range req.Params {
		if seen[p.Key] {
			twice = append(twice, "'"+p.Key+"'")
		}
		seen[p.Key] = true
	}
	if len(twice) > 0 {
		return invalid("Duplicate parameter keys have been submitted: [%s]. Please ensure the request contains only one"+
			" param value per param key.", strings.Join(twice, ", "))
	}
	return nil
}

// A paramChange is a param that a run has with another value.
type paramChange struct{ key, old, new string }

// describe writes changes as upstream does.
func describe(changes []paramChange) string {
	parts := make([]string, len(changes))
	for i, c := range changes {
		parts[i] = fmt.Sprintf("{'key': '%s', 'old_value': '%s', 'new_value': '%s'}", c.key, c.old, c.new)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// addParams logs params of distinct keys, and gives those that the run has with other values.
func addParams(ctx context.Context, tx *store.Tx, run owner, params []Param) ([]paramChange, error) {
	if len(params) == 0 {
		return nil, nil
	}
	wanted := make(map[string]string, len(params))
	keys := make([]any, 0, len(params)+1)
	keys = append(keys, run.id)
	pairs := make([]Tag, 0, len(params))
	for _, p := range params {
		wanted[p.Key] = p.Value
		keys = append(keys, p.Key)
		pairs = append(pairs, Tag(p))
	}
	rows, err := tx.Query(ctx, `SELECT key, value FROM experiment_param WHERE run = ? AND key IN (`+marks(len(params))+
		`) ORDER BY key`, keys...)
	if err != nil {
		return nil, err
	}
	var changed []paramChange
	err = scanAll(rows, func() error {
		var c paramChange
		if err := rows.Scan(&c.key, &c.old); err != nil {
			return err
		}
		if c.new = wanted[c.key]; c.new != c.old {
			changed = append(changed, c)
		}
		return nil
	})
	if err != nil || len(changed) > 0 {
		return changed, err
	}
	return nil, runParams.add(ctx, tx, run, pairs)
}

// A point is a stored value of a metric.
type point struct {
	key   string
	at    int64
	step  int64
	value float64
	isNaN int64
}

// stored is the form in which a value is kept: what is not a number as zero and a mark, and infinities as the greatest
// finite numbers, as upstream keeps them.
func stored(m *Metric) point {
	p := point{key: m.Key, at: int64(*m.Timestamp), step: int64(m.Step), value: float64(*m.Value)}
	switch {
	case math.IsNaN(p.value):
		p.value, p.isNaN = 0, 1
	case math.IsInf(p.value, 1):
		p.value = math.MaxFloat64
	case math.IsInf(p.value, -1):
		p.value = -math.MaxFloat64
	}
	return p
}

// wire is the form in which a stored value is shown.
func (p point) wire() Metric {
	value, at := Float64(p.value), Int64(p.at)
	if p.isNaN != 0 {
		value = Float64(math.NaN())
	}
	return Metric{Key: p.key, Value: &value, Timestamp: &at, Step: Int64(p.step)}
}

// later orders values of a metric by step, time and value: the greatest is the latest.
func later(a, b point) int {
	return cmp.Or(cmp.Compare(a.step, b.step), cmp.Compare(a.at, b.at), cmp.Compare(a.value, b.value))
}

// addMetrics logs values of metrics of a run: those that it has already change nothing.
func addMetrics(ctx context.Context, tx *store.Tx, runID string, at owner, metrics []Metric) error {
	if len(metrics) == 0 {
		return nil
	}
	points := make([]point, len(metrics))
	for i := range metrics {
		points[i] = stored(&metrics[i])
	}
	// Rows in the order of the key go to neighbouring pages, and every writer takes them in the same order.
	slices.SortFunc(points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.key, b.key), later(a, b), cmp.Compare(a.isNaN, b.isNaN))
	})
	points = slices.Compact(points)
	args := make([]any, 0, 6*len(points))
	latest := make([]any, 0, 7)
	for i, p := range points {
		args = append(args, at.id, p.key, p.at, p.step, p.value, p.isNaN)
		if i+1 == len(points) || points[i+1].key != p.key {
			latest = append(latest, at.id, at.experiment, p.key, p.at, p.step, p.value, p.isNaN)
		}
	}
	err := insertRows(ctx, tx, `INSERT INTO experiment_metric (run, key, at, step, value, is_nan)`, 6, args,
		`ON CONFLICT DO NOTHING`)
	if err != nil {
		return err
	}
	if err := addModelMetrics(ctx, tx, runID, metrics); err != nil {
		return err
	}
	return insertRows(ctx, tx, `INSERT INTO experiment_latest (run, experiment, key, at, step, value, is_nan)`, 7, latest,
		`ON CONFLICT (run, key) DO UPDATE
		SET at = excluded.at, step = excluded.step, value = excluded.value, is_nan = excluded.is_nan
		WHERE (excluded.step, excluded.at, excluded.value)
			> (experiment_latest.step, experiment_latest.at, experiment_latest.value)`)
}

// eachLatest calls fn for the latest value of every metric of the runs, with the index of the run, by key.
func eachLatest(ctx context.Context, tx *store.Tx, ids []int64, fn func(i int, m Metric)) error {
	index := make(map[int64]int, len(ids))
	for i, id := range ids {
		index[id] = i
	}
	return inChunks(ids, func(marks string, args []any) error {
		rows, err := tx.Query(ctx, `SELECT run, key, at, step, value, is_nan FROM experiment_latest
			WHERE run IN (`+marks+`) ORDER BY run, key`, args...)
		if err != nil {
			return err
		}
		return scanAll(rows, func() error {
			var run int64
			var p point
			if err := rows.Scan(&run, &p.key, &p.at, &p.step, &p.value, &p.isNaN); err != nil {
				return err
			}
			fn(index[run], p.wire())
			return nil
		})
	})
}
