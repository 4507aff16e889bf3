"""LightGBM's autolog: a metric at every round, importances and the model."""

import lightgbm
import mlflow
from mlflow import MlflowClient
from sklearn.datasets import load_breast_cancer

mlflow.set_experiment("autolog lightgbm")
mlflow.lightgbm.autolog()
rows, labels = load_breast_cancer(return_X_y=True, as_frame=True)
data = lightgbm.Dataset(rows, labels)

with mlflow.start_run() as run:
    model = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_leaves": 7, "num_threads": 1},
        data, num_boost_round=12, valid_sets=[data], valid_names=["train"],
    )

client = MlflowClient()
kept = client.get_run(run.info.run_id)
assert kept.data.params["num_leaves"] == "7", kept.data.params
history = client.get_metric_history(run.info.run_id, "train-binary_logloss")
assert [m.step for m in history] == list(range(12)), history
assert history[-1].value == kept.data.metrics["train-binary_logloss"] < history[0].value
assert "feature_importance_gain.json" in {f.path for f in client.list_artifacts(run.info.run_id)}
loaded = mlflow.lightgbm.load_model(f"runs:/{run.info.run_id}/model")
assert (loaded.predict(rows) == model.predict(rows)).all()
