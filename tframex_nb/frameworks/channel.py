"""A channel of events with many writers and one reader."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tframex_nb.messages import Event

__all__ = ["Channel"]

HIGH_WATER = 256  # events that may wait for the reader before the framework has to


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
