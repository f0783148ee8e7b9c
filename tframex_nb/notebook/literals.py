"""Values written as JSON where they can be, bounded in length, depth and time."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections import deque
from collections.abc import Collection, ItemsView, KeysView, Mapping, ValuesView
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CONTAINERS", "Literal", "type_name", "write"]

CONTAINERS: tuple[type[Collection[object]], ...] = (
    *(list, tuple, dict, set, frozenset, deque),
    *(KeysView, ValuesView, ItemsView, type({}.keys()), type({}.values()), type({}.items())),
)
DEPTH = 24  # levels; deeper is for machines
LONGEST_INT = 4000  # bits; longer ones are not written out
LINE = 100  # characters; a longer container is written one item a line,
ITEM = 20  # where its items are longer than this on average


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as text, and whether it had to be cut."""

    text: str
    cut: bool


def write(value: object, *, cap: int) -> Literal:
    """Write ``value`` in at most ``cap`` characters; what no JSON knows is written as ``repr``."""
    writer = _Writer(cap)
    try:
        writer.put(value)
    except _Full:
        return Literal(writer.text()[:cap], cut=True)
    text = writer.text()
    if isinstance(value, CONTAINERS) and len(text) > max(LINE, ITEM * len(value)):
        lines = _Writer(cap)
        try:
            lines.put(value, one_a_line=True)
        except _Full:
            return Literal(text, cut=False)
        text = lines.text()
    return Literal(text, cut=False)


def type_name(value: object) -> str:
    """Return the name of a value's class, whatever the class does to hide it."""
    return str(type.__getattribute__(type(value), "__name__"))


class _Full(Exception):
    """The writer reached its cap."""


@dataclass(slots=True)
class _Writer:
    left: int
    pieces: list[str] = field(default_factory=list)
    path: list[int] = field(default_factory=list)  # ids of the containers around

    def text(self) -> str:
        return "".join(self.pieces)

    def put(self, value: object, *, one_a_line: bool = False) -> None:
        """Write one value; raises _Full at the cap."""
        if value is None or isinstance(value, bool):
            return self._add(json.dumps(value))
        if isinstance(value, str) and type(value).__str__ is str.__str__:
            return self._string(value)
        if isinstance(value, (int, float)) and not isinstance(value, enum.Enum):
            return self._add(_number(value))
        if id(value) in self.path:
            return self._add(f"<the same {type_name(value)} again>")
        if len(self.path) >= DEPTH:
            return self._add("…")
        self.path.append(id(value))
        try:
            self._compound(value, "\n  " if one_a_line else "")
        finally:
            self.path.pop()
        return None

    def _compound(self, value: object, lead: str) -> None:
        if isinstance(value, dict):
            self._pairs("{", value.items(), ": ", "}", lead)
        elif isinstance(value, tuple) and hasattr(value, "_fields"):
            pairs = zip(value._fields, value, strict=False)
            self._pairs(f"{type_name(value)}(", pairs, "=", ")", lead)
        elif isinstance(value, CONTAINERS):
            self._items(value, lead)
        elif (fields := _fields(value)) is not None:
            held = ((name, getattr(value, name, None)) for name in fields)
            self._pairs(f"{type_name(value)}(", held, "=", ")", lead)
        else:
            self._add(_safe_repr(value))

    def _items(self, values: Iterable[object], lead: str) -> None:
        self._add("[")
        for index, item in enumerate(values):
            self._add(("," if lead else ", ") if index else "")
            self._add(lead)
            self.put(item)
        self._add(f"{lead.rstrip(' ')}]")

    def _pairs(
        self, opening: str, pairs: Iterable[tuple[object, object]], mark: str, end: str, lead: str
    ) -> None:
        self._add(opening)
        for index, (key, item) in enumerate(pairs):
            self._add(("," if lead else ", ") if index else "")
            self._add(lead)
            self._add(str(key)) if mark == "=" else self.put(key)
            self._add(mark)
            self.put(item)
        self._add(f"{lead.rstrip(' ')}{end}")

    def _string(self, value: str) -> None:
        self._add(json.dumps(value[: self.left + 1], ensure_ascii=False))

    def _add(self, text: str) -> None:
        self.pieces.append(text)
        self.left -= len(text)
        if self.left < 0:
            raise _Full


def _number(value: float) -> str:
    if not isinstance(value, int):
        return float.__repr__(value)
    if value.bit_length() <= LONGEST_INT:
        return int.__repr__(value)
    return f"<int of {value.bit_length():,} bits>"


def _fields(value: object) -> list[str] | None:
    """Return the names of a dataclass's or a pydantic model's fields, None for other values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [f.name for f in dataclasses.fields(value) if f.repr]
    known = getattr(type(value), "model_fields", None)
    if isinstance(known, Mapping) and hasattr(value, "model_dump"):
        return [name for name, info in known.items() if getattr(info, "repr", True)]
    return None


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as exc:  # noqa: BLE001  # a repr is the value's own code
        return f"<{type_name(value)}, whose repr raised {type(exc).__name__}>"
