"""The registry: register, aliases, stages, tags, search, load by alias, version and stage."""

import mlflow
from mlflow import MlflowClient
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from client import NEW, log_model, refused

client = MlflowClient()
mlflow.set_experiment("registry")
rows, labels = load_iris(return_X_y=True)
models = []
for strength in (1, 3):
    model = LogisticRegression(C=strength, max_iter=300).fit(rows, labels)
    with mlflow.start_run() as run:
        logged = log_model(mlflow.sklearn, model, "iris", input_example=rows[:2])
    version = mlflow.register_model(logged.model_uri, "iris", tags={"C": str(strength)})
    assert version.version in (str(len(models) + 1), len(models) + 1), version
    assert version.status == "READY", version
    models.append(model)
if not NEW:
    with mlflow.start_run():
        log_model(mlflow.sklearn, models[1], "again", registered_model_name="iris")
    assert len(client.search_model_versions("name = 'iris'")) == 3

client.set_registered_model_alias("iris", "blue", "1")
client.set_registered_model_alias("iris", "green", "2")
for ref, model in {"@blue": models[0], "@green": models[1], "/1": models[0], "/2": models[1]}.items():
    loaded = mlflow.sklearn.load_model("models:/iris" + ref)
    assert (loaded.predict(rows) == model.predict(rows)).all(), ref
    assert (mlflow.pyfunc.load_model("models:/iris" + ref).predict(rows) == model.predict(rows)).all(), ref
assert mlflow.sklearn.load_model("models:/iris/latest").C == 3
assert str(client.get_model_version_by_alias("iris", "green").version) == "2"
client.set_registered_model_alias("iris", "blue", "2")
assert str(client.get_model_version_by_alias("iris", "blue").version) == "2"
client.delete_registered_model_alias("iris", "blue")
with refused("INVALID_PARAMETER_VALUE"):
    client.get_model_version_by_alias("iris", "blue")

client.transition_model_version_stage("iris", "1", "Production")
client.transition_model_version_stage("iris", "2", "Production", archive_existing_versions=True)
assert client.get_model_version("iris", "1").current_stage == "Archived"
assert mlflow.sklearn.load_model("models:/iris/Production").C == 3
assert [str(v.version) for v in client.get_latest_versions("iris", ["Production"])] == ["2"]

client.update_registered_model("iris", "decides")
client.update_model_version("iris", "1", "shallow")
client.set_registered_model_tag("iris", "team", "red")
client.set_model_version_tag("iris", "1", "ok", "no")
found = client.get_registered_model("iris")
assert found.description == "decides" and found.tags["team"] == "red"
assert {alias: str(number) for alias, number in found.aliases.items()} == {"green": "2"}, found.aliases
assert client.get_model_version("iris", "1").tags == {"C": "1", "ok": "no"}
client.delete_model_version_tag("iris", "1", "ok")
versions = client.search_model_versions("name = 'iris' AND tags.C = '3'")
assert [str(v.version) for v in versions] == ["2"], versions
assert [m.name for m in client.search_registered_models("name LIKE 'ir%'")] == ["iris"]

client.create_registered_model("short-lived")
client.rename_registered_model("short-lived", "renamed")
client.delete_registered_model("renamed")
with refused("RESOURCE_DOES_NOT_EXIST"):
    client.get_registered_model("renamed")
with refused("RESOURCE_ALREADY_EXISTS"):
    client.create_registered_model("iris")
copied = client.copy_model_version("models:/iris/2", "copy of iris")
assert mlflow.sklearn.load_model(f"models:/copy of iris/{copied.version}").C == 3
