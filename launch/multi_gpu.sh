#!/usr/bin/env bash
# Runs a config on all GPUs of one machine, or of several: one process per machine.
# Needs an environment with JAX for GPUs; requirements-gpu.txt says how to make it.
#
#   one machine:         bash launch/multi_gpu.sh --config FILE --workdir DIR
#   several, by hand:    COORDINATOR=first-host:12345 NUM_PROCESSES=2 PROCESS_ID=0 bash launch/multi_gpu.sh ...
#                        on each machine, with PROCESS_ID 0, 1, ...
#   several, by SLURM:   srun --nodes=2 --ntasks-per-node=1 bash launch/multi_gpu.sh ...
#
# All machines must see DIR and the volumes under the same path.
set -eu

ROOT="$(cd "$(dirname "$0")/.." && pwd)"
PYTHON="${ASEM_JAX_VENV:-$ROOT/.venv}/bin/python"
if [ ! -x "$PYTHON" ]; then
  echo "There is no $PYTHON; make the environment as requirements-gpu.txt says, or set ASEM_JAX_VENV." >&2
  exit 1
fi

# Read by asem_jax/devices.py. Empty where SLURM, or nobody, distributes the job.
export ASEM_JAX_COORDINATOR="${COORDINATOR:-${ASEM_JAX_COORDINATOR:-}}"
export ASEM_JAX_NUM_PROCESSES="${NUM_PROCESSES:-${ASEM_JAX_NUM_PROCESSES:-}}"
export ASEM_JAX_PROCESS_ID="${PROCESS_ID:-${ASEM_JAX_PROCESS_ID:-}}"

# JAX takes three quarters of a GPU's memory unless told otherwise.
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}"

exec "$PYTHON" -m asem_jax.main "$@"
