"""Trains with Stoa and LightGBM on the same rows with equal settings, and compares AUC and training time.

The time of Stoa is fit_seconds of `stoa train --json`: binning, boosting and measuring on the hold-out. The time of
LightGBM is that of constructing its Dataset from an array in memory and training. Reading the file is in neither. Runs
alternate, and the median of each is shown. The AUC of Stoa is that of its ONNX file in ONNX Runtime, whose predictions
must agree with what Stoa measured itself.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import lightgbm
import numpy
import onnxruntime
import pandas
from sklearn.metrics import log_loss, roc_auc_score

import datasets

HOLDOUT = 0.2
SETTINGS = {"rounds": 100, "depth": 6, "leaves": 31, "learning-rate": 0.1, "l2": 0.0, "min-data": 20, "bins": 255}
WITHIN_AUC = 0.005
WITHIN_TIME = 3.0
BUSY = 0.5  # load per processor, before the start, above which times are not to be trusted


def with_stoa(stoa, path, threads, out):
    flags = [f"--{name}={value}" for name, value in SETTINGS.items()]
    command = [stoa, "train", str(path), "--target=target", f"--holdout={HOLDOUT}", f"--threads={threads}", "--seed=1",
               f"--out={out}", "--quiet", "--json", *flags]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def with_lightgbm(x, y, threads):
    parameters = {"objective": "binary", "num_leaves": SETTINGS["leaves"], "max_depth": SETTINGS["depth"],
                  "learning_rate": SETTINGS["learning-rate"], "lambda_l2": SETTINGS["l2"],
                  "min_data_in_leaf": SETTINGS["min-data"], "max_bin": SETTINGS["bins"], "num_threads": threads,
                  "seed": 1, "verbose": -1}
    start = time.perf_counter()
    data = lightgbm.Dataset(x, y, params=parameters)
    booster = lightgbm.train(parameters, data, SETTINGS["rounds"])
    return booster, time.perf_counter() - start


def compare(name, options):
    path = datasets.prepare(name, options.cache, options.electricity)
    frame = pandas.read_csv(path)
    y = frame.pop("target").to_numpy()
    x = frame.to_numpy(numpy.float32)
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "model.onnx")
        ours, theirs, bytes_seen = [], [], set()
        for _ in range(options.runs):
            result = with_stoa(options.stoa, path, options.threads, out)
            ours.append(result["fit_seconds"])
            bytes_seen.add(result["digest"])
            rows = int(result["metrics"]["rows_train"])
            booster, seconds = with_lightgbm(x[:rows], y[:rows], options.threads)
            theirs.append(seconds)
        session = onnxruntime.InferenceSession(out)
        label, probabilities = session.run(["label", "probabilities"], {"input": x[rows:]})
    if len(bytes_seen) != 1:
        sys.exit(f"{name}: equal runs gave {len(bytes_seen)} different models")
    if not numpy.array_equal(label, (probabilities[:, 1] > 0.5).astype(label.dtype)):
        sys.exit(f"{name}: the label is not the more probable class")
    auc = roc_auc_score(y[rows:], probabilities[:, 1])
    if abs(auc - result["metrics"]["auc"]) > 1e-5:
        sys.exit(f"{name}: ONNX Runtime's AUC is {auc}, Stoa's own {result['metrics']['auc']}")
    peer = booster.predict(x[rows:])
    peer_auc = roc_auc_score(y[rows:], peer)
    seconds, peer_seconds = statistics.median(ours), statistics.median(theirs)
    return {
        "data": name, "rows_train": rows, "rows_holdout": len(y) - rows, "features": x.shape[1],
        "missing_cells": float(numpy.isnan(x).mean()),
        "auc": auc, "auc_lightgbm": peer_auc, "auc_difference": auc - peer_auc,
        "log_loss": log_loss(y[rows:], probabilities[:, 1]), "log_loss_lightgbm": log_loss(y[rows:], peer),
        "seconds": seconds, "seconds_lightgbm": peer_seconds, "time_ratio": seconds / peer_seconds,
        "seconds_runs": ours, "seconds_lightgbm_runs": theirs,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stoa", required=True)
    parser.add_argument("--cache", required=True, type=pathlib.Path)
    parser.add_argument("--electricity", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--datasets", default=",".join(datasets.ALL))
    options = parser.parse_args()
    load = os.getloadavg()[0]
    if load > BUSY * os.cpu_count():
        print(f"WARNING: the load is {load:.1f} on {os.cpu_count()} processors: these times say little, because "
              "LightGBM's threads wait for each other by spinning", file=sys.stderr)
    print(f"{'data':14} {'rows':>7} {'feat':>5}   {'AUC ours':>9} {'LightGBM':>9} {'differ':>8}   "
          f"{'time ours':>9} {'LightGBM':>9} {'ratio':>6}", flush=True)
    results = []
    for name in options.datasets.split(","):
        r = compare(name, options)
        results.append(r)
        print(f"{name:14} {r['rows_train']:7} {r['features']:5}   {r['auc']:9.5f} {r['auc_lightgbm']:9.5f} "
              f"{r['auc_difference']:+8.5f}   {r['seconds']:8.3f}s {r['seconds_lightgbm']:8.3f}s "
              f"{r['time_ratio']:6.2f}",
              flush=True)
    met = all(abs(r["auc_difference"]) <= WITHIN_AUC and r["time_ratio"] <= WITHIN_TIME for r in results)
    print(f"claim: AUC within {WITHIN_AUC} and time within {WITHIN_TIME:g} times: {'holds' if met else 'FAILS'}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "settings": SETTINGS, "holdout": HOLDOUT, "threads": options.threads, "runs": options.runs,
        "lightgbm": lightgbm.__version__, "onnxruntime": onnxruntime.__version__, "machine": platform.machine(),
        "cpu": cpu(), "load_before": load, "results": results, "claim_holds": met,
    }
    options.out.write_text(json.dumps(document, indent=2) + "\n")
    sys.exit(0 if met else 1)


def cpu():
    """The name of the processor, where the system tells."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
