"""One recording: what was asked, what came, and its line in a file."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tframex_nb.models.cassette.asking import TITLE, Asked, Place
from tframex_nb.models.cassette.tape import error_of, events_of, fault_of, json_of, text_of

if TYPE_CHECKING:
    from tframex_nb.messages import Event
    from tframex_nb.models.cassette.masking import Mask
    from tframex_nb.models.cassette.tape import Fault

__all__ = ["Recording"]


@dataclass(frozen=True)
class Recording:
    """One answer of one model, as it came; ``number`` counts those to requests that are alike.

    ``batches`` are events as JSON, ``pauses`` the milliseconds before each batch, ``error``
    how the answer ended where it failed.
    """

    asked: Asked
    batches: list[list[Any]] = field(repr=False)  # events as JSON
    pauses: list[int] = field(default_factory=list, repr=False)
    error: dict[str, Any] | None = None
    number: int = 1

    @classmethod
    def of(
        cls,
        asked: Asked,
        batches: list[list[Event]],
        pauses: list[int],
        fault: Fault | None,
        mask: Mask,
    ) -> Recording:
        """Make a recording that holds no secret."""
        error = None if fault is None else error_of(fault, mask)
        return cls(asked, json_of(batches, mask), pauses, error)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recording:
        """Read a line's object; raises ValueError, TypeError or KeyError where it is none."""
        place = Place(_text(data["endpoint"]), _text(data["model"]))
        request = data["request"]
        asked = Asked.of(place, request["messages"], request.get("params", {}))
        events_of(data["events"])
        pauses = [int(each) for each in data.get("pauses", [])]
        error = None if data.get("error") is None else dict(data["error"])
        return cls(asked, data["events"], pauses, error, int(data["n"]))

    @functools.cached_property
    def sorting(self) -> tuple[str, str, str, int, str, int]:
        """Where it stands in a file: what belongs together is together, whoever wrote it when."""
        place, asked = self.asked.place, self.asked
        size = len(asked.messages)
        return (place.endpoint, place.model, asked.title, size, asked.like, self.number)

    @property
    def events(self) -> list[list[Event]]:
        """The events as they came, those in one list that came together."""
        return events_of(self.batches)

    @property
    def fault(self) -> Fault | None:
        """The error that ended the answer, a new one each time."""
        return None if self.error is None else fault_of(self.error)

    @property
    def summary(self) -> str:
        """The beginning of the answer, or the name of its error."""
        if self.error is not None:
            return str(self.error.get("type", "an error"))
        flat = " ".join(text_of(self.events).split()) or _calls(self.events)
        return flat if len(flat) <= TITLE else f"{flat[: TITLE - 1]}…"

    @property
    def id(self) -> tuple[str, str, int]:
        """What tells a recording from the others of a cassette."""
        return self.asked.key, self.asked.like, self.number

    def says_the_same(self, other: Recording) -> bool:
        """Whether two recordings differ in nothing but the time that they took."""
        return self.batches == other.batches and self.error == other.error

    def timed_as(self, other: Recording | None) -> Recording:
        """Return the recording with the pauses of an equal one, so that its line stays as it is."""
        return self if other is None else replace(self, pauses=other.pauses)

    def numbered(self, number: int) -> Recording:
        """Return the same recording with another number."""
        return self if number == self.number else replace(self, number=number)

    @functools.cached_property
    def line(self) -> bytes:
        """Return the recording as a line of JSON: what people look for comes first."""
        data: dict[str, Any] = {
            "asked": self.asked.title,
            "answer": self.summary,
            "endpoint": self.asked.place.endpoint,
            "model": self.asked.place.model,
            "n": self.number,
            "request": self.asked.to_dict(),
            "events": self.batches,
        }
        if self.error is not None:
            data["error"] = self.error
        data["pauses"] = self.pauses
        # Half a surrogate pair has no UTF-8; what takes its place is JSON's own way to write it.
        return json.dumps(data, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a name is text")
    return value


def _calls(batches: list[list[Event]]) -> str:
    last = batches[-1][-1] if batches and batches[-1] else None
    message = getattr(last, "message", None)
    return ", ".join(f"{call.name}()" for call in message.tool_calls) if message else ""
