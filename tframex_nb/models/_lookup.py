"""What a model's name means, and how to reach the endpoint that it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tframex_nb.errors import SettingsError, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tframex_nb.models.providers import Preset
    from tframex_nb.settings import Connection, Credential, Settings

__all__ = ["DEMO", "Lookup", "Spec"]

DEMO = "demo"
_OPENAI = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True)
class Spec:
    """What a name means: an endpoint (empty for the default one) and a model on it."""

    endpoint: str
    model: str | None = None

    def __str__(self) -> str:
        return ":".join(part for part in (self.endpoint, self.model) if part)


@dataclass(frozen=True, slots=True)
class Lookup:
    """The settings of now, beside what this process was told.

    ``connected`` are endpoints with a key in memory, ``chosen`` the local servers that a person
    chose, ``selected`` what answers when no model is named.
    """

    settings: Settings
    presets: Mapping[str, Preset]
    connected: Mapping[str, Connection] = field(default_factory=dict)
    chosen: Collection[str] = ()
    selected: Spec | None = None

    def meaning(self, spec: str) -> Spec:
        """Return which endpoint and which model a name means; the empty name is the default.

        Raises ``SettingsError`` for a model without an endpoint.
        """
        spec = spec.strip()
        known = self._known(spec) if spec else None
        if known is not None:
            return known
        home = self.home()
        if not spec:
            return home
        if home.endpoint != DEMO:
            return Spec(home.endpoint, spec)
        return self._homed(spec)

    def home(self) -> Spec:
        """Return the default: what was chosen, then the settings, and the demo last.

        Raises ``SettingsError`` where something is set and does not suffice.
        """
        settings = self.settings
        if self.selected is not None:
            return self.selected
        if settings.api_url is not None:
            return Spec("", settings.model)
        if settings.model:
            return self._known(settings.model) or self._homed(settings.model)
        if settings.api_key is not None:
            raise SettingsError(
                f"there is a key ({settings.sources['api_key']}) and no URL for it",
                hint="set TFRAMEX_API_URL beside it, or use -m demo, which needs neither",
            )
        return Spec(DEMO)

    def connection(self, name: str, given: Credential | None = None) -> Connection:
        """Return how to reach an endpoint; ``given`` is a key from an argument.

        Raises ``SettingsError`` where it cannot be used as things are.
        """
        if not name:
            return self.settings.connection()
        if given is None and name in self.connected:
            return self.connected[name]
        preset = self.presets.get(name)
        if preset is None or self._is_elsewhere(preset):
            return self._named(name, given)
        return self._preset(preset, given)

    def target(self, name_or_url: str) -> tuple[str, str]:
        """Return the name and the URL of what a person wants to connect to.

        Raises ``SettingsError`` for a URL that is none, and for an unknown name.
        """
        from tframex_nb.settings.urls import base_url

        if "://" in name_or_url:
            try:
                url = base_url(name_or_url)
            except ValueError as exc:
                hint = "write it as https://host/v1"
                raise SettingsError(f"the URL is not valid: {exc}", hint=hint) from None
            return url.partition("://")[2].partition("/")[0], url
        name = name_or_url.lower()
        own, preset = self.settings.endpoints.get(name), self.presets.get(name)
        if name in self.connected:
            return name, self.connected[name].url
        if preset is not None and not self._is_elsewhere(preset):
            return name, preset.url
        if own is not None and own.url is not None:
            return name, own.url
        known = [*self.settings.endpoints, *self.presets]
        raise SettingsError(f"no endpoint {name_or_url!r} is known", hint=nearest(name, known))

    def is_ready(self, preset: Preset) -> bool:
        """Whether a preset can be used without a further step."""
        if preset.local:
            return preset.name in self.chosen
        connected = preset.name in self.connected
        return connected or self.settings.provider_key(preset.keys) is not None

    def _known(self, spec: str) -> Spec | None:
        """Return what a name that begins with an endpoint's means."""
        prefix, colon, rest = spec.partition(":")
        name, model = prefix.strip().lower(), rest.strip() or None
        if name == DEMO:
            return Spec(DEMO, model)
        for whole, connection in self.connected.items():  # host:port holds a colon itself
            for written in (whole, connection.url):
                if spec == written or spec.startswith(f"{written}:"):
                    return Spec(whole, spec[len(written) + 1 :] or None)
        preset = self.presets.get(name)
        if name in self.settings.endpoints:
            return Spec(name, model)
        if preset is None or (preset.also_model and colon and not self.is_ready(preset)):
            return None
        return Spec(name, model)

    def _homed(self, model: str) -> Spec:
        """Return where a bare model's name belongs when nothing else was chosen."""
        if self.settings.api_url is not None:
            return Spec("", model)
        if self.settings.provider_key([_OPENAI]) and "openai" in self.presets:
            return Spec("openai", model)
        names = [*self.settings.endpoints, *self.connected, *self.presets, DEMO]
        raise SettingsError(
            f"no endpoint is set for the model {model!r}",
            hint="set TFRAMEX_API_URL, or write ENDPOINT:MODEL; "
            + nearest(model.partition(":")[0], names),
        )

    def _named(self, name: str, given: Credential | None) -> Connection:
        connection = self.settings.connection(name, given)
        if connection.api_key is not None or not self.settings.keyring:
            return connection
        from tframex_nb.models._keys import recall

        stored = recall(connection.url, name)
        if stored is None:
            return connection
        # The key was stored for this very origin, so its place directs it.
        return self.settings.connect_to(connection.url, stored.source, stored, name=name)

    def _preset(self, preset: Preset, given: Credential | None) -> Connection:
        from tframex_nb.settings import Source

        if preset.local and preset.name not in self.chosen:
            raise SettingsError(
                f"{preset.name} on this host was not chosen yet: its port may be a neighbour's",
                hint=f"%models use {preset.name}",
            )
        key = given or self.settings.endpoint_key(preset.name)
        key = key or self.settings.provider_key(preset.keys) or self._stored(preset)
        if key is None and not preset.local:
            raise SettingsError(f"{preset.name} needs an API key", hint=preset.how_to_connect)
        source = Source("builtin", preset.name)
        return self.settings.connect_to(preset.url, source, key, name=preset.name)

    def _stored(self, preset: Preset) -> Credential | None:
        if not self.settings.keyring or preset.local:
            return None
        from tframex_nb.models._keys import recall

        return recall(preset.url, preset.name)

    def _is_elsewhere(self, preset: Preset) -> bool:
        """Whether the settings give a preset's name another URL.

        A provider's name may mean another place only where the environment or an argument says
        so: ``-m openai:…`` must not lead to whoever wrote the folder's files.
        """
        from tframex_nb.settings.urls import origin

        own = self.settings.endpoints.get(preset.name)
        if own is None or own.url is None or origin(own.url) == origin(preset.url):
            return False
        source = self.settings.sources[f"endpoints.{preset.name}.url"]
        if not preset.local and not source.is_own:
            raise SettingsError(
                f"{source} gives a provider's name to another URL: "
                f"{preset.name} means {preset.url}",
                hint="give that endpoint another name",
            )
        return True
