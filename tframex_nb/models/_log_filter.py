"""Keep keys out of httpcore's DEBUG log, where a server may repeat them in its headers."""

from __future__ import annotations

import functools
import logging
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["HasSecrets", "hide_secrets_of"]

_LOGGERS = ("httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpx")


class HasSecrets(Protocol):
    """Whoever sends secrets in headers."""

    def secrets(self) -> Iterable[str]:
        """Return the texts that no log may hold."""
        ...


class _Redact(logging.Filter):
    """Replace the secrets of the owners that are alive; a record below DEBUG costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.owners: weakref.WeakSet[HasSecrets] = weakref.WeakSet()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        clean = text
        for owner in tuple(self.owners):
            for secret in owner.secrets():
                clean = clean.replace(secret, "[key]")
        if clean != text:
            record.msg, record.args = clean, ()
        return True


@functools.cache
def _filter() -> _Redact:
    """Make the one filter; loggers belong to the process, and so does it."""
    redact = _Redact()
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(redact)
    return redact


def hide_secrets_of(owner: HasSecrets) -> None:
    """Hide the secrets of ``owner`` in httpcore's and httpx's log for as long as it lives."""
    _filter().owners.add(owner)
