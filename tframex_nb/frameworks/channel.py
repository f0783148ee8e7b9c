"""A channel of events with many writers and one reader."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tframex_nb.messages import Event

__all__ = ["Channel", "leave"]

HIGH_WATER = 256  # events that may wait for the reader before the framework has to
LEAVE = 0.05  # seconds that a stopped run waits for its framework; the rest goes on behind


class Channel:
    """Events on their way from tasks and callbacks to the one reader."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._ready = asyncio.Event()
        self._drained = asyncio.Event()
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether the framework should wait for the reader."""
        return len(self._events) > HIGH_WATER

    def put(self, event: Event) -> None:
        """Add an event."""
        self._events.append(event)
        self._ready.set()

    def close(self) -> None:
        """End the stream behind what was put."""
        self._closed = True
        self._ready.set()

    async def room(self) -> None:
        """Wait until the reader has taken what there is."""
        self._drained.clear()
        await self._drained.wait()

    async def filled_by(self, work: Callable[[], Awaitable[None]]) -> AsyncIterator[Event]:
        """Yield what ``work`` puts in, in a task of its own; raises what it raises.

        Closing the generator cancels the work, and waits a moment for it.
        """
        task = asyncio.create_task(self._produce(work))
        try:
            async for event in self:
                yield event
            await task
        finally:
            await leave(task)

    async def _produce(self, work: Callable[[], Awaitable[None]]) -> None:
        """Fill the channel, and close it whichever way the work ends."""
        try:
            await work()
        finally:
            self.close()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            await self._ready.wait()
            self._ready.clear()
            events, self._events = self._events, []
            self._drained.set()
            for event in events:
                yield event
            if self._closed and not self._events:
                return


async def leave(task: asyncio.Task[Any]) -> None:  # whatever it returns
    """End a task: cancel it and wait a moment; what is slow to end goes on behind."""
    task.add_done_callback(_heard)
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=LEAVE)


def _heard(task: asyncio.Task[Any]) -> None:  # whatever it returns
    """Take note of an error that nobody awaits any more."""
    if not task.cancelled():
        task.exception()
