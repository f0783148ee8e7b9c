"""Settings: frozen values that know where they came from, read when asked for."""

from __future__ import annotations

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
