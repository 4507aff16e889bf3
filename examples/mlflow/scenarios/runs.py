"""Runs by hand: nested runs, batches, histories, tags, data sets, deletion."""

import math

import mlflow
import pandas
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from client import refused

client = MlflowClient()
experiment = mlflow.set_experiment("runs by hand").experiment_id
with mlflow.start_run(run_name="parent", description="what it is") as parent:
    mlflow.log_params({"lr": 0.1, "layers": [1, 2]})
    for step in range(5):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.set_tags({"team": "red", "ünï": "✓"})
    mlflow.log_input(
        mlflow.data.from_pandas(pandas.DataFrame({"a": [1, 2]}), name="numbers"), context="training"
    )
    with mlflow.start_run(run_name="child", nested=True) as child:
        mlflow.log_metric("nan", math.nan)
        mlflow.log_metric("inf", math.inf)

run = client.get_run(parent.info.run_id)
assert run.info.run_name == "parent" and run.info.status == "FINISHED"
assert run.data.params == {"lr": "0.1", "layers": "[1, 2]"}
assert run.data.metrics == {"loss": 0.2}
assert run.data.tags["ünï"] == "✓" and run.data.tags["mlflow.note.content"] == "what it is"
assert run.inputs.dataset_inputs[0].dataset.name == "numbers"
assert run.inputs.dataset_inputs[0].tags[0].value == "training"
nested = client.get_run(child.info.run_id)
assert nested.data.tags["mlflow.parentRunId"] == parent.info.run_id
assert math.isnan(nested.data.metrics["nan"]) and nested.data.metrics["inf"] > 1e308

# A batch that is sent again changes nothing.
batch = client.create_run(experiment).info.run_id
metrics = [Metric("m", i, i, i) for i in range(1000)]
for _ in range(2):
    client.log_batch(batch, metrics, [Param("p", "1")], [RunTag("t", "1")])
assert len(client.get_metric_history(batch, "m")) == 1000
assert client.get_run(batch).data.metrics["m"] == 999
with refused("INVALID_PARAMETER_VALUE", "p"):
    client.log_param(batch, "p", "2")
client.set_terminated(batch, "KILLED")
assert client.get_run(batch).info.status == "KILLED"

client.delete_run(batch)
assert client.get_run(batch).info.lifecycle_stage == "deleted"
with refused("INVALID_PARAMETER_VALUE"):
    client.log_metric(batch, "m", 1)
client.restore_run(batch)
client.log_metric(batch, "m", 1, step=2000)
client.delete_tag(batch, "t")
assert "t" not in client.get_run(batch).data.tags
with refused("RESOURCE_DOES_NOT_EXIST"):
    client.get_run("0" * 32)

assert mlflow.get_experiment_by_name("nobody's") is None
gone = client.create_experiment("soon gone", tags={"a": "1"})
client.delete_experiment(gone)
assert client.get_experiment(gone).lifecycle_stage == "deleted"
client.restore_experiment(gone)
client.rename_experiment(gone, "here again")
assert client.get_experiment_by_name("here again").tags["a"] == "1"
