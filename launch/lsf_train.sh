#!/usr/bin/env bash
# Trains on all GPUs of one host or of several under LSF, one process per host, as long as it takes: five minutes before
# its time is over the training saves, and LSF puts the job back into the queue. Submit it from the repository:
#
#   one DGX:       bsub -n 32 -R "span[hosts=1]" -gpu num=8 -W 24:00 -wa USR1 -wt 5 -Q 75 -r -o train.%J.log \
#                    bash launch/lsf_train.sh --config FILE --workdir DIR
#   two of them:   the same with -n 64 -R "span[ptile=32]"
#
# The words after the script go to `python -m asem_jax.main`. All hosts must see the repository, DIR and the volumes under
# the same paths. `-Q 75` is needed: it is the exit code of a training that was stopped and has saved.
set -eu

ROOT="$(cd "$(dirname "$0")/.." && pwd)"
PORT="${ASEM_JAX_PORT:-12345}"

# One name per line and slot; the first host is the one this script runs on.
hosts=()
if [ -n "${LSB_DJOB_HOSTFILE:-}" ]; then
  while read -r host; do
    case " ${hosts[*]:-} " in
      *" $host "*) ;;
      *) hosts+=("$host") ;;
    esac
  done <"$LSB_DJOB_HOSTFILE"
fi

others=()
if [ "${#hosts[@]}" -gt 1 ]; then
  export COORDINATOR="${hosts[0]}:$PORT" NUM_PROCESSES="${#hosts[@]}"
  for ((index = 1; index < ${#hosts[@]}; index++)); do
    blaunch "${hosts[index]}" env COORDINATOR="$COORDINATOR" NUM_PROCESSES="$NUM_PROCESSES" \
      PROCESS_ID="$index" bash "$ROOT/launch/multi_gpu.sh" "$@" &
    others+=("$!")
  done
  export PROCESS_ID=0
fi

bash "$ROOT/launch/multi_gpu.sh" "$@" &
first="$!"
# LSF signals this script; one process of the job is enough, all of them stop at the same step.
trap 'kill -USR1 "$first"' USR1 TERM
while true; do
  code=0
  wait "$first" || code=$?
  kill -0 "$first" 2>/dev/null || break
done
# A signal ends a wait early, with a code of its own.
if [ "$code" -gt 128 ]; then
  code=0
  wait "$first" || code=$?
fi
if [ "${#others[@]}" -gt 0 ]; then
  if [ "$code" -ne 0 ] && [ "$code" -ne 75 ]; then
    kill "${others[@]}" 2>/dev/null || true # they would wait for the one that failed
  fi
  wait "${others[@]}" || true
fi
exit "$code"
