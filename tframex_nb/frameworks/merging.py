"""One stream of events made of three: the framework's text, its tool calls, its model's events.

A conversation needs every tool call to be followed by its result. Frameworks call tools at the
same time and in any order, so the results of calls that overlap are held until all are there.

A framework cannot say how a run begins or ends, nor what its conversation keeps: it could end the
run of another's making, or put words into the mouth of the system.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from typing import TYPE_CHECKING

from tframex_nb.messages import (
    Event,
    Message,
    MessageFinished,
    ReasoningDelta,
    Retrying,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    TextDelta,
    ToolCall,
    ToolCallStarted,
    ToolResult,
    Usage,
)
from tframex_nb.models._room import RoomAwaited

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Merger"]

_OF_A_MODEL = (ReasoningDelta, Usage, Retrying, RoomAwaited)
_OURS = (RunStarted, RunFinished, RunFailed, RunInterrupted, MessageFinished)
# Annotations of events, as they are written, that a framework could get wrong.
_PLAIN: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": (int, float),
}
_FIELDS: dict[type[Event], list[tuple[str, type | tuple[type, ...]]]] = {
    kind: [(field.name, _PLAIN[str(field.type)]) for field in dataclasses.fields(kind)]
    for kind in (TextDelta, ReasoningDelta, ToolCallStarted, ToolResult, Usage)
}


class Merger:
    """The order of one run's events, and the messages that its conversation keeps."""

    def __init__(self) -> None:
        self.finish_reason = "stop"
        self._text: list[str] = []
        self._step: list[str] = []
        self._calls: list[ToolCall] = []
        self._results: list[ToolResult] = []
        self._outstanding: set[str] = set()
        self._wished: list[ToolCall] = []  # what the model wanted, in its own words and ids
        self._ids: set[str] = set()

    def follow(self, messages: Iterable[Message]) -> None:
        """Give no call an id that one of these earlier messages has."""
        self._ids.update(call.id for message in messages for call in message.tool_calls)

    @property
    def text(self) -> str:
        """All text of the run so far."""
        return "".join(self._text)

    def model(self, event: Event) -> list[Event]:
        """Take an event of the model in; return what people see of it."""
        if isinstance(event, MessageFinished):
            self.finish_reason = event.finish_reason
            self._wished += event.message.tool_calls
            return []
        return [event] if isinstance(event, _OF_A_MODEL) else []

    def framework(self, event: Event) -> list[Event]:
        """Take an event of the framework in; raises TypeError for one of wrong types.

        What is not the framework's to tell is left out, and so is the result of no call.
        """
        _check(event)
        match event:
            case TextDelta():
                self._text.append(event.text)
                self._step.append(event.text)
                return [event]
            case ToolCallStarted():
                return self._begin(event)
            case ToolResult():
                return self._end(event)
            case _:
                return [] if isinstance(event, _OURS) else [event]

    def call(self, name: str, arguments: str) -> ToolCallStarted:
        """Return the event of a tool that is being called, with the model's own id of the call.

        A call that the model did not wish for, or whose id is taken, gets an id of ours: nine
        letters and digits, which every endpoint takes.
        """
        alike = [call for call in self._wished if call.name == name]
        same = [call for call in alike if _same(call.arguments, arguments)]
        found = next(iter(same or alike), None)
        if found is not None:
            self._wished.remove(found)
        wished = "" if found is None else found.id
        call_id = wished if wished and wished not in self._ids else uuid.uuid4().hex[:9]
        self._ids.add(call_id)
        return ToolCallStarted(call_id, name, arguments)

    def end(self, model: str) -> list[Event]:
        """Return the last events: what is held, and the last message."""
        message = Message("assistant", "".join(self._step)) if not self._calls else None
        events = self._flush()
        last = message or Message("assistant")
        return [*events, MessageFinished(last, self.finish_reason, model)]

    def _begin(self, event: ToolCallStarted) -> list[Event]:
        self._outstanding.add(event.id)
        self._calls.append(ToolCall(event.id, event.name, event.arguments))
        return [event]

    def _end(self, event: ToolResult) -> list[Event]:
        if event.id not in self._outstanding:
            return []
        self._outstanding.remove(event.id)
        self._results.append(event)
        return [] if self._outstanding else self._flush()

    def _flush(self) -> list[Event]:
        """Return the message with the calls of this step, then their results."""
        if not self._calls:
            return []
        message = Message("assistant", "".join(self._step), tool_calls=tuple(self._calls))
        events: list[Event] = [MessageFinished(message, "tool_calls"), *self._results]
        self._step.clear()
        self._calls.clear()
        self._results.clear()
        self._outstanding.clear()
        return events


def _same(left: str, right: str) -> bool:
    try:
        return bool(json.loads(left) == json.loads(right))
    except (ValueError, RecursionError):
        return left == right


def _check(event: Event) -> None:
    """Raise TypeError where a field of an event is none of what people and models are shown."""
    for name, wanted in _FIELDS.get(type(event), ()):
        value = getattr(event, name)
        if not isinstance(value, wanted):
            kind = type(event).__name__
            raise TypeError(
                f"the adapter yielded a {kind} whose {name} is a {type(value).__name__}"
            )
