"""What every model is to the floors above: something that streams run events."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, runtime_checkable

from tframex_nb.messages import TextDelta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    from tframex_nb.messages import Event, Message

__all__ = ["Around", "ChatModel", "PooledModel", "StreamingModel"]


M = TypeVar("M", bound="ChatModel")


@runtime_checkable
class ChatModel(Protocol):
    """A chat model: ``stream`` is the one primitive, all else is made of it.

    The stream of one model call gives, in order: any number of ``Retrying``, then
    ``ReasoningDelta`` / ``TextDelta`` / ``ToolCallStarted`` / ``Usage``, and last exactly one
    ``MessageFinished``. A fault raises a ``ModelError`` that holds ``received``.
    """

    @property
    def model_name(self) -> str:
        """The model's name as the endpoint knows it."""
        ...

    @property
    def label(self) -> str:
        """What people see in a footer, such as ``team:gpt-5`` or ``demo``."""
        ...

    def stream(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncIterator[Event]:
        """Yield the run events of one model call."""
        ...

    async def aclose(self) -> None:
        """Close what this model opened."""
        ...


class StreamingModel(ABC):
    """What every model here makes of its stream: text, a whole answer, a context manager."""

    @abstractmethod
    def stream(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncGenerator[Event, None]:
        """Yield the run events of one model call, as ``ChatModel`` has it."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections; a later call opens new ones."""

    async def call_stream(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncGenerator[str, None]:
        """Yield the answer's text, piece by piece."""
        async with contextlib.aclosing(self.stream(messages, **params)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    yield event.text

    async def run(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> str:
        """Return the whole text of the answer."""
        return "".join([text async for text in self.call_stream(messages, **params)])

    async def close_client(self) -> None:
        """Close the connections (TFrameX's name for ``aclose``)."""
        await self.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Around(Generic[M]):
    """What a model around another has of that one: its names, and its end."""

    inner: M

    @property
    def model_name(self) -> str:
        """The inner model's name."""
        return self.inner.model_name

    @property
    def label(self) -> str:
        """The inner model's label."""
        return self.inner.label

    async def aclose(self) -> None:
        """Close the inner model."""
        await self.inner.aclose()


class PooledModel(StreamingModel):
    """A model whose connections belong to one event loop, and that can be had for another too."""

    @property
    @abstractmethod
    def model_name(self) -> str:
        """The model's name as the endpoint knows it."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What people see in a footer."""

    @abstractmethod
    def batches(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        params: Mapping[str, Any],  # sampling parameters go to the endpoint unchanged
        *,
        pieces: bool = False,
    ) -> AsyncGenerator[list[Event], None]:
        """Yield the events of one model call, those that arrive together in one list.

        With ``pieces``, a ``ToolCallDelta`` comes for each piece of a tool call, in place of a
        ``ToolCallStarted`` for the whole.
        """

    @abstractmethod
    def sibling(self) -> Self:
        """Return the same model with connections of its own, for another event loop.

        They close when the sibling goes away, and when this model is closed.
        """

    def nearby(self, keep: Callable[[PooledModel], PooledModel]) -> PooledModel:
        """Return the same model for another event loop, on connections that are kept there.

        ``keep`` returns the kept sibling of a model; one that wraps another asks for that one's.
        """
        return keep(self)

    async def stream(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncGenerator[Event, None]:
        """Yield the run events of one model call.

        Any number of ``Retrying``, then text, reasoning, tool calls and usage, and last one
        ``MessageFinished``. A parameter that is None takes a default back. Closing the
        generator, or cancelling its task, closes the connection. Raises ``ModelError`` with
        what was ``received``; nothing is retried once an event of the answer was given.
        """
        async with contextlib.aclosing(self.batches(messages, params)) as batches:
            async for events in batches:
                for event in events:
                    yield event
