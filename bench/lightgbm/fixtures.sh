#!/bin/sh
# Rebuilds the fixtures that the trainer's tests compare with, train/testdata: what ONNX Runtime says about models that the
# trainer wrote, and what LightGBM and scikit-learn give on two committed data sets. Run it when the trainer is meant to
# give other models, and read the difference. It uses the environment that run.sh installs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
lock=$(cksum <"$here/requirements.txt" | tr ' ' '-')
venv=${XDG_CACHE_HOME:-$HOME/.cache}/stoa/bench-lightgbm/venv-$lock
if [ ! -e "$venv/complete" ]; then
  echo "run $here/run.sh first: it installs the pinned peers" >&2
  exit 1
fi
models=$(mktemp -d)
trap 'rm -rf "$models"' EXIT
(cd "$root" && "${GO:-go}" test -count=1 -run '^TestONNXRuntimeAgrees$' ./train -args -models "$models")
exec "$venv/bin/python" "$here/fixtures.py" "$models" "$root"
