"""One run in a worker, as the kernel sees it: its events, its tool calls, its prints."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from typing import TYPE_CHECKING

from tframex_nb.errors import FrameworkFailed
from tframex_nb.frameworks.worker.protocol import (
    MAX_LINE,
    WINDOW,
    Credit,
    ProtocolError,
    Result,
    encode,
)
from tframex_nb.messages import event_from_dict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tframex_nb.frameworks.base import ToolHandle
    from tframex_nb.frameworks.worker.protocol import Call, Events
    from tframex_nb.messages import Event

__all__ = ["Link"]

HELD = 2 * MAX_LINE  # bytes that wait to be read: a worker that keeps to WINDOW stays below
CALLS = 1000  # tool calls of a run at once


class Link:
    """Iterates over the events of a run, as many at a time as are there; raises its error.

    ``send`` takes lines to the worker. Tools are called in the context in which the link was
    made.
    """

    def __init__(
        self,
        run: str,
        *,
        tools: Mapping[str, ToolHandle],
        log: Callable[[str], None],
        send: Callable[[bytes], None],
    ) -> None:
        self.run = run
        self.log = log
        self.ended = False
        self._tools = tools
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._batches: deque[tuple[Events, int]] = deque()
        self._held = 0
        self._owed = 0
        self._error: Exception | None = None
        self._wake: asyncio.Future[None] | None = None
        self._calls: dict[int, asyncio.Task[None]] = {}

    def feed(self, batch: Events, size: int) -> None:
        """Take events that have come in ``size`` bytes.

        Raises ProtocolError for a worker that does not wait until they are read.
        """
        self._held += size
        if self._held > HELD:
            raise ProtocolError(f"over {HELD:,} bytes of events that nobody has read yet")
        self._batches.append((batch, size))
        self._notify()

    def end(self, error: Exception | None = None) -> None:
        """End the run behind the events that have come."""
        self.ended = True
        self._error = error
        self.drop_calls()
        self._notify()

    def drop_calls(self) -> None:
        """Cancel the tools that still work for the run, and let who waits for them know."""
        for number, task in self._calls.items():
            task.cancel()
            self._send(encode(Result(number, "", "the run has ended")))
        self._calls.clear()

    def call(self, message: Call) -> None:
        """Call a tool of the notebook, and send what it says."""
        if message.call in self._calls or len(self._calls) >= CALLS:
            late = f"call {message.call} is under way already, or {CALLS} others are"
            self._send(encode(Result(message.call, "", late)))
            return
        task = self._loop.create_task(self._answer(message), context=self._context)
        self._calls[message.call] = task
        task.add_done_callback(lambda _: self._calls.pop(message.call, None))

    def __aiter__(self) -> Link:
        return self

    async def __anext__(self) -> list[Event]:
        self._pay()
        while not self._batches:
            if self._error is not None:
                raise self._error
            if self.ended:
                raise StopAsyncIteration
            self._wake = self._loop.create_future()
            await self._wake
        batch, size = self._batches.popleft()
        self._held -= size
        self._owed += batch.weight
        try:
            return list(map(event_from_dict, batch.events))
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise FrameworkFailed(f"the adapter sent an event that nobody knows: {exc}") from exc

    def _pay(self) -> None:
        """Credit what was read, in sums that are worth a message."""
        if self._owed >= WINDOW // 4 and not self.ended:
            self._send(encode(Credit(self.run, self._owed)))
            self._owed = 0

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _answer(self, message: Call) -> None:
        tool = self._tools.get(message.name)
        if tool is None:
            self._send(encode(Result(message.call, "", f"no tool is named {message.name!r}")))
            return
        try:
            line = encode(Result(message.call, str(await tool(message.arguments))))
        except ProtocolError as exc:
            line = encode(Result(message.call, "", f"the tool returned {exc}"))
        except Exception as exc:  # noqa: BLE001 - the framework decides what a failed tool means
            line = encode(Result(message.call, "", f"{type(exc).__name__}: {exc}"))
        self._send(line)
