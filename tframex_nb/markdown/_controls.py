"""Removes what no reader sees and every terminal or sanitizer might obey."""

from __future__ import annotations

import re

__all__ = ["HIDDEN", "clean"]

_ESCAPE = re.compile(
    "\x1b(?:"
    r"\[[0-?]{0,64}[ -/]{0,8}[@-~]"  # CSI: colours, cursor
    "|[\\]PX^_][^\x07\x1b\n]{0,4096}(?:\x07|\x1b\\\\)"  # OSC and kin, ended: titles, links
    "|[ -/]{0,8}[0-~]"  # the rest, and the head of an OSC that never ends
    ")?"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
# Soft hyphen, marks and overrides of direction, zero-width, line separators, fillers, tag
# characters and variation selectors that can carry hidden text, lone surrogates.
_HIDDEN = (
    "\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
HIDDEN = re.compile(f"[\x00-\x08\x0b-\x1f{_HIDDEN}]")
# Joiners belong to Persian, to Indic scripts and to emoji; beside ASCII they only deceive.
_JOINER = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])")
_JOINERS = re.compile("[\u200c\u200d]{2,}")
_LINE_ENDS = frozenset("\r\x85\u2028\u2029")


def clean(text: str) -> str:
    """Return ``text`` without control, bidi and zero-width characters; line ends become LF."""
    if _CONTROL.search(text):
        text = _ESCAPE.sub("", text.replace("\r\n", "\n"))
        text = _CONTROL.sub(_stand_in, text)
    if text.isascii():
        return text
    text = HIDDEN.sub(_stand_in, text)
    if "\u200c" in text or "\u200d" in text:
        text = _JOINERS.sub(lambda found: found[0][0], _JOINER.sub("", text))
    return text


def _stand_in(found: re.Match[str]) -> str:
    char = found[0]
    if char in _LINE_ENDS:
        return "\n"
    return "\ufffd" if "\ud800" <= char <= "\udfff" else ""
