#!/usr/bin/env bash
# One run on a machine with a CUDA GPU: checks, tables, then training for the time that is left. At most ten minutes.
#
#     models/gpu.sh [--device cuda|cpu] [--small]
#
# Needs Python 3.11 or newer with torch, Triton, numpy, OpenCV and numba, and no WebRTC or speech package; to train also
# what `python models/assets.py --only textures motorcycle` fetches into .cache/assets (30 MB). Where gsplat is installed,
# and the CUDA compiler that it wants, its rasteriser is timed beside our splat. Results go to $OUT (out/gpu where it
# isn't set): gpu.json, gpu.md, gpu.log, and what training leaves. $PYTHON names the interpreter; $MINUTES (9) is how long
# all of it may take; $TRAIN=0 leaves training out. `--device cpu --small` tries the script itself, under Triton's
# interpreter.

set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in .venv/bin/python python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import torch' 2>/dev/null; then python=$candidate; break; fi
  done
fi
[ -n "$python" ] || { echo "gpu.sh needs a Python with torch; set PYTHON=/path/to/python" >&2; exit 2; }

out=${OUT:-out/gpu}
minutes=${MINUTES:-9}
began=$SECONDS
mkdir -p "$out"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR:-${TMPDIR:-/tmp}/streamsvc-numba}

for package in torch triton numpy cv2 numba; do
  "$python" -c "import $package" || { echo "gpu.sh: $python can't import $package" >&2; exit 2; }
done
if command -v nvidia-smi >/dev/null; then nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader; fi

failed=0
"$python" models/gpu_tables.py --out "$out" "$@" 2>&1 | tee "$out/gpu.log" || failed=1

# Training goes on from the checkpoint in $CHECKPOINTS where there is one, and ends half a minute before the rest. Its pairs
# are made on the GPU for each batch anew; those that it's scored on are files.
case " $* " in *" --small "*) TRAIN=0 ;; esac
cache=${STREAMSVC_CACHE:-.cache/assets}
if [ "${TRAIN:-1}" != 0 ] && ! { [ -d "$cache/textures" ] && [ -d "$cache/motorcycle" ]; }; then
  echo "gpu.sh: no training, $cache lacks textures or motorcycle: python models/assets.py --only textures motorcycle" >&2
  TRAIN=0 failed=1
fi
left=$((minutes * 60 - (SECONDS - began) - 30))
if [ "${TRAIN:-1}" != 0 ] && [ -f models/train_view.py ] && [ "$left" -ge 120 ]; then
  if [ -n "${CHECKPOINTS:-}" ] && [ -f "$CHECKPOINTS/checkpoint.pt" ]; then cp "$CHECKPOINTS"/* "$out/"; fi
  data=$(mktemp -d)
  make_data() { OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 "$python" models/make_view_data.py --out "$data" --kind "$@" >>"$out/data.log" 2>&1; }
  { make_data layers --held-out --count 16 && make_data bodies --held-out --count 16; } || failed=1
  trap 'rm -rf "$data"' EXIT
  makers=$(($(nproc) > 8 ? 6 : $(nproc) > 2 ? $(nproc) - 2 : 1))
  left=$((minutes * 60 - (SECONDS - began) - 30))
  share=$(awk "BEGIN { printf \"%.2f\", $left / 60 }")
  OMP_NUM_THREADS=1 "$python" models/train_view.py --fresh --makers "$makers" --data "$data" --out "$out" --device cuda \
    --minutes "$share" --every 2 --resume 2>&1 \
    | tee "$out/train.log" || failed=1
fi
exit $failed
