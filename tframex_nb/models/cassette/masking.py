"""What no recording may hold: secrets, by their values and by how keys look."""

from __future__ import annotations

import base64
import contextlib
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["MASK", "Mask", "known_secrets"]

MASK = "***"
SHORTEST = 8  # characters; shorter values ("EMPTY", "test") are words that texts may hold
_NAMES = re.compile(
    r"(?i)(api_?key|access_?key|secret|token|passw(or)?d|credential|authorization|cookie)s?$"
    r"|^(key|pat)$|_(key|pat)$"
)
_HEADER = re.compile(r"(?i)authorization|key|token|cookie|secret")
_PATTERNS = (
    r"(?:sk|pk|rk|gsk|xai|pplx|hf|tp|nvapi)[-_](?=[\w-]*\d)[A-Za-z0-9_-]{12,}",
    r"gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}",
    r"xox[a-z]-[\w-]{10,}",
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"\bAIza[\w-]{30,}",
    r"\bey[JI][\w-]{8,}\.[\w-]{8,}\.[\w-]*",  # a JSON web token
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    r"(?<=://)[^\s/?#@\"'<>]*:[^\s/?#@\"'<>]+(?=@)",  # user:password of a URL
    r"(?i:\bbearer|\bbasic)\s+(?=\S*[\d=])[\w.~+/=-]{12,}",
)


class Mask:
    """Takes secrets out of texts: the given values, and what looks like a key."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        every = {part for value in values for part in (value, *_passwords(value))}
        long = sorted((v for v in every if len(v) >= SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join([*(re.escape(v) for v in long), *_PATTERNS]))

    def text(self, text: str) -> str:
        """Return the text, its secrets masked."""
        return self._pattern.sub(MASK, text)

    def pieces(self, pieces: Sequence[str]) -> list[str]:
        """Mask a text that came in pieces; a secret may lie across several of them."""
        whole = "".join(pieces)
        spans = [match.span() for match in self._pattern.finditer(whole)]
        if not spans:
            return list(pieces)
        out, start = [], 0
        for piece in pieces:
            end = start + len(piece)
            out.append(_without(whole, start, end, spans))
            start = end
        return out

    def json(self, value: Any, name: str = "") -> Any:  # any JSON
        """Return JSON data with every text in it masked, and whatever a secret's name holds."""
        if isinstance(value, str):
            hidden = len(value) >= SHORTEST and _NAMES.search(name)
            return MASK if hidden else self.text(value)
        if isinstance(value, dict):
            return {self.text(k): self.json(v, k) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.json(each, name) for each in value]
        return value


def known_secrets() -> list[str]:
    """Return the secrets of now: those that are set, and variables whose names say so."""
    named = {v.strip() for n, v in os.environ.items() if _NAMES.search(n) or "://" in v}
    return [*_set_secrets(), *(value for value in named if not _harmless(value))]


def _set_secrets() -> list[str]:
    """Return what the settings hold that is secret; its fields say so by their type."""
    from tframex_nb.settings import load_settings

    settings = load_settings()
    found: list[str] = []
    for table in (settings, *settings.endpoints.values()):
        headers = [v for n, v in (table.headers or {}).items() if _HEADER.search(n)]
        held = [each for each in (table.api_key, table.proxy, *headers) if each is not None]
        found += [each.get_secret_value() for each in held]
    for server in settings.mcp.values():
        named = {**server.env, **server.headers}.items()
        found += [v.get_secret_value() for n, v in named if _NAMES.search(n) or _HEADER.search(n)]
    urls = [settings.api_url, *(own.url for own in settings.endpoints.values())]
    found += [url for url in urls if url]
    return [*(each for each in found if not _harmless(each)), *settings.foreign_secrets()]


def _harmless(value: str) -> bool:
    """Whether a value is a URL that holds no login."""
    return "://" in value and "@" not in value


def _passwords(value: str) -> list[str]:
    """Return the password in a URL or in a header of HTTP's basic authentication."""
    login = ""
    if "://" in value:
        login = value.partition("://")[2].partition("/")[0].rpartition("@")[0]
    elif value.startswith("Basic "):
        with contextlib.suppress(ValueError):
            login = base64.b64decode(value[6:], validate=True).decode()
    password = login.partition(":")[2]
    return [password, unquote(password)]


def _without(whole: str, start: int, end: int, spans: Iterable[tuple[int, int]]) -> str:
    """Return ``whole[start:end]`` without the spans; the mask stands where one begins."""
    parts, at = [], start
    for first, last in spans:
        if last <= start or first >= end:
            continue
        if first >= start:
            parts += [whole[at:first], MASK]
        at = min(last, end)
    parts.append(whole[at:end])
    return "".join(parts)
