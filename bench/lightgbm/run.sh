#!/bin/sh
# Trains the same models with Stoa and with LightGBM on the same rows and compares area under the curve and time.
# Needs Go, Python 3.11 or newer with venv, and a package index that pip can reach. Safe to run again: what was installed
# and downloaded stays in the user's cache.
#
#   bench/lightgbm/run.sh                    all data sets, the median of 5 alternating runs
#   RUNS=1 DATASETS=flights bench/lightgbm/run.sh
#   STOA=/path/to/stoa bench/lightgbm/run.sh measure another binary than the one of this tree
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/stoa/bench-lightgbm
lock=$(cksum <"$here/requirements.txt" | tr ' ' '-')
venv=$cache/venv-$lock

if [ ! -e "$venv/complete" ]; then
  echo "installing the pinned peers into $venv (once)" >&2
  mkdir -p "$cache"
  rm -rf "$venv"
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
  touch "$venv/complete"
fi

if [ -z "${STOA:-}" ]; then
  STOA=$cache/stoa
  (cd "$root" && CGO_ENABLED=0 "${GO:-go}" build -trimpath -o "$STOA" ./cmd/stoa)
fi

exec "$venv/bin/python" "$here/compare.py" --stoa "$STOA" --cache "$cache" \
  --electricity "$root/examples/electricity/elec.csv.gz" --out "$root/bench/results/lightgbm.json" \
  --runs "${RUNS:-5}" --threads "${THREADS:-$(nproc)}" ${DATASETS:+--datasets "$DATASETS"}
