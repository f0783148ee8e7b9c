"""One run's access to its model: a URL, a token, and what happened there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from tframex_nb.messages import MessageFinished, ReasoningDelta, Retrying, Usage
from tframex_nb.models._room import RoomAwaited
from tframex_nb.models.gateway.upstream import ask

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from tframex_nb.messages import Event
    from tframex_nb.models.base import ChatModel
    from tframex_nb.models.gateway.markers import Markers
    from tframex_nb.models.gateway.question import Question

__all__ = ["Exchange", "GatewayRun"]

_TOLD = frozenset({ReasoningDelta, Usage, Retrying, RoomAwaited, MessageFinished})
_FAULTS = 100  # refused requests that a run remembers


class Exchange(Protocol):
    """An answer that is under way, as a run sees it."""

    def cut(self) -> None:
        """End it now; called on the server's loop."""


class GatewayRun:
    """The access of one run; it dies with the run.

    ``fault`` is the last error of the model as it was raised, and None again after an answer;
    ``requests`` counts the model calls that were made.
    """

    def __init__(
        self,
        model: ChatModel,
        *,
        base_url: str,
        token: str,
        params: Mapping[str, Any],  # sampling parameters
        listen: Callable[[Event], None],
        loop: asyncio.AbstractEventLoop,
        call: Callable[[Callable[[], object]], None],
        forget: Callable[[str, object], object],
        markers: Markers | None = None,
    ) -> None:
        self.base_url = base_url
        self.token = token
        self.params = params
        self.fault: Exception | None = None
        self.requests = 0
        self.closed = False
        self._model = model
        self._listen = listen
        self._markers = markers
        self._loop = loop
        self._call = call
        self._forget = forget
        self._exchanges: set[Exchange] = set()
        self._streams: set[asyncio.Task[None]] = set()  # on the loop that opened the run
        self._deaf = False
        self._faults: dict[str, Exception] = {}

    @property
    def model_name(self) -> str:
        """The model's name on this wire; never empty, since clients refuse that."""
        return self._model.model_name or self._model.label or "model"

    @property
    def active(self) -> int:
        """How many answers are under way now."""
        return len(self._exchanges)

    def close(self) -> None:
        """End the access, from any thread: the token dies, and what is under way is cut now."""
        self.closed = True
        self._forget(self.token, None)
        self._call(self._cut)

    async def aclose(self) -> None:
        """Close, on the loop that opened the run, and let what was streamed there end."""
        self.close()
        self._deaf = True
        for task in self._streams:
            task.cancel()
        if self._streams:
            await asyncio.wait(self._streams, timeout=1)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.active} under way"
        return f"<GatewayRun of {self.model_name}: {state}, {self.requests} requests>"

    # What follows is called on the server's loop.

    def begin(self, exchange: Exchange) -> bool:
        """Note an answer that begins; False where the run has ended."""
        self._exchanges.add(exchange)
        return not self.closed

    def end(self, exchange: Exchange) -> None:
        """Note that an answer is over."""
        self._exchanges.discard(exchange)

    def known_fault(self, question: Question) -> Exception | None:
        """Return the error that this very question met before, and make it the run's again."""
        fault = self._faults.get(question.key) if self._faults else None
        self.fault = fault or self.fault
        return fault

    def failed(self, question: Question, fault: Exception) -> None:
        """Keep a fault: a framework that asks the same again gets it again."""
        self.fault = fault
        if len(self._faults) < _FAULTS:
            self._faults[question.key] = fault

    def tell(self, events: list[Event]) -> None:
        """Pass on what is told of a run, before the framework can see what comes after."""
        told = [event for event in events if type(event) in _TOLD]
        if told:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the run with it
                self._loop.call_soon_threadsafe(self._hear, told)

    def ask(self, question: Question) -> AsyncGenerator[list[Event], None]:
        """Ask the model; yield its events, those that are ready together in one list."""
        self.requests += 1
        params = {**question.params, **self.params}
        messages = question.messages
        if self._markers is not None:
            messages = self._markers.restore(messages)
        return ask(self._model, messages, params, home=self._loop, tasks=self._streams)

    def _hear(self, events: list[Event]) -> None:
        for event in events:
            if not self._deaf:
                self._listen(event)

    def _cut(self) -> None:
        for exchange in tuple(self._exchanges):
            exchange.cut()
