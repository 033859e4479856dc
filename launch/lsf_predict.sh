#!/usr/bin/env bash
# Predicts one volume or several as a job array under LSF: each element takes its share of the blocks, and the one that
# finishes last writes the pyramids. An element whose time is over goes back into the queue and goes on. Submit it from
# the repository:
#
#   bsub -J "predict[1-8]" -n 8 -R "span[hosts=1]" -gpu num=1 -W 24:00 -wa USR1 -wt 2 -Q 75 -r -o predict.%J.%I.log \
#     bash launch/lsf_predict.sh --config FILE --workdir DIR
#
# FILE names `stage` predict alone, and a write_shape. Array numbers begin at 1. An element that was lost is repeated by
# -J "predict[NUMBER]" with TASKS=8 in the environment, or by any later array or single run with the same config.
# All hosts must see the repository, DIR and the volumes under the same paths, with file locks. `-Q 75` is needed: it is
# the exit code of a prediction that was stopped.
set -eu

ROOT="$(cd "$(dirname "$0")/.." && pwd)"
TASKS="${TASKS:-${LSB_JOBINDEX_END:-0}}"
if [ "${LSB_JOBINDEX:-0}" -eq 0 ] || [ "$TASKS" -eq 0 ]; then
  echo "This is no job array; submit it with bsub -J \"predict[1-N]\"." >&2
  exit 1
fi

bash "$ROOT/launch/multi_gpu.sh" "$@" "--config.shard=$LSB_JOBINDEX/$TASKS" &
main="$!"
trap 'kill -USR1 "$main"' USR1 TERM
while true; do
  code=0
  wait "$main" || code=$?
  kill -0 "$main" 2>/dev/null || break
done
# A signal ends a wait early, with a code of its own.
if [ "$code" -gt 128 ]; then
  code=0
  wait "$main" || code=$?
fi
exit "$code"
