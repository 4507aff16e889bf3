"""Traces: spans with inputs and outputs, searched by tag and state, tagged and deleted."""

import mlflow
from mlflow import MlflowClient

client = MlflowClient()
experiment = mlflow.set_experiment("traces").experiment_id


@mlflow.trace(span_type="LLM", attributes={"model": "m"})
def answer(question):
    with mlflow.start_span("look up") as span:
        span.set_inputs({"q": question})
        span.set_outputs(["a", 1, None])
    if question == "why":
        raise ValueError("no reason")
    return question.upper()


assert answer("who") == "WHO"
first = mlflow.get_last_active_trace_id()
mlflow.flush_trace_async_logging()
try:
    answer("why")
except ValueError:
    pass
mlflow.flush_trace_async_logging()

trace = mlflow.get_trace(first)
assert trace is not None and trace.info.state == "OK", trace
assert [s.name for s in trace.data.spans] == ["answer", "look up"], trace.data.spans
assert trace.data.spans[0].inputs == {"question": "who"} and trace.data.spans[0].outputs == "WHO"
assert trace.data.spans[0].span_type == "LLM" and trace.data.spans[1].outputs == ["a", 1, None]
client.set_trace_tag(first, "kind", "good")


def found(text):
    return mlflow.search_traces(locations=[experiment], filter_string=text, return_type="list")


assert len(found(None)) == 2
assert [t.info.trace_id for t in found("tags.kind = 'good'")] == [first]
assert len(found("status = 'ERROR'")) == 1
assert client.delete_traces(experiment, trace_ids=[first]) == 1
assert len(found(None)) == 1
