"""Artifacts of every size, in directories, up and down again; 1 GB when there is time."""

import hashlib
import os
import pathlib

import mlflow
import requests
from mlflow import MlflowClient

from client import LONG

client = MlflowClient()
mlflow.set_experiment("artifacts")
chunk = os.urandom(1 << 20)


def write(path, size):
    """Writes a file that differs from all others of its size, and returns its digest."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for start in range(0, size, len(chunk)):
            piece = (start.to_bytes(8, "big") + chunk)[: min(len(chunk), size - start)]
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


sizes = [0, 1, 4095, 4096, 4097, 1 << 16, (1 << 20) + 1, 64 << 20]
if LONG:
    sizes.append(1 << 30)
with mlflow.start_run() as run:
    for size in sizes:
        name = f"file-{size}"
        want = write(name, size)
        mlflow.log_artifact(name, "sizes")
        os.remove(name)
        back = client.download_artifacts(run.info.run_id, f"sizes/{name}", os.getcwd())
        assert os.path.getsize(back) == size and digest_of(back) == want, name
        os.remove(back)
    mlflow.log_text("text ✓", "deep/er/note ü.txt")
    mlflow.log_dict({"a": [1, 2]}, "dict.json")
    tree = pathlib.Path("tree/below")
    tree.mkdir(parents=True)
    (tree / "one").write_text("1")
    (tree.parent / "two").write_text("2")
    mlflow.log_artifacts("tree", "tree")

listed = {f.path: (f.is_dir, f.file_size) for f in client.list_artifacts(run.info.run_id, "sizes")}
for size in sizes:
    assert listed[f"sizes/file-{size}"] in ((False, size), (False, size or None)), listed
top = {f.path: f.is_dir for f in client.list_artifacts(run.info.run_id)}
assert top == {"sizes": True, "deep": True, "dict.json": False, "tree": True}, top
root = f"runs:/{run.info.run_id}"
assert mlflow.artifacts.load_text(f"{root}/deep/er/note ü.txt") == "text ✓"
assert mlflow.artifacts.load_dict(f"{root}/dict.json") == {"a": [1, 2]}
down = pathlib.Path(mlflow.artifacts.download_artifacts(f"{root}/tree", dst_path="down"))
assert (down / "below/one").read_text() == "1" and (down / "two").read_text() == "2"
assert run.info.artifact_uri.startswith("mlflow-artifacts:/"), run.info.artifact_uri
try:
    client.list_artifacts(run.info.run_id, "../..")
except requests.HTTPError as error:
    assert error.response.json()["error_code"] == "INVALID_PARAMETER_VALUE", error
else:
    raise AssertionError("a path that climbs was listed")
