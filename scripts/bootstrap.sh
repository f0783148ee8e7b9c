#!/usr/bin/env bash
# Make a virtual environment with the standard library, and put uv into it.
# usage: bootstrap.sh VENV    (PYTHON=… chooses the interpreter)
set -euo pipefail
venv=$1

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local name
  for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if new_enough "$name"; then echo "$name"; return; fi
  done
  {
    echo "tframex-nb needs Python 3.11 or newer; found: $(python3 --version 2>&1 || echo none)"
    echo "hint: apt-get install -y python3 python3-venv    (or: make PYTHON=/path/to/python …)"
  } >&2
  return 1
}

if [ ! -x "$venv/bin/python" ]; then
  python=$(find_python)
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$python has no venv module (Debian ships it apart)" >&2
    echo "hint: apt-get install -y python3-venv" >&2
    exit 1
  fi
  echo "making $venv with $("$python" --version)"
  "$python" -m venv "$venv"
fi
[ -x "$venv/bin/uv" ] || "$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
