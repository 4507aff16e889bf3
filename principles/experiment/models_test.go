package experiment_test

import (
	"strings"
	"testing"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/principles/experiment"
)

func TestLoggedModels(t *testing.T) {
	r, ctx := open(t), t.Context()
	runID := r.run(t, "0")
	made, err := r.CreateLoggedModel(ctx, r.caller, decode[experiment.CreateLoggedModelRequest](t, `{"experiment_id": "0",
		"name": "forest", "model_type": "onnx", "source_run_id": "`+runID+`", "params": [{"key": "depth", "value": "3"}],
		"tags": [{"key": "a", "value": "b"}]}`))
	ok(t, err)
	id := made.Model.Info.ModelID
	if got, want := strings.NewReplacer(id, "MODEL", runID, "RUN").Replace(encode(t, made)), `{"model":{"info":{`+
		`"model_id":"MODEL","experiment_id":"0","name":"forest","creation_timestamp_ms":1700000000000,`+
		`"last_updated_timestamp_ms":1700000000000,"artifact_uri":"mlflow-artifacts:/0/models/MODEL/artifacts",`+
		`"status":"LOGGED_MODEL_PENDING","model_type":"onnx","source_run_id":"RUN","tags":[{"key":"a","value":"b"}]},`+
		`"data":{"params":[{"key":"depth","value":"3"}]}}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	_, err = r.LogBatch(ctx, r.caller, decode[experiment.LogBatchRequest](t, `{"run_id": "`+runID+`", "metrics": [
		{"key": "acc", "value": 0.5, "timestamp": 1, "model_id": "`+id+`", "dataset_name": "d", "dataset_digest": "1"},
		{"key": "acc", "value": 0.7, "timestamp": 2, "model_id": "`+id+`"}]}`))
	ok(t, err)
	_, err = r.LogLoggedModelParams(ctx, r.caller, &experiment.LogLoggedModelParamsRequest{
		ModelID: id, Params: []experiment.Param{{Key: "depth", Value: "3"}, {Key: "leaves", Value: "9"}},
	})
	ok(t, err)
	_, err = r.LogLoggedModelParams(ctx, r.caller, &experiment.LogLoggedModelParamsRequest{
		ModelID: id, Params: []experiment.Param{{Key: "depth", Value: "4"}},
	})
	refused(t, err, stoa.ReasonInvalid, "Changing param values is not allowed")
	for range 2 {
		_, err = r.LogOutputs(ctx, r.caller, decode[experiment.LogOutputsRequest](t,
			`{"run_id": "`+runID+`", "models": [{"model_id": "`+id+`", "step": "3"}]}`))
		ok(t, err)
	}
	if out := r.get(t, runID).Outputs.ModelOutputs; len(out) != 1 || out[0].ModelID != id || out[0].Step != 3 {
		t.Errorf("the run made %+v", out)
	}
	final, err := r.FinalizeLoggedModel(ctx, r.caller, decode[experiment.FinalizeLoggedModelRequest](t,
		`{"model_id": "`+id+`", "status": 2}`))
	ok(t, err)
	if m := final.Model; m.Info.Status != "LOGGED_MODEL_READY" || len(m.Data.Metrics) != 2 || m.Data.Metrics[0].RunID != runID {
		t.Errorf("finalized it is %+v", m)
	}

	_, err = r.CreateLoggedModel(ctx, r.caller, &experiment.CreateLoggedModelRequest{ExperimentID: "0", Name: "a/b"})
	refused(t, err, stoa.ReasonInvalid, "Invalid model name ('a/b') provided.")
	_, err = r.SetLoggedModelTags(ctx, r.caller, &experiment.SetLoggedModelTagsRequest{ModelID: "m-0"})
	refused(t, err, stoa.ReasonNotFound, "Logged model with ID 'm-0' not found.")
	_, err = r.DeleteLoggedModelTag(ctx, r.caller, &experiment.DeleteLoggedModelTagRequest{ModelID: id, TagKey: "none"})
	refused(t, err, stoa.ReasonNotFound, "No tag with key 'none' found for model with ID '"+id+"'.")

	_, err = r.CreateLoggedModel(ctx, r.caller, &experiment.CreateLoggedModelRequest{ExperimentID: "0", Name: "other"})
	ok(t, err)
	for filter, want := range map[string]string{
		"": "other forest", "metrics.acc > 0.6": "forest", "name LIKE 'f%' AND params.depth = '3'": "forest",
		"tags.a = 'b'": "forest", "status = 'LOGGED_MODEL_PENDING'": "other", "attributes.source_run_id = '" + runID + "'": "forest",
		"creation_timestamp < 5": "",
	} {
		searchModels(t, r, &experiment.SearchLoggedModelsRequest{Filter: filter}, want)
	}
	descending := false
	for _, c := range []struct {
		req  experiment.SearchLoggedModelsRequest
		want string
	}{
		{experiment.SearchLoggedModelsRequest{Filter: "metrics.acc > 0.6", Datasets: []experiment.DatasetName{{DatasetName: "d"}}}, ""},
		{experiment.SearchLoggedModelsRequest{Filter: "metrics.acc > 0.4", Datasets: []experiment.DatasetName{{DatasetName: "d"}}}, "forest"},
		{experiment.SearchLoggedModelsRequest{OrderBy: []experiment.LoggedModelsOrder{{FieldName: "metrics.acc"}}}, "forest other"},
		{experiment.SearchLoggedModelsRequest{OrderBy: []experiment.LoggedModelsOrder{{FieldName: "name", Ascending: &descending}}},
			"other forest"},
	} {
		searchModels(t, r, &c.req, c.want)
	}

	_, err = r.DeleteLoggedModel(ctx, r.caller, &experiment.DeleteLoggedModelRequest{ModelID: id})
	ok(t, err)
	searchModels(t, r, &experiment.SearchLoggedModelsRequest{}, "other")
	_, err = r.GetLoggedModel(ctx, r.caller, &experiment.GetLoggedModelRequest{ModelID: id})
	refused(t, err, stoa.ReasonNotFound, "not found")
	_, err = r.GetLoggedModel(ctx, r.caller, &experiment.GetLoggedModelRequest{ModelID: id, AllowDeleted: true})
	ok(t, err)
}

// searchModels checks the names of the logged models that a search finds, as a set when no order is asked for.
func searchModels(t *testing.T, r *room, req *experiment.SearchLoggedModelsRequest, want string) {
	t.Helper()
	req.ExperimentIDs = []string{"0"}
	found, err := r.SearchLoggedModels(t.Context(), r.caller, req)
	ok(t, err)
	var names []string
	for _, m := range found.Models {
		names = append(names, m.Info.Name)
	}
	got := strings.Join(names, " ")
	if got != want && !(len(req.OrderBy) == 0 && len(names) == 2 && want == names[1]+" "+names[0]) {
		t.Errorf("%+v finds %q, want %q", req, got, want)
	}
}

func TestTraces(t *testing.T) {
	r, ctx := open(t), t.Context()
	runID := r.run(t, "0")
	spans := func(trace, status string) []experiment.Span {
		return []experiment.Span{
			{TraceID: trace, SpanID: "b", ParentID: "a", Name: "call", Type: "LLM", Status: "UNSET", StartNanos: 2e9, EndNanos: 3e9,
				Attributes: map[string]string{"model": "gpt"}, Wire: []byte(`{"name":"call"}`)},
			{TraceID: trace, SpanID: "a", Name: "root", Status: status, StartNanos: 1e9, EndNanos: 4e9, Wire: []byte(`{"name":"root"}`)},
		}
	}
	start := decode[experiment.StartTraceRequest](t, `{"trace": {"trace_info": {"trace_id": "tr-1", "trace_location":
		{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}, "request_time": "2023-11-14T22:13:20.5Z",
		"execution_duration": "1.5s", "state": "ERROR", "trace_metadata": {"mlflow.sourceRun": "`+runID+`"},
		"tags": {"mlflow.traceName": "ask", "k": "v"}, "request_preview": "hi"}}}`)
	// The spans may come before or after, and again.
	ok(t, r.StoreSpans(ctx, r.caller, "0", spans("tr-1", "OK")[:1]))
	_, err := r.GetTrace(ctx, r.caller, &experiment.GetTraceRequest{TraceID: "tr-1"})
	refused(t, err, stoa.ReasonNotFound, "Trace with ID tr-1 is not fully exported yet, please try again later.")
	for range 2 {
		_, err := r.StartTrace(ctx, r.caller, start)
		ok(t, err)
		ok(t, r.StoreSpans(ctx, r.caller, "0", append(spans("tr-1", "OK"), spans("tr-2", "OK")...)))
	}
	got, err := r.GetTrace(ctx, r.caller, &experiment.GetTraceRequest{TraceID: "tr-1"})
	ok(t, err)
	if text, want := strings.ReplaceAll(encode(t, got), runID, "RUN"), `{"trace":{"trace_info":{"trace_id":"tr-1",`+
		`"trace_location":{"type":"MLFLOW_EXPERIMENT","mlflow_experiment":{"experiment_id":"0"}},"request_preview":"hi",`+
		`"request_time":"2023-11-14T22:13:20.500Z","execution_duration":"1.500s","state":"ERROR",`+
		`"trace_metadata":{"mlflow.sourceRun":"RUN"},"tags":{"k":"v",`+
		`"mlflow.artifactLocation":"mlflow-artifacts:/0/traces/tr-1/artifacts","mlflow.trace.spansLocation":"TRACKING_STORE",`+
		`"mlflow.traceName":"ask"}},"spans":[{"name":"root"},{"name":"call"}]}}`; text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	second, err := r.GetTraceInfo(ctx, r.caller, &experiment.GetTraceInfoRequest{TraceID: "tr-2"})
	ok(t, err)
	if info := second.Trace.TraceInfo; info.State != "OK" || info.RequestTime != "1970-01-01T00:00:01Z" ||
		info.ExecutionDuration != "3s" || info.Tags["mlflow.traceName"] != "root" {
		t.Errorf("a trace of spans alone is %+v", info)
	}
	for range 2 {
		_, err = r.LinkTraces(ctx, r.caller, &experiment.LinkTracesRequest{RunID: runID, TraceIDs: []string{"tr-2", "tr-9"}})
		ok(t, err)
	}
	for filter, want := range map[string]string{
		"": "tr-1 tr-2", "status = 'OK'": "tr-2", "name = 'ask'": "tr-1", "tags.k LIKE 'v'": "tr-1", "tags.k IS NULL": "tr-2",
		"run_id = '" + runID + "'": "tr-1 tr-2", "metadata.mlflow.sourceRun != '" + runID + "'": "", "timestamp_ms < 5000": "tr-2",
		"execution_time >= 3000": "tr-2", "end_time = 4000": "tr-2", "span.name = 'call' AND span.type IN ('LLM')": "tr-1 tr-2",
		"span.attributes.model ILIKE 'GPT'": "tr-1 tr-2", "span.attributes.none = 'x'": "", "text LIKE '%root%'": "tr-1 tr-2",
		"trace.name RLIKE '^a.k$'": "tr-1", "request_id = 'tr-2'": "tr-2",
	} {
		found, err := r.SearchTraces(ctx, r.caller, &experiment.SearchTracesRequest{
			Locations: []experiment.TraceLocation{start.Trace.TraceInfo.TraceLocation}, Filter: filter,
		})
		ok(t, err)
		var ids []string
		for _, info := range found.Traces {
			ids = append(ids, info.TraceID)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s finds %q, want %q", filter, got, want)
		}
	}
	changeTraces(t, r)
}

// changeTraces checks tags and the end of the two traces.
func changeTraces(t *testing.T, r *room) {
	t.Helper()
	ctx := t.Context()
	_, err := r.SetTraceTag(ctx, r.caller, &experiment.SetTraceTagRequest{TraceID: "tr-1", Key: "k", Value: "w"})
	ok(t, err)
	_, err = r.DeleteTraceTag(ctx, r.caller, &experiment.DeleteTraceTagRequest{TraceID: "tr-1", Key: "k"})
	ok(t, err)
	_, err = r.DeleteTraceTag(ctx, r.caller, &experiment.DeleteTraceTagRequest{TraceID: "tr-1", Key: "k"})
	refused(t, err, stoa.ReasonNotFound, "No trace tag with key 'k' for trace with ID 'tr-1'")
	_, err = r.SetTraceTag(ctx, r.caller, &experiment.SetTraceTagRequest{TraceID: "tr-1", Key: "mlflow.trace.spansLocation"})
	refused(t, err, stoa.ReasonInvalid, "is immutable and cannot be set on a trace.")
	many, err := r.BatchGetTraces(ctx, r.caller, &experiment.BatchGetTracesRequest{TraceIDs: []string{"tr-2", "x", "tr-1"}})
	ok(t, err)
	if len(many.Traces) != 2 || many.Traces[0].TraceInfo.TraceID != "tr-2" || len(many.Traces[0].Spans) != 2 {
		t.Errorf("the batch is %+v", many)
	}
	early, one := experiment.Int64(5000), experiment.Int64(1)
	deleted, err := r.DeleteTraces(ctx, r.caller, &experiment.DeleteTracesRequest{
		ExperimentID: "0", MaxTimestampMillis: &early, MaxTraces: &one,
	})
	ok(t, err)
	named, err := r.DeleteTraces(ctx, r.caller, &experiment.DeleteTracesRequest{ExperimentID: "0", TraceIDs: []string{"tr-1", "x"}})
	ok(t, err)
	if deleted.TracesDeleted != 1 || named.TracesDeleted != 1 {
		t.Errorf("deleted %d by time and %d by name", deleted.TracesDeleted, named.TracesDeleted)
	}
	_, err = r.DeleteTraces(ctx, r.caller, &experiment.DeleteTracesRequest{ExperimentID: "0"})
	refused(t, err, stoa.ReasonInvalid, "must be specified")
	_, err = r.GetTrace(ctx, r.caller, &experiment.GetTraceRequest{TraceID: "tr-1"})
	refused(t, err, stoa.ReasonNotFound, "Trace with ID tr-1 is not found.")
}
