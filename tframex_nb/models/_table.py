"""The rows of the models table: what is set, what runs here, the demo, the providers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tframex_nb.errors import SettingsError
from tframex_nb.models._lookup import DEMO
from tframex_nb.models._survey import EndpointStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tframex_nb.models._lookup import Lookup
    from tframex_nb.models.providers import Preset
    from tframex_nb.settings import Connection

__all__ = ["Entry", "rows_of"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A row, whether it is to be probed, and what makes of the answer the row that is shown."""

    row: EndpointStatus
    probed: bool = False
    finish: Callable[[EndpointStatus], EndpointStatus] = lambda row: row


def rows_of(lookup: Lookup) -> list[Entry]:
    """Return the entries in the order of the table."""
    configured = list(_configured(lookup))
    taken = {entry.row.url for entry in configured}
    here = [p for p in lookup.presets.values() if p.local and lookup.settings.discover]
    providers = [p for p in lookup.presets.values() if not p.local]
    names = {entry.row.name for entry in configured}
    return [
        *configured,
        *(_found(p, lookup) for p in here if p.url not in taken and p.name not in names),
        Entry(EndpointStatus(DEMO, "demo", state="ready", next="-m demo")),
        *(_provider(p, lookup) for p in providers if p.name not in names),
    ]


def _configured(lookup: Lookup) -> Iterator[Entry]:
    settings = lookup.settings
    if settings.api_url is not None:
        yield _entry(lookup, "", settings.api_url)
    names = [*settings.endpoints, *(n for n in lookup.connected if n not in settings.endpoints)]
    for name in names:
        own = settings.endpoints.get(name)
        yield _entry(lookup, name, own.url or "" if own else "")


def _entry(lookup: Lookup, name: str, url: str) -> Entry:
    row = EndpointStatus(name or "default", "configured", url)
    try:
        connection = lookup.connection(name)
    except SettingsError as exc:
        return Entry(replace(row, state=f"refused: {exc.message}", next=exc.hint))
    row = replace(row, url=connection.url)
    special = connection.proxy or connection.ca_bundle or not connection.verify
    if special:
        state = "not asked: it needs its proxy or certificates"
        return Entry(replace(row, state=state, next=_usage(name, connection.model)))
    if not _is_here_or_set(connection):
        return Entry(replace(row, state="ready", next=_usage(name, connection.model)))
    return Entry(row, probed=True, finish=lambda answer: _judged(answer, name, connection))


def _is_here_or_set(connection: Connection) -> bool:
    """Whether it is to be asked: a provider's own URL is known to answer, and far away."""
    return connection.source.kind != "builtin"


def _judged(answer: EndpointStatus, name: str, connection: Connection) -> EndpointStatus:
    """Return the row of a configured endpoint, in the light of what it answered."""
    usage = _usage(name, connection.model or next(iter(answer.models), None))
    if answer.state == "ready":
        return replace(answer, next=usage)
    if answer.state == "wants a key":
        if connection.api_key is not None:
            return replace(answer, state="ready (its key was not tried)", next=usage)
        note = connection.notes[0] if connection.notes else "%models connect NAME, or set its key"
        return replace(answer, next=note.replace("NAME", name or answer.url))
    return replace(answer, next=f"is it running? its URL is from {connection.source}")


def _found(preset: Preset, lookup: Lookup) -> Entry:
    row = EndpointStatus(preset.name, "found", preset.url)

    def finish(answer: EndpointStatus) -> EndpointStatus:
        if answer.state != "ready":
            return replace(answer, kind="preset", next=f"start {preset.name}, then %models")
        model = next(iter(answer.models), None)
        usage = _usage(preset.name, model)
        verb = usage if preset.name in lookup.chosen else f"%models use {usage.removeprefix('-m ')}"
        return replace(answer, next=verb)

    return Entry(row, probed=True, finish=finish)


def _provider(preset: Preset, lookup: Lookup) -> Entry:
    row = EndpointStatus(preset.name, "preset", preset.url)
    key = lookup.settings.provider_key(preset.keys)
    if key is None:
        next_move = f"%models connect {preset.name}"
        return Entry(replace(row, state="needs a key", next=next_move))
    state = f"ready ({key.source})"
    return Entry(replace(row, state=state, next=f"-m {preset.name}:MODEL"))


def _usage(name: str, model: str | None) -> str:
    if not name:
        return f"-m {model}" if model else "in use when no model is named"
    return f"-m {name}:{model}" if model else f"-m {name}:MODEL"
