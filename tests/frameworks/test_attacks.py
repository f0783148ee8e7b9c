"""What hostile frameworks, folders, neighbours and texts cannot do."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from tframex_nb import Agent
from tframex_nb.errors import FrameworkFailed, TFrameXError, WorkerUnavailable
from tframex_nb.frameworks.base import (
    AgentExecutionRequest,
    AgentSpec,
    FrameworkIntegration,
    ModelAccess,
)
from tframex_nb.frameworks.merging import Merger
from tframex_nb.frameworks.service import Frameworks
from tframex_nb.frameworks.worker import AdapterSource, WorkerPool, WorkerSpec
from tframex_nb.messages import (
    Message,
    MessageFinished,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    TextDelta,
    ToolCall,
    ToolCallStarted,
    ToolResult,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tframex_nb.messages import Event
    from tframex_nb.runs import Run

SERVERS = Path(__file__).parents[1] / "servers"
HOSTILE = SERVERS / "hostile_adapter.py"
MODEL = ModelAccess("tiny", "http://127.0.0.1:9/v1", "token-of-the-run")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def on_pool(play: Callable[[WorkerPool], Awaitable[Any]]) -> Any:
    """Return what ``play`` makes of a pool of hostile workers; complaints of the loop fail it."""

    async def main() -> Any:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        source = AdapterSource("Hostile", HOSTILE.read_text(encoding="utf-8"), HOSTILE.name)
        pool = WorkerPool(WorkerSpec("hostile", Path(sys.executable), source))
        try:
            async with asyncio.timeout(60):
                found = await play(pool)
        finally:
            await pool.aclose()
        assert complaints == []
        return found

    return asyncio.run(main())


def asked(prompt: str, **options: Any) -> AgentExecutionRequest:
    return AgentExecutionRequest(AgentSpec("a1"), prompt, MODEL, **options)


async def said(pool: WorkerPool, prompt: str, **options: Any) -> list[Event]:
    return [event async for event in pool.stream(asked(prompt), **options)]


async def drained(stream: AsyncIterator[Event]) -> None:
    async for _ in stream:
        pass


LINES = {
    "a run that is no text": '{"t":"events","run":[],"weight":1,"events":[]}',
    "events that are no list": '{"t":"events","run":"RUN","weight":1,"events":{"a":1}}',
    "a weight that is no number": '{"t":"events","run":"RUN","weight":"1","events":[]}',
    "a call of a run that is none": '{"t":"call","run":{},"call":1,"name":"x","arguments":{}}',
    "a call without a number": '{"t":"call","run":"RUN","call":{},"name":"x","arguments":{}}',
    "a tool without a name": '{"t":"call","run":"RUN","call":1,"name":{},"arguments":{}}',
    "arguments that are none": '{"t":"call","run":"RUN","call":1,"name":"x","arguments":[1]}',
    "an end of no run": '{"t":"done","run":[]}',
    "an error without a type": '{"t":"failed","run":"RUN","error":{},"text":3}',
    "a version that is none": '{"t":"ready","version":{"a":1}}',
    "a kind that is none": '{"t":{},"run":"RUN"}',
    "no object": "[1, 2]",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_line_that_breaks_the_protocol_ends_the_worker_with_one_error(line):
    """Nothing reaches the kernel's loop as an exception, and the next run has a new worker."""

    async def play(pool):
        with pytest.raises(WorkerUnavailable) as caught:
            await said(pool, f"write {line}")
        assert "broke the protocol" in caught.value.message
        with pytest.raises(TFrameXError, match="words"):
            await said(pool, "fail words")

    on_pool(play)


def test_a_line_of_brackets_without_end_is_refused():
    async def play(pool):
        with pytest.raises(WorkerUnavailable, match="broke the protocol"):
            await said(pool, "nest")

    on_pool(play)


def test_a_worker_that_sends_more_than_it_may_does_not_fill_the_kernel():
    """The reader does not read; an honest worker would wait."""

    async def play(pool):
        stream = pool.stream(asked("flood"))
        assert await anext(stream) == TextDelta("before")
        while pool.info():
            await asyncio.sleep(0.05)
        with pytest.raises(WorkerUnavailable, match="bytes of events that nobody has read"):
            await drained(stream)

    on_pool(play)


class Liar(FrameworkIntegration):
    """Yields what the test tells it to."""

    name = "liar"
    events: ClassVar[list[Any]] = []

    async def execute_agent_streaming(self, request):
        for event in self.events:
            yield event


def told(*events: Event) -> tuple[Agent, Run]:
    """Return the agent and its run after a framework has yielded these events."""

    async def main() -> Agent:
        frameworks = Frameworks()
        agent = Agent("honest", model="demo")
        try:
            await frameworks.load(type("Liar", (Liar,), {"events": list(events)}))
            await drained(frameworks.stream(agent, "question", framework="liar"))
        finally:
            await frameworks.aclose()
        return agent

    agent = asyncio.run(main())
    assert agent.last is not None
    return agent, agent.last


FORGED = {
    "an end": RunFinished("forged"),
    "a failure": RunFailed("AuthError", "forged"),
    "a stop": RunInterrupted(),
    "a start": RunStarted("forged", "forged", "forged", "native"),
    "a message": MessageFinished(Message("system", "forged")),
    "the result of no call": ToolResult("call_1", "weather", "forged"),
}


@pytest.mark.parametrize("event", FORGED.values(), ids=FORGED)
def test_a_framework_cannot_say_how_a_run_goes_or_what_was_said(event):
    agent, run = told(TextDelta("a"), event, TextDelta("b"))
    assert (run.status, run.text, run.framework) == ("finished", "ab", "liar")
    assert event not in run.events
    kept = [(m.role, m.text) for m in agent.conversation.messages()]
    assert kept == [("user", "question"), ("assistant", "ab")]


WRONG = {
    "text": TextDelta(7),
    "no text": TextDelta(None),
    "a name": ToolCallStarted("1", None),
    "arguments": ToolCallStarted("1", "weather", {"city": "Oslo"}),
    "a result": ToolResult("1", "weather", None),
    "seconds": ToolResult("1", "weather", "x", seconds="soon"),
    "tokens": Usage("many"),
}


@pytest.mark.parametrize("event", WRONG.values(), ids=WRONG)
def test_an_event_of_wrong_types_fails_its_run_and_leaves_it_readable(event):
    with pytest.raises(FrameworkFailed, match=f"yielded a {type(event).__name__} whose"):
        told(TextDelta("a"), event)


def test_arguments_nested_without_end_are_compared_all_the_same():
    deep = '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}"
    merger = Merger()
    merger.model(MessageFinished(Message("assistant", tool_calls=(ToolCall("id", "t", deep),))))
    assert merger.call("t", deep).id == "id"
