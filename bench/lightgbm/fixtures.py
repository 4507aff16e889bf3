"""Writes the fixtures of the trainer's tests; see fixtures.sh."""

import gzip
import json
import pathlib
import sys

import lightgbm
import numpy
import onnxruntime
import pandas
import sklearn
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

SETTINGS = {"rounds": 100, "depth": 5, "leaves": 31, "learning_rate": 0.1, "min_data": 20, "bins": 255, "l2": 0.0}
HOLDOUT = 0.2


def write(path: pathlib.Path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document) + "\n")
    print("wrote", path)


def with_onnxruntime(models: pathlib.Path, out: pathlib.Path):
    for path in sorted(models.glob("*.onnx")):
        rows = json.loads(path.with_suffix(".json").read_text())["input"]
        x = numpy.array([[numpy.nan if v is None else v for v in row] for row in rows], dtype=numpy.float32)
        session = onnxruntime.InferenceSession(str(path))
        answer = session.run(None, {"input": x})
        label = answer[0].tolist() if len(answer) == 2 else None
        values = [float(str(v)) for v in answer[-1].astype(numpy.float32).ravel()]
        write(out / f"{path.stem}.json",
              {"onnxruntime": onnxruntime.__version__, "input": rows, "label": label, "values": values})


def split(frame):
    """The trainer's split: the last fifth is held out."""
    y = frame["target"].to_numpy()
    x = frame.drop(columns="target").to_numpy(numpy.float32)
    rows = len(y) - int(numpy.floor(len(y) * HOLDOUT + 0.5))
    return x[:rows], y[:rows], x[rows:], y[rows:]


def with_lightgbm(name: str, frame, out: pathlib.Path):
    x, y, x_test, y_test = split(frame)
    data = lightgbm.train(
        {"objective": "binary", "num_leaves": SETTINGS["leaves"], "max_depth": SETTINGS["depth"],
         "learning_rate": SETTINGS["learning_rate"], "min_data_in_leaf": SETTINGS["min_data"],
         "max_bin": SETTINGS["bins"], "lambda_l2": SETTINGS["l2"], "num_threads": 1, "deterministic": True,
         "verbose": -1},
        lightgbm.Dataset(x, y), SETTINGS["rounds"])
    p = data.predict(x_test)
    write(out / f"{name}.json", {
        "lightgbm": lightgbm.__version__, "settings": SETTINGS, "holdout": HOLDOUT, "auc": roc_auc_score(y_test, p),
        "log_loss": log_loss(y_test, p), "predictions": [round(float(v), 6) for v in p[:400]]})


def with_sklearn(name: str, frame, out: pathlib.Path, c: float):
    x, y = frame.drop(columns="target").to_numpy(numpy.float64), frame["target"].to_numpy()
    z = StandardScaler().fit_transform(x)
    model = LogisticRegression(C=c, tol=1e-12, max_iter=100_000, solver="lbfgs").fit(z, y)
    write(out / f"{name}.json", {
        "sklearn": sklearn.__version__, "l2": 1 / c, "coefficients": model.coef_.tolist(),
        "intercepts": model.intercept_.tolist(), "classes": model.classes_.tolist()})


def main():
    models, root = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out = root / "train" / "testdata"
    with_onnxruntime(models, out / "onnxruntime")
    cancer = load_breast_cancer(as_frame=True).frame.sample(frac=1, random_state=1)
    wine = load_wine(as_frame=True).frame.sample(frac=1, random_state=1)
    for name, frame in {"breast_cancer": cancer, "wine": wine}.items():
        text = frame.to_csv(index=False).encode()
        (out / f"{name}.csv.gz").write_bytes(gzip.compress(text, 9, mtime=0))
    electricity = pandas.read_csv(root / "examples" / "electricity" / "elec.csv.gz")
    electricity = electricity.rename(columns={electricity.columns[-1]: "target"})
    with_lightgbm("breast_cancer", cancer, out / "lightgbm")
    with_lightgbm("electricity", electricity, out / "lightgbm")
    with_sklearn("breast_cancer", cancer, out / "sklearn", 1.0)
    with_sklearn("wine", wine, out / "sklearn", 0.5)


main()
