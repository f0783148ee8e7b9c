#!/usr/bin/env bash
# Make the environments of the real MCP servers of tests/mcp: of today's protocol, and of the one before.
# usage: mcp_servers.sh VENV DIR
set -euo pipefail
venv=$1 dir=$2
for era in new old; do
  "$venv/bin/uv" venv --quiet --clear --python "$venv/bin/python" "$dir/$era"
  "$venv/bin/uv" pip install --quiet --python "$dir/$era/bin/python" -r "tests/mcp/servers-$era.txt"
done
touch "$dir/made"
