"""What the gateway costs: CPU per streamed chunk, and time to the first token.

A server in a process of its own streams answers, and a client in another reads them raw, so that
neither is counted. What is measured is this process's CPU: ``models.stream`` alone, then the
gateway's thread with the upstream ``models.stream`` in it. Each round measures both in turns.
For the first token the client asks one at a time, straight and through the gateway in turns.

    python benchmarks/gateway.py --streams 20 --chunks 2000 --pace 0

Prints Markdown tables, then the same as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.model_stream import MESSAGES, ours
from tframex_nb.http import TransportOptions
from tframex_nb.models import VLLMModel
from tframex_nb.models.gateway import Gateway

HERE = Path(__file__)


def request(token: str) -> bytes:
    """Return the bytes of a streaming request."""
    body = json.dumps({"model": "m", "messages": MESSAGES, "stream": True}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n"
        f"authorization: Bearer {token}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_one(port: int, token: str) -> float:
    """Read one answer from a raw socket; return the seconds to its first token."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    writer.write(request(token).replace(b"PORT", str(port).encode()))
    first = 0.0
    tail = b""
    while b"[DONE]" not in tail:
        data = await reader.read(1 << 16)
        if not data:
            raise SystemExit(f"the answer broke off: {tail[-200:]!r}")
        if not first and b"chunk " in tail + data:
            first = time.perf_counter() - began
        tail = (tail + data)[-400:]
    writer.close()
    return first


async def client() -> None:
    """Do what stdin says: ``PORT TOKEN STREAMS``; print the seconds to the first tokens."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        port, token, streams = line.split()
        calls = (read_one(int(port), token) for _ in range(int(streams)))
        print(json.dumps(await asyncio.gather(*calls)), flush=True)


class Side:
    """A process of this benchmark; what it prints is read line by line."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def read(self) -> str:
        return self.process.stdout.readline()

    async def ask(self, *words: object) -> list[float]:
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return json.loads(await asyncio.to_thread(self.read))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def thread_cpu() -> float:
    """Return the CPU seconds that the gateway's thread has used."""
    thread = next(t for t in threading.enumerate() if t.name == "tframex-nb gateway")
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


async def cpu(upstream: int, reader: Side, args: argparse.Namespace) -> dict[str, list[float]]:
    """Return microseconds of CPU per chunk, alone and through the gateway, for each round."""
    url = f"http://127.0.0.1:{upstream}/v1"
    chunks = args.streams * args.chunks
    figures: dict[str, list[float]] = {"models.stream": [], "gateway": []}
    gateway = Gateway()
    transport = TransportOptions(max_connections=args.streams)
    async with VLLMModel("m", url, transport=transport) as model:
        for _ in range(args.rounds):
            before = time.process_time()
            await ours(url, args.streams)
            figures["models.stream"].append((time.process_time() - before) / chunks * 1e6)
            async with gateway.open(model, listen=lambda _: None) as run:
                port = int(run.base_url.split(":")[2].split("/")[0])
                await reader.ask(port, run.token, 1)  # what is imported at the first request
                before = thread_cpu()
                await reader.ask(port, run.token, args.streams)
                figures["gateway"].append((thread_cpu() - before) / chunks * 1e6)
    await gateway.aclose()
    return figures


async def first_token(upstream: int, reader: Side, args: argparse.Namespace):
    """Return milliseconds to the first token, straight and through the gateway."""
    figures: dict[str, list[float]] = {"straight": [], "gateway": []}
    gateway = Gateway()
    async with (
        VLLMModel("m", f"http://127.0.0.1:{upstream}/v1") as model,
        gateway.open(model, listen=lambda _: None) as run,
    ):
        port = int(run.base_url.split(":")[2].split("/")[0])
        await reader.ask(port, run.token, 1)
        for _ in range(args.calls):
            figures["straight"] += await reader.ask(upstream, "none", 1)
            figures["gateway"] += await reader.ask(port, run.token, 1)
    await gateway.aclose()
    return {name: [value * 1e3 for value in values] for name, values in figures.items()}


def serving(chunks: int, pace: float) -> Side:
    script = str(HERE.with_name("model_stream.py"))
    return Side(script, "--serve", "--chunks", str(chunks), "--pace", str(pace))


async def play(args: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    reader = Side(str(HERE), "--client")
    sides = [reader]
    try:
        sides.append(server := serving(args.chunks, args.pace))
        per_chunk = await cpu(int(server.read()), reader, args)
        sides.append(server := serving(5, 0))
        return {"cpu": per_chunk, "first": await first_token(int(server.read()), reader, args)}
    finally:
        for side in sides:
            side.close()


def report(figures: dict[str, dict[str, list[float]]], args: argparse.Namespace) -> None:
    medians = {name: statistics.median(values) for name, values in figures["cpu"].items()}
    alone = medians["models.stream"]
    print(f"{args.streams} streams x {args.chunks} chunks, one each {args.pace:g} s,", end=" ")
    print(f"median of {args.rounds} rounds\n")
    print("| path | CPU per chunk, µs | against models.stream |\n|---|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {value:.1f} | {value / alone:.2f}x |")
    print(f"\n{args.calls} calls each, in turns\n")
    print("| path | first token, ms: median | 95th percentile |\n|---|---|---|")
    for name, values in figures["first"].items():
        late = statistics.quantiles(values, n=20)[-1]
        print(f"| {name} | {statistics.median(values):.2f} | {late:.2f} |")
    print("\n" + json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--chunks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--pace", type=float, default=0.0, help="seconds between two chunks")
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.client:
        asyncio.run(client())
    else:
        report(asyncio.run(play(args)), args)


if __name__ == "__main__":
    main()
