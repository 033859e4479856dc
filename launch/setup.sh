# shellcheck shell=bash
# Read by the launchers next to it: makes a virtual environment with the package and names its Python in PYTHON.
#   EXTRA           what to install beside the package itself: an extra of pyproject.toml, or nothing
#   ASEM_JAX_VENV   where the environment is; .venv in the repository if not set
# Kept to what bash 3.2 (macOS) knows.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${ASEM_JAX_VENV:-$ROOT/.venv}"
PYTHON="$VENV/bin/python"
# Pages of 2 MB for large arrays, and arrays of up to 256 MB in memory that is kept for the next ones: fewer page faults in
# every step (glibc 2.35 and later; others ignore it).
tunables="glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=268435456:glibc.malloc.trim_threshold=1073741824"
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-$tunables}"

find_python() {
  for name in python3.11 python3.12 python3.13 python3 python; do
    # A name alone says little: it may be a stub of a version manager, or another version.
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      echo "$name"
      return
    fi
  done
}

make_environment() {
  local python clear
  python="$(find_python)"
  if [ -z "$python" ]; then
    echo "No Python 3.11 or newer found (tried python3.11, python3.12, python3.13, python3, python);" \
      "install one from https://www.python.org or with your package manager." >&2
    return 1
  fi
  echo "Making a virtual environment with $("$python" --version) in $VENV"
  # A broken environment is made anew; a folder that is none is left as it is.
  clear=""
  if [ -f "$VENV/pyvenv.cfg" ]; then
    clear="--clear"
  fi
  if ! "$python" -m venv ${clear:+"$clear"} "$VENV"; then
    echo "$python cannot make a virtual environment; on Debian or Ubuntu: apt install python3-venv" >&2
    return 1
  fi
}

install_package() {
  local target stamp state
  target="$ROOT${EXTRA:+[$EXTRA]}"
  stamp="$VENV/asem_jax${EXTRA:+-$EXTRA}.stamp"
  # What the installation depends on; the sources are not in it, they are used where they lie.
  state="$ROOT $(cksum <"$ROOT/pyproject.toml")"
  if [ "$(cat "$stamp" 2>/dev/null)" = "$state" ]; then
    return
  fi
  echo "Installing asem_jax and what it needs (some minutes the first time)"
  if ! "$PYTHON" -m pip install --quiet --disable-pip-version-check -e "$target"; then
    echo "pip could not install $target; the lines above say why (no network, or a proxy?)." >&2
    return 1
  fi
  echo "$state" >"$stamp"
}

if ! "$PYTHON" -m pip --version >/dev/null 2>&1; then
  make_environment || exit 1
fi
install_package || exit 1
