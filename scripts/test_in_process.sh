#!/usr/bin/env bash
# Run the contract of the frameworks that can live together in the kernel's own environment there:
# in this process, and without any worker.
# usage: test_in_process.sh VENV DIR
set -euo pipefail
venv=$1 dir=$2
uv=$venv/bin/uv
locks=tframex_nb/frameworks/adapters/locks
"$uv" venv --quiet --clear --python "$venv/bin/python" "$dir"
requirements=()
for name in agent_framework autogen langgraph openai_agents pydantic_ai; do
  requirements+=(-r "$locks/$name.in")
done
"$uv" pip install --quiet --python "$dir/bin/python" --editable . --group test "${requirements[@]}"
"$dir/bin/python" -m pytest -p no:cacheprovider -q tests/frameworks/test_in_process.py \
  tests/frameworks/test_contract.py -k 'in_process or AgentFramework or AutoGen or LangGraph or OpenAIAgents or PydanticAI'
