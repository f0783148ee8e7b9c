"""CPU time per streamed chunk: raw httpx, aiohttp, the openai SDK and ours, side by side.

A server in a process of its own sends ``--streams`` answers of ``--chunks`` chunks at once, each
chunk on its own, as a model does. Each client reads them all, in turns, on one event loop; what
is measured is the client process's CPU time (user and system) over the number of chunks. With a
pace, nearly every chunk is a read of its own, and the reads dominate; ``--pace 0`` sends as fast
as the client takes it, so that a read brings many chunks, and the parsing dominates.

    python benchmarks/model_stream.py --streams 200 --chunks 200 --rounds 3

Prints a Markdown table, then the same as JSON.
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

import aiohttp
import httpx
import openai

sys.path.insert(0, str(Path(__file__).parents[1]))

from tframex_nb.http import TransportOptions
from tframex_nb.messages import TextDelta
from tframex_nb.models import VLLMModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WORD = "chunk "
MESSAGES = [{"role": "user", "content": "go"}]


def event(delta: dict[str, str], reason: str | None = None) -> bytes:
    """One server-sent event as vLLM sends it, in its own piece of a chunked body."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    data = {
        "id": "chatcmpl-6f1c2f0d9a7b4e0c8d3f5a1b2c3d4e5f",
        "object": "chat.completion.chunk",
        "created": 1750000000,
        "model": "m",
        "choices": [choice],
    }
    return framed(b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n")


def framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def serve(chunks: int, pace: float) -> None:
    """Answer each POST with ``chunks`` paced chunks; print the port; end with stdin."""
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    word = event({"content": WORD})
    last = event({}, "stop") + framed(b"data: [DONE]\n\n") + framed(b"")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                length = request.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                await reader.readexactly(int(length))
                writer.write(head)
                due = time.monotonic()
                for _ in range(chunks):
                    due += pace
                    await asyncio.sleep(max(0, due - time.monotonic()))
                    writer.write(word)
                    await writer.drain()
                writer.write(last)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


async def raw_httpx(url: str, streams: int) -> int:
    """Sum the lengths: bytes, split at the blank line, json.loads, and nothing else."""
    limits = httpx.Limits(max_connections=None)

    async def one(client: httpx.AsyncClient) -> int:
        size, rest = 0, b""
        body = {"model": "m", "messages": MESSAGES, "stream": True}
        async with client.stream("POST", url + "/chat/completions", json=body) as response:
            async for chunk in response.aiter_bytes():
                *events, rest = (rest + chunk).split(b"\n\n")
                for item in events:
                    if item != b"data: [DONE]":
                        delta = json.loads(item[6:])["choices"][0]["delta"]
                        size += len(delta.get("content") or "")
        return size

    async with httpx.AsyncClient(limits=limits, timeout=60) as client:
        return sum(await asyncio.gather(*(one(client) for _ in range(streams))))


async def raw_aiohttp(url: str, streams: int) -> int:
    """The same on aiohttp."""

    async def one(session: aiohttp.ClientSession) -> int:
        size, rest = 0, b""
        body = {"model": "m", "messages": MESSAGES, "stream": True}
        async with session.post(url + "/chat/completions", json=body) as response:
            async for chunk in response.content.iter_any():
                *events, rest = (rest + chunk).split(b"\n\n")
                for item in events:
                    if item != b"data: [DONE]":
                        delta = json.loads(item[6:])["choices"][0]["delta"]
                        size += len(delta.get("content") or "")
        return size

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return sum(await asyncio.gather(*(one(session) for _ in range(streams))))


async def openai_sdk(url: str, streams: int) -> int:
    """The official client, its pool made large enough."""
    http = openai.DefaultAsyncHttpxClient(limits=httpx.Limits(max_connections=None))

    async def one(client: openai.AsyncOpenAI) -> int:
        size = 0
        stream = await client.chat.completions.create(
            model="m",
            messages=MESSAGES,  # type: ignore[arg-type]  # plain dicts are what people pass
            stream=True,
        )
        async for chunk in stream:
            size += len(chunk.choices[0].delta.content or "")
        return size

    async with openai.AsyncOpenAI(base_url=url, api_key="none", http_client=http) as client:
        return sum(await asyncio.gather(*(one(client) for _ in range(streams))))


async def ours(url: str, streams: int) -> int:
    """VLLMModel.stream with every bound, check and error path of normal use."""

    async def one(model: VLLMModel) -> int:
        size = 0
        async for item in model.stream(MESSAGES):
            if type(item) is TextDelta:
                size += len(item.text)
        return size

    transport = TransportOptions(max_connections=streams)
    async with VLLMModel("m", url, transport=transport) as model:
        return sum(await asyncio.gather(*(one(model) for _ in range(streams))))


CLIENTS: dict[str, Callable[[str, int], Awaitable[int]]] = {
    "raw httpx": raw_httpx,
    "aiohttp": raw_aiohttp,
    "openai SDK": openai_sdk,
    "tframex-nb": ours,
}


def measure(client: Callable[[str, int], Awaitable[int]], url: str, args: argparse.Namespace):
    """Return microseconds of CPU per chunk; a lost or doubled character is an error."""

    async def timed() -> float:
        before = time.process_time()
        size = await client(url, args.streams)
        spent = time.process_time() - before
        expected = len(WORD) * args.chunks * args.streams
        if size != expected:
            raise SystemExit(f"{client.__name__} read {size} characters, not {expected}")
        return spent

    return asyncio.run(timed()) / (args.streams * args.chunks) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pace", type=float, default=0.02, help="seconds between two chunks")
    parser.add_argument("--only", help="names of clients, with commas")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve(args.chunks, args.pace))
        return
    names = args.only.split(",") if args.only else list(CLIENTS)
    command = [sys.executable, __file__, "--serve", "--chunks", str(args.chunks)]
    command += ["--pace", str(args.pace)]
    figures: dict[str, list[float]] = {name: [] for name in names}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        for _ in range(args.rounds):
            for name in names:
                figures[name].append(measure(CLIENTS[name], url, args))
    report(figures, args)


def report(figures: dict[str, list[float]], args: argparse.Namespace) -> None:
    medians = {name: statistics.median(values) for name, values in figures.items()}
    base = medians.get("raw httpx")
    print(f"{args.streams} streams x {args.chunks} chunks, one each {args.pace:g} s,", end=" ")
    print(f"median of {args.rounds} rounds\n")
    print("| client | CPU per chunk, µs | against raw httpx |\n|---|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {value:.1f} | {f'{value / base:.2f}x' if base else '-'} |")
    result = {"streams": args.streams, "chunks": args.chunks, "microseconds": figures}
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main()
