#!/usr/bin/env bash
# The check with what prepare.sh left in .gpu/: all stages, or those that are named. Results go to $OUT.
set -euo pipefail
cd "$(dirname "$0")/../.."
ROOT=$PWD
OUT=${OUT:-/tmp/gpu_check}
PYTHON=${PYTHON:-python3}
SITE=$(mktemp -d)
trap 'rm -rf "$SITE"' EXIT
mkdir -p "$OUT"
cp .gpu/commit.txt "$OUT"
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem,temperature.gpu --format=csv | tee "$OUT/gpu.txt" || true
$PYTHON -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$SITE" .gpu/*.whl
cd "$OUT"  # not the repository: what is installed is what is checked
PYTHONUNBUFFERED=1 PYTHONPATH="$SITE:$ROOT/scripts" $PYTHON -m gpu_check --out "$OUT" "$@" 2>&1 | tee "$OUT/log.txt"
