"""How the gateway's loop reads a model: with connections of its own, or over from another loop."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from typing import TYPE_CHECKING, Any, TypeGuard

from tframex_nb.errors import ConnectionFailed
from tframex_nb.models.base import PooledModel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from tframex_nb.messages import Event
    from tframex_nb.models.base import ChatModel

__all__ = ["ask", "is_pooled"]

_AHEAD = 256  # events that a model on another loop may be ahead of the framework


def is_pooled(model: ChatModel) -> TypeGuard[PooledModel]:
    """Whether the model can be read on any loop, in batches.

    A subclass that writes a ``stream`` of its own means that one, on the loop that it knows.
    """
    return isinstance(model, PooledModel) and type(model).stream is PooledModel.stream


def ask(
    model: ChatModel,
    messages: Sequence[Mapping[str, Any]],
    params: Mapping[str, Any],  # sampling parameters
    *,
    home: asyncio.AbstractEventLoop,
    tasks: set[asyncio.Task[None]],
) -> AsyncGenerator[list[Event], None]:
    """Yield the events of one model call; ``home`` is the loop of a model that is not pooled.

    What runs there is in ``tasks`` while it does.
    """
    if is_pooled(model):
        return model.batches(messages, params, pieces=True)
    return _Bridge(model, messages, params, home, tasks).batches()


class _Bridge:
    """A model's stream on one loop, read on another.

    Events cross in a deque, with a wake-up each; a model that is far ahead waits.
    """

    def __init__(
        self,
        model: ChatModel,
        messages: Sequence[Mapping[str, Any]],
        params: Mapping[str, Any],
        home: asyncio.AbstractEventLoop,
        tasks: set[asyncio.Task[None]],
    ) -> None:
        self._model = model
        self._messages = messages
        self._params = params
        self._home = home
        self._tasks = tasks
        self._here = asyncio.get_running_loop()
        self._events: collections.deque[Event] = collections.deque()
        self._arrived = asyncio.Event()  # set on this loop
        self._room = asyncio.Event()  # set on the model's
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._over = False
        self._fault: BaseException | None = None

    async def batches(self) -> AsyncGenerator[list[Event], None]:
        """Yield what has arrived since the last time."""
        self._at_home(self._start)
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                over = self._over  # read first: what came before the end is in the deque
                if events := self._taken():
                    yield events
                if over:
                    break
        finally:
            self._stopped = True
            with contextlib.suppress(ConnectionFailed):  # nothing is left to be stopped
                self._at_home(self._stop)
        if self._fault is not None:
            raise self._fault

    def _taken(self) -> list[Event]:
        events = [self._events.popleft() for _ in range(len(self._events))]
        if len(events) >= _AHEAD:
            self._at_home(self._room.set)
        return events

    def _at_home(self, function: Any) -> None:  # a callable without arguments
        try:
            self._home.call_soon_threadsafe(function)
        except RuntimeError:
            raise ConnectionFailed(
                f"{self._model.label} cannot be asked: the event loop it belongs to has ended",
                hint="run the cell again",
            ) from None

    # What follows runs on the model's loop.

    def _start(self) -> None:
        if self._stopped:
            return
        self._task = self._home.create_task(self._pump(), name="a model for a framework")
        self._tasks.add(self._task)
        self._task.add_done_callback(self._tasks.discard)
        self._task.add_done_callback(self._end)

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _pump(self) -> None:
        events = self._model.stream(self._messages, **self._params)
        try:
            async for event in events:
                self._events.append(event)
                self._wake()
                while len(self._events) >= _AHEAD:
                    self._room.clear()
                    await self._room.wait()
        finally:
            aclose = getattr(events, "aclose", None)
            if aclose is not None:
                await aclose()

    def _end(self, task: asyncio.Task[None]) -> None:
        """Take how the stream ended; it is this wall that hands the error on."""
        if task.cancelled():
            self._fault = ConnectionFailed(
                f"{self._model.label} was cut: its event loop cancelled the call",
                hint="run the cell again",
            )
        else:
            self._fault = task.exception()
        self._over = True
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the gateway has ended
            self._here.call_soon_threadsafe(self._arrived.set)
