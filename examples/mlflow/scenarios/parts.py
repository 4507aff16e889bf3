"""A large artifact goes up in parts when the client is told to."""

import hashlib
import os

import mlflow

mlflow.set_experiment("parts")
os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"] = "true"
os.environ["MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"] = str(1 << 20)
os.environ["MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE"] = str(5 << 20)
content = os.urandom(17 << 20)
with open("large", "wb") as file:
    file.write(content)
with mlflow.start_run() as run:
    mlflow.log_artifact("large", "at")
os.remove("large")
back = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/at/large", dst_path=".")
with open(back, "rb") as file:
    assert hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(content).digest()
