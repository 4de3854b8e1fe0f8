#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds for that GPU, runs the GPU tests, looks for memory errors and races in every
# kernel, and measures. Needs no network and writes nothing into the repository but its results.
#
#   [OUT=folder] [WHEELS=folder] [PYTHON=python3] benchmarks/gpu_check.sh
#
# OUT      where the logs and the tables go; benchmarks/results if not given
# WHEELS   wheels of packages that this machine lacks, if any
# PYTHON   an interpreter with torch (CUDA), numpy, scipy, pytest, and for the build scikit-build-core, pybind11, ninja
#          and CMake; nvcc is found on PATH, by CUDACXX or below /usr/local/cuda
set -uo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
out=${OUT:-$top/benchmarks/results}
mkdir -p "$out/gpu_check"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=$work/site PYTHONSAFEPATH=1 CUBLAS_WORKSPACE_CONFIG=:4096:8 PIP_DISABLE_PIP_VERSION_CHECK=1
[ -d /usr/local/cuda/bin ] && PATH=$PATH:/usr/local/cuda/bin
report=$out/gpu_check.md
failed=0

# step NAME LIMIT COMMAND...: runs it, keeps its log, notes how it ended.
step() {
  local name=$1 limit=$2 begin=$SECONDS rc log="$out/gpu_check/$1.log"
  shift 2
  timeout "$limit" "$@" >"$log" 2>&1
  rc=$?
  [ "$rc" -eq 124 ] && echo "stopped after $limit seconds" >>"$log"
  [ "$rc" -eq 0 ] || failed=1
  printf '| %s | %s | %ss | %s |\n' "$name" "$([ "$rc" -eq 0 ] && echo passed || echo "FAILED ($rc)")" \
    "$((SECONDS - begin))" "$(grep -E 'passed|failed|ERROR SUMMARY|RACECHECK SUMMARY|[Ee]rror' "$log" | tail -1 |
      tr '|' '/' | cut -c1-120)" | tee -a "$report"
  return "$rc"
}

cd "$work" || exit 1
"$python" - >"$out/gpu_check/machine.txt" <<'PY' || { echo "no GPU that torch can use, or no torch" >&2; exit 1; }
import platform, torch

properties = torch.cuda.get_device_properties(0)
print(f"{properties.name}, sm_{properties.major}{properties.minor}, {properties.multi_processor_count} multiprocessors, "
      f"Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
PY
architecture=$(grep -oE 'sm_[0-9]+' "$out/gpu_check/machine.txt" | head -1 | tr -d 'sm_')
{
  printf 'Command: `benchmarks/gpu_check.sh`, %s\n\n' "$(date -u +%F)"
  printf 'Machine: %s\n\n' "$(cat "$out/gpu_check/machine.txt")"
  printf '| step | result | time | last words |\n|---|---|---|---|\n'
} | tee "$report"

if [ -n "${WHEELS:-}" ]; then
  step wheels 60 "$python" -m pip install --quiet --no-index --no-deps --target "$work/site" "$WHEELS"/*.whl
fi
step build 150 "$python" -m pip install --no-index --no-deps --no-build-isolation --upgrade --target "$work/site" \
  -C cmake.define.BIOMECHAU_CUDA=ON -C "cmake.define.CMAKE_CUDA_ARCHITECTURES=$architecture" \
  -C build-dir="$work/build" "$top" || exit 1
step import 60 "$python" -c 'from biomechau import ops; print(ops.backends()); assert ops.backends()["runs"]["cuda"] == "kernels"' ||
  exit 1

tests=("$python" -m pytest -q -p no:cacheprovider -c "$top/pyproject.toml" --rootdir "$top" -m cuda)
step tests 120 "${tests[@]}" "$top/tests/ops" "$top/tests/physics"

# One call of every kernel, forward and backward, each tensor in memory of its own.
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    step "$tool" 75 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "${tests[@]}" "$top/tests/ops/test_cuda_calls.py" -k every_kernel_once
  done
else
  printf '| sanitizer | not run | | compute-sanitizer is not on PATH |\n' | tee -a "$report"
fi

if [ -f "$top/benchmarks/run.py" ]; then
  step benchmarks 150 "$python" "$top/benchmarks/run.py" --device cuda --out "$out"
fi
exit "$failed"
