"""A chat model that keeps what it was asked and what it said, and passes everything on."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tframex_nb.messages import Message, MessageFinished
from tframex_nb.models.base import Around, PooledModel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from tframex_nb.messages import Event

__all__ = ["Call", "Witness"]


@dataclass(slots=True)
class Call:
    """One model call: what was asked, what was answered, and when its stream was closed."""

    messages: list[dict[str, Any]]  # OpenAI's shape
    params: dict[str, Any]  # sampling parameters, tools and the like
    answer: Message | None = None
    events: list[Event] = field(default_factory=list)
    closed_at: float = 0.0  # by time.perf_counter

    @property
    def text(self) -> str:
        """The text that the model gave."""
        return self.answer.text if self.answer else ""

    @property
    def roles(self) -> list[str]:
        """The roles of the messages that were sent."""
        return [str(message["role"]) for message in self.messages]


class Witness(Around[PooledModel], PooledModel):
    """A model that passes everything on to ``inner``; ``calls`` holds what went through."""

    def __init__(self, inner: PooledModel, calls: list[Call] | None = None) -> None:
        self.inner = inner
        self.calls: list[Call] = [] if calls is None else calls

    @property
    def active(self) -> int:
        """How many calls go on now."""
        return sum(not call.closed_at for call in self.calls)

    async def batches(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        params: Mapping[str, Any],  # sampling parameters go to the endpoint unchanged
        *,
        pieces: bool = False,
    ) -> AsyncGenerator[list[Event], None]:
        """Yield what the inner model yields."""
        sent = [m.to_dict() if isinstance(m, Message) else dict(m) for m in messages]
        call = Call(sent, dict(params))
        self.calls.append(call)
        stream = self.inner.batches(messages, params, pieces=pieces)
        try:
            async with contextlib.aclosing(stream) as batches:
                async for events in batches:
                    call.events += events
                    for event in events:
                        if isinstance(event, MessageFinished):
                            call.answer = event.message
                    yield events
        finally:
            call.closed_at = time.perf_counter()

    def sibling(self) -> Witness:
        """Return a witness for another event loop, which keeps its calls in the same list."""
        return Witness(self.inner.sibling(), self.calls)
