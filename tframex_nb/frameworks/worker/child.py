"""The process of a worker: one framework, the runs that go on in it (stdlib only).

What the framework prints goes to stderr; the protocol has descriptors of its own. The process
ends with the kernel, whatever the framework does.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import importlib
import json
import os
import platform
import sys
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import TFrameXError, innermost
from tframex_nb.frameworks.base import answer_of
from tframex_nb.frameworks.worker.cells import Cells, current_run
from tframex_nb.frameworks.worker.protocol import (
    MAX_LINE,
    PROTOCOL,
    WINDOW,
    Cancel,
    Cell,
    Close,
    Credit,
    Done,
    Failed,
    Hello,
    Ping,
    Pong,
    ProtocolError,
    Ready,
    Start,
)
from tframex_nb.frameworks.worker.travel import unpack_request
from tframex_nb.frameworks.worker.wire import Wire, end_with_the_kernel
from tframex_nb.messages import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from tframex_nb.frameworks.base import FrameworkIntegration
    from tframex_nb.frameworks.worker.protocol import Message

__all__ = ["main"]

TURN = 32  # events after which a framework that never waits lets others have the loop
TAIL = 4000  # characters of a traceback
TEXT = 20_000  # characters of an exception's text


def main(module: str, class_name: str, kernel: str) -> None:
    """Serve the kernel, whose process id is ``kernel``, with the adapter ``module.class_name``."""
    incoming, outgoing = _own_pipes()
    end_with_the_kernel(int(kernel))
    asyncio.run(_serve(module, class_name, incoming, outgoing))


def _own_pipes() -> tuple[int, int]:
    """Take stdin and stdout for the protocol; a print goes to stderr, an input is at its end."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return incoming, outgoing


async def _serve(module: str, class_name: str, incoming: int, outgoing: int) -> None:
    loop = asyncio.get_running_loop()
    child: Child | None = None
    early: list[Message] = []

    def take(message: Message) -> None:
        if child is None:
            early.append(message)
        else:
            child.take(message)

    def deliver(message: Message) -> None:
        loop.call_soon_threadsafe(take, message)

    wire = Wire(incoming, outgoing, deliver)
    wire.open()
    wire.send(Hello(PROTOCOL, platform.python_version(), os.getpid()))
    try:
        integration = getattr(importlib.import_module(module), class_name)()
        await integration.initialize()
        os.environ.pop("PYTHON_DOTENV_DISABLED", None)  # the user's cells may read their .env
    except BaseException as exc:  # noqa: BLE001 - carried to the kernel, whatever it is
        wire.send(_failure("", exc))
        wire.finish()
        os._exit(1)
    child = Child(integration, wire)
    wire.send(Ready(str(integration.version)))
    for message in early:
        child.take(message)
    await child.closed.wait()
    with contextlib.suppress(Exception):  # its last words would reach nobody
        await asyncio.wait_for(integration.aclose(), 0.5)
    os._exit(0)  # no thread of the framework can hold this up


@dataclass(slots=True)
class _Run:
    """A run under way; ``unpaid`` bytes of its events are on the way."""

    id: str
    task: asyncio.Task[None] | None = None
    cancelled: bool = False
    unpaid: int = 0
    room: asyncio.Event = field(default_factory=asyncio.Event)


