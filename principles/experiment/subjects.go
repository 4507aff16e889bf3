package experiment

// The tables of metrics: that of runs has the latest value of each, and that of logged models every value.
const (
	latestTable      = "experiment_latest"
	modelMetricTable = "experiment_model_metric"
)

// The operators that texts have.
var (
	listOps  = []string{"=", "!=", opLike, opILike, opIn, opNotIn}
	keyOps   = []string{"=", "!=", opLike, opILike, opIsNull, opIsNotNull}
	spanOps  = []string{"=", "!=", opLike, opILike, opRLike, opIn, opNotIn}
	traceOps = []string{"=", "!=", opLike, opILike, opRLike, opIn, opNotIn, opIsNull, opIsNotNull}
)

// numeric reports whether a column holds numbers.
func (g *grammar) numeric(column string) bool {
	for _, a := range g.attributes {
		if a.column == column && a.entity == "" {
			return a.numeric
		}
	}
	return false
}

// runGrammar is what a filter can say of runs.
func runGrammar() *grammar {
	name := attribute{column: "name"}
	started := attribute{column: "started", numeric: true}
	return &grammar{
		entities: map[string]string{
			"metric": entityMetric, "metrics": entityMetric,
			"param": entityParam, "params": entityParam, "parameter": entityParam, "parameters": entityParam,
			"tag": entityTag, "tags": entityTag, "dataset": entityDataset, "datasets": entityDataset,
			"attribute": entityAttribute, "attributes": entityAttribute, "attr": entityAttribute, "run": entityAttribute,
		},
		attributes: map[string]attribute{
			"run_id": {column: "run_id"}, "run_name": name, "run name": name, "Run name": name, "Run Name": name,
			"status": {column: "status"}, "user_id": {column: "user_id"}, "artifact_uri": {column: "location"},
			"start_time": started, "created": started, "Created": started,
			"end_time": {column: "ended", numeric: true},
		},
		textOps: map[string][]string{
			entityAttribute: listOps, entityDataset: listOps, entityParam: keyOps, entityTag: keyOps,
		},
		subkeys: map[string][]string{entityDataset: {"name", "digest", "context"}},
	}
}

func runSubject() *subject {
	return &subject{
		grammar: runGrammar(), table: "experiment_run", name: "run_id", time: "started", scope: "experiment", stages: true,
		metrics: latestTable, owner: "run",
		pairs: map[string]pairTable{entityParam: runParams, entityTag: runTags},
	}
}

// experimentGrammar is what a filter can say of experiments.
func experimentGrammar() *grammar {
	return &grammar{
		entities: map[string]string{
			"attribute": entityAttribute, "attributes": entityAttribute, "tag": entityTag, "tags": entityTag,
		},
		attributes: map[string]attribute{
			"name": {column: "name"}, "experiment_id": {column: "CAST(id AS TEXT)"},
			"creation_time":    {column: "created", numeric: true},
			"last_update_time": {column: "updated", numeric: true},
		},
		textOps: map[string][]string{entityAttribute: listOps, entityTag: keyOps},
	}
}

func experimentSubject() *subject {
	return &subject{
		grammar: experimentGrammar(), table: "experiment_experiment", name: "CAST(id AS TEXT)", time: "created", stages: true,
		owner: "experiment", pairs: map[string]pairTable{entityTag: experimentTags},
	}
}

// modelGrammar is what a filter can say of logged models.
func modelGrammar() *grammar {
	created := attribute{column: "created", numeric: true}
	updated := attribute{column: "updated", numeric: true}
	return &grammar{
		entities: map[string]string{
			"metric": entityMetric, "metrics": entityMetric, "param": entityParam, "params": entityParam,
			"tag": entityTag, "tags": entityTag, "attribute": entityAttribute, "attributes": entityAttribute,
		},
		attributes: map[string]attribute{
			"name": {column: "name"}, "model_id": {column: "model_id"}, "model_type": {column: "model_type"},
			"status": {column: "status"}, "source_run_id": {column: "source_run"}, "experiment_id": {column: "experiment"},
			"creation_timestamp": created, "creation_time": created, "creation_timestamp_ms": created,
			"last_updated_timestamp": updated, "last_updated_time": updated, "last_updated_timestamp_ms": updated,
		},
		textOps: map[string][]string{entityAttribute: listOps, entityParam: keyOps, entityTag: keyOps},
	}
}

func modelSubject() *subject {
	return &subject{
		grammar: modelGrammar(), table: "experiment_model", name: "model_id", time: "created", scope: "experiment",
		stages: true, metrics: modelMetricTable, owner: "model",
		pairs: map[string]pairTable{entityParam: modelParams, entityTag: modelTags},
	}
}

// The keys under which traces keep what a filter names as attributes.
const (
	tagTraceName    = "mlflow.traceName"
	metaSourceRun   = "mlflow.sourceRun"
	traceEnd        = "at + duration"
	spanContentName = "content"
)

// traceGrammar is what a filter can say of traces.
func traceGrammar() *grammar {
	at := attribute{column: "at", numeric: true}
	duration := attribute{column: "duration", numeric: true}
	end := attribute{column: traceEnd, numeric: true}
	return &grammar{
		entities: map[string]string{
			"attribute": entityAttribute, "attributes": entityAttribute, "trace": entityAttribute,
			"tag": entityTag, "tags": entityTag, "metadata": entityMetadata, "request_metadata": entityMetadata,
			"span": entitySpan,
		},
		attributes: map[string]attribute{
			"request_id": {column: "trace_id"}, "trace_id": {column: "trace_id"}, "status": {column: "state"},
			"state": {column: "state"}, "client_request_id": {column: "client_request_id"},
			"timestamp": at, "timestamp_ms": at, "execution_time": duration, "execution_time_ms": duration,
			"end_time": end, "end_time_ms": end,
			"name":   {column: tagTraceName, entity: entityTag},
			"run_id": {column: metaSourceRun, entity: entityMetadata},
			"text":   {column: spanContentName, entity: entitySpan},
		},
		textOps: map[string][]string{
			entityAttribute: spanOps, entityTag: traceOps, entityMetadata: traceOps, entitySpan: spanOps,
		},
		subkeys: map[string][]string{entitySpan: {"name", "type", "status", spanContentName}},
	}
}

func traceSubject() *subject {
	return &subject{
		grammar: traceGrammar(), table: "experiment_trace", name: "trace_id", time: "at", scope: "experiment",
		owner: "trace",
		pairs: map[string]pairTable{entityTag: traceTags, entityMetadata: traceMetadata},
	}
}
