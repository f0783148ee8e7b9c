"""The progress of a system: which of its calls began, streams, ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tframex_nb.messages import Event

__all__ = ["CallEvent", "CallFailed", "CallFinished", "CallStarted"]


@dataclass(frozen=True, slots=True)
class CallStarted(Event):
    """A model call of a system begins; it is the ``index``-th of ``total``, counted from 1."""

    type: ClassVar[str] = "call_started"
    call: str
    index: int
    total: int

    @property
    def subject(self) -> str:
        """The call."""
        return self.call

    @property
    def line(self) -> str:
        """The call and its place among all."""
        return f"[{self.index}/{self.total}] {self.call} …"


@dataclass(frozen=True, slots=True)
class CallEvent(Event):
    """An event of one of several calls that run at the same time."""

    type: ClassVar[str] = "call_event"
    call: str
    event: Event

    def to_dict(self) -> dict[str, Any]:
        """Return the event inside in its own wire form, tag included."""
        return {"type": self.type, "call": self.call, "event": self.event.to_dict()}


@dataclass(frozen=True, slots=True)
class CallFinished(Event):
    """A call ended as it should; ``path`` is the file with its answer."""

    type: ClassVar[str] = "call_finished"
    call: str
    path: str

    @property
    def subject(self) -> str:
        """The call; it has no line any more, for the answer tells its path."""
        return self.call


@dataclass(frozen=True, slots=True)
class CallFailed(Event):
    """A call failed; ``partial`` is the file with what was received, or empty."""

    type: ClassVar[str] = "call_failed"
    call: str
    error: str
    message: str
    partial: str = ""

    @property
    def subject(self) -> str:
        """The call."""
        return self.call

    @property
    def line(self) -> str:
        """The call and why it failed."""
        return f"{self.call} failed: {self.error}: {self.message}"
