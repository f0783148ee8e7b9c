"""Tools of the notebook and conversations: whatever happens, the messages stay a conversation."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest
from scripted_server import Say, until
from service_bench import PLACES, on_bench, valid

from tframex_nb.errors import FrameworkFailed, UnknownAgent, WorkerCrashed
from tframex_nb.frameworks.execute_agent import (
    ExecuteAgentCommand,
    ExecuteAgentService,
    requirements_of,
)
from tframex_nb.messages import TextDelta, ToolCallStarted, ToolResult

everywhere = pytest.mark.parametrize("place", PLACES)
ODD = "Zürich 🌍 \u2028 \"quoted\" \\ 'x' \x00 \ud83d end"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def later(text: str, seconds: float = 0.05) -> str:
    """Say a text after a while."""
    await asyncio.sleep(seconds)
    return text


def broken(text: str = "") -> str:
    """Fail."""
    raise LookupError(f"no {text}")


def large(size: int) -> str:
    """Say much."""
    return "ü" * size


def odd() -> str:
    """Say what is hard to send."""
    return ODD


def where() -> str:
    """Say on which thread this runs."""
    return threading.current_thread().name


TOOLS = [add, later, broken, large, odd, where]


def results(run):
    return [event.content for event in run.events if isinstance(event, ToolResult)]


async def goes_on(bench, agent, place):
    """The next turn is sent all that was said, in a form that endpoints accept."""
    bench.server.say("fine")
    run = await bench.run("go on", place, agent=agent)
    assert run.text == "fine", run.error
    assert valid(bench.server.requests[-1].messages)
    return bench.server.requests[-1].messages


@everywhere
@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ([("add", {"a": 19, "b": 23})], ["42"]),
        ([("later", {"text": "Köln"})], ["Köln"]),
        ([("broken", {"text": "luck"})], ["LookupError: no luck"]),
        ([("add", '{"a": 1')], ["Invalid arguments for add"]),
        ([("add", {"a": "one", "b": 2})], ["Invalid arguments for add"]),
        ([("add", {"c": 1})], ["Invalid arguments for add"]),
        ([("add", "[1, 2]")], ["Invalid arguments for add"]),
        ([("where", {})], ["MainThread"]),
    ],
    ids=["sync", "async", "raises", "no JSON", "type", "names", "list", "thread"],
)
def test_what_a_tool_says_reaches_the_model_and_the_conversation(tmp_path, place, calls, said):
    async def play(bench):
        agent = bench.agent(tools=TOOLS)
        bench.server.say(Say(calls=calls), "done")
        run = await bench.run("please", place, agent=agent)
        assert (run.status, run.text) == ("finished", "done"), run.error
        assert [each.split("\n")[0] for each in results(run)] == said or said[0] in results(run)[0]
        asked = bench.server.requests[-1].messages
        assert [m["content"] for m in asked if m["role"] == "tool"] == results(run)
        assert valid(run.messages)
        assert [m.role for m in run.messages] == ["user", "assistant", "tool", "assistant"]
        await goes_on(bench, agent, place)

    on_bench(tmp_path, play)


@everywhere
def test_tools_at_the_same_time_and_the_same_tool_twice(tmp_path, place):
    """Async tools of one step overlap; every result stands behind its own call."""

    async def play(bench):
        agent = bench.agent(tools=TOOLS)
        calls = [("later", {"text": f"t{n}", "seconds": 0.3}) for n in range(6)]
        calls += [
            ("later", {"text": "same"}),
            ("later", {"text": "same"}),
            ("add", {"a": 1, "b": 2}),
        ]
        bench.server.say(Say(calls=calls), "done")
        begun = time.perf_counter()
        run = await bench.run("please", place, agent=agent)
        assert time.perf_counter() - begun < 1.7  # one after the other they take two seconds
        assert run.text == "done"
        (wish, *told) = [m for m in run.messages if m.role in {"assistant", "tool"}][:-1]
        answered = {m.tool_call_id: m.text for m in told}
        wanted = {c.id: json.loads(c.arguments) for c in wish.tool_calls}
        for call_id, arguments in wanted.items():
            assert answered[call_id] == arguments.get("text", "3")
        assert len(answered) == 9
        await goes_on(bench, agent, place)

    on_bench(tmp_path, play)


@everywhere
def test_a_large_result_and_odd_characters_arrive_as_they_are(tmp_path, place):
    async def play(bench):
        agent = bench.agent(tools=TOOLS)
        bench.server.say(Say(calls=[("large", {"size": 1_000_000}), ("odd", {})]), "done")
        run = await bench.run("please", place, agent=agent)
        assert run.text == "done", run.error
        sent = [m["content"] for m in bench.server.requests[-1].messages if m["role"] == "tool"]
        assert sent == results(run)
        assert "Zürich 🌍 \u2028 \"quoted\" \\ 'x' \x00" in sent[1]
        assert set(sent[0][:1000]) == {"ü"}
        await goes_on(bench, agent, place)

    on_bench(tmp_path, play)


@everywhere
def test_arguments_are_shown_as_the_model_wrote_them(tmp_path, place):
    """A framework gives them as a dict; a reader wants no escapes."""

    async def play(bench):
        run = await bench.run(
            'call later {"text": "Köln 🌍"} | add {"a": 1, "b": 2}', place, tools=TOOLS
        )
        assert run.text == "Köln 🌍|3"
        started = [e.arguments for e in run.events if isinstance(e, ToolCallStarted)]
        assert started == ['{"text": "Köln 🌍"}', '{"a": 1, "b": 2}']
        assert valid(run.messages)

    on_bench(tmp_path, play)


@everywhere
def test_calls_of_the_frameworks_own_doing_have_ids_of_their_own(tmp_path, place):
    """Also from turn to turn: an endpoint may refuse an id that it has seen."""

    async def play(bench):
        agent = bench.agent(tools=TOOLS)
        for _ in range(3):
            run = await bench.run('call add {"a": 1, "b": 1}', place, agent=agent)
            assert run.text == "2"
        messages = await goes_on(bench, agent, place)
        assert sum(m["role"] == "tool" for m in messages) == 3

    on_bench(tmp_path, play)


@everywhere
def test_an_id_that_the_model_uses_again_is_given_anew(tmp_path, place):
    """Small servers count from one in each answer."""

    async def play(bench):
        agent = bench.agent(tools=TOOLS)
        answers = iter(["call", "call", "done", "call", "done", "fine"])

        def answer(request):
            if next(answers) != "call":
                return Say("fine")
            return SameId(calls=[("add", {"a": len(bench.server.requests), "b": 0})])

        bench.server.answer = answer
        for _ in range(2):
            run = await bench.run("please", place, agent=agent)
            assert valid(run.messages)
        run = await bench.run("go on", place, agent=agent)
        assert run.status == "finished"
        assert valid(bench.server.requests[-1].messages)

    on_bench(tmp_path, play)


class SameId(Say):
    """Calls whose ids are the same in each answer."""

    def chunks(self, number):
        return super().chunks(2)


@everywhere
def test_a_tool_from_a_thread_of_the_framework(tmp_path, place):
    async def play(bench):
        run = await bench.run("call_from_thread {}", place, tools=[where])
        assert run.text == "MainThread"

    on_bench(tmp_path, play)


@everywhere
@pytest.mark.parametrize("inner", [*PLACES, "native"])
def test_a_tool_runs_an_agent_on_another_framework(tmp_path, place, inner):
    async def play(bench):
        below = bench.agent("below", tools=[add])

        async def ask(question: str) -> str:
            """Ask another agent."""
            run = await bench.run(question, inner, agent=below)
            return run.text

        agent = bench.agent(tools=[ask])
        bench.server.say(
            Say(calls=[("ask", {"question": "add them"})]),
            Say(calls=[("add", {"a": 1, "b": 2})]),
            "three",
            "It is three.",
        )
        run = await bench.run("please", place, agent=agent)
        assert (run.text, results(run)) == ("It is three.", ["three"])
        assert below.last.framework == inner
        assert results(below.last) == ["3"]
        await goes_on(bench, agent, place)

    on_bench(tmp_path, play)


@everywhere
def test_agents_in_a_circle_are_told_so(tmp_path, place):
    async def play(bench):
        async def again() -> str:
            """Ask the same again."""
            run = await bench.run("call again", place, agent=bench.agent("deep", tools=[again]))
            if run.error is not None:
                raise run.error
            return run.text

        run = await bench.run("call again", place, tools=[again])
        assert "agents ask each other more than 5 deep" in run.text

    on_bench(tmp_path, play)


@everywhere
def test_a_stop_during_a_tool_ends_the_tool_and_keeps_a_conversation(tmp_path, place):
    async def play(bench):
        entered, ended = asyncio.Event(), asyncio.Event()

        async def endless() -> str:
            """Never end."""
            entered.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

        agent = bench.agent(tools=[endless, add])
        bench.server.say(Say("I look.", calls=[("add", {"a": 1, "b": 2}), ("endless", {})]))
        _, task = bench.start("please", place, agent=agent)
        await entered.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert agent.last.status == "interrupted"
        async with asyncio.timeout(5):
            await ended.wait()
        assert valid(agent.last.messages)
        messages = await goes_on(bench, agent, place)
        assert "I look." in json.dumps(messages)

    on_bench(tmp_path, play)


@pytest.mark.parametrize("place", PLACES[1:])
def test_a_worker_that_dies_while_a_tool_works_ends_the_tool(tmp_path, place):
    async def play(bench):
        import os

        ended = asyncio.Event()

        async def kill() -> str:
            """Kill the worker."""
            try:
                for pool in bench.frameworks.placement.pools().values():
                    for worker in pool.info():
                        os.kill(worker.pid, 9)
                await asyncio.sleep(60)
            finally:
                ended.set()

        agent = bench.agent(tools=[kill])
        run = await bench.run("call kill", place, agent=agent)
        assert type(run.error) is WorkerCrashed
        async with asyncio.timeout(5):
            await ended.wait()
        await goes_on(bench, agent, place)

    on_bench(tmp_path, play)


def test_a_conversation_goes_from_framework_to_framework(tmp_path):
    """What was said on one is sent on the next, tool calls and all; a turn may be run again."""

    async def play(bench):
        agent = bench.agent(tools=[add], system="You add.")
        bench.server.say(Say("Let me see.", calls=[("add", {"a": 1, "b": 2})]), "Three.")
        await bench.run("1 + 2?", "here", agent=agent, turn="first")
        for number, place in enumerate(("exclusive", "native", "shared")):
            bench.server.say(f"Answer {number}.")
            await bench.run(f"And {number}?", place, agent=agent, turn=place)
            asked = bench.server.requests[-1]
            assert asked.texts[:2] == ["You add.", "1 + 2?"]
            assert "3" in asked.texts
            assert asked.texts[-1] == f"And {number}?"
            assert asked.texts[-2] == ("Three." if not number else f"Answer {number - 1}.")
            assert valid(asked.messages)
        bench.server.say("Again three.")
        await bench.run("1 + 2??", "exclusive", agent=agent, turn="first")
        assert bench.server.requests[-1].texts == ["You add.", "1 + 2??"]
        bench.server.say("Once more.")
        await bench.run("And 0?", "here", agent=agent, turn="exclusive")
        assert bench.server.requests[-1].texts[1:3] == ["1 + 2??", "Again three."]

    on_bench(tmp_path, play)


@everywhere
def test_an_interrupted_turn_is_part_of_the_conversation(tmp_path, place):
    async def play(bench):
        agent = bench.agent()
        bench.server.say(Say("Once upon", hold=True))
        _, task = bench.start("tell a story", place, agent=agent)
        await until(lambda: agent.last and agent.last.text)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await asyncio.to_thread(bench.server.wait_closed)
        messages = await goes_on(bench, agent, place)
        assert [m["content"] for m in messages] == ["tell a story", "Once upon", "go on"]

    on_bench(tmp_path, play)


@everywhere
def test_a_run_on_request_alone_neither_sees_nor_changes_what_was_said(tmp_path, place):
    async def play(bench):
        agent = bench.agent()
        await bench.run("echo one", place, agent=agent)
        bench.server.say("apart")
        await bench.run("hello", place, agent=agent, remember=False, fresh=True)
        assert bench.server.requests[-1].texts == ["hello"]
        history = json.loads((await bench.run("history", place, agent=agent)).text)
        assert [m["content"] for m in history] == ["echo one", "one"]

    on_bench(tmp_path, play)


def test_the_service_runs_agents_by_their_id(tmp_path):
    """As a stream, or as a whole; on the framework that fits where none is named."""

    async def play(bench):
        agent = bench.agent("clerk", template_id="tricky", tools=[add])
        service = ExecuteAgentService({"clerk": agent}, bench.frameworks)
        events = await service.execute(ExecuteAgentCommand("clerk", "echo one two"))
        text = [event.text async for event in events if isinstance(event, TextDelta)]
        assert text == ["one", "two"]
        assert agent.last.resolution.chosen == agent.last.framework != "native"
        bench.server.say(Say(calls=[("add", {"a": 1, "b": 2})]), "three")
        whole = await service.execute(ExecuteAgentCommand(agent, "1 + 2?", stream=False))
        assert whole.text == "three"
        assert [m.role for m in whole.messages] == ["assistant", "tool", "assistant"]
        assert whole.usage.completion_tokens == 4
        named = ExecuteAgentCommand("clerk", "echo x", stream=False, framework="exclusive")
        assert (await service.execute(named)).text == "x"
        assert agent.last.framework == "exclusive"
        with pytest.raises(UnknownAgent, match="no agent is named 'clark'") as caught:
            await service.execute(ExecuteAgentCommand("clark", "hello"))
        assert caught.value.hint == "did you mean 'clerk'?"
        with pytest.raises(FrameworkFailed):
            await service.execute(ExecuteAgentCommand("clerk", "fail x", stream=False))

    on_bench(tmp_path, play)


def test_what_an_agent_needs_is_told_by_what_it_has(tmp_path):
    async def play(bench):
        plain = requirements_of(bench.agent(memory=0), stream=False)
        assert plain.get_required_capabilities() == set()
        full = bench.agent(tools=[add], configuration={"required_capabilities": ["planning"]})
        wanted = {"streaming", "tools", "memory", "planning"}
        assert requirements_of(full).get_required_capabilities() == wanted
        alone = requirements_of(full, remember=False).get_required_capabilities()
        assert alone == wanted - {"memory"}

    on_bench(tmp_path, play)
