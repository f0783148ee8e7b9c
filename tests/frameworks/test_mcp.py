"""Tools of MCP servers on the real frameworks: the server is spoken to from the notebook."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from scripted_server import Say, server

from tframex_nb.agents import Agent
from tframex_nb.models import VLLMModel
from tframex_nb.runs import collect
from tframex_nb.runtime import RunRequest, Runtime

__all__ = ["server"]

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(240)]

TRICKS = str(Path(__file__).parents[1] / "servers" / "mcp_tricks.py")


@pytest.mark.parametrize("name", ["native", "langgraph", "crewai", "openai_agents", "pydantic_ai"])
def test_a_framework_calls_a_tool_of_a_server(installed, monkeypatch, server, name):
    installed(name)
    monkeypatch.setenv("TFRAMEX_MCP__TRICKS__COMMAND", sys.executable)
    monkeypatch.setenv("TFRAMEX_MCP__TRICKS__ARGS", json.dumps([TRICKS]))
    server.say(Say(calls=[("add", {"a": 40, "b": 2})]), "It is 42.")

    async def main():
        runtime = Runtime()
        try:
            tools = await runtime.mcp.tools("mcp:tricks/add")
            async with VLLMModel("scripted", server.url) as model:
                agent = Agent("clerk", model, tools=tools)
                request = RunRequest(agent, "what is it?", framework=name)
                await collect(runtime.stream(request))
                return agent.last
        finally:
            await runtime.aclose()

    run = asyncio.run(main())
    assert run.text == "It is 42."
    assert run.framework == name
    assert [m.content for m in run.messages if m.role == "tool"] == ["42"]
    (offered,) = server.requests[0].body["tools"]
    assert set(offered["function"]["parameters"]["properties"]) == {"a", "b"}
