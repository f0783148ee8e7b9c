"""What of a Python value a model is shown, and the note that tells the user so."""

from __future__ import annotations

import json
import reprlib
from dataclasses import dataclass

__all__ = ["Description", "describe"]


SMALL = 200  # characters; a value sent whole needs no note up to here


@dataclass(frozen=True, slots=True)
class Description:
    """The text that a model reads, and the note for the user ("" when sent whole and small)."""

    text: str
    note: str = ""


def describe(value: object, *, cap: int = 4000) -> Description:
    """Describe ``value`` in at most about ``cap`` characters."""
    if isinstance(value, str):
        text = value
    else:
        try:
            text = json.dumps(value, ensure_ascii=False, indent=2)
        except (TypeError, ValueError):
            text = reprlib.repr(value)
    if len(text) <= cap:
        note = "" if len(text) <= SMALL else f"{type(value).__name__}, {len(text):,} characters"
        return Description(text, note)
    cut = f"{text[:cap]}\n[… cut: {cap:,} of {len(text):,} characters]"
    return Description(cut, f"{type(value).__name__}, {cap:,} of {len(text):,} characters")
