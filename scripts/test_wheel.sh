#!/usr/bin/env bash
# Install the built wheel, and nothing of this checkout, with the latest dependencies;
# then run the README there: what was published is what is tested.
# usage: test_wheel.sh VENV DIR
set -euo pipefail
venv=$1 dir=$2
uv=$PWD/$venv/bin/uv
wheel=$(ls "$PWD"/dist/*.whl)
"$uv" venv --quiet --clear --python "$venv/bin/python" "$dir"
"$uv" pip install --quiet --python "$dir/bin/python" "$wheel[lab]"
"$uv" pip install --quiet --python "$dir/bin/python" pytest pytest-timeout psutil
[ -f "$dir/.tests" ] || mkdir -p "$dir/checkout"
# A copy of the tests alone: from the checkout, Python would import the source tree.
cp -r README.md pyproject.toml tests "$dir/checkout/"
cd "$dir/checkout"
../bin/python -m pytest -p no:cacheprovider tests/test_readme.py tests/test_cli.py
