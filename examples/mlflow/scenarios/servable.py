"""What is registered with an ONNX file serves at once under its name; models:/NAME@champion is the version in service."""

import lightgbm
import mlflow
import numpy
import onnxmltools
import xgboost
from mlflow import MlflowClient
from onnxmltools.convert.common.data_types import FloatTensorType as LightFloats
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from client import log_model, request

client = MlflowClient()
mlflow.set_experiment("servable")
rows, labels = load_iris(return_X_y=True)
rows = rows.astype(numpy.float32)
initial = [("input", LightFloats([None, 4]))]


def labels_served(name, onnx):
    """Asks the server for the labels of all rows, by the protocol of inference."""
    answer = request("POST", f"/v2/models/{name}/infer", {
        "inputs": [{
            "name": onnx.graph.input[0].name, "shape": list(rows.shape), "datatype": "FP32",
            "data": rows.flatten().tolist(),
        }],
    })
    label = onnx.graph.output[0].name
    return next(o["data"] for o in answer["outputs"] if o["name"] == label)


def serve(name, model, onnx, want):
    with mlflow.start_run():
        log_model(mlflow.onnx, onnx, "model", registered_model_name=name)
    served = labels_served(name, onnx)
    agree = numpy.mean([int(a) == int(b) for a, b in zip(served, want)])
    assert agree > 0.99, (name, agree)


forest = RandomForestClassifier(n_estimators=10, random_state=0).fit(rows, labels)
options = {"zipmap": False}
serve("forest", forest, to_onnx(forest, rows[:1], options=options, target_opset=15), forest.predict(rows))
light = lightgbm.LGBMClassifier(n_estimators=10, num_leaves=7, verbose=-1, n_jobs=1).fit(rows, labels)
serve("light", light, onnxmltools.convert_lightgbm(light, initial_types=initial, zipmap=False), light.predict(rows))
boosted = xgboost.XGBClassifier(n_estimators=10, max_depth=3, n_jobs=1).fit(rows, labels)
serve("boosted", boosted, onnxmltools.convert_xgboost(boosted, initial_types=initial), boosted.predict(rows))

# The owner puts a version in service, and the client loads it by the alias.
client.set_registered_model_alias("forest", "champion", "1")
loaded = mlflow.pyfunc.load_model("models:/forest@champion")
assert loaded.metadata.flavors["onnx"]

# Another flavour is registered, and says what could serve it.
with mlflow.start_run():
    linear = LogisticRegression(max_iter=300).fit(rows, labels)
    log_model(mlflow.sklearn, linear, "model", registered_model_name="linear in python")
version = client.get_model_version("linear in python", "1")
assert "sklearn" in version.status_message and version.status == "READY", version.status_message
