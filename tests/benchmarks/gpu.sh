#!/usr/bin/env bash
# Everything that is to be checked and measured on a machine with a CUDA device, in one command:
#
#     tests/benchmarks/gpu.sh [STEP ...]      (default: all steps, in this order)
#     doctor objective agreement tests refinements batch-objective batch memcheck memcheck-unpooled racecheck
#     kernels evaluation peers profile
#
# PYTHON is the interpreter (default: python), OUT the folder for logs (default: gpu-results), STEP_SECONDS the limit of
# a step (default 540), CASES those of the step "peers" (default: example). The folder of cases is ARRAYREFINE_DATA
# (default: shared/data beside this repository, or in it). A step that fails, runs out of time or lacks
# something says so and hides no other. At the end $OUT/results.md, a block to paste into RESULTS.md, is printed.
# Exit status: 1 if a step failed, 3 if none failed but something was missing, 0 if everything was there and passed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
PYTHON=${PYTHON:-python}
OUT=${OUT:-gpu-results}
LIMIT=${STEP_SECONDS:-540}
CASES=${CASES:-example}
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export PATH="$PATH:/usr/local/cuda/bin:/opt/nvidia/nsight-compute:/opt/nvidia/nsight-systems/bin"
if [ -z "${ARRAYREFINE_DATA:-}" ] && [ ! -d "$root/../shared/data" ] && [ -d "$root/shared/data" ]; then
  export ARRAYREFINE_DATA=$root/shared/data
fi
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
mkdir -p "$OUT" || exit 1
OUT=$(cd "$OUT" && pwd)
cd "$root" || exit 1
summary=$OUT/summary.md tables=$OUT/tables.md failed=0 missing=0
: >"$summary"
: >"$tables"

# state STEP SECONDS VERDICT: a line of the summary.
state() {
  case $3 in failed*) failed=1 ;; missing*) missing=3 ;; esac
  printf '| %s | %s | %s |\n' "$1" "$3" "$2" | tee -a "$summary"
}

# step NAME COMMAND ...: run with a limit of time; the log is $OUT/NAME.log, the status is kept.
step() {
  local name=$1 log=$OUT/$1.log begin=$SECONDS status verdict
  shift
  timeout -k 10 "$LIMIT" "$@" >"$log" 2>&1
  status=$?
  case $status in
    0) verdict=passed ;;
    3) verdict="missing: $(sed -n 's/^missing: //p' "$log" | head -n 1)" ;;
    124 | 137) verdict="failed: not done within $LIMIT s" ;;
    *) verdict="failed with $status: $(grep -v '^[[:space:]]*$' "$log" | tail -n 1 | cut -c1-160 | tr '|' '/')" ;;
  esac
  # Older versions know no device, and pytest no such option; where there is no device, pytest does not start.
  local lacking='unrecognized arguments: --device|has no CUDA kernels|^ERROR: --device cuda: '
  if [ $status -ne 0 ] && grep -qE "$lacking" "$log"; then
    verdict="missing: $(grep -m 1 -E "$lacking" "$log" | cut -c1-160 | tr '|' '/')"
  fi
  state "$name" $((SECONDS - begin)) "$verdict"
  return $status
}

# table NAME: the Markdown lines of a log, for the block.
table() {
  grep -q '^|' "$OUT/$1.log" || return 0
  { printf '\n**%s**\n\n' "$1"; awk '/^\|/ { if (!inside && seen) print ""; inside = seen = 1; print; next } { inside = 0 }' "$OUT/$1.log"; } >>"$tables"
}

# lines NAME PATTERN: a few lines of a log, for the block.
lines() { { printf '\n**%s**\n\n```\n' "$1"; grep -E "$2" "$OUT/$1.log" | tail -n 25; printf '```\n'; } >>"$tables"; }

# need TOOL STEP: whether the tool is there; says so if not.
need() {
  command -v "$1" >/dev/null && return 0
  state "$2" 0 "missing: $1 is not on the PATH"
  return 1
}

# sanitize STEP TOOL [unpooled]: a short refinement under a tool that watches memory. CuPy's pool hides what is read or
# written beyond an array; without the pool a graph may not be captured, so that each can fail where the other does not.
sanitize() {
  local name=$1 tool=$2
  shift 2
  need compute-sanitizer "$name" || return 0
  step "$name" compute-sanitizer --tool "$tool" --error-exitcode 9 "$PYTHON" "$here/gpu.py" short "$@"
  lines "$name" '^========='
}

run() {
  case $1 in
    doctor)
      step doctor "$PYTHON" -m arrayrefine doctor; lines doctor '^(GPU|arrayrefine|Python|kernels|numpy)'
      grep -q '^GPU *works' "$OUT/doctor.log" || state "GPU in doctor" 0 "missing: $(grep -m 1 '^GPU' "$OUT/doctor.log")" ;;
    tests)
      cores=$(nproc)
      step tests "$PYTHON" -m pytest -q --maxfail=50 --device cuda -n "$cores" --maxprocesses "$cores"; lines tests '(passed|failed|FAILED|ERROR|error:)' ;;
    memcheck | racecheck) sanitize "$1" "$1" ;;
    memcheck-unpooled) sanitize "$1" memcheck unpooled ;;
    agreement | objective | evaluation | batch | batch-objective | refinements | kernels) step "$1" "$PYTHON" "$here/gpu.py" "$1"; table "$1" ;;
    peers)
      # shellcheck disable=SC2086
      step peers "$PYTHON" "$here/speed.py" --parts evaluation floor --devices cpu cuda --cases $CASES --json "$OUT/speed.json"
      table peers
      ;;
    profile)
      need nsys profile || return 0
      step profile nsys profile --stats=true --cuda-graph-trace=node --force-overwrite=true -o "$OUT/profile" \
        "$PYTHON" -m arrayrefine demo --device cuda --cycles 1 --out "$OUT/demo"
      lines profile '^ +[0-9.]+ +[0-9,]+ +[0-9,]+'
      ;;
    *) state "$1" 0 "failed: there is no such step" ;;
  esac
}

device=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -n 1)
steps=("$@")
[ $# -gt 0 ] || steps=(
  doctor objective agreement tests refinements batch-objective batch memcheck memcheck-unpooled racecheck
  kernels evaluation peers profile
)
for name in "${steps[@]}"; do run "$name"; done
version=$("$PYTHON" -m arrayrefine --version 2>/dev/null | tail -n 1)
{
  printf '## %s: on a CUDA device\n\n' "$(date +%F)"
  printf '`tests/benchmarks/gpu.sh %s`\n(%s; %s)\n\n' "$*" "${version:-arrayrefine does not start}" "${device:-no NVIDIA driver answers}"
  printf '| step | result | s |\n|---|---|---|\n'
  cat "$summary" "$tables"
} >"$OUT/results.md"
printf '\n'
cat "$OUT/results.md"
[ $failed -eq 0 ] || exit 1
exit $missing
