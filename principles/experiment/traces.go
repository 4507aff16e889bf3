package experiment

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

const (
	maxLinks = 100 // traces in one request to link

	tagSpansLocation = "mlflow.trace.spansLocation"
	inTrackingStore  = "TRACKING_STORE"

	tagArtifactLocation = "mlflow.artifactLocation"

	traceOK         = "OK"
	traceError      = "ERROR"
	traceInProgress = "IN_PROGRESS"
	traceUnknown    = "STATE_UNSPECIFIED"
)

// StartTrace records what a trace is. Its spans may have come before: what the client says now counts, and tags and
// metadata are added to those there. Sending it again changes nothing.
func (t *Tracking) StartTrace(ctx context.Context, _ stoa.Caller, req *StartTraceRequest) (*TraceResponse, error) {
	info := req.Trace.TraceInfo
	if info == nil {
		return nil, missing("trace")
	}
	if err := required("trace_id", info.TraceID); err != nil {
		return nil, err
	}
	if info.TraceLocation.MLflowExperiment == nil {
		return nil, missing("trace_location.mlflow_experiment")
	}
	row, err := traceRow(info)
	if err != nil {
		return nil, err
	}
	return t.oneTrace(ctx, t.config.DB.Write, info.TraceID, func(tx *store.Tx) error {
		experiment, err := activeExperiment(ctx, tx, info.TraceLocation.MLflowExperiment.ExperimentID)
		if err != nil {
			return err
		}
		of, err := t.putTrace(ctx, tx, info.TraceID, experiment, row)
		if err != nil {
			return err
		}
		if err := traceTags.set(ctx, tx, of, tagsOf(info.Tags)); err != nil {
			return err
		}
		return traceMetadata.set(ctx, tx, of, tagsOf(info.TraceMetadata))
	})
}

// A traceFields is the row of a trace.
type traceFields struct {
	at        int64 // milliseconds since 1970
	duration  sql.NullInt64
	state     string
	client    string
	request   string
	response  string
	judged    string // assessments
	finalized int
}

// traceRow reads the row of a trace from what the client says of it.
func traceRow(info *TraceInfo) (traceFields, error) {
	row := traceFields{
		client: info.ClientRequestID, request: info.RequestPreview, response: info.ResponsePreview,
		judged: "[]", finalized: 1,
	}
	at, err := time.Parse(time.RFC3339Nano, info.RequestTime)
	if err != nil {
		return row, invalidValue("trace_info.request_time", info.RequestTime, "")
	}
	row.at = at.UnixMilli()
	if info.ExecutionDuration != "" {
		took, err := time.ParseDuration(info.ExecutionDuration)
		if err != nil || !strings.HasSuffix(info.ExecutionDuration, "s") {
			return row, invalidValue("trace_info.execution_duration", info.ExecutionDuration, "")
		}
		row.duration = sql.NullInt64{Int64: took.Milliseconds(), Valid: true}
	}
	state, known := info.State.oneOf(0, traceUnknown, traceOK, traceError, traceInProgress)
	if !known && info.State != "" {
		return row, invalidValue("trace_info.state", info.State, "")
	}
	row.state = state
	if state == "" {
		row.state = traceUnknown
	}
	if len(info.Assessments) > 0 {
		text, err := json.Marshal(info.Assessments)
		if err != nil {
			return row, invalidValue("trace_info.assessments", "", err.Error())
		}
		row.judged = string(text)
	}
	return row, nil
}

// tagsOf gives a map as tags in the order of the keys.
func tagsOf(m map[string]string) []Tag {
	tags := make([]Tag, 0, len(m))
	for _, key := range sortedKeys(m) {
		tags = append(tags, Tag{key, m[key]})
	}
	return tags
}

