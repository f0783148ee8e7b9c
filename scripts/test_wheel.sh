#!/usr/bin/env bash
# Install the built wheel, and nothing of this checkout, with the latest dependencies;
# then run the README there: what is published is what is tested.
# usage: test_wheel.sh VENV DIR
set -euo pipefail
venv=$1 dir=$2
uv=$PWD/$venv/bin/uv
wheel=$(ls "$PWD"/dist/*.whl)
"$uv" venv --quiet --clear --python "$venv/bin/python" "$dir"
"$uv" pip install --quiet --python "$dir/bin/python" "$wheel[lab]" pytest pytest-timeout
# A copy of the tests alone: beside the checkout, Python would import the source tree.
mkdir "$dir/copy"
cp -r README.md pyproject.toml tests "$dir/copy/"
cd "$dir/copy"
../bin/python -m pytest -p no:cacheprovider tests/test_readme.py tests/test_cli.py tests/test_house.py
