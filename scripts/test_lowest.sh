#!/usr/bin/env bash
# Run the core tests on the lowest direct dependencies that pyproject.toml allows.
# usage: test_lowest.sh VENV DIR
set -euo pipefail
venv=$1 dir=$2
uv=$venv/bin/uv
"$uv" venv --quiet --clear --python "$venv/bin/python" "$dir"
"$uv" pip compile --quiet --no-header --no-annotate --python "$dir/bin/python" \
  --resolution lowest-direct --extra lab --extra dataframe --group test \
  pyproject.toml --output-file "$dir/lowest.txt"
"$uv" pip install --quiet --python "$dir/bin/python" -r "$dir/lowest.txt"
"$uv" pip install --quiet --python "$dir/bin/python" --no-deps --editable .
"$dir/bin/python" -m pytest -p no:cacheprovider -m 'not browser and not llama and not frameworks and not processes' tests
