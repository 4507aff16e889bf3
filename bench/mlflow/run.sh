#!/bin/sh
# Measures the tracking of Stoa and of `mlflow server`, one after the other, with the same client on the same work.
# Needs Linux, Go, Python 3.11 or newer with venv, and a package index that pip can reach. Safe to run again: what was
# installed stays in the user's cache. Flags are passed on.
#
#   bench/mlflow/run.sh                          ten minutes, nearly all of them mlflow server's
#   bench/mlflow/run.sh --artifact-mb 5000       with an artifact of 5 GB
#   MLFLOW=/path/to/mlflow bench/mlflow/run.sh   an installed MLflow instead of the pinned one
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/stoa/bench-mlflow
lock=$(cksum <"$here/requirements.txt" | tr ' ' '-')
venv=$cache/venv-$lock

if [ -z "${MLFLOW:-}" ]; then
  MLFLOW=$venv/bin/mlflow
  if [ ! -e "$venv/complete" ]; then
    echo "installing the pinned peer into $venv (once)" >&2
    mkdir -p "$cache"
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    touch "$venv/complete"
  fi
fi

mkdir -p "$cache"
if [ -z "${STOA:-}" ]; then
  STOA=$cache/stoa
  (cd "$root" && CGO_ENABLED=0 "${GO:-go}" build -trimpath -o "$STOA" ./cmd/stoa)
fi
(cd "$root" && CGO_ENABLED=0 "${GO:-go}" build -trimpath -o "$cache/bench" ./bench/mlflow)
cd "$root"
exec "$cache/bench" --stoa "$STOA" --mlflow "$MLFLOW" --python "${PYTHON:-python3}" "$@"
