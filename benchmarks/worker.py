"""Print what a worker costs: events through the pipe, a run, a tool call, a start, a stop.

The same adapter is driven in this process and in a worker of this Python; what is shown are
medians over ``--rounds``.

    python benchmarks/worker.py --rounds 200
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from tframex_nb.frameworks.base import (
    AgentExecutionRequest,
    AgentSpec,
    FrameworkIntegration,
    ModelAccess,
    ToolHandle,
)
from tframex_nb.frameworks.worker import AdapterSource, WorkerPool, WorkerSpec
from tframex_nb.messages import TextDelta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tframex_nb.messages import Event

EVENTS = 100_000
BOUNDS = {"events/s through the pipe": 20_000, "overhead of a run, ms": 5.0}  # what is promised


class Words(FrameworkIntegration):
    """Yields as many words as the prompt says; calls its tool as often as ``max_steps`` says."""

    name = "words"

    async def execute_agent_streaming(
        self, request: AgentExecutionRequest
    ) -> AsyncIterator[TextDelta]:
        for tool in request.tools:
            for _ in range(request.max_steps):
                await tool({"city": "Rome"})
        for _ in range(int(request.prompt)):
            yield TextDelta("word ")
        if request.system:  # until it is stopped
            await asyncio.sleep(60)


def request(words: int, **options) -> AgentExecutionRequest:
    model = ModelAccess("none", "http://127.0.0.1:9/v1", "token")
    return AgentExecutionRequest(AgentSpec("bench"), str(words), model, **options)


def pool(*, exclusive: bool = False) -> WorkerPool:
    source = AdapterSource.of(Words)
    return WorkerPool(WorkerSpec("words", Path(sys.executable), source, exclusive=exclusive))


async def drain(stream: AsyncIterator[Event]) -> int:
    return len([event async for event in stream])


async def timed(act: Callable[[], Awaitable[object]], rounds: int) -> float:
    """Return the median time of an act, in milliseconds."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        await act()
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times)


async def start_times(rounds: int) -> float:
    """Return the median time until a new worker is ready, in milliseconds."""
    times = []
    for _ in range(rounds):
        cold = pool()
        times.append(await timed(cold.warm, 1))
        await cold.aclose()
    return statistics.median(times)


async def stop_times(workers: WorkerPool, rounds: int) -> float:
    """Return the median time from a stop to its return, in milliseconds."""
    times = []
    for _ in range(rounds):
        stream = workers.stream(request(1, system="stay"))
        await anext(stream)
        begin = time.perf_counter()
        await stream.aclose()
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times)


async def tool_time(workers: WorkerPool, calls: int) -> float:
    """Return the time of one call of a notebook's tool, there and back, in milliseconds."""

    async def weather(_: object) -> str:
        return "dry"

    handle = ToolHandle("weather", "", {}, weather, asyncio.get_running_loop())
    begin = time.perf_counter()
    await drain(workers.stream(request(0, tools=(handle,), max_steps=calls)))
    return 1000 * (time.perf_counter() - begin) / calls


async def measure(rounds: int) -> dict[str, float]:
    workers, exclusive, here = pool(), pool(exclusive=True), Words()
    few = max(3, rounds // 20)
    await workers.warm()
    begin = time.perf_counter()
    assert await drain(workers.stream(request(EVENTS))) == EVENTS
    rate = EVENTS / (time.perf_counter() - begin)
    inside = await timed(lambda: drain(here.execute_agent_streaming(request(50))), rounds)
    outside = await timed(lambda: drain(workers.stream(request(50))), rounds)
    figures = {
        "events/s through the pipe": rate,
        "a run of 50 words in-process, ms": inside,
        "a run of 50 words in a warm worker, ms": outside,
        "overhead of a run, ms": outside - inside,
        "a tool call into the notebook, ms": await tool_time(workers, 1000),
        "cold start of a worker, ms": await start_times(few),
        "stop to return, shared worker, ms": await stop_times(workers, few),
        "stop to return, exclusive worker, ms": await stop_times(exclusive, few),
    }
    await workers.aclose()
    await exclusive.aclose()
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    figures = asyncio.run(measure(parser.parse_args().rounds))
    for name, value in figures.items():
        print(f"{name:42} {value:12,.2f}")
    rate, overhead = figures["events/s through the pipe"], figures["overhead of a run, ms"]
    kept = (
        rate >= BOUNDS["events/s through the pipe"] and overhead <= BOUNDS["overhead of a run, ms"]
    )
    print(f"promised: {BOUNDS}: {'kept' if kept else 'BROKEN'}")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
