#!/usr/bin/env bash
# Runs a config on this machine, and sets everything up the first time. Needs Python 3.11 or newer, nothing else.
#
#   bash launch/local.sh --config configs/quickstart.py --workdir runs/quickstart
#
# The words after local.sh go to `python -m asem_jax.main`; --help explains them.
set -eu

EXTRA=""
# shellcheck source=launch/setup.sh
. "$(dirname "$0")/setup.sh"

exec "$PYTHON" -m asem_jax.main "$@"
