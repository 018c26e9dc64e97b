#!/usr/bin/env bash
# Builds the ops with AddressSanitizer and UBSan in a folder of their own and fuzzes them.
#   scripts/fuzz_ops.sh [CALLS] [PYTHON] [cpu|cuda]
# cuda: the CUDA kernels, run on the CPU by the thread model of tests/ops/cuda_on_cpu (slower).
set -euo pipefail
cd "$(dirname "$0")/.."
calls=${1:-100000}
python=${2:-python3}
kernels=${3:-cpu}
work=${FUZZ_FOLDER:-$(mktemp -d)}
flags="-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1 -O1"
cp -r setup.py pyproject.toml README.md LICENSE perception tests "$work"
cd "$work"
rm -f perception/ops/*.so
export PERCEPTION_NATIVE=required OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
if [ "$kernels" = cuda ]; then
  export PERCEPTION_NATIVE=off
  library=$("$python" tests/ops/cuda_on_cpu/build.py "$work/build" --flags "$flags")
else
  PERCEPTION_CUDA_ARCHS=off PERCEPTION_CXXFLAGS="$flags" "$python" setup.py -q build_ext --inplace >build.log
fi
# Python itself is not instrumented: the runtime goes first, and its own leaks are not ours.
export LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)"
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
"$python" tests/ops/fuzz.py --calls "$calls" ${library:+--library "$library"}
