"""A small real OpenAI-compatible streaming server on loopback, scripted turn by turn.

A test says what the server answers; the server records what it was asked. It lives on a thread
with a loop of its own, so synchronous tests and blocked loops can talk to it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tframex_nb.models import VLLMModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

__all__ = ["Request", "Say", "ScriptedServer", "play", "scripted_server", "server", "until"]

PATIENCE = 10  # seconds that a test waits for the server to see something


@dataclass
class Say:
    """One reply: text in pieces, reasoning, tool calls as (name, arguments), or an error.

    ``hold`` keeps the stream open after the pieces, for ever: the client must close it.
    ``usage`` is (prompt, completion), or as it is sent, or never told.
    ``gate`` waits for an event before the first byte. ``cut`` closes in mid-stream.
    """

    pieces: str | Iterable[str] = ()
    calls: Iterable[tuple[str, Any]] = ()
    reasoning: str = ""
    finish: str = ""
    usage: tuple[int, int] | dict[str, Any] | None = (3, 2)
    status: int = 200
    error: str = ""
    hold: bool = False
    cut: bool = False
    gate: threading.Event | None = None

    def chunks(self, number: int) -> Iterator[dict[str, Any]]:
        """Yield the chunks of the stream in OpenAI's shape."""
        yield _delta({"role": "assistant", "content": ""})
        if self.reasoning:
            yield _delta({"reasoning_content": self.reasoning})
        pieces = [self.pieces] if isinstance(self.pieces, str) else self.pieces
        for piece in pieces:
            yield _delta({"content": piece})
        for index, (name, arguments) in enumerate(self.calls):
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            function = {"name": name, "arguments": text}
            call = {"index": index, "id": f"call_{number}_{index}", "type": "function"}
            yield _delta({"tool_calls": [{**call, "function": function}]})

    def ending(self) -> Iterator[dict[str, Any]]:
        """Yield the finish reason and the usage."""
        yield _delta({}, finish=self.finish or ("tool_calls" if self.calls else "stop"))
        if self.usage is None:  # many servers tell nothing
            return
        usage = self.usage
        if isinstance(usage, tuple):
            usage = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
        yield {**_delta({}), "choices": [], "usage": usage}


@dataclass
class Request:
    """One request as it came in; ``closed`` is set when the client went away before the end."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    closed: threading.Event = field(default_factory=threading.Event)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.body["messages"]

    @property
    def roles(self) -> list[str]:
        return [m["role"] for m in self.messages]

    @property
    def texts(self) -> list[str]:
        return [m["content"] for m in self.messages]

    @property
    def tool_names(self) -> list[str]:
        return [t["function"]["name"] for t in self.body.get("tools", ())]


class ScriptedServer:
    """Answers from a script: a list used up reply by reply, or a function of the request."""

    def __init__(self) -> None:
        self.script: list[Say] = []
        self.answer: Callable[[Request], Say] | None = None
        self.requests: list[Request] = []
        self.busy = 0
        self.busiest = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._port = 0
        self._thread = threading.Thread(target=self._serve, name="scripted-server", daemon=True)

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def say(self, *replies: Say | str) -> ScriptedServer:
        """Add replies to the script."""
        self.script += [Say(r) if isinstance(r, str) else r for r in replies]
        return self

    def wait_closed(self, index: int = -1) -> bool:
        """Wait until the client has gone away from a request."""
        return self.requests[index].closed.wait(PATIENCE)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                self.busy += 1
                self.busiest = max(self.busy, self.busiest)
                try:
                    await self._reply(request, reader, writer)
                except (ConnectionResetError, BrokenPipeError):
                    request.closed.set()
                    raise
                finally:
                    self.busy -= 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went, in the middle of its question perhaps
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _reply(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        say = self._next(request)
        if say.gate is not None:
            await asyncio.to_thread(say.gate.wait, PATIENCE)
        if say.status != 200:
            body = json.dumps({"error": {"message": say.error, "type": "scripted"}}).encode()
            head = f"HTTP/1.1 {say.status} Scripted\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            return await writer.drain()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for chunk in say.chunks(len(self.requests)):
            await _send(writer, f"data: {json.dumps(chunk)}\n\n")
        if say.cut:
            raise ConnectionAbortedError
        if say.hold:
            await reader.read()  # the client says nothing more: this ends when it goes away
            raise ConnectionResetError
        for chunk in say.ending():
            await _send(writer, f"data: {json.dumps(chunk)}\n\n")
        await _send(writer, "data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        return await writer.drain()

    def _next(self, request: Request) -> Say:
        if self.answer is not None:
            return self.answer(request)
        if not self.script:
            return Say(status=400, error="the script has no more replies")
        return self.script.pop(0)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what nothing announces, such as text that has reached a nested run."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


@contextlib.contextmanager
def scripted_server(*replies: Say | str) -> Iterator[ScriptedServer]:
    """Run a server while the block lasts."""
    server = ScriptedServer().say(*replies)
    server.start()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server with an empty script."""
    with scripted_server() as running:
        yield running


@pytest.fixture
def play(server: ScriptedServer) -> Callable[[Callable[[VLLMModel], Awaitable[Any]]], Any]:
    """Run a coroutine function with a model on the server, on a loop of its own."""

    async def stage(scene: Callable[[VLLMModel], Awaitable[Any]]) -> Any:
        async with VLLMModel("scripted", server.url) as model:
            return await scene(model)

    return lambda scene: asyncio.run(stage(scene))


def _delta(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "model": "scripted", "choices": [choice]}


async def _send(writer: asyncio.StreamWriter, text: str) -> None:
    data = text.encode()
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(first.split()[1], headers, json.loads(raw or b"{}"))
