"""What recording, replaying and budgets cost: CPU per streamed chunk, and time of a short call.

A server in a process of its own streams answers; what is measured is this process's CPU, threads
included, over the number of chunks. The same calls are made in turns: the model alone, with its
calls counted, with a cap that is looked at while they stream, recorded, and replayed. Then calls
of one chunk, one after the other, into a cassette that holds some recordings already.

    python benchmarks/cassette.py --streams 20 --chunks 2000 --rounds 3

Prints Markdown tables, then the same as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from tframex_nb.http import TransportOptions
from tframex_nb.models import VLLMModel
from tframex_nb.models._metered import metered
from tframex_nb.models.budget import Budget
from tframex_nb.models.cassette.shelf import Cassettes
from tframex_nb.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tframex_nb.models.base import ChatModel

SERVER = Path(__file__).with_name("model_stream.py")
HELD = (0, 300)  # recordings of a cassette before the short calls


class Server:
    """The server of ``model_stream`` in a process of its own."""

    def __init__(self, chunks: int) -> None:
        command = [sys.executable, str(SERVER), "--serve", "--chunks", str(chunks), "--pace", "0"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = f"http://127.0.0.1:{self._process.stdout.readline().strip()}/v1"

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def ways(model: VLLMModel, folder: str) -> Iterator[tuple[str, Callable[[], ChatModel]]]:
    """Yield each way to ask, and what makes a model for one round of it."""

    def under(**caps: int) -> ChatModel:
        return metered(model, (Budget(**caps),), load_settings())

    def taped(mode: str) -> ChatModel:
        cassettes = Cassettes()
        cassettes.use(mode, folder=folder, name="bench")
        return cassettes.model(model)

    yield "the model alone", lambda: model
    yield "counted", under
    yield "under a cap", lambda: under(max_tokens_total=1_000_000_000)
    yield "recorded", lambda: taped("record")
    yield "replayed", lambda: taped("replay")


async def read(model: ChatModel, prompt: str, **params: int) -> int:
    """Read one answer to its end; return how many events there were."""
    count = 0
    async for _ in model.stream([{"role": "user", "content": prompt}], **params):
        count += 1
    return count


async def per_chunk(url: str, args: argparse.Namespace) -> dict[str, list[float]]:
    """Return microseconds of CPU per chunk, for each round of each way."""
    figures: dict[str, list[float]] = {}
    transport = TransportOptions(max_connections=args.streams)
    with tempfile.TemporaryDirectory() as folder:
        async with VLLMModel("m", url, transport=transport) as model:
            await read(model, "warm")
            for _ in range(args.rounds):
                for name, make in ways(model, folder):
                    asked = make()
                    before = time.process_time()
                    # max_tokens lets capped calls go side by side
                    calls = (read(asked, f"go {n}", max_tokens=9000) for n in range(args.streams))
                    counts = await asyncio.gather(*calls)
                    used = time.process_time() - before
                    assert min(counts) >= args.chunks, "an answer is not whole"
                    figures.setdefault(name, []).append(used / sum(counts) * 1e6)
    return figures


async def per_call(url: str, args: argparse.Namespace) -> dict[str, list[float]]:
    """Return milliseconds of calls of one chunk, by the way and by what the cassette holds."""
    figures: dict[str, list[float]] = {}
    async with VLLMModel("m", url) as model:
        for held in HELD:
            with tempfile.TemporaryDirectory() as folder:
                for name, make in ways(model, folder):
                    if name == "recorded":
                        filled = make()
                        for n in range(held):
                            await read(filled, f"held {n}")
                    asked = make()
                    for n in range(args.calls):
                        began = time.perf_counter()
                        await read(asked, f"go {n}")
                        spent = (time.perf_counter() - began) * 1e3
                        figures.setdefault(f"{name}, {held} held", []).append(spent)
    return figures


def report(figures: dict[str, dict[str, list[float]]], args: argparse.Namespace) -> None:
    print(f"{args.streams} streams x {args.chunks} chunks, median of {args.rounds} rounds\n")
    print("| way | CPU per chunk, µs |\n|---|---|")
    for name, values in figures["chunk"].items():
        print(f"| {name} | {statistics.median(values):.1f} |")
    print(f"\n{args.calls} calls of one chunk each, median\n")
    print("| way | ms |\n|---|---|")
    for name, values in figures["call"].items():
        print(f"| {name} | {statistics.median(values):.2f} |")
    print("\n" + json.dumps(figures))


async def play(args: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    long, short = Server(args.chunks), Server(1)
    try:
        chunk = await per_chunk(long.url, args)
        return {"chunk": chunk, "call": await per_call(short.url, args)}
    finally:
        long.close()
        short.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--chunks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=50)
    args = parser.parse_args()
    report(asyncio.run(play(args)), args)


if __name__ == "__main__":
    main()
