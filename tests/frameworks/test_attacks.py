"""What hostile frameworks, folders, neighbours and texts cannot do."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tframex_nb.errors import TFrameXError, WorkerUnavailable
from tframex_nb.frameworks.base import AgentExecutionRequest, AgentSpec, ModelAccess
from tframex_nb.frameworks.worker import AdapterSource, WorkerPool, WorkerSpec
from tframex_nb.messages import TextDelta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tframex_nb.messages import Event

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
