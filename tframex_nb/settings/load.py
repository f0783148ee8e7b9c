"""Reading the settings: all layers into one frozen value, each part with its source."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tframex_nb.errors import SettingsError
from tframex_nb.settings.connection import redirected
from tframex_nb.settings.layers import dotenv_of, foreign_keys, layers
from tframex_nb.settings.mcp import McpSettings
from tframex_nb.settings.schema import EndpointSettings, Origins, Settings, TimeoutSettings
from tframex_nb.settings.urls import base_url, origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

    from tframex_nb.settings.sources import Key, Layer, Source

__all__ = ["load_settings"]

OPENAI_URL = "https://api.openai.com/v1"  # where OPENAI_API_KEY belongs, with no OPENAI_BASE_URL

_Raw = Any  # a value as it was found: text, number, table
_Values = dict["Key", tuple[_Raw, "Source"]]


def load_settings(
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    **arguments: Any,  # any setting by its name; what is None counts as not given
) -> Settings:
    """Read the settings now: from the arguments, the environment and the files of ``cwd``.

    The first of these that has a value gives it: arguments; ``TFRAMEX_*`` in the environment;
    the same in ``.env``; ``tframex.toml``; ``[tool.tframex]`` in ``pyproject.toml``;
    ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``; TFrameX's names in a ``.env``.

    Raises ``SettingsError`` for a value of ours that is not valid; it names the place and what
    is allowed, never the value. What others' files hold can only add to ``notes``.
    """
    environ = os.environ if environ is None else environ
    notes: list[str] = []
    folder = _folder(cwd, notes)
    dotenv = dotenv_of(folder, notes)
    found = layers(folder, environ, arguments, dotenv, notes)
    values = _merged(found)
    _drop_strays(values, found, notes)
    key = _KeyChoice(found, values.get(("api_url",)))
    if key.chosen is not None:
        values["api_key",] = key.chosen
    origins = Origins(
        sources={".".join(name): source for name, (_, source) in values.items()},
        notes=tuple(notes),
        key_notes=tuple(key.notes),
        refusal=key.refusal,
        foreign=foreign_keys(environ, dotenv),
    )
    return _validated(values).adopt(origins)


def _drop_strays(values: _Values, found: list[Layer], notes: list[str]) -> None:
    """Take out headers and ``verify`` that stand beside another URL than the one in use."""
    url = values.get(("api_url",))
    homes = _homes_of_keys(found)
    for name in ("headers", "verify"):
        value = values.get((name,))
        if value is None or url is None:
            continue
        home = next((homes.get(id(layer)) for layer in found if layer.get(name) == value), None)
        if home and home != _origin(url[0]):
            del values[(name,)]
            notes.append(f"{value[1]} is not used: it belongs to {home[0]}://{home[1]}")


class _KeyChoice:
    """The key that goes with the default URL, or the reason why none may.

    ``chosen`` is the raw key and its source, ``refusal`` the error for a key that a less trusted
    URL would lead astray, ``notes`` the keys that belong to another URL.
    """

    def __init__(self, found: list[Layer], url: tuple[_Raw, Source] | None) -> None:
        self.chosen: tuple[_Raw, Source] | None = None
        self.refusal: SettingsError | None = None
        self.notes: list[str] = []
        self._homes = _homes_of_keys(found)
        for layer in found:
            key = layer.get("api_key")
            if key is not None and self._decide(layer, key, url):
                return

    def _decide(
        self, layer: Layer, key: tuple[_Raw, Source], url: tuple[_Raw, Source] | None
    ) -> bool:
        """Take the key, refuse it, or pass it over; return whether the search is over."""
        if url is None:
            if layer.family == "tframex":
                self.chosen = key
            return self.chosen is not None
        if not str(key[0]).strip():
            return True
        if layer.get("api_url") != url:
            if not url[1].may_direct(key[1]):
                self.refusal = redirected(url[1], key[1])
                return True
            home = self._homes.get(id(layer))
            if home and home != _origin(url[0]):
                shown = f"{home[0]}://{home[1]}"
                self.notes.append(f"the key from {key[1]} belongs to {shown} and is not sent")
                return False
        self.chosen = key
        return True


def _homes_of_keys(found: list[Layer]) -> dict[int, tuple[str, str, int | None]]:
    """Return for each layer the origin of the URL that stands beside its key."""
    openai = [layer.get("api_url") for layer in found if layer.family == "openai"]
    openai_url = next((url[0] for url in openai if url), OPENAI_URL)
    homes = {}
    for layer in found:
        url = layer.get("api_url")
        beside = openai_url if layer.family == "openai" else url[0] if url else None
        home = _origin(beside)
        if home:
            homes[id(layer)] = home
    return homes


def _origin(url: _Raw) -> tuple[str, str, int | None] | None:
    try:
        return origin(base_url(url)) if isinstance(url, str) else None
    except ValueError:
        return None


def _folder(cwd: Path | None, notes: list[str]) -> Path | None:
    try:
        return Path(cwd).absolute() if cwd is not None else Path.cwd()
    except OSError:
        notes.append("the working directory does not exist: no file is read")
        return None


def _merged(found: list[Layer]) -> _Values:
    """Return the strongest value of each key, the default API key left out.

    TFrameX's values count together: only where its URL is the one in use.
    """
    urls = [layer.get("api_url") for layer in found]
    first = next((url for url in urls if url), None)
    values: _Values = {}
    for layer in reversed(found):
        if layer.family == "legacy" and layer.get("api_url") != first:
            continue
        values.update(layer.values)
    values.pop(("api_key",), None)
    return values


def _validated(values: _Values) -> Settings:
    nested: dict[str, _Raw] = {}
    for key, (value, _) in values.items():
        table = nested
        for name in key[:-1]:
            table = table.setdefault(name, {})
        table[key[-1]] = value
    try:
        return Settings.model_validate(nested)
    except ValidationError as exc:
        problem = exc.errors(include_input=False, include_url=False, include_context=False)[0]
        raise _invalid(problem, values) from None


def _invalid(problem: ErrorDetails, values: _Values) -> SettingsError:
    """Return the error that names the place and what is allowed there, never the value."""
    key = tuple(str(part) for part in problem["loc"])
    while key and key not in values:
        key = key[:-1]
    source = values[key][1] if key else "a setting"
    reason = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    allowed = _allowed(key)
    return SettingsError(
        f"{source} is not valid: {reason}",
        hint=f"allowed: {allowed}" if allowed else "mend or remove it",
    )


def _allowed(key: Key) -> str:
    match key:
        case (*_, "timeouts", name):
            description = TimeoutSettings.model_fields[name].description
            return description or "seconds, more than 0"
        case ("endpoints", _, name):
            return EndpointSettings.model_fields[name].description or ""
        case ("mcp", _, name):
            return McpSettings.model_fields[name].description or "seconds, more than 0"
        case (name,):
            return Settings.model_fields[name].description or ""
        case _:
            return ""
