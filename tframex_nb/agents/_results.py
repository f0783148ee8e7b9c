"""What a tool gave back, as the text that a model reads."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

__all__ = ["MAX_RESULT", "capped", "failure", "render"]

# Some 5,000 tokens: enough for any table that a model can use, and a tool that returns a whole
# file by mistake neither overflows a common context of 8,000 tokens twice nor costs a fortune.
MAX_RESULT = 20_000

_JSON = (dict, list, tuple, set, frozenset, bool, int, float, type(None))

# The shapes in which credentials turn up in exceptions: headers, query strings, URLs, key prefixes.
_SECRETS = re.compile(
    r"""(?ix)
    (?P<lead> \b(?:bearer|basic)\s+
      | \b(?:api[-_]?key|access[-_]?key|token|secret|password|passwd|authorization)\b
        ["']?\s*[=:]\s*["']?(?:bearer\s+|basic\s+)?
      | ://[^/\s:@]*: (?=[^/\s@]+@)
      | \b(?=(?:sk|pk|rk|ghp|gho|hf|xox[bp])[-_][\w-]{8})
    )
    [^\s"'&,;@)}\]]+
    """
)


def render(value: Any) -> str:  # a tool returns what it likes
    """Return a text as it is, plain data, models and dataclasses as JSON, all else by ``str``."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, _JSON) or _is_record(value):
        text = _to_json(value)
    else:
        text = str(value)
    return capped(text.encode("utf-8", "replace").decode())  # no lone surrogates on the wire


def capped(text: str) -> str:
    """Return at most ``MAX_RESULT`` characters of a text, and say so where it was cut."""
    if len(text) <= MAX_RESULT:
        return text
    note = f"[cut: the first {MAX_RESULT:,} of {len(text):,} characters; ask for less at a time]"
    return f"{text[:MAX_RESULT]}\n{note}"


def failure(exc: BaseException) -> str:
    """Return type and message of what a tool raised: no traceback, no credentials."""
    text = str(exc)
    safe = _SECRETS.sub(lambda match: f"{match['lead']}***", text)
    return capped(f"{type(exc).__name__}: {safe}" if safe else type(exc).__name__)


def _is_record(value: Any) -> bool:  # a tool returns what it likes
    is_dataclass = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return is_dataclass or hasattr(type(value), "model_dump_json")


def _to_json(value: Any) -> str:  # a tool returns what it likes
    from pydantic_core import PydanticSerializationError, to_json

    try:
        return to_json(value, fallback=str, inf_nan_mode="constants").decode()
    except (PydanticSerializationError, ValueError):  # a cycle, bytes that are no text
        return str(value)
