"""Tool calls from their pieces, in every way that servers cut them."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from tframex_nb.messages import Event, ToolCall
from tframex_nb.models._surrogates import SurrogateJoiner, mend

__all__ = ["MalformedToolCall", "ToolCallDelta", "ToolCallPieces"]


class MalformedToolCall(Exception):
    """A tool call that no reading of the protocol explains."""


@dataclass(frozen=True, slots=True)
class ToolCallDelta(Event):
    """A piece of a tool call, for who passes an answer on while it grows; in no ``stream``.

    A call's first delta holds its id and name; ``arguments`` are more of the JSON text.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class _Slot:
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    final_id: str = ""
    given_name: str = ""
    given: int = 0  # pieces that were given as deltas
    joiner: SurrogateJoiner = field(default_factory=SurrogateJoiner)

    def is_whole(self) -> bool:
        """Whether the arguments so far are a complete JSON object."""
        try:
            return isinstance(json.loads("".join(self.pieces)), dict)
        except (ValueError, RecursionError):
            return False


class ToolCallPieces:
    """Collect deltas of tool calls; ``calls`` are whole only at the end of the answer.

    Seen in the wild: ``index`` missing, or 0 for every one of several calls; id and name
    repeated in every delta; a new random id in every delta; no id at all; the arguments as an
    object; the whole call in one delta; the name in pieces.
    """

    def __init__(self) -> None:
        self._slots: list[_Slot] = []
        self._by_index: dict[object, _Slot] = {}
        self._ids: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._slots)

    def take(self, deltas: Any) -> None:  # whatever the server put under "tool_calls"
        """Add the deltas of one chunk; raise ``MalformedToolCall`` for other shapes."""
        if not isinstance(deltas, list):
            raise MalformedToolCall(f"tool_calls is {_kind(deltas)}, not a list")
        for delta in deltas:
            if not isinstance(delta, dict):
                raise MalformedToolCall(f"a tool call is {_kind(delta)}, not an object")
            self._take_one(delta)

    def take_legacy(self, function: Any) -> None:  # whatever came under "function_call"
        """Add a piece of the one call of the older ``function_call`` protocol."""
        self.take([{"index": "function_call", "function": function}])

    def calls(self) -> tuple[ToolCall, ...]:
        """Return the assembled calls, each with an id of its own."""
        calls = []
        for slot in self._slots:
            if not slot.name:
                raise MalformedToolCall("a tool call has no name")
            arguments = mend("".join(slot.pieces)) or "{}"
            calls.append(ToolCall(self._id(slot), slot.name, arguments))
        return tuple(calls)

    def deltas(self, *, last: bool = False) -> list[ToolCallDelta]:
        """Return what has come since this was last asked; with ``last``, what was held back.

        A call is begun with the first of its arguments: until then its name may still grow.
        """
        grown = (self._grown(index, slot, last) for index, slot in enumerate(self._slots))
        return [delta for delta in grown if delta is not None]

    def _grown(self, index: int, slot: _Slot, last: bool) -> ToolCallDelta | None:
        if not slot.name or (slot.given == len(slot.pieces) and not last):
            return None
        text = slot.joiner.feed("".join(slot.pieces[slot.given :]))
        slot.given = len(slot.pieces)
        if last:
            text += slot.joiner.end()
        name = slot.name[len(slot.given_name) :]
        if not text and not (last and name):
            return None
        if slot.given_name:
            slot.given_name = slot.name
            return ToolCallDelta(index, "", name, text)
        slot.given_name = slot.name
        return ToolCallDelta(index, self._id(slot), name, text or "{}")

    def _id(self, slot: _Slot) -> str:
        if not slot.final_id:
            taken = not slot.id or slot.id in self._ids
            slot.final_id = f"call_{uuid.uuid4().hex}" if taken else slot.id
            self._ids.add(slot.final_id)
        return slot.final_id

    def _take_one(self, delta: dict[str, Any]) -> None:
        function = delta.get("function")
        function = {} if function is None else function
        if not isinstance(function, dict):
            raise MalformedToolCall(f"a tool call's function is {_kind(function)}, not an object")
        call_id = _text(delta.get("id"), "id")
        name = _text(function.get("name"), "name")
        slot = self._slot(delta.get("index"), call_id, name)
        slot.id = slot.id or call_id
        if name and name != slot.name:
            slot.name += name
        slot.pieces.append(_arguments(function.get("arguments")))

    def _slot(self, index: object, call_id: str, name: str) -> _Slot:
        if isinstance(index, (dict, list)):
            raise MalformedToolCall(f"a tool call's index is {_kind(index)}")
        slot = self._by_index.get(index) if index is not None else self._unnumbered(call_id)
        if slot is None or _begins_another(slot, call_id, name):
            slot = _Slot()
            self._slots.append(slot)
        if index is not None:
            self._by_index[index] = slot
        return slot

    def _unnumbered(self, call_id: str) -> _Slot | None:
        """Return the call with this id, else the last one, which may go on."""
        for slot in self._slots:
            if call_id and slot.id == call_id:
                return slot
        return self._slots[-1] if self._slots else None


def _begins_another(slot: _Slot, call_id: str, name: str) -> bool:
    """Tell a new call under the same index (or under none) from more of the same one."""
    if not name or (call_id and call_id == slot.id):
        return False
    if slot.name and call_id and slot.id and name != slot.name:
        return True
    return bool(slot.name) and slot.is_whole()


def _arguments(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(value: object, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, (str, int)):
        raise MalformedToolCall(f"a tool call's {what} is {_kind(value)}")
    return str(value)


def _kind(value: object) -> str:
    return f"of JSON type {type(value).__name__}"