// putTrace makes the row of a trace, or replaces the one there when row is finalized.
func (t *Tracking) putTrace(
	ctx context.Context, tx *store.Tx, traceID string, experiment int64, row traceFields,
) (owner, error) {
	of, err := findTrace(ctx, tx, traceID)
	if err == nil {
		if of.experiment != experiment {
			return of, invalid("Trace with ID '%s' belongs to experiment %d.", traceID, of.experiment)
		}
		if row.finalized != 0 {
			_, err = tx.Exec(ctx, `UPDATE experiment_trace SET at = ?, duration = ?, state = ?, client_request_id = ?,
				request = ?, response = ?, assessments = ?, finalized = 1 WHERE id = ?`, row.at, row.duration, row.state,
				row.client, row.request, row.response, row.judged, of.id)
		}
		return of, err
	}
	if !isRefusal(err) {
		return of, err
	}
	var location string
	if err := tx.QueryRow(ctx, `SELECT location FROM experiment_experiment WHERE id = ?`, experiment).
		Scan(&location); err != nil {
		return of, err
	}
	id, err := next(ctx, tx, "trace", 1)
	if err != nil {
		return of, err
	}
	of = owner{id, experiment}
	if _, err = tx.Exec(ctx, `INSERT INTO experiment_trace (id, trace_id, experiment, at, duration, state,
		client_request_id, request, response, assessments, finalized) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		id, traceID, experiment, row.at, row.duration, row.state, row.client, row.request, row.response, row.judged,
		row.finalized); err != nil {
		return of, err
	}
	return of, traceTags.set(ctx, tx, of, []Tag{
		{tagArtifactLocation, beneath(location, "traces/"+traceID+artifactsFolder)},
	})
}

// StoreSpans keeps spans, of one or several traces of an experiment. A trace that is not known yet is made of them.
// Storing a span again replaces it.
func (t *Tracking) StoreSpans(ctx context.Context, _ stoa.Caller, experimentID string, spans []Span) error {
	if len(spans) == 0 {
		return nil
	}
	byTrace := map[string][]Span{}
	for _, span := range spans {
		if span.TraceID == "" || span.SpanID == "" {
			return invalid("A span must have a trace_id and a span_id.")
		}
		byTrace[span.TraceID] = append(byTrace[span.TraceID], span)
	}
	return t.write(ctx, func(tx *store.Tx) error {
		experiment, err := activeExperiment(ctx, tx, experimentID)
		if err != nil {
			return err
		}
		for _, traceID := range sortedKeys(byTrace) {
			if err := t.addSpans(ctx, tx, experiment, traceID, byTrace[traceID]); err != nil {
				return err
			}
		}
		return nil
	})
}

// addSpans keeps spans of one trace, and lets a trace that only its spans describe follow them.
func (t *Tracking) addSpans(ctx context.Context, tx *store.Tx, experiment int64, traceID string, spans []Span) error {
	of, err := t.putTrace(ctx, tx, traceID, experiment, traceFields{
		at: spans[0].StartNanos / 1e6, state: traceInProgress, judged: "[]",
	})
	if err != nil {
		return err
	}
	var args []any
	at := map[string]int{}
	for _, span := range spans {
		attributes, err := json.Marshal(span.Attributes)
		if err != nil {
			return err
		}
		row := []any{of.id, span.SpanID, experiment, span.ParentID, span.Name, span.Type, span.Status, span.StartNanos,
			span.EndNanos, string(attributes), string(span.Wire)}
		if i, twice := at[span.SpanID]; twice {
			copy(args[i:], row)
			continue
		}
		at[span.SpanID] = len(args)
		args = append(args, row...)
	}
	if err := insertRows(ctx, tx, `INSERT INTO experiment_span (trace, span_id, experiment, parent, name, span_type, status,
		started, ended, attributes, wire)`, 11, args, `ON CONFLICT (trace, span_id) DO UPDATE SET parent = excluded.parent,
		name = excluded.name, span_type = excluded.span_type, status = excluded.status, started = excluded.started,
		ended = excluded.ended, attributes = excluded.attributes, wire = excluded.wire`); err != nil {
		return err
	}
	if err := traceTags.set(ctx, tx, of, []Tag{{tagSpansLocation, inTrackingStore}}); err != nil {
		return err
	}
	for _, span := range spans {
		if span.ParentID != "" {
			continue
		}
		if err := traceTags.add(ctx, tx, of, []Tag{{tagTraceName, span.Name}}); err != nil {
			return err
		}
		state := traceOK
		if span.Status == traceError {
			state = traceError
		}
		if _, err := tx.Exec(ctx, `UPDATE experiment_trace SET state = ? WHERE id = ? AND finalized = 0`,
			state, of.id); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `UPDATE experiment_trace SET
		at = (SELECT MIN(started) FROM experiment_span WHERE trace = ?) / 1000000,
		duration = (SELECT (MAX(ended) - MIN(started)) / 1000000 FROM experiment_span WHERE trace = ? AND ended > 0)
		WHERE id = ? AND finalized = 0`, of.id, of.id, of.id)
	return err
}

func noTrace(id string) error { return notFound("Trace with ID '%s' not found.", id) }

// findTrace finds a trace.
func findTrace(ctx context.Context, tx *store.Tx, traceID string) (of owner, err error) {
	err = tx.QueryRow(ctx, `SELECT id, experiment FROM experiment_trace WHERE trace_id = ?`, traceID).
		Scan(&of.id, &of.experiment)
	if errors.Is(err, sql.ErrNoRows) {
		err = noTrace(traceID)
	}
	return of, err
}

// oneTrace runs fn in a transaction that begin begins, and then reads the trace without its spans.
func (t *Tracking) oneTrace(
	ctx context.Context, begin func(context.Context, func(*store.Tx) error) error, traceID string,
	fn func(tx *store.Tx) error,
) (*TraceResponse, error) {
	var info TraceInfo
	err := begin(ctx, func(tx *store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		of, err := findTrace(ctx, tx, traceID)
		if err != nil {
			return err
		}
		infos, err := readTraces(ctx, tx, []int64{of.id})
		if err != nil {
			return err
		}
		info = infos[0]
		return nil
	})
	if err != nil {
		return nil, outward(err)
	}
	return &TraceResponse{Trace: Trace{TraceInfo: &info}}, nil
}

// GetTraceInfo gives a trace without its spans.
func (t *Tracking) GetTraceInfo(ctx context.Context, _ stoa.Caller, req *GetTraceInfoRequest) (*TraceResponse, error) {
	return t.oneTrace(ctx, t.config.DB.Read, req.TraceID, func(*store.Tx) error { return nil })
}

// GetTrace gives a trace with its spans; not_found while its root span has not come, unless the request allows that.
func (t *Tracking) GetTrace(ctx context.Context, _ stoa.Caller, req *GetTraceRequest) (*TraceResponse, error) {
	if err := required("trace_id", req.TraceID); err != nil {
		return nil, err
	}
	traces, rooted, err := t.traces(ctx, []string{req.TraceID})
	if err != nil {
		return nil, err
	}
	if len(traces) == 0 {
		return nil, notFound("Trace with ID %s is not found.", req.TraceID)
	}
	if len(traces[0].Spans) > 0 && !rooted[req.TraceID] && !req.AllowPartial {
		return nil, notFound("Trace with ID %s is not fully exported yet, please try again later.", req.TraceID)
	}
	return &TraceResponse{Trace: traces[0]}, nil
}

// BatchGetTraces gives traces with their spans. Those that are not known, or whose root span has not come, are left out.
func (t *Tracking) BatchGetTraces(
	ctx context.Context, _ stoa.Caller, req *BatchGetTracesRequest,
) (*BatchGetTracesResponse, error) {
	if len(req.TraceIDs) == 0 {
		return nil, missing("trace_ids")
	}
	traces, rooted, err := t.traces(ctx, req.TraceIDs)
	if err != nil {
		return nil, err
	}
	traces = slices.DeleteFunc(traces, func(trace Trace) bool {
		return len(trace.Spans) > 0 && !rooted[trace.TraceInfo.TraceID]
	})
	return &BatchGetTracesResponse{Traces: traces}, nil
}

// BatchGetTraceInfos gives traces without their spans. Those that are not known are left out.
func (t *Tracking) BatchGetTraceInfos(
	ctx context.Context, _ stoa.Caller, req *BatchGetTracesRequest,
) (*BatchGetTraceInfosResponse, error) {
	if len(req.TraceIDs) == 0 {
		return nil, missing("trace_ids")
	}
	found := &BatchGetTraceInfosResponse{}
	err := t.read(ctx, func(tx *store.Tx) error {
		ids, err := traceNumbers(ctx, tx, req.TraceIDs)
		if err == nil {
			found.TraceInfos, err = readTraces(ctx, tx, ids)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// traceNumbers gives the numbers of the traces that are known, in the order asked for.
func traceNumbers(ctx context.Context, tx *store.Tx, traceIDs []string) ([]int64, error) {
	var ids []int64
	for _, traceID := range traceIDs {
		of, err := findTrace(ctx, tx, traceID)
		switch {
		case err == nil:
			ids = append(ids, of.id)
		case !isRefusal(err):
			return nil, err
		}
	}
	return ids, nil
}

// traces reads traces with their spans by their start, and says which have a root span.
func (t *Tracking) traces(ctx context.Context, traceIDs []string) (traces []Trace, rooted map[string]bool, err error) {
	rooted = map[string]bool{}
	err = t.read(ctx, func(tx *store.Tx) error {
		ids, err := traceNumbers(ctx, tx, traceIDs)
		if err != nil {
			return err
		}
		infos, err := readTraces(ctx, tx, ids)
		if err != nil {
			return err
		}
		for i := range infos {
			traces = append(traces, Trace{TraceInfo: &infos[i]})
		}
		index := indexOf(ids)
		return inChunks(ids, func(marks string, args []any) error {
			rows, err := tx.Query(ctx, `SELECT trace, parent, wire FROM experiment_span WHERE trace IN (`+marks+
				`) ORDER BY trace, started, span_id`, args...)
			if err != nil {
				return err
			}
			return scanAll(rows, func() error {
				var id int64
				var parent, wire string
				if err := rows.Scan(&id, &parent, &wire); err != nil {
					return err
				}
				trace := &traces[index[id]]
				trace.Spans = append(trace.Spans, json.RawMessage(wire))
				if parent == "" {
					rooted[trace.TraceInfo.TraceID] = true
				}
				return nil
			})
		})
	})
	return traces, rooted, err
}

// readTraces reads traces without their spans, in the order of their numbers in ids. All of them exist.
func readTraces(ctx context.Context, tx *store.Tx, ids []int64) ([]TraceInfo, error) {
	infos := make([]TraceInfo, len(ids))
	index := indexOf(ids)
	err := inChunks(ids, func(marks string, args []any) error {
		rows, err := tx.Query(ctx, `SELECT id, trace_id, experiment, at, duration, state, client_request_id, request, response,
			assessments FROM experiment_trace WHERE id IN (`+marks+`)`, args...)
		if err != nil {
			return err
		}
		return scanAll(rows, func() error {
			var id, experiment, at int64
			var duration sql.NullInt64
			var judged string
			info := TraceInfo{Tags: map[string]string{}, TraceMetadata: map[string]string{}}
			if err := rows.Scan(&id, &info.TraceID, &experiment, &at, &duration, (*string)(&info.State),
				&info.ClientRequestID, &info.RequestPreview, &info.ResponsePreview, &judged); err != nil {
				return err
			}
			info.TraceLocation = TraceLocation{
				Type: "MLFLOW_EXPERIMENT", MLflowExperiment: &TraceExperiment{strconv.FormatInt(experiment, 10)},
			}
			info.RequestTime = formatTime(at)
			if duration.Valid {
				info.ExecutionDuration = formatDuration(duration.Int64)
			}
			infos[index[id]] = info
			return json.Unmarshal([]byte(judged), &infos[index[id]].Assessments)
		})
	})
	if err != nil {
		return nil, err
	}
	return infos, errors.Join(
		traceTags.each(ctx, tx, ids, func(i int, key, value string) { infos[i].Tags[key] = value }),
		traceMetadata.each(ctx, tx, ids, func(i int, key, value string) { infos[i].TraceMetadata[key] = value }))
}

// formatTime writes milliseconds since 1970 as a timestamp of the wire, whose fraction has no digits or three.
func formatTime(at int64) string {
	layout := "2006-01-02T15:04:05.000Z"
	if at%1000 == 0 {
		layout = "2006-01-02T15:04:05Z"
	}
	return time.UnixMilli(at).UTC().Format(layout)
}

// formatDuration writes milliseconds as a duration of the wire, whose fraction has no digits or three.
func formatDuration(millis int64) string {
	if millis%1000 == 0 {
		return strconv.FormatInt(millis/1000, 10) + "s"
	}
	return strconv.FormatFloat(float64(millis)/1000, 'f', 3, 64) + "s"
}
