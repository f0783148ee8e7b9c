"""Stopping: the stream closes at once, the partial answer stays, nothing is left running."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading

import pytest
from scripted_server import Say, until

from tframex_nb.agents import Agent, BaseAgent, BasicAgent, tool
from tframex_nb.interrupts import RunStopped
from tframex_nb.messages import RunInterrupted, TextDelta
from tframex_nb.models import VLLMModel


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


async def started(agent):
    """Start a run and return its task once the first text is there."""
    task = asyncio.create_task(agent.run("go"))
    await until(lambda: agent.last and agent.last.text)
    return task


def test_cancelling_closes_the_stream_and_keeps_the_partial_text(server, play):
    """The server sees its client go; the turn is marked, and the next run sees its text."""
    server.say(Say(["one ", "two "], hold=True), "three")

    async def scene(model):
        agent = Agent("a", model)
        task = await started(agent)
        await until(lambda: agent.last.text == "one two ")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.wait_closed)
        await agent.run("go on")
        return agent

    agent = play(scene)
    first, second = agent.conversation.turns
    assert (first.status, second.status) == ("interrupted", "finished")
    assert server.requests[1].texts == ["go", "one two ", "go on"]


def test_a_consumer_that_leaves_closes_the_stream(server, play):
    """Closing the events closes the connection, and records the run as interrupted."""
    server.say(Say("text", hold=True))

    async def scene(model):
        agent = BasicAgent("a", model)
        async with contextlib.aclosing(agent.stream("go")) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
        assert await asyncio.to_thread(server.wait_closed)
        return agent

    agent = play(scene)
    assert agent.last.status == "interrupted"
    assert isinstance(agent.last.events[-1], RunInterrupted)
    assert agent.conversation.turns[0].status == "interrupted"


def test_the_run_is_last_from_its_beginning(server, play):
    """Before the first event, so that a stopped cell finds its partial run."""
    server.say("hello")

    async def scene(model):
        agent = Agent("a", model)
        events = agent.stream("go")
        assert agent.last.status == "running"
        assert agent.last.prompt == "go"
        return [event async for event in events]

    play(scene)


def test_the_turn_is_there_when_the_terminal_event_arrives(server, play):
    """A consumer that stops at the terminal event has a whole conversation."""
    server.say("hello")

    async def scene(model):
        agent = Agent("a", model)
        async for event in agent.stream("go"):
            if event.type == "run_finished":
                return len(agent.conversation)
        return None

    assert play(scene) == 1


def test_an_interrupt_during_a_synchronous_tool_stops_the_run(server):
    """SIGINT while a tool holds the thread: the tool ends, the run is stopped, once."""
    server.say(Say("Looking. ", calls=[("block", {})]), "never")
    reached = []

    def block() -> None:
        interrupt()
        for _ in range(10_000_000):
            pass
        reached.append("the end")

    model = VLLMModel("m", server.url)
    agent = Agent("a", model, tools=[block])
    with pytest.raises(RunStopped):
        agent.run_sync("go")
    assert reached == []
    assert agent.last.status == "interrupted"
    assert agent.last.text == "Looking. "
    assert agent.conversation.turns[0].status == "interrupted"
    assert len(server.requests) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    asyncio.run(model.aclose())


def test_an_interrupt_during_an_async_tool_stops_every_tool(server):
    """All that runs at the same time is cancelled."""
    server.say(Say(calls=[("wait", {}), ("wait", {})]), "never")
    ended = []

    async def wait() -> None:
        try:
            if ended or waiting:
                interrupt()
            waiting.append(1)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    waiting: list[int] = []
    model = VLLMModel("m", server.url)
    agent = Agent("a", model, tools=[wait])
    with pytest.raises(RunStopped):
        agent.run_sync("go")
    assert ended == ["cancelled", "cancelled"]
    asyncio.run(model.aclose())


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError])
@pytest.mark.parametrize("kind", ["sync", "async", "thread"])
def test_a_tool_that_is_interrupted_cancels_the_run(server, play, error, kind):
    """It is no error for the model to mend, and never leaves the task as KeyboardInterrupt."""

    def sync_tool() -> None:
        raise error

    async def async_tool() -> None:
        raise error

    made = {
        "sync": tool(sync_tool, name="t"),
        "async": tool(async_tool, name="t"),
        "thread": tool(sync_tool, name="t", thread=True),
    }
    server.say(Say(calls=[("t", {})]), "never")

    async def scene(model):
        agent = Agent("a", model, tools=[made[kind]])
        with pytest.raises(asyncio.CancelledError):
            await agent.run("go")
        return agent

    agent = play(scene)
    assert agent.last.status == "interrupted"
    assert len(server.requests) == 1


def test_run_sync_works_from_a_script(server):
    """Run after run, each on a loop of its own."""
    server.say("one", "two")
    model = VLLMModel("m", server.url)
    agent = Agent("a", model)
    assert [agent.run_sync("go"), agent.run_sync("go")] == ["one", "two"]
    asyncio.run(model.aclose())


NESTED = """
import asyncio, sys
from tframex_nb.agents import Agent
from tframex_nb.models import VLLMModel

agent = Agent("a", VLLMModel("m", sys.argv[1]))

async def cell():
    return agent.run_sync("go"), agent.run_sync("go")

print(asyncio.run(cell()))
"""


def test_run_sync_works_inside_a_running_loop(server):
    """In a process of its own, for the loop stays patched."""
    server.say("one", "two")
    command = [sys.executable, "-c", NESTED, server.url]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "('one', 'two')"


def test_a_run_can_be_a_task(server, play):
    """run() gives a coroutine: create_task, gather and wait_for take it."""
    server.answer = lambda _: Say("hi")

    async def scene(model):
        agent = BasicAgent("a", model)
        task = asyncio.create_task(agent.run("1"))
        return await asyncio.gather(task, asyncio.wait_for(agent.run("2"), 10))

    assert play(scene) == ["hi", "hi"]


def test_agents_leave_no_tasks(server, play):
    """After a run, its tools and a stop, the loop has only the test's own task."""
    server.say(Say(calls=[("t", {}), ("t", {})]), Say("half", hold=True))

    async def t() -> None:
        await asyncio.sleep(0)

    async def scene(model):
        agent = Agent("a", model, tools=[t])
        task = asyncio.create_task(agent.run("go"))
        await until(lambda: agent.last and agent.last.text == "half")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert play(scene) == set()


def test_a_cancelled_thread_tool_does_not_hold_the_run(server, play):
    """The thread goes on by itself; the run is stopped at once."""
    server.say(Say(calls=[("wait", {})]), "never")
    entered, leave = threading.Event(), threading.Event()

    @tool(thread=True)
    def wait() -> None:
        entered.set()
        leave.wait(10)

    async def scene(model):
        agent = Agent("a", model, tools=[wait])
        task = asyncio.create_task(agent.run("go"))
        assert await asyncio.to_thread(entered.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        leave.set()
        return agent

    assert play(scene).last.status == "interrupted"


class Echo(BaseAgent):
    """The smallest agent: it says what it was asked, without a model call."""

    async def steps(self, messages, *, model, **params):
        yield TextDelta(messages[-1].text)


def test_a_custom_agent_needs_only_its_steps(play):
    """It streams, runs and remembers as any other."""

    async def scene(model):
        agent = Echo("echo", model)
        return await agent.run("hello"), agent

    text, agent = play(scene)
    assert text == "hello"
    assert [m.role for m in agent.conversation.messages()] == ["user", "assistant"]
