"""Error bodies in the shapes that servers use, read into one."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

__all__ = ["ErrorBody", "excerpt", "load_json", "read_error"]

_TAG = re.compile(r"<[^<>]*>")
_HIDDEN = re.compile(r"<(script|style|head)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.DOTALL | re.IGNORECASE)
_ANSI = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?", re.DOTALL)
_INVISIBLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+"
)
_MESSAGE_KEYS = ("message", "detail", "msg", "error_description", "error", "title", "reason")
_DEPTH = 4  # levels of nesting in which a message is looked for
_READ = 20_000  # characters of a text body that are looked at


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What an error body says: ``code`` joins code, type and status words."""

    message: str
    code: str = ""
    status: int | None = None
    retry_after: float | None = None


def load_json(data: bytes) -> Any:
    """Return the JSON value in ``data``; raise ValueError where there is none.

    pydantic's parser takes a third of the time of the standard library's, but refuses the lone
    surrogates of a pair that a server split over two chunks.
    """
    try:
        return from_json(data)
    except ValueError:
        try:
            return json.loads(data)
        except RecursionError:
            raise ValueError("JSON is nested too deeply") from None


def excerpt(text: str, limit: int = 300) -> str:
    """Return ``text`` on one line, without control characters, at most ``limit`` long."""
    text = _ANSI.sub("", text[: _READ * 2])
    text = " ".join(_INVISIBLE.sub(" ", text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def read_error(body: Any) -> ErrorBody:
    """Read an error from bytes, or from the JSON value that was parsed already."""
    if isinstance(body, bytes):
        return _read_bytes(body)
    return _read_value(body, depth=0)


def _read_bytes(body: bytes) -> ErrorBody:
    text = body.strip().removeprefix(b"\xef\xbb\xbf")
    if text.startswith(b"data:"):
        text = text.splitlines()[0][5:].strip()
    if text[:1] in {b"{", b"[", b'"'}:
        try:
            return _read_value(load_json(text), depth=0)
        except ValueError:
            pass
    return ErrorBody(_plain(text[:_READ].decode("utf-8", "replace")))


def _plain(text: str) -> str:
    """Return the words of a text or of a web page."""
    if not text.lstrip().startswith("<"):
        return text
    title = _TITLE.search(text)
    words = html.unescape(_TAG.sub(" ", _HIDDEN.sub(" ", text)))
    if title is None:
        return words
    name = html.unescape(title[1]).strip()
    return name if not words.strip() else f"{name}: {words.strip()}"


def _read_value(value: Any, *, depth: int) -> ErrorBody:
    if depth > _DEPTH:
        return ErrorBody("")
    if isinstance(value, list):
        return _read_list(value, depth)
    if not isinstance(value, dict):
        return ErrorBody("" if value is None else str(value))
    inner = _inner(value, depth)
    codes = [str(value[k]) for k in ("code", "type", "status") if _is_scalar(value.get(k))]
    return ErrorBody(
        message=inner.message,
        code=" ".join([*codes, inner.code]).strip(),
        status=inner.status or _http_status(value),
        retry_after=inner.retry_after if inner.retry_after is not None else _delay(value),
    )


def _read_list(values: list[Any], depth: int) -> ErrorBody:
    """Join the messages of a list: FastAPI's ``detail``, Gemini's one-element list."""
    errors = [_read_value(item, depth=depth + 1) for item in values[:5]]
    if not errors:
        return ErrorBody("")
    places = [_place(item) for item in values[:5]]
    said = [f"{place}{error.message}" for place, error in zip(places, errors, strict=True)]
    first = errors[0]
    return ErrorBody("; ".join(said), first.code, first.status, first.retry_after)


def _inner(value: dict[str, Any], depth: int) -> ErrorBody:
    """Return what the most telling member says."""
    keys = ("error", "errors", *_MESSAGE_KEYS) if depth == 0 else _MESSAGE_KEYS
    for key in keys:
        if value.get(key):
            return _read_value(value[key], depth=depth + 1)
    return ErrorBody(", ".join(f"{k}: {v}" for k, v in value.items()))


def _place(item: Any) -> str:
    loc = item.get("loc") if isinstance(item, dict) else None
    return ".".join(str(part) for part in loc) + ": " if isinstance(loc, list) else ""


def _is_scalar(value: object) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _http_status(value: dict[str, Any]) -> int | None:
    for key in ("code", "status", "status_code", "http_status"):
        raw = value.get(key)
        text = str(raw) if isinstance(raw, (int, str)) else ""
        if re.fullmatch(r"[45]\d\d", text):
            return int(text)
    return None


def _delay(value: dict[str, Any]) -> float | None:
    """Return Google's RetryInfo (``"retryDelay": "13s"``) in seconds."""
    details = value.get("details")
    for item in details if isinstance(details, list) else ():
        text = str(item.get("retryDelay", "")) if isinstance(item, dict) else ""
        if re.fullmatch(r"\d{1,6}(\.\d+)?s", text):
            return float(text[:-1])
    return None
