"""What the scenarios share: the server's address and key, and a refusal that must happen."""

import contextlib
import json
import os
import urllib.request

import mlflow
from mlflow.exceptions import MlflowException

NEW = int(mlflow.__version__.split(".")[0]) >= 3
LONG = "STOA_TEST_LONG" in os.environ


@contextlib.contextmanager
def refused(code, *words):
    """Expects an MlflowException with an error code and words in its message."""
    try:
        yield
    except MlflowException as error:
        assert error.error_code == code, (error.error_code, str(error))
        for word in words:
            assert word in str(error), str(error)
    else:
        raise AssertionError(f"no {code}")


def request(method, path, body=None):
    """Speaks to the server without the client, and returns the answer's JSON."""
    req = urllib.request.Request(
        os.environ["MLFLOW_TRACKING_URI"] + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"],
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(req, timeout=60) as answer:
        return json.load(answer)


def log_model(flavor, model, name, **more):
    """Logs a model under a name, which version 2 calls a path. To infer what it requires would take half a minute."""
    more.setdefault("pip_requirements", ["mlflow"])
    return flavor.log_model(model, **{"name" if NEW else "artifact_path": name}, **more)
