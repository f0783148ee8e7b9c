"""A chat model that keeps what it was asked and what it said, and passes everything on."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tframex_nb.messages import MessageFinished
from tframex_nb.models.base import StreamingModel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from tframex_nb.messages import Event, Message
    from tframex_nb.models.base import ChatModel

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


class Witness(StreamingModel):
    """A model that passes everything on to ``inner``; ``calls`` holds what went through."""

    def __init__(self, inner: ChatModel) -> None:
        self.inner = inner
        self.calls: list[Call] = []

    @property
    def model_name(self) -> str:
        """The inner model's name."""
        return self.inner.model_name or "demo"

    @property
    def label(self) -> str:
        """The inner model's label."""
        return self.inner.label

    @property
    def active(self) -> int:
        """How many calls go on now."""
        return sum(not call.closed_at for call in self.calls)

    async def stream(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncGenerator[Event, None]:
        """Yield what the inner model yields."""
        sent = [dict(m) if isinstance(m, dict) else m.to_dict() for m in messages]  # type: ignore[union-attr]  # a Message
        call = Call(sent, dict(params))
        self.calls.append(call)
        stream: Any = self.inner.stream(messages, **params)  # an async generator
        try:
            async with contextlib.aclosing(stream) as events:
                async for event in events:
                    call.events.append(event)
                    if isinstance(event, MessageFinished):
                        call.answer = event.message
                    yield event
        finally:
            call.closed_at = time.perf_counter()

    async def aclose(self) -> None:
        """Close the inner model."""
        await self.inner.aclose()
