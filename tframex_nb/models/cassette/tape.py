"""Events as JSON, and back: what a model gave, piece by piece, and how it ended."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tframex_nb import errors
from tframex_nb.messages import (
    Event,
    MessageFinished,
    ReasoningDelta,
    Retrying,
    TextDelta,
    ToolCallStarted,
    Usage,
    event_from_dict,
)
from tframex_nb.models._tool_calls import ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tframex_nb.models.cassette.masking import Mask

__all__ = ["Fault", "error_of", "events_of", "fault_of", "json_of", "text_of", "with_pieces"]

PIECE = "tool_call_delta"
_OF_A_MODEL = (
    TextDelta,
    ReasoningDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    Retrying,
    MessageFinished,
)
_STATE = ("url", "status", "received", "retry_after", "transient", "phase")  # of a ModelError
_SUMS = ("spent", "cap")  # of BudgetExceeded: tokens as a number, USD as text

Fault = errors.ModelError | errors.BudgetExceeded  # what ends an answer, and is recorded
_Json = Any  # an event: text for a piece of text, else an object
_Batch = list[Event]


def json_of(batches: Sequence[_Batch], mask: Mask) -> list[list[_Json]]:
    """Return events as JSON, secrets masked; the last message leaves out what its pieces say."""
    out = _hidden(batches, mask)
    text, reasoning = text_of(out), _reasoning_of(out)
    return [[_to_json(event, text, reasoning) for event in batch] for batch in out]


def events_of(batches: Iterable[Iterable[_Json]]) -> list[_Batch]:
    """Read what ``json_of`` wrote.

    Raises ValueError, TypeError or KeyError for anything else.
    """
    out: list[_Batch] = []
    for batch in batches:
        if not isinstance(batch, list):
            raise TypeError("events stand in lists")
        out.append([])
        for each in batch:
            out[-1].append(_from_json(each, out))
    return out


def with_pieces(batches: Sequence[_Batch], *, pieces: bool) -> list[_Batch]:
    """Return the events with tool calls in pieces, or whole; whole ones do for pieces, too.

    A batch of nothing but pieces becomes an empty one.
    """
    if pieces or not any(isinstance(e, ToolCallDelta) for batch in batches for e in batch):
        return list(batches)
    out: list[_Batch] = []
    for batch in batches:
        kept = [event for event in batch if not isinstance(event, ToolCallDelta)]
        last = kept[-1] if kept else None
        if isinstance(last, MessageFinished):
            at = next(i for i, e in enumerate(kept) if e.type in {"usage", "message_finished"})
            calls = last.message.tool_calls
            kept[at:at] = [ToolCallStarted(c.id, c.name, c.arguments) for c in calls]
        out.append(kept)
    return out


def text_of(batches: Iterable[_Batch]) -> str:
    """Return the text that the events say."""
    return "".join(e.text for batch in batches for e in batch if isinstance(e, TextDelta))


def error_of(fault: Fault, mask: Mask) -> dict[str, Any]:
    """Return an error as JSON, secrets masked."""
    state = {name: getattr(fault, name, None) for name in _STATE}
    if isinstance(fault, errors.BudgetExceeded):
        sums = {name: getattr(fault, name) for name in _SUMS}
        state |= {name: n if isinstance(n, int) else str(n) for name, n in sums.items()}
    told = {"message": fault.message, "hint": fault.hint, **state}
    given = {name: value for name, value in told.items() if value not in (None, "", False)}
    out: dict[str, Any] = mask.json({"type": type(fault).__name__, **given})
    return out


def fault_of(data: dict[str, Any]) -> Fault:
    """Read what ``error_of`` wrote; an error that is no longer known is a plain ModelError."""
    kind = getattr(errors, str(data.get("type")), None)
    if not (isinstance(kind, type) and issubclass(kind, errors.ModelError | errors.BudgetExceeded)):
        kind = errors.ModelError
    fault = kind(str(data.get("message", "")), hint=str(data.get("hint", "")))
    for name in _STATE:
        if name in data:
            setattr(fault, name, data[name])
    if isinstance(fault, errors.BudgetExceeded):
        fault.spent, fault.cap = (_sum(data.get(name, 0)) for name in _SUMS)
    return fault


def _sum(said: str | int) -> Decimal | int:
    return said if isinstance(said, int) else Decimal(said)


def _hidden(batches: Sequence[_Batch], mask: Mask) -> list[_Batch]:
    """Mask the pieces of each text as one text."""
    streams: dict[object, list[tuple[int, int]]] = {}
    out: list[_Batch] = [[e for e in batch if isinstance(e, _OF_A_MODEL)] for batch in batches]
    for at, batch in enumerate(out):
        for i, event in enumerate(batch):
            if isinstance(event, ToolCallDelta):
                streams.setdefault(event.index, []).append((at, i))
            elif isinstance(event, (TextDelta, ReasoningDelta)):
                streams.setdefault(event.type, []).append((at, i))
    for places in streams.values():
        said = [_words(out[at][i]) for at, i in places]
        for (at, i), text in zip(places, mask.pieces(said), strict=True):
            out[at][i] = _reworded(out[at][i], text)
    return [[_masked(event, mask) for event in batch] for batch in out]


def _words(event: Event) -> str:
    return event.arguments if isinstance(event, ToolCallDelta) else getattr(event, "text", "")


def _reworded(event: Any, text: str) -> Event:  # one of the three that come in pieces
    name = "arguments" if isinstance(event, ToolCallDelta) else "text"
    changed: Event = event
    if getattr(event, name) != text:
        changed = dataclasses.replace(event, **{name: text})
    return changed


def _masked(event: Event, mask: Mask) -> Event:
    """Mask what comes as a whole."""
    if isinstance(event, (TextDelta, ReasoningDelta, ToolCallDelta)):
        return event
    data = event.to_dict()
    clean = mask.json(data)
    return event if clean == data else event_from_dict(clean)


def _reasoning_of(batches: Iterable[_Batch]) -> str:
    return "".join(e.text for batch in batches for e in batch if isinstance(e, ReasoningDelta))


def _to_json(event: Event, text: str, reasoning: str) -> _Json:
    if type(event) is TextDelta:
        return event.text
    if isinstance(event, ToolCallDelta):
        fields = {k: v for k, v in dataclasses.asdict(event).items() if v != ""}
        return {"type": PIECE, **fields}
    data = event.to_dict()
    if isinstance(event, MessageFinished):
        for name, said in (("content", text), ("reasoning", reasoning)):
            if data["message"].get(name) == said:
                del data["message"][name]
    return data


def _from_json(each: _Json, before: list[_Batch]) -> Event:
    if isinstance(each, str):
        return TextDelta(each)
    data = dict(each)
    if data.get("type") == PIECE:
        del data["type"]
        return ToolCallDelta(**data)
    if data.get("type") == MessageFinished.type:
        said = {"content": text_of(before), "reasoning": _reasoning_of(before)}
        data["message"] = {**said, **data["message"]}
    return event_from_dict(data)
