"""Settings: frozen values that know where they came from, read when asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tframex_nb.settings.connection import Connection
    from tframex_nb.settings.load import load_settings
    from tframex_nb.settings.schema import EndpointSettings, Settings, TimeoutSettings
    from tframex_nb.settings.sources import Credential, Source

__all__ = [
    "Connection",
    "Credential",
    "EndpointSettings",
    "Settings",
    "Source",
    "TimeoutSettings",
    "load_settings",
]

_HOMES = {
    "Connection": "connection",
    "Credential": "sources",
    "EndpointSettings": "schema",
    "Settings": "schema",
    "Source": "sources",
    "TimeoutSettings": "schema",
    "load_settings": "load",
}


def __getattr__(name: str) -> Any:  # the lazily imported names have many types
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tframex_nb.settings' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tframex_nb.settings.{home}"), name)


def __dir__() -> list[str]:
    return __all__
