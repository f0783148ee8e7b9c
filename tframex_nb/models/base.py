"""What every model is to the floors above: something that streams run events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from tframex_nb.messages import Event, Message

__all__ = ["ChatModel"]


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
