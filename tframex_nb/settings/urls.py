"""Base URLs of endpoints: one way of writing each, and no secrets inside."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["base_url", "is_loopback", "origin"]

_CALLS = ("/chat/completions", "/completions", "/models")


def base_url(text: str) -> str:
    """Return the base URL that a person meant.

    ``/v1`` is appended where there is no path; a trailing slash or ``/chat/completions`` goes.
    Raises ValueError, whose text never holds what was written.
    """
    text = text.strip()
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must begin with http:// or https:// and name a host")
    if parts.port == 0 or any(ord(letter) <= ord(" ") for letter in text):
        raise ValueError("it must have no spaces, and a port from 1 to 65535 where it has one")
    if "@" in parts.netloc:
        raise ValueError("it must hold no user or password; give the key as api_key")
    if parts.query or parts.fragment:
        raise ValueError("it must end with the path, without ? or #")
    path = parts.path.rstrip("/")
    for call in _CALLS:
        path = path.removesuffix(call)
    return f"{parts.scheme}://{parts.netloc.lower()}{path or '/v1'}"


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port, with the scheme's own port where none is written."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


def is_loopback(url: str) -> bool:
    """Whether the URL names this host by a loopback address."""
    host = (urlsplit(url).hostname or "").lower()
    return host in ("localhost", "::1") or host.startswith("127.")
