"""Bounds on the waits of one model call: first byte, between chunks, whole run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from tframex_nb.http import Timeouts

__all__ = ["WaitExpired", "Waits"]

_FOREVER = float("inf")


class WaitExpired(Exception):
    """A wait reached its bound; ``phase`` names the wait, ``seconds`` the bound."""

    def __init__(self, phase: str, seconds: float) -> None:
        super().__init__(f"{phase}: {seconds:g} s")
        self.phase = phase
        self.seconds = seconds


class Waits:
    """Bound every wait of one model call; one lazily moved timer serves them all.

    Used as ``with waits: await …`` around each wait, and never around a ``yield``: a consumer
    that takes its time is not a stalled server. Raises ``WaitExpired``.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._ends = _after(self._loop.time(), timeouts.run)
        self._fixed = _FOREVER  # when the phase ends, where it spans several waits
        self._each = _FOREVER  # seconds for one wait
        self._phase = ""
        self._due = _FOREVER
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._expired = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _FOREVER

    @property
    def left(self) -> float:
        """Seconds until the whole run must be over."""
        return self._ends - self._loop.time()

    def expect_first_byte(self) -> None:
        """Start the phase that ends with the first event of the answer."""
        self._phase = "first byte"
        self._fixed = _after(self._loop.time(), self._timeouts.first_byte)
        self._each = _FOREVER

    def expect_chunks(self, at_most: float = _FOREVER) -> None:
        """Start the phase in which each read has its own bound, at most ``at_most`` seconds."""
        bound = self._timeouts.between_chunks
        self._phase = "between chunks"
        self._fixed = _FOREVER
        self._each = min(_FOREVER if bound is None else bound, at_most)

    def close(self) -> None:
        """Take the timer back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> None:
        due = self._due = min(self._loop.time() + self._each, self._fixed, self._ends)
        task = self._task = asyncio.current_task()
        assert task is not None
        self._cancelling = task.cancelling()
        if due < self._timer_at:
            self._arm(due)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if not self._expired:
            return
        self._expired = False
        assert task is not None
        ours = task.uncancel() <= self._cancelling
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise self._expiry() from None

    def _arm(self, due: float) -> None:
        self.close()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._fire)

    def _fire(self) -> None:
        self._timer, self._timer_at = None, _FOREVER
        if self._task is None:
            return  # the next wait arms the timer again
        if self._loop.time() < self._due:
            self._arm(self._due)
            return
        self._expired = True
        self._task.cancel()

    def _expiry(self) -> WaitExpired:
        if self._due >= self._ends:
            return WaitExpired("whole run", self._timeouts.run or 0.0)
        if self._phase == "first byte":
            return WaitExpired(self._phase, self._timeouts.first_byte or 0.0)
        return WaitExpired(self._phase, self._each)


def _after(now: float, seconds: float | None) -> float:
    return _FOREVER if seconds is None else now + seconds
