#!/usr/bin/env bash
# Checks style and types and runs the tests, and sets everything up the first time. Needs Python 3.11 or newer.
#
#   bash launch/test.sh                        everything
#   bash launch/test.sh -m "not slow"          without the end-to-end and fault tests
#   bash launch/test.sh tests/volumes -x       any words for pytest
#
# ASEM_JAX_CASES and ASEM_JAX_DATA name the folders of reference cases and of real volumes; tests that need them are
# skipped without.
set -eu

# shellcheck disable=SC2034 # read by setup.sh
EXTRA="test"
# shellcheck source=launch/setup.sh
. "$(dirname "$0")/setup.sh"
cd "$ROOT"

failed=""
check() {
  echo
  echo "== $*"
  "$PYTHON" -m "$@" || failed="$failed $1"
}

check ruff check .
check ruff format --check .
check mypy
# Two processes, each with whole files: fixtures of a file are made once. The longest files come early in the alphabet.
check pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"

echo
if [ -n "$failed" ]; then
  echo "failed:$failed" >&2
  exit 1
fi
echo "all checks passed"
