"""What a run on a framework costs over driving the framework directly: time and CPU.

Side by side, in turns, against one demo model in a process of its own: each framework in its own
environment as its documentation drives it (``direct.py``: the agent is made once and kept), and
the same framework through its adapter in a warm worker: gateway, pipe, merged events, a run.
Where an environment holds this package beside frameworks (``--here PYTHON``; ``make
test-in-process`` makes one) they are driven there without a worker, too. An adapter that does
nothing shows the worker's own share.

    python benchmarks/frameworks.py --runs 30 [NAME …]

Medians, in milliseconds; the CPU of a worker is that of its own process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.direct import MODEL, PROMPT
from tframex_nb.agents import Agent
from tframex_nb.cli.models import table
from tframex_nb.frameworks.base import NATIVE, FrameworkIntegration
from tframex_nb.frameworks.environments import Environments, shipped_locks
from tframex_nb.frameworks.service import Frameworks
from tframex_nb.messages import TextDelta
from tframex_nb.models import RetryPolicy, VLLMModel
from tframex_nb.models.demo import DemoServer
from tframex_nb.models.demo.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HERE = Path(__file__)
BLOCK = 10  # runs of one side, then of the other
WARM = 5  # runs that are not counted
RATE = 400  # tokens per second of the model; an answer has about a hundred
WORDS = 100
PROMISED = 5.0  # milliseconds that a worker may add to a run
COLUMNS = (
    "framework",
    "driven",
    "first token",
    "total",
    "CPU",
    "of it the worker's",
    "added: first token",
    "total",
    "CPU",
)

Figures = dict[str, float]


class Idle(FrameworkIntegration):
    """Yields words and asks no model: what remains is ours."""

    name = "idle"
    capabilities = {"streaming": NATIVE}  # noqa: RUF012 - a ClassVar of the base

    async def execute_agent_streaming(self, request) -> AsyncIterator[TextDelta]:
        for _ in range(request.max_steps):
            yield TextDelta("word ")


class IdleInWorker(Idle):
    name = "idle-in-worker"
    cancellable = False

    def execute_agent_streaming(self, request) -> AsyncIterator[TextDelta]:
        return super().execute_agent_streaming(request)


class Side:
    """A process that makes runs when it is told to, and prints their figures."""

    def __init__(self, *command: object) -> None:
        self.process = subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.runs: list[Figures] = []

    def read(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a side ended: {self.process.args}")
        return line

    def make(self, count: int) -> list[Figures]:
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return json.loads(self.read())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--here", type=Path, default=Path(".venvs/in-process/bin/python"))
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--drive", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve()
    if args.drive:
        return asyncio.run(drive(*args.drive))
    return compare(args)


def serve() -> int:
    """Be the model until stdin ends: the demo model, as fast as a large one on good hardware."""
    VARIANTS[MODEL] = Variant(MODEL.partition(":")[2], "for benchmarks", rate=RATE, at_most=0)
    server = DemoServer()
    print(server.url, server.token, flush=True)
    sys.stdin.read()
    server.stop()
    return 0


async def drive(name: str, url: str, key: str) -> int:
    """Make as many runs as each line of stdin says, as a kernel makes them."""
    frameworks = Frameworks()
    await frameworks.start()
    for own in (Idle, IdleInWorker):
        await frameworks.load(own)
    agent = Agent("assistant", max_steps=WORDS)
    retry = RetryPolicy(retries=0)
    async with VLLMModel(MODEL, url, key, retry=retry) as agent.model:
        print(frameworks.readiness(name).mode, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            made = [await run(frameworks, agent, name) for _ in range(int(line))]
            print(json.dumps(made), flush=True)
    await frameworks.aclose()
    return 0


async def run(frameworks: Frameworks, agent: Agent, name: str) -> Figures:
    """Return the figures of one run."""
    pool = frameworks.placement.pools().get(name)
    pids = [worker.pid for worker in pool.info()] if pool else []
    first, pieces = 0.0, 0
    begun, busy, there = time.perf_counter(), time.process_time(), seconds(pids)
    async for event in frameworks.stream(agent, PROMPT, framework=name, remember=False):
        if isinstance(event, TextDelta):
            first = first or time.perf_counter() - begun
            pieces += 1
    total, worker = time.perf_counter() - begun, seconds(pids) - there
    cpu = time.process_time() - busy + worker
    figures = {"first": first, "total": total, "cpu": cpu, "worker": worker}
    return {key: 1000 * value for key, value in figures.items()} | {"pieces": pieces}


def seconds(pids: list[int]) -> float:
    """Return the CPU seconds that processes have used: Linux has a clock of each."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def compare(args: argparse.Namespace) -> int:
    """Measure framework after framework; return 1 where a worker costs more than is promised."""
    found = {name: Environments().find(name, lock) for name, lock in shipped_locks().items()}
    names = args.names or [name for name, there in found.items() if there is not None]
    model = Side(sys.executable, HERE, "--serve")
    url, key = model.read().split()

    def driven(name: str, python: object = sys.executable) -> Side:
        return Side(python, HERE, "--drive", name, url, key)

    rows: list[tuple[str, ...]] = []
    try:
        for name in names:
            direct = Side(found[name].python, HERE.with_name("direct.py"), name, url, key)
            sides = [("directly", direct), ours(driven(name))]
            if args.here.exists():
                sides.append(ours(driven(name, args.here)))
            rows += measured(name, sides, args.runs)
        idle = [ours(driven(name)) for name in (Idle.name, IdleInWorker.name)]
        rows += measured("(does nothing)", idle, 5 * args.runs)
    finally:
        model.close()
    print(f"{RATE} tokens/s, {args.runs} runs each, in turns; medians in ms\n")
    print(table(COLUMNS, rows))
    share = float(rows[-1][COLUMNS.index("added: first token") + 1])
    kept = share <= PROMISED
    print(f"promised: a worker adds <= {PROMISED:g} ms to a run: {'kept' if kept else 'BROKEN'}")
    return 0 if kept else 1


def ours(side: Side) -> tuple[str, Side]:
    """Return a side by the mode that it has told."""
    return side.read().strip(), side


def measured(name: str, sides: list[tuple[str, Side]], runs: int) -> list[tuple[str, ...]]:
    """Let the sides take turns; return a row for each, what it adds to the first among them."""
    taken: dict[str, list[Figures]] = {mode: [] for mode, _ in sides}
    turns = dict(sides)  # another environment that has only workers, too, is no other side
    for side in turns.values():
        side.make(WARM)
    for _ in range(max(1, runs // BLOCK)):
        for mode, side in turns.items():
            taken[mode] += side.make(BLOCK)
    for _, side in sides:
        side.close()
    medians = {mode: median(figures) for mode, figures in taken.items()}
    base = next(iter(medians.values()))
    return [row(name, mode, figures, base) for mode, figures in medians.items()]


def median(runs: list[Figures]) -> Figures:
    return {key: statistics.median(each.get(key, 0.0) for each in runs) for key in runs[0]}


def row(name: str, mode: str, figures: Figures, base: Figures) -> tuple[str, ...]:
    keys = ("first", "total", "cpu")
    own = [f"{figures[key]:.1f}" for key in keys]
    more = [f"{figures[key] - base[key]:+.1f}" if figures is not base else "" for key in keys]
    there = f"{figures['worker']:.1f}" if mode == "worker" else ""
    return (name, mode, *own, there, *more)


if __name__ == "__main__":
    raise SystemExit(main())
