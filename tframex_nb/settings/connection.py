"""How to reach one endpoint, and the rule that a key goes only where it may.

URL and key are one credential. A key goes only to a URL from the same or a more trusted source,
and nothing less trusted may stand on the way: no proxy, no CA bundle, no switched-off TLS check,
no header (gateways exist that take their target from a header).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tframex_nb.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from tframex_nb.settings.sources import Credential, Source

__all__ = ["Connection", "Guard", "redirected"]

_ON_THE_WAY = ("proxy", "ca_bundle", "verify", "headers")
_OF_ONE_SERVER = ("headers", "verify")  # what is set for one endpoint says nothing of another
_INHERITED = (
    *_ON_THE_WAY,
    "reasoning",
    "temperature",
    "max_tokens",
    "max_connections",
    "retries",
)


@dataclass(frozen=True, slots=True)
class Connection:
    """One endpoint, ready to be used: every value is decided; None means the built-in default.

    ``timeouts`` are seconds by phase; ``notes`` say why no key is sent, where one was found.
    """

    url: str
    source: Source
    api_key: SecretStr | None = field(default=None, repr=False)
    model: str | None = None
    headers: Mapping[str, SecretStr] = field(default_factory=dict, repr=False)
    proxy: SecretStr | None = field(default=None, repr=False)
    ca_bundle: str | None = None
    verify: bool = True
    reasoning: Literal["separate", "inline"] = "separate"
    temperature: float | None = None
    max_tokens: int | None = None
    max_connections: int | None = None
    retries: int | None = None
    timeouts: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Guard:
    """Puts a connection together and refuses what would lead a key astray.

    ``over`` is a named endpoint, whose values come before those of the settings. With ``own``,
    headers and ``verify`` of the settings count too: they are meant for the default endpoint.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        prefix: str,
        *,
        over: object = None,
        own: bool = False,
        notes: tuple[str, ...] = (),
    ) -> None:
        self._sources = sources
        self._prefix = prefix
        self._over = over
        self._own = own
        self._notes = notes

    def connection(
        self,
        settings: object,
        url: str,
        source: Source,
        credential: Credential | None,
        *,
        model: str | None = None,
    ) -> Connection:
        """Return the connection; raises ``SettingsError`` where the key may not go there."""
        if credential is not None:
            self._check(url, source, credential.source, settings)
        values = {name: self._value(settings, name) for name in _INHERITED}
        given = {name: value for name, value in values.items() if value is not None}
        return Connection(
            url=url,
            source=source,
            api_key=credential.key if credential else None,
            model=model,
            timeouts=self._timeouts(settings),
            notes=self._notes,
            **given,
        )

    def _check(self, url: str, source: Source, key: Source, settings: object) -> None:
        if not source.may_direct(key):
            raise redirected(source, key)
        for name in _ON_THE_WAY:
            place = self._place(name)
            harmless = name == "verify" and self._value(settings, name) is True
            if place is not None and not harmless and not place.may_direct(key):
                raise _intercepted(url, place, key)

    def _value(self, settings: object, name: str) -> Any:  # the fields have many types
        value = getattr(self._over, name, None)
        if value is not None or not self._inherits(name):
            return value
        return getattr(settings, name)

    def _place(self, name: str) -> Source | None:
        """Return where the value that holds came from, if it was set."""
        place = self._sources.get(f"{self._prefix}{name}")
        return self._sources.get(name) if place is None and self._inherits(name) else place

    def _inherits(self, name: str) -> bool:
        return self._own or name not in _OF_ONE_SERVER

    def _timeouts(self, settings: object) -> dict[str, float]:
        tables = [getattr(settings, "timeouts", None), getattr(self._over, "timeouts", None)]
        return {
            phase: seconds
            for table in tables
            if table is not None
            for phase, seconds in table.model_dump(exclude_none=True).items()
        }


def redirected(url: Source, key: Source) -> SettingsError:
    """Return the error for a key that a less trusted URL would lead elsewhere."""
    return SettingsError(
        f"the URL from {url} may not receive the key from {key}: "
        "a file in a folder could send your key anywhere",
        hint=_way_out(url, key),
    )


def _intercepted(url: str, place: Source, key: Source) -> SettingsError:
    return SettingsError(
        f"{place} may not stand between the key from {key} and {url}: "
        "it could read or divert the key",
        hint=f"set it where the key is set, or remove {place}",
    )


def _way_out(url: Source, key: Source) -> str:
    if key.key.startswith("OPENAI"):
        own = "put TFRAMEX_API_KEY beside the URL (empty where the server needs none)"
    else:
        own = "put the key of that server beside its URL"
    return f"set the URL where the key is set, if you trust it; or {own}; or remove {url}"
