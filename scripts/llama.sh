#!/usr/bin/env bash
# Make the environment of the real llama.cpp server, and its tiny model, for tests/llama.
# usage: llama.sh VENV DIR
set -euo pipefail
venv=$1 dir=$2
"$venv/bin/uv" venv --quiet --clear --python "$venv/bin/python" "$dir"
"$venv/bin/uv" pip install --quiet --python "$dir/bin/python" -r tests/llama/requirements.txt
"$dir/bin/python" tests/llama/build_model.py "$dir/tiny.gguf"
