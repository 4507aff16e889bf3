"""What may be in service is decided by people: a stranger's key moves no champion, and is told what is missing."""

import os

import mlflow
import numpy
from mlflow import MlflowClient
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from client import log_model, refused, request

owner = os.environ["MLFLOW_TRACKING_TOKEN"]
guest = request("POST", "/v1/keys", {"name": "guest"})["secret"]
client = MlflowClient()
mlflow.set_experiment("protection")

os.environ["MLFLOW_TRACKING_TOKEN"] = guest
with mlflow.start_run():
    rows = numpy.array([[0], [1]], numpy.float32)
    for strength in (1, 2):
        model = to_onnx(LogisticRegression(C=strength).fit(rows, [0, 1]), rows, target_opset=15)
        log_model(mlflow.onnx, model, "m", registered_model_name="guarded")
client.set_registered_model_alias("guarded", "mine", "1")
for alias in ("champion", "previous"):
    with refused("PERMISSION_DENIED", alias):
        client.set_registered_model_alias("guarded", alias, "1")

os.environ["MLFLOW_TRACKING_TOKEN"] = owner
client.set_registered_model_alias("guarded", "champion", "1")
client.set_registered_model_alias("guarded", "champion", "2")
aliases = {alias: str(number) for alias, number in client.get_registered_model("guarded").aliases.items()}
assert aliases == {"champion": "2", "previous": "1", "mine": "1"}, aliases

os.environ["MLFLOW_TRACKING_TOKEN"] = guest
with refused("PERMISSION_DENIED", "champion"):
    client.delete_registered_model_alias("guarded", "champion")

os.environ["MLFLOW_TRACKING_TOKEN"] = "not a key"
with refused("UNAUTHENTICATED"):
    client.get_registered_model("guarded")