class Child:
    """The runs of a framework in this process."""

    def __init__(self, integration: FrameworkIntegration, wire: Wire) -> None:
        self.closed = asyncio.Event()
        self._integration = integration
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._runs: dict[str, _Run] = {}
        self._cells = Cells(wire, lambda: list(self._runs))
        self._cells.install()

    def take(self, message: Message) -> None:
        """Do what the kernel asks for."""
        match message:
            case Start():
                run = _Run(message.run)
                self._begin(run, self._answer(run, message))
            case Cell():
                self._begin(_Run(message.run), self._execute(message))
            case Cancel():
                self._cancel(message.run)
            case Credit():
                self._credit(message)
            case Ping():
                self._wire.send(Pong())
            case Close():
                self.closed.set()
            case _:
                raise ProtocolError(f"the kernel sent {message.t!r}")

    def _begin(self, run: _Run, work: Coroutine[Any, Any, None]) -> None:
        self._runs[run.id] = run
        run.task = self._loop.create_task(self._perform(run, work))

    def _cancel(self, run_id: str) -> None:
        run = self._runs.get(run_id)
        if run is not None and run.task is not None:
            run.cancelled = True
            self._loop.call_soon(run.task.cancel)  # not before the task has begun

    def _credit(self, message: Credit) -> None:
        run = self._runs.get(message.run)
        if run is not None:
            run.unpaid -= message.weight
            run.room.set()

    async def _perform(self, run: _Run, work: Awaitable[None]) -> None:
        """Carry a run to its end, and tell how it ended."""
        current_run.set(run.id)
        last: Message = Done(run.id)
        try:
            await work
        except BaseException as exc:  # noqa: BLE001 - carried to the kernel, whatever it is
            if not run.cancelled:
                last = _failure(run.id, exc)
        del self._runs[run.id]
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the framework may have replaced or closed it
                stream.flush()
        self._wire.send(last)

    async def _execute(self, message: Cell) -> None:
        self._cells.offer(message.tools)
        await self._cells.execute(message.source, message.filename)

    async def _answer(self, run: _Run, message: Start) -> None:
        """Stream one answer, as fast as the kernel reads it."""
        self._cells.offer(message.request["tools"])
        call = functools.partial(functools.partial, self._call, run.id)
        request = unpack_request(message.request, call, self._loop)
        if message.subject is not None:
            name, source = message.subject
            subject = await self._cells.resolve(name, source, request)
            request = dataclasses.replace(request, subject=subject)
        stream = answer_of(self._integration, request)
        count = 0
        async with contextlib.aclosing(stream) as events:
            async for event in events:
                self._send(run, event)
                count += 1
                while run.unpaid >= WINDOW:
                    run.room.clear()
                    await run.room.wait()
                if not count % TURN:
                    await asyncio.sleep(0)

    def _send(self, run: _Run, event: Event) -> None:
        if not isinstance(event, Event):
            raise TypeError(
                f"the adapter yielded a {type(event).__name__}; events such as TextDelta are wanted"
            )
        piece = json.dumps(event.to_dict(), separators=(",", ":"))
        if len(piece) > MAX_LINE - 1000:  # the rest of its line
            raise ProtocolError(f"an event of {len(piece):,} bytes; at most {MAX_LINE:,} fit")
        run.unpaid += len(piece)
        self._wire.send_event(run.id, piece)

    async def _call(self, run_id: str, name: str, arguments: dict[str, Any] | str) -> str:
        return await asyncio.wrap_future(self._wire.call(run_id, name, arguments))


def _failure(run_id: str, exc: BaseException) -> Failed:
    """Return what the kernel is told of an exception."""
    whole, exc = exc, innermost(exc)
    ours = isinstance(exc, TFrameXError)
    try:
        text = exc.message if isinstance(exc, TFrameXError) else str(exc)
    except Exception:  # noqa: BLE001 - an exception that cannot say what it is must still end its run
        text = "(its text cannot be had)"
    return Failed(
        run_id,
        error=type(exc).__name__,
        text=(text + _place(exc))[:TEXT],
        hint=exc.hint if isinstance(exc, TFrameXError) else "",
        ours=ours,
        traceback="".join(traceback.format_exception(whole))[-TAIL:],
    )


def _place(exc: BaseException) -> str:
    """Return the line of a cell in which an exception came up, in brackets, or nothing."""
    frames = traceback.extract_tb(exc.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith("<") and frame.line]
    own = [frame for frame in own if not frame.filename.startswith("<frozen")]
    if not own:
        return ""
    last = own[-1]
    return f" ({last.filename.strip('<>')}, line {last.lineno}: {last.line})"
