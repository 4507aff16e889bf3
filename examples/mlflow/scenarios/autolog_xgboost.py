"""XGBoost's autolog: a metric at every round, importances and the model."""

import mlflow
import xgboost
from mlflow import MlflowClient
from sklearn.datasets import load_breast_cancer

mlflow.set_experiment("autolog xgboost")
mlflow.xgboost.autolog()
rows, labels = load_breast_cancer(return_X_y=True, as_frame=True)
data = xgboost.DMatrix(rows, labels)

with mlflow.start_run() as run:
    model = xgboost.train(
        {"objective": "binary:logistic", "max_depth": 3, "nthread": 1},
        data, num_boost_round=8, evals=[(data, "train")], verbose_eval=False,
    )

client = MlflowClient()
kept = client.get_run(run.info.run_id)
assert kept.data.params["max_depth"] == "3", kept.data.params
assert len(client.get_metric_history(run.info.run_id, "train-logloss")) == 8
loaded = mlflow.xgboost.load_model(f"runs:/{run.info.run_id}/model")
assert (loaded.predict(data) == model.predict(data)).all()
