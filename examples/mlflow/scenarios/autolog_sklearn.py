"""scikit-learn's autolog: params, metrics, data set, figures and the model, from one line."""

import mlflow
from mlflow import MlflowClient
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from client import NEW

mlflow.set_experiment("autolog sklearn")
mlflow.sklearn.autolog()
rows, labels = load_iris(return_X_y=True, as_frame=True)

with mlflow.start_run() as run:
    model = LogisticRegression(max_iter=300, C=0.5).fit(rows, labels)
    model.score(rows, labels)

client = MlflowClient()
kept = client.get_run(run.info.run_id)
assert kept.info.status == "FINISHED"
assert kept.data.params["C"] == "0.5", kept.data.params
assert 0.9 < kept.data.metrics["training_accuracy_score"] <= 1, kept.data.metrics
assert kept.data.tags["estimator_name"] == "LogisticRegression"
assert [i.dataset.name for i in kept.inputs.dataset_inputs], kept.inputs
paths = {f.path for f in client.list_artifacts(run.info.run_id)}
assert "estimator.html" in paths and any("confusion_matrix" in p for p in paths), paths

uri = f"runs:/{run.info.run_id}/model"
assert (mlflow.sklearn.load_model(uri).predict(rows) == model.predict(rows)).all()
if NEW:
    assert len(client.search_logged_models([run.info.experiment_id])) >= 1

# A search over parameters makes nested runs.
with mlflow.start_run() as parent:
    GridSearchCV(LogisticRegression(max_iter=300), {"C": [0.1, 1.0]}, cv=2).fit(rows, labels)
children = client.search_runs(
    [parent.info.experiment_id], f"tags.mlflow.parentRunId = '{parent.info.run_id}'"
)
assert len(children) == 2, children
