"""Two processes on one run and one model at once: nothing is lost, and version numbers are never given twice."""

import multiprocessing
import os

from mlflow import MlflowClient

COUNT = 60


def work(args):
    number, run = args
    client = MlflowClient()
    versions = []
    for i in range(COUNT):
        client.log_metric(run, "shared", number * COUNT + i, step=i)
        client.log_param(run, f"p{number}-{i}", i)
        if i % 10 == 0:
            client.set_tag(run, "last", str(number))
            versions.append(int(client.create_model_version("shared", f"runs:/{run}/model", run).version))
    return versions


if __name__ == "__main__":
    client = MlflowClient()
    run = client.create_run(client.create_experiment("two clients")).info.run_id
    client.create_registered_model("shared")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        versions = sum(pool.map(work, [(0, run), (1, run)]), [])
    assert sorted(versions) == list(range(1, len(versions) + 1)), versions
    kept = client.get_run(run)
    assert len(kept.data.params) == 2 * COUNT
    history = client.get_metric_history(run, "shared")
    assert sorted(m.value for m in history) == list(range(2 * COUNT)), os.getpid()
