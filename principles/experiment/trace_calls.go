package experiment

import (
	"context"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// SearchTraces gives a page of the traces of experiments that satisfy a filter, without their spans, in order; without
// one, the latest first.
func (t *Tracking) SearchTraces(
	ctx context.Context, _ stoa.Caller, req *SearchTracesRequest,
) (*SearchTracesResponse, error) {
	if len(req.Locations) == 0 {
		return nil, missing("locations")
	}
	limit, err := pageSize(req.MaxResults, defaultTraces, maxTraces)
	if err != nil {
		return nil, err
	}
	q, err := newQuery(traceSubject(), req.Filter, req.OrderBy, limit, req.PageToken)
	if err != nil {
		return nil, err
	}
	var experimentIDs []string
	for _, location := range req.Locations {
		if location.MLflowExperiment != nil {
			experimentIDs = append(experimentIDs, location.MLflowExperiment.ExperimentID)
		}
	}
	if q.experiments, err = numbersOf(experimentIDs); err != nil {
		return nil, err
	}
	found := &SearchTracesResponse{}
	err = t.read(ctx, func(tx *store.Tx) error {
		ids, token, err := q.run(ctx, tx)
		if err != nil {
			return err
		}
		found.NextPageToken = token
		found.Traces, err = readTraces(ctx, tx, ids)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// DeleteTraces deletes traces of an experiment with their spans: those named, or the oldest up to a time.
func (t *Tracking) DeleteTraces(
	ctx context.Context, _ stoa.Caller, req *DeleteTracesRequest,
) (*DeleteTracesResponse, error) {
	if err := required("experiment_id", req.ExperimentID); err != nil {
		return nil, err
	}
	named := append(append([]string(nil), req.RequestIDs...), req.TraceIDs...)
	switch {
	case req.MaxTimestampMillis == nil && len(named) == 0:
		return nil, invalid("Either `max_timestamp_millis` or `trace_ids` must be specified.")
	case req.MaxTimestampMillis != nil && len(named) > 0:
		return nil, invalid("Only one of `max_timestamp_millis` and `trace_ids` can be specified.")
	case req.MaxTraces != nil && len(named) > 0:
		return nil, invalid("`max_traces` can't be specified if `trace_ids` is specified.")
	case req.MaxTraces != nil && *req.MaxTraces <= 0:
		return nil, invalid("`max_traces` must be a positive integer, received %d.", *req.MaxTraces)
	}
	experiment, err := parseExperimentID(req.ExperimentID)
	if err != nil {
		return nil, err
	}
	answer := &DeleteTracesResponse{}
	err = t.write(ctx, func(tx *store.Tx) error {
		var ids []int64
		if req.MaxTimestampMillis != nil {
			oldest, args := `SELECT id FROM experiment_trace WHERE experiment = ? AND at <= ? ORDER BY at, trace_id`,
				[]any{experiment, int64(*req.MaxTimestampMillis)}
			if req.MaxTraces != nil {
				oldest, args = oldest+" LIMIT ?", append(args, int64(*req.MaxTraces))
			}
			set, err := readNumbers(ctx, tx, "id", "FROM ("+oldest+") AS oldest", args...)
			if err != nil {
				return err
			}
			ids = set.list()
		}
		for _, traceID := range named {
			of, err := findTrace(ctx, tx, traceID)
			if err != nil && !isRefusal(err) {
				return err
			}
			if err == nil && of.experiment == experiment {
				ids = append(ids, of.id)
			}
		}
		answer.TracesDeleted = Int64(len(indexOf(ids)))
		return inChunks(ids, func(marks string, args []any) error { return dropTraces(ctx, tx, marks, args) })
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// dropTraces deletes the rows of traces.
func dropTraces(ctx context.Context, tx *store.Tx, marks string, args []any) error {
	for _, statement := range []string{
		"DELETE FROM experiment_span WHERE trace IN ", "DELETE FROM experiment_trace_tag WHERE trace IN ",
		"DELETE FROM experiment_trace_metadata WHERE trace IN ", "DELETE FROM experiment_trace_run WHERE trace IN ",
		"DELETE FROM experiment_trace WHERE id IN ",
	} {
		if _, err := tx.Exec(ctx, statement+"("+marks+")", args...); err != nil {
			return err
		}
	}
	return nil
}

// checkTraceTag refuses the tag of a trace that is not one or that the server keeps.
func checkTraceTag(tag Tag, change string) error {
	if err := required("key", tag.Key); err != nil {
		return err
	}
	if strings.HasPrefix(tag.Key, tagSpansLocation) || tag.Key == "mlflow.trace.archiveLocation" {
		return invalid("Tag '%s' is immutable and cannot be %s on a trace.", tag.Key, change)
	}
	return checkTag("", tag)
}

// SetTraceTag sets a tag of a trace.
func (t *Tracking) SetTraceTag(ctx context.Context, _ stoa.Caller, req *SetTraceTagRequest) (*Empty, error) {
	tag := Tag{req.Key, req.Value}
	if err := checkTraceTag(tag, "set"); err != nil {
		return nil, err
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		of, err := findTrace(ctx, tx, req.TraceID)
		if err != nil {
			return err
		}
		return traceTags.set(ctx, tx, of, []Tag{tag})
	}))
}

// DeleteTraceTag removes a tag of a trace; not_found when it has none of that name.
func (t *Tracking) DeleteTraceTag(ctx context.Context, _ stoa.Caller, req *DeleteTraceTagRequest) (*Empty, error) {
	if err := checkTraceTag(Tag{Key: req.Key}, "deleted"); err != nil {
		return nil, err
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		of, err := findTrace(ctx, tx, req.TraceID)
		if err != nil {
			return err
		}
		return traceTags.remove(ctx, tx, of, req.Key,
			notFound("No trace tag with key '%s' for trace with ID '%s'", req.Key, req.TraceID))
	}))
}

// LinkTraces says that traces belong to a run, besides the one that they were made in. Those that are not known are
// passed over.
func (t *Tracking) LinkTraces(ctx context.Context, _ stoa.Caller, req *LinkTracesRequest) (*Empty, error) {
	if err := required("run_id", req.RunID); err != nil {
		return nil, err
	}
	if n := len(req.TraceIDs); n > maxLinks {
		return nil, invalid("Cannot link more than %d traces to a run in a single request. Provided %d traces.", maxLinks, n)
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		if _, _, err := findRun(ctx, tx, req.RunID); err != nil {
			return err
		}
		for _, traceID := range req.TraceIDs {
			of, err := findTrace(ctx, tx, traceID)
			if err != nil {
				if isRefusal(err) {
					continue
				}
				return err
			}
			if _, err := tx.Exec(ctx, `INSERT INTO experiment_trace_run (trace, experiment, run_id) VALUES (?, ?, ?)
				ON CONFLICT DO NOTHING`, of.id, of.experiment, req.RunID); err != nil {
				return err
			}
		}
		return nil
	}))
}
