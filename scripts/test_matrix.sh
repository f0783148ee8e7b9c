#!/usr/bin/env bash
# Run the core tests on each newer Python that is installed here, and on the two lines of
# ipykernel and JupyterLab that people have.
# usage: test_matrix.sh VENV DIR [newest]    (newest: only the newest of them)
set -euo pipefail
venv=$1 dir=$2 only=${3:-}
uv=$venv/bin/uv
own=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

interpreter() { # prints a path, or nothing
  local path
  for path in "$(command -v pyenv >/dev/null && pyenv root)"/versions/"$1".*/bin/python /usr/bin/python"$1" /usr/local/bin/python"$1"; do
    if "$path" -c 'import venv' 2>/dev/null; then echo "$path"; return; fi
  done
}

check() { # PYTHON-VERSION FRONT-END-PINS…
  local version=$1 path env; shift
  path=$(interpreter "$version")
  if [ -z "$path" ]; then echo "python $version: not installed here, left out"; return; fi
  env=$dir/py$version
  echo "python $version ($path) with $*"
  "$uv" venv --quiet --clear --python "$path" "$env"
  "$uv" pip install --quiet --python "$env/bin/python" --editable '.[lab,dataframe]' --group test "$@"
  "$env/bin/python" -m pytest -p no:cacheprovider -q -m 'not browser and not llama and not frameworks and not processes' tests
}

case $only:$own in
  :3.11)
    check 3.12 'ipykernel>=6.29,<7' 'jupyterlab>=4.4,<4.5'
    check 3.13 'ipykernel>=7' 'jupyterlab>=4.6' ;;
  :3.12) check 3.13 'ipykernel>=7' 'jupyterlab>=4.6' ;;
  newest:3.11)
    if [ -n "$(interpreter 3.13)" ]; then check 3.13 'ipykernel>=7' 'jupyterlab>=4.6'
    else check 3.12 'ipykernel>=6.29,<7' 'jupyterlab>=4.4,<4.5'; fi ;;
  newest:3.12) check 3.13 'ipykernel>=7' 'jupyterlab>=4.6' ;;
esac
