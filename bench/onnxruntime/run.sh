#!/usr/bin/env bash
# Compare Stoa's runtime with ONNX Runtime: fetch the pinned ONNX Runtime into the user's cache, build, measure, and
# write the results to bench/results/onnxruntime.json. Running it again only measures again.
set -euo pipefail
cd "$(dirname "$0")"

cache="${XDG_CACHE_HOME:-$HOME/.cache}/stoa-bench/onnxruntime-1.32.0"
if [[ ! -e "$cache/complete" ]]; then
  rm -rf "$cache"
  python3 -m venv "$cache"
  "$cache/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
  touch "$cache/complete"
fi
library=$(echo "$cache"/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*)

go mod download github.com/yalue/onnxruntime_go
headers=$(go list -m -f '{{.Dir}}' github.com/yalue/onnxruntime_go)
CGO_ENABLED=1 CGO_CFLAGS="-O2 -I$headers" go build -o "$cache/bench" .

mkdir -p ../results
model=../../performance/runtime/testdata/corpus/bench_100x6.onnx
"$cache/bench" -library "$library" -model "$model" -out ../results/onnxruntime.json "$@"
"$cache/bin/python" session.py "$model"
