"""A request that no recording answers: the nearest one, and what differs."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import CassetteMiss

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tframex_nb.models.cassette.asking import Asked
    from tframex_nb.models.cassette.recording import Recording

__all__ = ["difference", "lines_of", "miss", "nearest_of"]

LINES = 12  # of a difference that an error shows
WIDTH = 100  # characters of a line that are shown
AROUND = 30  # characters before the place where two lines part


def miss(path: Path, asked: Asked, recordings: Iterable[Recording]) -> CassetteMiss:
    """Return the error for a request that was not recorded."""
    known = list(recordings)
    near = nearest_of(asked, known)
    what = f"{str(asked.place) or 'the model'} was asked what is not recorded: {asked.title!r}"
    if near is None:
        return CassetteMiss(
            f"{what}; {path} holds no recording",
            hint="record it: %cassettes use record, or TFRAMEX_CASSETTE=record",
        )
    error = CassetteMiss(
        f"{what}; the nearest of {len(known)} in {path.name} is {near.asked.title!r}",
        hint="record it anew (%cassettes use record, or TFRAMEX_CASSETTE=record), "
        "or ask what was recorded",
    )
    error.difference = difference(near.asked, asked)
    return error


def nearest_of(asked: Asked, recordings: Iterable[Recording]) -> Recording | None:
    """Return the recording with the most in common, None where there is none."""
    wanted, title = set(lines_of(asked)), asked.title

    def likeness(recording: Recording) -> float:
        lines = set(lines_of(recording.asked))
        shared = len(wanted & lines) / max(1, len(wanted | lines))
        words = difflib.SequenceMatcher(None, recording.asked.title, title).ratio()
        return shared + words + (recording.asked.place == asked.place) / 2

    return max(recordings, key=likeness, default=None)


def difference(recorded: Asked, asked: Asked) -> tuple[str, ...]:
    """Return a short unified diff from what was recorded to what was asked."""
    diff = difflib.unified_diff(
        list(lines_of(recorded)), list(lines_of(asked)), "recorded", "asked", n=0, lineterm=""
    )
    lines = [line for line in diff if not line.startswith("@@")]
    shown = list(_cut(lines[: LINES + 2]))
    more = len(lines) - len(shown)
    return (*shown, *([f"… and {more} lines more"] if more > 0 else []))


def lines_of(asked: Asked) -> Iterator[str]:
    """Yield a request as lines that people can compare, ``role: text`` and ``name: value``."""
    yield f"endpoint: {asked.place.endpoint}"
    yield f"model: {asked.place.model}"
    for message in asked.messages:
        yield from _message(message)
    for name, value in sorted(asked.params.items()):
        if name == "tools" and isinstance(value, list):
            yield from (f"tool: {_json(_function(tool))}" for tool in value)
        else:
            yield f"{name}: {_json(value)}"


def _message(message: dict[str, Any]) -> Iterator[str]:
    role = message.get("role", "message")
    content = message.get("content", "")
    text = content if isinstance(content, str) else _json(content)
    for line in text.splitlines() if text else ():
        yield f"{role}: {line}"
    for call in message.get("tool_calls", ()):
        yield f"{role} calls: {_json(call)}"
    rest = {k: v for k, v in message.items() if k not in {"role", "content", "tool_calls"}}
    if rest:
        yield f"{role} has: {_json(rest)}"


def _function(tool: object) -> object:
    return tool.get("function", tool) if isinstance(tool, dict) else tool


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _cut(lines: list[str]) -> Iterator[str]:
    """Shorten long lines to where they part from the one that they differ from."""
    for i, line in enumerate(lines):
        if len(line) <= WIDTH or i < 2:  # noqa: PLR2004 - the two lines of the head
            yield line
            continue
        others = [o for o in lines[2:] if o[0] != line[0] and _role(o) == _role(line)]
        at = max((_parting(line, other) for other in others), default=1)
        start = max(1, at - AROUND)
        end = start + WIDTH
        before, after = ("…" if start > 1 else ""), ("…" if end < len(line) else "")
        yield f"{line[0]}{before}{line[start:end]}{after}"


def _role(line: str) -> str:
    return line[1:].partition(":")[0]


def _parting(line: str, other: str) -> int:
    """Return where two lines of a diff begin to differ, their signs aside."""
    pairs = zip(line[1:], other[1:], strict=False)
    return 1 + next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(line), len(other)) - 1)
