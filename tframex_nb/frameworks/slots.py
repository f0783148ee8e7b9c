"""Slots: how many runs of a framework may go on at once; the others queue, first come first."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

__all__ = ["Slots"]

# Per task by nature: a tool's task knows the slots of the runs that wait for the tool.
_lent: contextvars.ContextVar[tuple[Slots, ...]] = contextvars.ContextVar(
    "tframex_lent", default=()
)


class Slots:
    """The slots of one framework, on one event loop; ``limit`` may change at any time."""

    def __init__(self, limit: int | None = None) -> None:
        self.running = 0
        self._limit = limit
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many runs wait for a slot."""
        return len(self._queue)

    @property
    def limit(self) -> int | None:
        """How many runs may go on at once; None for no bound."""
        return self._limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._limit = limit
        self._admit()

    @property
    def lent(self) -> bool:
        """Whether a run that holds a slot here waits for what runs now."""
        return self in _lent.get()

    @contextlib.contextmanager
    def lend(self) -> Iterator[None]:
        """Let the runs that begin inside the block, such as a tool's, share the slot held here."""
        token = _lent.set((*_lent.get(), self))
        try:
            yield
        finally:
            _lent.reset(token)

    @contextlib.asynccontextmanager
    async def take(self, tell: Callable[[int], None]) -> AsyncIterator[None]:
        """Hold a slot in the block; ``tell`` is given how many are ahead, and -1 at the end.

        ``tell`` is called only where there is a wait. A run inside another one shares its slot:
        it would wait for itself.
        """
        if self.lent:
            yield
            return
        if self._free and not self._queue:
            self.running += 1
        else:
            await self._wait(tell)
        try:
            yield
        finally:
            self.running -= 1
            self._admit()

    @property
    def _free(self) -> bool:
        return self._limit is None or self.running < self._limit

    async def _wait(self, tell: Callable[[int], None]) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tell(len(self._queue))
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # admitted in the same moment
                self.running -= 1
            elif turn in self._queue:  # whoever left in this moment has passed it by
                self._queue.remove(turn)
            self._admit()
            raise
        tell(-1)

    def _admit(self) -> None:
        while self._queue and self._free:
            turn = self._queue.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)
