"""Agents as tools: one argument, a run of their own, the caller's model where they have none."""

from __future__ import annotations

import asyncio

import pytest
from scripted_server import Say, until

from tframex_nb.agents import Agent, BasicAgent, ContextAgent, Tool
from tframex_nb.messages import ToolResult


def prompts(server):
    return [r.texts[-1] for r in server.requests]


def test_an_agent_asks_another(server, play):
    """The helper gets the prompt alone, and its answer is the tool's result."""
    server.say(Say(calls=[("helper", {"prompt": "the capital?"})]), "Paris", "It is Paris.")

    async def scene(model):
        helper = Agent("helper", system="You know capitals.")
        boss = Agent("boss", model, tools=[helper])
        return await boss.run("France?"), boss, helper

    answer, boss, helper = play(scene)
    assert answer == "It is Paris."
    assert server.requests[1].texts == ["You know capitals.", "the capital?"]
    assert server.requests[2].texts[-1] == "Paris"
    assert helper.last.text == "Paris"
    assert helper.last is not boss.last
    assert len(helper.conversation) == 0
    assert len(boss.conversation) == 1


def test_a_run_as_a_tool_neither_sees_nor_changes_the_conversation(server, play):
    """The helper's own conversation goes on as if nothing had happened."""
    server.say("hello", Say(calls=[("helper", {"prompt": "p"})]), "mm", "done", "again")

    async def scene(model):
        helper = Agent("helper", model)
        boss = Agent("boss", model, tools=[helper])
        await helper.run("hi")
        await boss.run("go")
        await helper.run("once more")

    play(scene)
    assert server.requests[2].texts == ["p"]
    assert server.requests[4].texts == ["hi", "hello", "once more"]


def test_every_kind_of_agent_can_be_a_tool():
    """Name, description and the one argument, as the model sees them."""
    made = Agent("the boss!", description="Decides.").as_tool()
    assert isinstance(made, Tool)
    assert made.name == "the_boss_"
    assert made.description == "Decides."
    assert made.parameters["required"] == ["prompt"]
    assert list(made.parameters["properties"]) == ["prompt"]
    assert made.is_async
    told = BasicAgent("b", system="You sum up.").as_tool().description
    assert told == "Ask the agent 'b'. You sum up."
    assert ContextAgent("c", context="x").as_tool(name="reader").name == "reader"


def test_several_agents_are_asked_at_the_same_time(server, play):
    """Two helpers in one step overlap at the server."""
    both = asyncio.Event()
    calls = [("one", {"prompt": "1"}), ("two", {"prompt": "2"})]

    async def meet() -> str:
        """Wait until the other helper's tool runs too."""
        if arrived.locked():
            both.set()
        else:
            await arrived.acquire()
        await both.wait()
        return "met"

    def answer(request):
        if request.texts[-1] == "go":
            return Say(calls=calls)
        return Say("done") if request.roles[-1] == "tool" else Say(calls=[("meet", {})])

    server.answer = answer
    arrived = asyncio.Lock()

    async def scene(model):
        helpers = [Agent(name, model, tools=[meet]) for name in ("one", "two")]
        boss = Agent("boss", model, tools=helpers)
        return await boss.run("go"), boss

    text, boss = play(scene)
    assert text == "done"
    contents = [e.content for e in boss.last.events if isinstance(e, ToolResult)]
    assert contents == ["done", "done"]


def test_agents_that_ask_each_other_in_a_circle_are_stopped(server, play):
    """Also through a function: the error names the chain, and each level can still answer."""
    server.answer = lambda request: (
        Say("enough") if request.roles[-1] == "tool" else Say(calls=[("again", {"prompt": "p"})])
    )

    async def scene(model):
        async def again(prompt: str) -> str:
            return await me.run(prompt, fresh=True, remember=False)

        me = Agent("me", model, tools=[again])
        return await me.run("start")

    assert play(scene) == "enough"
    told = next(r.texts[-1] for r in server.requests if r.roles[-1] == "tool")
    assert told == (
        "AgentError: agents ask each other more than 5 deep: me > me > me > me > me > me > me\n"
        "hint: let one of them answer without asking another"
    )
    assert len(server.requests) == 12


def test_a_helpers_failure_is_a_tool_error_that_the_boss_reads(server, play):
    """The boss goes on; the helper's own run holds the whole error."""
    server.say(
        Say(calls=[("helper", {"prompt": "p"})]), Say(status=400, error="bad"), "without help"
    )

    async def scene(model):
        helper = Agent("helper", model)
        boss = Agent("boss", model, tools=[helper])
        return await boss.run("go"), helper

    text, helper = play(scene)
    assert text == "without help"
    assert server.requests[2].texts[-1].startswith("BadRequest: ")
    assert helper.last.status == "failed"


def test_stopping_the_boss_stops_the_helper(server, play):
    """A cancellation passes through: the helper's stream is closed, both runs say so."""
    server.say(Say(calls=[("helper", {"prompt": "p"})]), Say("half", hold=True))

    async def scene(model):
        helper = Agent("helper", model)
        boss = Agent("boss", model, tools=[helper])
        task = asyncio.create_task(boss.run("go"))
        await until(lambda: helper.last and helper.last.text == "half")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return boss, helper

    boss, helper = play(scene)
    assert server.wait_closed(1)
    assert (boss.last.status, helper.last.status) == ("interrupted", "interrupted")
    assert helper.last.text == "half"
