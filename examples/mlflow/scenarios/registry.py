"""The registry: register, aliases, stages, tags, search, load by alias, version and stage."""

import mlflow
from mlflow import MlflowClient
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

from client import NEW, log_model, refused

client = MlflowClient()
mlflow.set_experiment("registry")
rows, labels = load_iris(return_X_y=True)
models = []
for depth in (1, 3):
    model = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(rows, labels)
    with mlflow.start_run() as run:
        logged = log_model(mlflow.sklearn, model, "tree", input_example=rows[:2])
    version = mlflow.register_model(logged.model_uri, "tree", tags={"depth": str(depth)})
    assert version.version in (str(len(models) + 1), len(models) + 1), version
    assert version.status == "READY", version
    models.append(model)
if not NEW:
    with mlflow.start_run():
        log_model(mlflow.sklearn, models[1], "again", registered_model_name="tree")
    assert len(client.search_model_versions("name = 'tree'")) == 3

client.set_registered_model_alias("tree", "blue", "1")
client.set_registered_model_alias("tree", "green", "2")
for ref, model in {"@blue": models[0], "@green": models[1], "/1": models[0], "/2": models[1]}.items():
    loaded = mlflow.sklearn.load_model("models:/tree" + ref)
    assert (loaded.predict(rows) == model.predict(rows)).all(), ref
    assert (mlflow.pyfunc.load_model("models:/tree" + ref).predict(rows) == model.predict(rows)).all(), ref
assert mlflow.sklearn.load_model("models:/tree/latest").max_depth == 3
assert str(client.get_model_version_by_alias("tree", "green").version) == "2"
client.set_registered_model_alias("tree", "blue", "2")
assert str(client.get_model_version_by_alias("tree", "blue").version) == "2"
client.delete_registered_model_alias("tree", "blue")
with refused("INVALID_PARAMETER_VALUE"):
    client.get_model_version_by_alias("tree", "blue")

client.transition_model_version_stage("tree", "1", "Production")
client.transition_model_version_stage("tree", "2", "Production", archive_existing_versions=True)
assert client.get_model_version("tree", "1").current_stage == "Archived"
assert mlflow.sklearn.load_model("models:/tree/Production").max_depth == 3
assert [str(v.version) for v in client.get_latest_versions("tree", ["Production"])] == ["2"]

client.update_registered_model("tree", "decides")
client.update_model_version("tree", "1", "shallow")
client.set_registered_model_tag("tree", "team", "red")
client.set_model_version_tag("tree", "1", "ok", "no")
found = client.get_registered_model("tree")
assert found.description == "decides" and found.tags["team"] == "red" and found.aliases == {"green": "2"} or NEW
assert client.get_model_version("tree", "1").tags == {"depth": "1", "ok": "no"}
client.delete_model_version_tag("tree", "1", "ok")
versions = client.search_model_versions("name = 'tree' AND tags.depth = '3'")
assert [str(v.version) for v in versions] == ["2"], versions
assert [m.name for m in client.search_registered_models("name LIKE 'tr%'")] == ["tree"]

client.create_registered_model("short-lived")
client.rename_registered_model("short-lived", "renamed")
client.delete_registered_model("renamed")
with refused("RESOURCE_DOES_NOT_EXIST"):
    client.get_registered_model("renamed")
with refused("RESOURCE_ALREADY_EXISTS"):
    client.create_registered_model("tree")
copied = client.copy_model_version("models:/tree/2", "copy of tree")
assert mlflow.sklearn.load_model(f"models:/copy of tree/{copied.version}").max_depth == 3
