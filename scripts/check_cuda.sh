#!/usr/bin/env bash
# Checks the CUDA ops on a bare machine with torch and nvcc: compile, tests, sanitizer, benchmark.
#   scripts/check_cuda.sh [PYTHON]
# Within 8 minutes. Without a GPU everything after the compiler says "not run". TORCHVISION_FOLDER names a
# folder with torchvision for the benchmark. The table goes to cuda_bench.md in CHECK_FOLDER or ".".
set -uo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
out=${CHECK_FOLDER:-.}
failed=0
step() {
  local name=$1 seconds=$2
  shift 2
  local start=$SECONDS
  if timeout "$seconds" "$@" >"$out/check_$name.log" 2>&1; then
    echo "$name: passed in $((SECONDS - start)) s"
  else
    echo "$name: FAILED after $((SECONDS - start)) s, see $out/check_$name.log"
    tail -15 "$out/check_$name.log"
    failed=1
  fi
}
command -v nvcc >/dev/null || { echo "compile: not run (no nvcc)"; exit 1; }
gpu=$("$python" -c 'import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else "")' 2>/dev/null)
# With a GPU only its own architecture is compiled, to save minutes.
if [ -n "$gpu" ]; then
  archs=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')
  export PERCEPTION_CUDA_ARCHS=${PERCEPTION_CUDA_ARCHS:-$archs}
fi
PERCEPTION_NATIVE=required step compile 240 "$python" setup.py build_ext --inplace
if [ -z "$gpu" ]; then
  echo "tests on the GPU: not run (no GPU)"
  echo "compute-sanitizer: not run (no GPU)"
  echo "benchmark: not run (no GPU)"
  exit $failed
fi
echo "GPU: $gpu, $(date -u +%F)"
"$python" -c 'import pytest' 2>/dev/null || "$python" -m pip install -q pytest
export PERCEPTION_NATIVE=required PYTHONPATH=$PWD
# Without the conftest of the whole project, which needs all its packages.
step tests 150 "$python" -m pytest -q -p no:cacheprovider --noconftest tests/ops/test_cuda.py
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    step "$tool" 100 compute-sanitizer --tool $tool --error-exitcode 9 --target-processes all \
      "$python" tests/ops/cuda_calls.py --strangers --crowds
  done
else
  echo "compute-sanitizer: not run (it is not installed)"
fi
step benchmark 150 "$python" scripts/bench_ops.py --device cuda --threads 2 --rounds 1 \
  --markdown "$out/cuda_bench.md"
cat "$out/cuda_bench.md" 2>/dev/null
exit $failed
