"""A recording pass-through in front of a model server, which can also play a script itself.

Standard library only: the drivers use it with the Python of a framework's environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from urllib.parse import urlsplit

__all__ = ["Tap", "call", "delta", "say", "whole"]

PATIENCE = 20  # seconds that anything may take


class Tap:
    """A pass-through in front of the model: counts calls, keeps bodies and texts, notes ends.

    ``script`` are lists of chunks that are served in place of the upstream's, one per request.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._upstream = (parts.hostname, parts.port)
        self._path = parts.path
        self._token = token
        self.reset()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="tap", daemon=True)
        self._thread.start()
        assert ready.wait(PATIENCE)

    def reset(self) -> None:
        self.bodies: list[dict] = []
        self.texts: list[str] = []
        self.script: list[list[dict]] = []
        self.extra: dict = {}  # sampling parameters, which the gateway adds in a real run
        self.gone = threading.Event()  # the client went away in mid-answer
        self.gone_at = 0.0
        self.ended = 0  # answers that were sent to their end

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(PATIENCE)

    def _run(self, ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main(ready))

    async def _main(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopping.wait()
        server.close()

    async def _connection(self, reader, writer) -> None:
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _request(self, reader, writer) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        length = next((int(x.split(":")[1]) for x in lines if x.startswith("content-length:")), 0)
        body = json.loads(await reader.readexactly(length) or b"{}")
        self.bodies.append(body)
        if self.script:
            return await self._scripted(self.script.pop(0), body, writer)
        return await self._passed(body, reader, writer)

    async def _scripted(self, chunks, body, writer) -> bool:
        if not body.get("stream"):
            data = json.dumps(whole(chunks)).encode()
            head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
            writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
            await writer.drain()
            return False
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        )
        for chunk in chunks:
            self._note(chunk)
            writer.write(f"data: {json.dumps(chunk)}\n\n".encode())
            await writer.drain()
            await asyncio.sleep(0.002)
        writer.write(b"data: [DONE]\n\n")
        await writer.drain()
        return False

    async def _passed(self, body, reader, writer) -> bool:
        up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        data = json.dumps(body | self.extra).encode()
        host = f"{self._upstream[0]}:{self._upstream[1]}"
        up_writer.write(
            f"POST {self._path}/chat/completions HTTP/1.1\r\nhost: {host}\r\n"
            f"authorization: Bearer {self._token}\r\ncontent-type: application/json\r\n"
            f"connection: close\r\ncontent-length: {len(data)}\r\n\r\n".encode()
            + data
        )
        watch = asyncio.create_task(self._watch(reader))
        copy = asyncio.create_task(self._copy(up_reader, writer))
        await asyncio.wait({watch, copy}, return_when=asyncio.FIRST_COMPLETED)
        for task in (watch, copy):
            task.cancel()
        up_writer.close()
        return False

    async def _watch(self, reader) -> None:
        if not await reader.read(1):
            self.gone_at = time.perf_counter()
            self.gone.set()

    async def _copy(self, up_reader, writer) -> None:
        buffer = b""
        while data := await up_reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                if line.startswith(b"data: {"):
                    with contextlib.suppress(ValueError):
                        self._note(json.loads(line[6:]))
        self.ended += 1

    def _note(self, chunk: dict) -> None:
        for choice in chunk.get("choices") or ():
            self.texts.append(choice["delta"].get("content") or "")


def delta(finish: str | None = None, **fields) -> dict:
    choice = {"index": 0, "delta": fields, "finish_reason": finish}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "s",
        "choices": [choice],
    }


def say(*pieces: str) -> list[dict]:
    """Return the chunks of an answer."""
    head = delta(role="assistant", content="")
    return [head, *(delta(content=piece) for piece in pieces), delta("stop")]


def call(*calls: tuple[str, str, str], before: str = "") -> list[dict]:
    """Return the chunks of tool calls (id, name, arguments), in pieces, after some text."""
    chunks = [delta(role="assistant", content=before)]
    for index, (call_id, name, arguments) in enumerate(calls):
        head = {"index": index, "id": call_id, "type": "function"}
        first = {**head, "function": {"name": name, "arguments": arguments[:3]}}
        rest = {"index": index, "function": {"arguments": arguments[3:]}}
        chunks += [delta(tool_calls=[first]), delta(tool_calls=[rest])]
    return [*chunks, delta("tool_calls")]


def whole(chunks: list[dict]) -> dict:
    """Return the answer in one piece, for who did not ask for a stream; text only."""
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "created": 0, "model": "s", "choices": [choice]}
