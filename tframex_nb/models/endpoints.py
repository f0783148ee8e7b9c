"""Endpoints by name: the models of this process, its keys, its choice, its demo server."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import SettingsError
from tframex_nb.models._lookup import DEMO, Lookup, Spec
from tframex_nb.models._survey import EndpointStatus
from tframex_nb.models.providers import PRESETS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from pydantic import SecretStr

    from tframex_nb.models._endpoint_model import EndpointModel
    from tframex_nb.models.demo import DemoServer
    from tframex_nb.models.openai_compatible import VLLMModel
    from tframex_nb.models.providers import Preset
    from tframex_nb.settings import Connection, Settings, Source

__all__ = ["DEMO", "EndpointStatus", "Endpoints", "shared_endpoints"]


@dataclass(slots=True)
class _Group:
    """The models on one connection."""

    made_for: Hashable
    by_name: dict[str | None, EndpointModel] = field(default_factory=dict)


class Endpoints:
    """The endpoints that this process can use.

    It holds, in memory, the keys that people gave, what they chose with ``use``, the models with
    their connections, and the demo server. ``load`` reads the settings; it is called anew each
    time, so that a changed ``.env`` counts at once.
    """

    def __init__(
        self,
        *,
        load: Callable[..., Settings] | None = None,
        presets: Mapping[str, Preset] | None = None,
    ) -> None:
        self._load = load
        self._presets = dict(PRESETS if presets is None else presets)
        self._connected: dict[str, Connection] = {}
        self._chosen: set[str] = set()
        self._selected: Spec | None = None
        self._models: dict[tuple[str, Source], _Group] = {}
        self._demos: dict[str, EndpointModel] = {}
        self._listed: dict[str, tuple[str, ...]] = {}
        self._demo: DemoServer | None = None

    def resolve(
        self,
        spec: str | None = None,
        *,
        api_url: str | None = None,
        api_key: str | SecretStr | None = None,
    ) -> EndpointModel:
        """Return the model that ``spec`` means; nothing is asked over the network yet.

        ``spec`` is ``ENDPOINT:MODEL``, ``ENDPOINT``, ``demo[:VARIANT]``, or a model on the
        default endpoint. Without it comes what ``use`` chose, then what the settings say, and
        the demo only where nothing is set. With ``api_url`` it is a model there.

        Raises ``SettingsError``.
        """
        lookup = self._lookup(api_url=api_url, api_key=api_key)
        settings = lookup.settings
        if api_url is not None:
            return self._model("", settings.connection(), spec or settings.model)
        meant = lookup.meaning(spec or "")
        if meant.endpoint == DEMO:
            return self._demo_model(meant.model)
        given = settings.given_key() if api_key is not None else None
        connection = lookup.connection(meant.endpoint, given)
        return self._model(meant.endpoint, connection, meant.model or connection.model)

    def use(self, name: str) -> None:
        """Choose what answers when no model is named; the empty name takes the choice back.

        This is also what lets a server that was found on this host be used. Raises
        ``SettingsError`` for a name that means nothing, or nothing that can be used.
        """
        if not name.strip():
            self._selected = None
            return
        lookup = self._lookup()
        meant = lookup.meaning(name)
        preset = self._presets.get(meant.endpoint)
        chosen = {preset.name} if preset is not None and preset.local else set()
        if meant.endpoint != DEMO:
            replace(lookup, chosen=self._chosen | chosen).connection(meant.endpoint)
        self._chosen |= chosen
        self._selected = meant

    def connect(self, name_or_url: str, key: str | SecretStr | None = None) -> str:
        """Keep a key in memory for an endpoint, and return the endpoint's name.

        The key belongs to the URL of now: where the settings may point later, it is not sent.
        With the setting ``keyring``, the system's keyring keeps it too. Raises
        ``SettingsError``.
        """
        from tframex_nb.models._keys import credential_of, remember
        from tframex_nb.settings import Source

        lookup = self._lookup()
        name, url = lookup.target(name_or_url.strip())
        preset = self._presets.get(name)
        credential = credential_of(key, name)
        if credential is None and preset is not None and not preset.local:
            raise SettingsError(f"no key was given for {name}", hint=preset.how_to_connect)
        source = Source("memory", name)
        connection = lookup.settings.connect_to(url, source, credential, name=name)
        self._connected[name] = connection
        if credential is not None and lookup.settings.keyring:
            remember(url, credential)
        return name

    def url_of(self, name_or_url: str) -> str:
        """Return the URL that a key given to ``connect`` would go to; raises ``SettingsError``."""
        return self._lookup().target(name_or_url.strip())[1]

    def lost(self, name: str) -> str:
        """Return what a provider's OpenAI-compatible layer loses; empty where nothing is known."""
        preset = self._presets.get(name.partition(":")[0].lower())
        return preset.lost if preset is not None else ""

    def names(self) -> list[str]:
        """Return names for completion, from the settings and the last survey; nothing is asked."""
        from tframex_nb.models.demo import variant_names

        try:
            lookup = self._lookup()
        except SettingsError:
            return variant_names()
        settings = lookup.settings
        default = [settings.model] if settings.model and settings.api_url else []
        named = [str(Spec(name, own.model)) for name, own in settings.endpoints.items()]
        ready = [preset.name for preset in self._presets.values() if lookup.is_ready(preset)]
        listed = [
            str(Spec("" if name == "default" else name, model))
            for name, models in self._listed.items()
            for model in models
        ]
        found = [*default, *named, *self._connected, *ready, *listed]
        return [*dict.fromkeys(found), *variant_names()]

    async def survey(self) -> list[EndpointStatus]:
        """Return a row for each endpoint: configured, found on this host, demo, preset.

        What is set and what may run on this host is asked, all at once, within 0.3 s, without a
        key; providers are not asked. Raises ``SettingsError`` for invalid settings.
        """
        from tframex_nb.models._survey import probe_all
        from tframex_nb.models._table import rows_of

        lookup = self._lookup()
        entries = rows_of(lookup)
        answers = iter(await probe_all([entry.row for entry in entries if entry.probed]))
        rows = [entry.finish(next(answers)) if entry.probed else entry.row for entry in entries]
        self._listed = {row.name: row.models for row in rows if row.models}
        selected = _selected_row(lookup)
        return [
            replace(row, selected=True, next="in use") if row.name == selected else row
            for row in rows
        ]

    async def aclose(self) -> None:
        """Close every model's connections, and stop the demo server; they come back when used."""
        groups, self._models = self._models, {}
        demos, self._demos = self._demos, {}
        models = [model for group in groups.values() for model in group.by_name.values()]
        for model in (*models, *demos.values()):
            await model.aclose()
        demo, self._demo = self._demo, None
        if demo is not None:
            await asyncio.to_thread(demo.stop)

    def __repr__(self) -> str:
        return f"<Endpoints, selected: {self._selected or 'nothing'}>"

    def _lookup(self, **arguments: Any) -> Lookup:  # load_settings' own arguments
        from tframex_nb.settings import load_settings

        settings = (self._load or load_settings)(**arguments)
        return Lookup(settings, self._presets, self._connected, self._chosen, self._selected)

    def _demo_model(self, variant: str | None) -> EndpointModel:
        from tframex_nb.models._endpoint_model import EndpointModel

        name = f"{DEMO}:{variant}" if variant else DEMO
        if name not in self._demos:
            self._demos[name] = EndpointModel(DEMO, name, self._make_demo, label=name)
        return self._demos[name]

    def _make_demo(self, name: str) -> VLLMModel:
        from tframex_nb.http import TransportOptions
        from tframex_nb.models.demo import DemoServer
        from tframex_nb.models.openai_compatible import VLLMModel

        if self._demo is None:
            self._demo = DemoServer()
        transport = TransportOptions(trust_env=False)
        return VLLMModel(name, self._demo.url, self._demo.token, label=name, transport=transport)

    def _model(self, endpoint: str, connection: Connection, model: str | None) -> EndpointModel:
        from tframex_nb.models._connect import identity, maker
        from tframex_nb.models._endpoint_model import EndpointModel

        place = (endpoint, connection.source)
        group = self._models.get(place)
        if group is None or group.made_for != identity(connection):
            # The models of before are let go: each closes its connections after its last run.
            group = self._models[place] = _Group(identity(connection))
        if model not in group.by_name:
            make = maker(connection)
            made = EndpointModel(endpoint, model, make, notes=connection.notes)
            group.by_name[model] = made
        return group.by_name[model]


@functools.cache
def shared_endpoints() -> Endpoints:
    """Return the endpoints of this process.

    A process has one: the keys that its user typed in, one selection, one demo server.
    """
    return Endpoints()


def _selected_row(lookup: Lookup) -> str:
    """Return the name of the row that answers when no model is named, as far as it is known."""
    try:
        return lookup.home().endpoint or "default"
    except SettingsError:
        return ""
