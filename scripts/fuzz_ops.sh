#!/usr/bin/env bash
# Builds the CPU ops with AddressSanitizer and UBSan in a folder of their own and fuzzes them.
#   scripts/fuzz_ops.sh [CALLS] [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."
calls=${1:-100000}
python=${2:-python3}
work=${FUZZ_FOLDER:-$(mktemp -d)}
cp -r setup.py pyproject.toml README.md LICENSE perception tests "$work"
cd "$work"
rm -f perception/ops/*.so
PERCEPTION_NATIVE=required PERCEPTION_CUDA_ARCHS=off \
  PERCEPTION_CXXFLAGS="-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1 -O1" \
  "$python" setup.py -q build_ext --inplace >build.log
# Python itself is not instrumented: the runtime goes first, and its own leaks are not ours.
export LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)"
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
PERCEPTION_NATIVE=required "$python" tests/ops/fuzz.py --calls "$calls"
