"""The tool loop: calls, results, errors that a model can mend, bounds."""

from __future__ import annotations

import asyncio

import pytest
from scripted_server import Say

from tframex_nb.agents import Agent, tool
from tframex_nb.errors import InvalidInput, StepLimitReached, ToolError
from tframex_nb.messages import (
    MessageFinished,
    RunFinished,
    RunStarted,
    TextDelta,
    ToolCallStarted,
    ToolResult,
)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def results(agent):
    """The tool results of an agent's last run."""
    return [e for e in agent.last.events if isinstance(e, ToolResult)]


def ask(play, *, tools, prompt="go", **options):
    """Let an agent answer one prompt; return the agent."""

    async def scene(model):
        agent = Agent("calc", model, tools=tools, **options)
        await agent.run(prompt)
        return agent

    return play(scene)


def test_the_loop_calls_a_tool_and_answers_with_its_result(server, play):
    """The model sees the tool's schema, then its own call with the result beside it."""
    server.say(Say("Let me see. ", calls=[("add", {"a": 1, "b": "2"})]), "It is three.")
    agent = ask(play, tools=[add], prompt="1 + 2?", system="You calculate.")
    assert agent.last.text == "It is three."
    first, second = server.requests
    assert first.roles == ["system", "user"]
    assert first.tool_names == ["add"]
    assert second.roles == ["system", "user", "assistant", "tool"]
    assert second.messages[2]["tool_calls"][0]["id"] == second.messages[3]["tool_call_id"]
    assert second.messages[3]["content"] == "3"


def test_events_of_a_run_come_in_their_order(server, play):
    """RunStarted first, text before the tool call stays, one terminal event last."""
    server.say(Say("Hm. ", calls=[("add", {"a": 1, "b": 2})]), "3")
    agent = ask(play, tools=[add])
    kinds = [type(e) for e in agent.last.events]
    order = (RunStarted, TextDelta, ToolCallStarted, MessageFinished, ToolResult, RunFinished)
    first = [kinds.index(kind) for kind in order]
    assert first == sorted(first)
    assert first[0] == 0
    assert first[-1] == len(kinds) - 1
    assert agent.last.usage.total_tokens == 10
    assert agent.last.messages[1].text == "Hm. "
