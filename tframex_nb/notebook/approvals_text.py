"""A tool's call as a person reads it before it may run: who, what, with which arguments."""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any

from tframex_nb.markdown import clean

if TYPE_CHECKING:
    from tframex_nb.agents.approval import ApprovalRequest

__all__ = ["folded", "headline", "written"]

LONG = 4_000  # characters of arguments that are shown whole
TEXT = 300  # characters of one text in longer ones
ITEMS = 20  # items of one list or object in longer ones
DEPTH = 6  # levels of longer ones
# Control and format characters, surrogates, private ones, line separators: none of them shows
# what it does, and some of them turn what stands beside them around.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# Letters and marks that show nothing either: fillers, selectors of a letter's variant.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufe00-\ufe0e\U000e0100-\U000e01ef]"
)


def headline(request: ApprovalRequest) -> str:
    """Return one line: whose wish it is, the tool, where it comes from, whether it writes."""
    on = "" if request.framework == "native" else f" on {request.framework}"
    does = "changes something" if request.tool.writes else "says that it changes nothing"
    origin = f" ({request.tool.origin})" if request.tool.origin else ""
    who = request.agent or "an agent"
    return " ".join(clean(f"{who}{on} wants to call {request.tool.name}{origin}: {does}").split())


def written(arguments: str) -> str:
    """Return arguments as JSON on several lines; a character that nobody sees is escaped."""
    try:
        return _dumped(_loaded(arguments))
    except (ValueError, RecursionError):  # a number that Python reads only when told to
        return "".join(map(_seen, arguments))


def folded(arguments: str) -> str:
    """Return the same with what is long cut, and its size told; empty where nothing is long."""
    whole = written(arguments)
    if len(whole) <= LONG:
        return ""
    text = whole
    with contextlib.suppress(ValueError, RecursionError):
        text = _dumped(_cut(_loaded(arguments), DEPTH))
    if len(text) <= LONG:
        return text
    return f"{text[:LONG]}\n… {len(text) - LONG:,} characters more"


def _loaded(arguments: str) -> Any:  # any JSON
    return json.loads(arguments.strip() or "{}") or {}


def _dumped(value: Any) -> str:  # any JSON
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return "".join(map(_seen, text)) if not text.isascii() or "\x7f" in text else text


def _seen(letter: str) -> str:
    if letter == "\n":
        return letter
    if unicodedata.category(letter) not in _UNSEEN and not _BLANK.match(letter):
        return letter
    return json.dumps(letter)[1:-1] if letter != "\x7f" else "\\u007f"


def _cut(value: Any, depth: int) -> Any:  # any JSON
    if isinstance(value, str):
        return value if len(value) <= TEXT else f"{value[:TEXT]}… ({len(value):,} characters)"
    if not isinstance(value, (list, dict)):
        return value
    more = len(value) - ITEMS
    if not depth:
        return f"… ({len(value):,} items)"
    if isinstance(value, list):
        kept = [_cut(each, depth - 1) for each in value[:ITEMS]]
        return [*kept, f"… {more:,} items more"] if more > 0 else kept
    shown: dict[str, Any] = {}  # any JSON
    for key, each in list(value.items())[:ITEMS]:
        shown[_free(_cut(key, 1), shown)] = _cut(each, depth - 1)
    if more > 0:
        shown[_free("…", shown)] = f"{more:,} items more"
    return shown


def _free(key: str, taken: dict[str, Any]) -> str:  # any JSON
    """Return a key that hides no other: two long ones may look the same once they are cut."""
    names = (key, *(f"{key} ({number})" for number in range(2, ITEMS + 3)))
    return next(each for each in names if each not in taken)
