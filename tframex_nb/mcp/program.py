"""A server's program behind three pipes, as streams of messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from tframex_nb.mcp.faults import McpStartFailed
from tframex_nb.mcp.offered import mended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from tframex_nb.mcp.definition import Definition
    from tframex_nb.mcp.tail import Tail

__all__ = ["ENDED", "MAX_MESSAGE", "program_streams"]

MAX_MESSAGE = 32 * 2**20  # bytes of one message: more is a fault, and not kept
CHUNK = 2**16
ENDED = "ended"  # why no more messages come, where the program just did
CLOSING = 4.0  # seconds that the guard has to end the server: more than its own bounds
POLL = 0.005


@asynccontextmanager
async def program_streams(
    definition: Definition, *, tail: Tail, ended: Callable[[str], None]
) -> AsyncIterator[tuple[Any, Any]]:  # the package's own streams
    """Start a server's program and yield its streams; the program ends with the context.

    ``ended`` is told why no more messages come. Raises McpStartFailed where nothing starts.
    """
    program = _Program(definition, tail)
    incoming, reading = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    writing, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(program.read, incoming, ended)
            group.start_soon(program.write, outgoing)
            group.start_soon(program.listen)
            try:
                yield reading, writing
            finally:
                with anyio.CancelScope(shield=True):
                    reading.close()
                    writing.close()
                    outgoing.close()
                    await program.close()
                group.cancel_scope.cancel()
    finally:
        program.forget()


class _Program:
    """The guard's process, which has started the server's."""

    def __init__(self, definition: Definition, tail: Tail) -> None:
        self._name = definition.name
        self._tail = tail
        self._popen = _spawn(definition)
        pipes = (self._popen.stdin, self._popen.stdout, self._popen.stderr)
        self._stdin, self._stdout, self._stderr = map(_descriptor, pipes)
        self._writing = anyio.CancelScope()

    async def read(
        self,
        incoming: MemoryObjectSendStream[SessionMessage | Exception],
        ended: Callable[[str], None],
    ) -> None:
        """Send on the messages of stdout until its end; what is no message counts as stderr."""
        held: list[bytes] = []
        size = 0
        async with incoming:
            while chunk := await _receive(self._stdout):
                first, *more = chunk.split(b"\n")
                held.append(first)
                size += len(first)
                if size > MAX_MESSAGE:
                    ended(f"sent a message of more than {MAX_MESSAGE >> 20} MiB")
                    break
                for piece in more:
                    await self._deliver(b"".join(held), incoming)
                    held, size = [piece], len(piece)
            else:
                ended(ENDED)
        while await _receive(self._stdout):  # one that cannot write could not end, either
            pass

    async def _deliver(
        self, line: bytes, incoming: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        if not line.strip():
            return
        message = _message(line)
        if message is None:  # a program that prints; no reason to give up
            self._tail.note(line)
            return
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await incoming.send(SessionMessage(message))

    async def write(self, outgoing: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Write what is to be sent; the end of the program is told by its output's."""
        with self._writing:
            async for each in outgoing:
                line = each.message.model_dump_json(by_alias=True, exclude_unset=True) + "\n"
                try:
                    await _send(self._stdin, line.encode("utf-8", "replace"))
                except OSError:
                    return

    async def listen(self) -> None:
        """Keep the tail of stderr."""
        while chunk := await _receive(self._stderr):
            self._tail.feed(chunk)

    async def close(self) -> None:
        """Close stdin, on which the guard ends all there is, and wait for the guard."""
        loop = asyncio.get_running_loop()
        self._writing.cancel()
        await asyncio.sleep(0)  # the writer lets go of the descriptor before it is closed
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        # Looked at, not told of: a watcher of children would cost a thread on Python 3.11.
        end = loop.time() + CLOSING
        while self._popen.poll() is None and loop.time() < end:  # noqa: ASYNC110 - see above
            await asyncio.sleep(POLL)
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()

    def forget(self) -> None:
        """Close what is left of the pipes, once nobody reads them."""
        for pipe in (self._popen.stdout, self._popen.stderr):
            assert pipe is not None
            pipe.close()


def _message(line: bytes) -> Any:  # a message of the package's, or None
    """Return what a line means; JavaScript sends halves of surrogate pairs, which are mended."""
    with contextlib.suppress(ValueError):
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    if b"\\ud" not in line.lower():
        return None
    with contextlib.suppress(ValueError, RecursionError):
        return jsonrpc_message_adapter.validate_python(mended(json.loads(line)), by_name=False)
    return None


def _spawn(definition: Definition) -> subprocess.Popen[bytes]:
    if os.name != "posix":
        raise McpStartFailed(
            "MCP servers that are programs need Linux or macOS",
            hint="use one that offers a url",
            server=definition.name,
        )
    guard = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py"))]
    environment = definition.environment()
    try:
        popen = subprocess.Popen(  # noqa: S603 - the user's server, no shell
            [*guard, definition.command, *definition.args],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=definition.cwd or None,
            start_new_session=True,  # a kernel's interrupt goes to its whole process group
        )
    except (OSError, ValueError) as exc:
        raise McpStartFailed(
            f"the MCP server {definition.name!r} cannot be started: {exc}",
            hint=f"mend command, args or cwd of [mcp.{definition.name}]",
            server=definition.name,
        ) from exc
    for pipe in (popen.stdin, popen.stdout, popen.stderr):
        os.set_blocking(_descriptor(pipe), False)
    return popen


def _descriptor(pipe: IO[bytes] | None) -> int:
    assert pipe is not None
    return pipe.fileno()


async def _receive(descriptor: int) -> bytes:
    """Return what comes next, nothing at the end."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(descriptor, CHUNK)
        except BlockingIOError:
            await _until(descriptor, loop.add_reader, loop.remove_reader)


async def _send(descriptor: int, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            await _until(descriptor, loop.add_writer, loop.remove_writer)


async def _until(
    descriptor: int, add: Callable[..., object], remove: Callable[[int], object]
) -> None:
    """Wait until a descriptor can be read or written."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    add(descriptor, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        remove(descriptor)
