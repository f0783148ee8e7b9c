"""A server's own secrets, taken out of all that it says and that is told of it."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MASK", "Veil", "arguments_told", "is_secret_name"]

MASK = "***"
LONG = 8  # characters from which a value is secret whatever its name says
SHORT = 4  # characters from which one is whose name says so: ``on`` and ``yes`` are words
_NAME = re.compile(
    r"(?i)key|token|secret|passw|pwd|credential|auth|cookie|login|dsn|(^|_)p(at|ass)$"
)
# What is long and no secret: a word, a number, a path, a time zone, a URL without a login.
_PLAIN = re.compile(
    r"[A-Za-z]{1,12}|[\d.:]{1,10}|(~|\.{1,2})?/[^\n]*|[A-Za-z]+/[A-Za-z_+.-]+|https?://[^@?\s]*"
)
_SCHEME = re.compile(r"(?i)(?:bearer|basic|token|digest)\s+(\S+)")
_HEADER = re.compile(r"([\w-]+)\s*:\s*\S")


class Veil:
    """Masks the values of a server's variables and headers, given as names and values."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        found = {form for name, value in pairs for form in _forms(name, value)}
        longest = sorted(found, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest))) if longest else None

    def text(self, text: str) -> str:
        """Return a text without the secrets."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def json(self, value: Any) -> Any:  # any JSON, not deep
        """Return JSON with every text in it without the secrets."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(name): self.json(each) for name, each in value.items()}
        return [self.json(each) for each in value] if isinstance(value, list) else value

    def __repr__(self) -> str:
        return f"<Veil of {'nothing' if self._pattern is None else 'secrets'}>"


def is_secret_name(name: str) -> bool:
    """Whether the name of a variable, a header or an option says that its value is a secret."""
    return _NAME.search(name) is not None


def arguments_told(arguments: Iterable[str]) -> list[str]:
    """Return a program's arguments, with a mask for what an option's name says is a secret."""
    told: list[str] = []
    is_next = False
    for word in arguments:
        name, equals, _ = word.partition("=")
        header = _HEADER.match(word)
        if is_next and not word.startswith("-"):
            told.append(MASK)
        elif equals and is_secret_name(name):
            told.append(f"{name}={MASK}")
        elif header and is_secret_name(header[1]):
            told.append(f"{header[1]}: {MASK}")
        else:
            told.append(word)
        is_next = word.startswith("-") and not equals and is_secret_name(word)
    return told


def _forms(name: str, value: str) -> Iterator[str]:
    """Yield a value in the forms in which it may come back, where it is a secret."""
    value = value.strip()
    if len(value) < (SHORT if is_secret_name(name) else LONG):
        return
    if not is_secret_name(name) and _PLAIN.fullmatch(value):
        return
    scheme = _SCHEME.fullmatch(value)
    parts = [value, *value.splitlines(), *_logins(value)]
    if scheme:
        parts += [scheme[1], *_decoded(scheme[1])]
    for part in parts:
        if len(part) >= (SHORT if part == value else LONG):
            yield from (part, json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1])
            yield quote(part, safe="")


def _logins(value: str) -> list[str]:
    """Return the password of a URL."""
    if "://" not in value:
        return []
    login = value.partition("://")[2].partition("/")[0].rpartition("@")[0]
    password = login.partition(":")[2]
    return [password, unquote(password)]


def _decoded(value: str) -> list[str]:
    """Return the password of HTTP's basic authentication."""
    with contextlib.suppress(ValueError):
        return [base64.b64decode(value, validate=True).decode().partition(":")[2]]
    return []
