"""Logged models of version 3: models that belong to no run, their tags, metrics and search."""

import mlflow
from mlflow import MlflowClient
from sklearn.dummy import DummyClassifier

client = MlflowClient()
experiment = mlflow.set_experiment("logged models").experiment_id
with mlflow.start_run() as run:
    logged = mlflow.sklearn.log_model(
        DummyClassifier().fit([[0], [1]], [0, 1]), name="dummy", params={"p": 1}, tags={"t": "1"}, step=3
    )
    mlflow.log_metric("acc", 0.5, model_id=logged.model_id)
model = client.get_logged_model(logged.model_id)
assert str(model.status) == "READY" and model.params == {"p": "1"} and model.tags["t"] == "1"
assert model.source_run_id == run.info.run_id
assert model.metrics[0].key == "acc" and model.metrics[0].value == 0.5
outputs = client.get_run(run.info.run_id).outputs.model_outputs
assert [(o.model_id, o.step) for o in outputs] == [(logged.model_id, 3)], outputs
mlflow.sklearn.load_model(f"models:/{logged.model_id}").predict([[1]])
mlflow.register_model(logged.model_uri, "dummy")
assert "mlflow.modelVersions" in client.get_logged_model(logged.model_id).tags

orphan = mlflow.create_external_model(name="elsewhere", model_type="agent", params={"k": "v"})
for text, want in {
    "name = 'dummy'": [logged.model_id],
    "metrics.acc >= 0.5": [logged.model_id],
    "params.k = 'v'": [orphan.model_id],
    "model_type = 'agent'": [orphan.model_id],
}.items():
    found = mlflow.search_logged_models([experiment], text, output_format="list")
    assert [m.model_id for m in found] == want, (text, found)
client.set_logged_model_tags(orphan.model_id, {"x": "y"})
client.delete_logged_model_tag(orphan.model_id, "x")
client.delete_logged_model(orphan.model_id)
assert len(mlflow.search_logged_models([experiment], output_format="list")) == 1
