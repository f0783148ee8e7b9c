"""An OpenAI-compatible streaming server whose clock tests and benchmarks can read.

It runs as a process of its own on loopback and is steered by the model's name:

    text-BYTES[-rRATE][-cCHUNK]   BYTES of words, RATE chunks/s (0: no pacing), CHUNK bytes each
    hang                          takes the request and never answers
    tool-NAME-JSON                calls NAME with JSON, then answers "done" to its result
    err-STATUS                    an error

``GET /stats`` gives each request's ``time.monotonic()`` stamps, comparable between the
processes of one host: received, first, last, closed (the client went away).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
import urllib.request

MARK = "ZQ0 "


class Clock:
    """The server's process; ``url`` is its OpenAI-compatible base."""

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def runs(self) -> list[dict]:
        return self._get("stats")

    def reset(self) -> None:
        self._get("reset")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()

    def _get(self, path: str):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as reply:
            return json.load(reply)


class Server:
    def __init__(self) -> None:
        self.runs: list[dict] = []

    async def serve(self, port: int) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", port)
        print(server.sockets[0].getsockname()[1], flush=True)
        async with server:
            await server.serve_forever()

    async def _connection(self, reader, writer) -> None:
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _request(self, reader, writer) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if method == "GET":
            if path == "/reset":
                self.runs.clear()
            data = {"data": [{"id": "text-1000"}]} if path.endswith("models") else self.runs
            await self._json(writer, 200, data)
            return True
        return await self._chat(reader, writer, json.loads(body))

    async def _json(self, writer, status: int, data) -> None:
        payload = json.dumps(data).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(payload)}\r\n\r\n".encode() + payload)
        await writer.drain()

    async def _chat(self, reader, writer, request: dict) -> bool:
        run = {"model": request["model"], "received": time.monotonic(), "first": None}
        run |= {"last": None, "closed": None, "chunks": 0, "messages": request["messages"]}
        run["params"] = {k: v for k, v in request.items() if k not in ("model", "messages")}
        self.runs.append(run)
        kind, _, rest = request["model"].partition("-")
        if kind == "err":
            await self._json(writer, int(rest), {"error": {"message": "on purpose"}})
            return True
        answer = asyncio.ensure_future(self._answer(writer, request, run, kind, rest))
        gone = asyncio.ensure_future(reader.read(1))
        await asyncio.wait([answer, gone], return_when=asyncio.FIRST_COMPLETED)
        if not answer.done() or answer.exception():
            run["closed"] = time.monotonic()
        answer.cancel()
        gone.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)
        return False

    async def _answer(self, writer, request, run, kind, rest) -> None:
        if kind == "hang":
            await asyncio.sleep(3600)
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        )
        if kind == "tool" and request["messages"][-1]["role"] != "tool":
            name, _, arguments = rest.partition("-")
            await self._tool_call(writer, name, arguments or "{}")
        elif kind == "tool":
            await self._text(writer, run, size=5, rate=0, chunk=5, mark="done ")
        else:
            size, rate, chunk = _spec(rest)
            await self._text(writer, run, size=size, rate=rate, chunk=chunk, mark=MARK)
        writer.write(b"data: [DONE]\n\n")
        await writer.drain()
        run["last"] = time.monotonic()
        writer.close()

    async def _tool_call(self, writer, name: str, arguments: str) -> None:
        call = {"index": 0, "id": "call_1", "type": "function"}
        call["function"] = {"name": name, "arguments": arguments}
        writer.write(_event({"role": "assistant", "tool_calls": [call]}))
        writer.write(_event({}, "tool_calls"))
        await writer.drain()

    async def _text(self, writer, run, *, size, rate, chunk, mark) -> None:
        began = time.monotonic()
        sent = index = 0
        while sent < size:
            if rate:
                await asyncio.sleep(max(0.0, began + index / rate - time.monotonic()))
            piece = (mark if index == 0 else _word(index, chunk))[: size - sent]
            writer.write(_event({"content": piece}))
            sent += len(piece)
            index += 1
            run["chunks"] = index
            if index == 1:
                run["first"] = time.monotonic()
            if rate or index % 16 == 0:
                await writer.drain()
        usage = {"prompt_tokens": 1, "completion_tokens": index, "total_tokens": index + 1}
        writer.write(_event({}, "stop"))
        writer.write(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")


def _word(index: int, chunk: int) -> str:
    end = "\n" if index % 20 == 0 else " "
    return (f"{index % 1000:03d}" * (chunk // 3 + 1))[: chunk - 1] + end


def _spec(rest: str) -> tuple[int, float, int]:
    size, rate, chunk = 1000, 0.0, 4
    for part in rest.split("-"):
        if part.startswith("r"):
            rate = float(part[1:])
        elif part.startswith("c"):
            chunk = int(part[1:])
        elif part:
            size = int(part)
    return size, rate, chunk


def _event(delta: dict, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = {"id": "c", "object": "chat.completion.chunk", "model": "clock", "choices": [choice]}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(Server().serve(parser.parse_args().port))
