"""The places that may hold settings, each read into one layer, the strongest first."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import SettingsError, nearest
from tframex_nb.settings.files import Reference, find, read_dotenv, read_pyproject, read_toml
from tframex_nb.settings.mcp import McpSettings
from tframex_nb.settings.schema import EndpointSettings, Settings, TimeoutSettings
from tframex_nb.settings.sources import Credential, Key, Layer, Source
from tframex_nb.settings.urls import base_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = ["DotEnv", "dotenv_of", "foreign_keys", "layers"]

PREFIX = "TFRAMEX_"

# Read where it is used, and from the environment alone: it says which programs are run, so no
# folder's files may set it.
READ_ELSEWHERE = frozenset({"TFRAMEX_FRAMEWORKS_DIR"})

_SEED_NUMBERS: dict[str, tuple[str, Callable[[str], float], float]] = {
    "MAX_TOKENS": ("max_tokens", int, 1),
    "TEMPERATURE": ("temperature", float, 0),
}
# Tables that a variable holds as JSON: what they are, and how they are written.
_AS_JSON = {
    "args": ("a JSON array of texts", '["-m", "server"]'),
    "env": ("a JSON object of variables and texts", '{"LANG": "C"}'),
    "env_from": ("a JSON array of variables' names", '["GITHUB_TOKEN"]'),
    "headers": ("a JSON object of header names and texts", '{"X-Team": "a"}'),
    "prices": ("a JSON object of models and prices", '{"my-model": {"input": 0.5, "output": 1.5}}'),
}
_NAMED = {"endpoints": "endpoint", "mcp": "MCP server"}  # tables of named tables
_FOREIGN_KEY = re.compile(r"[A-Z][A-Z0-9_]*_API_KEY|HF_TOKEN")
_NAME = re.compile(r"\w[\w.-]*")  # no colon and no space: a person writes -m NAME:MODEL
_INDIRECT = re.compile(r"(api_?)?key_?(env|var|cmd|command|file|from)\w*|env_?(api_?)?key")
_POINTS_OUT = re.compile(r"\s*(\$\{?[A-Za-z_]|\$\(|env:|%[A-Za-z_]+%)")

_Raw = Any  # a value as it was found: text, number, table
_Values = dict[Key, tuple[_Raw, Source]]


@dataclass(frozen=True, slots=True)
class DotEnv:
    """The variables of the ``.env``, if there is one."""

    path: Path | None = None
    variables: Mapping[str, str | Reference] = field(default_factory=dict, repr=False)
    linked: bool = False

    def source(self, name: str) -> Source:
        """Return the source of one variable."""
        return Source("dotenv", name, str(self.path), self.linked)

    def text(self, name: str) -> str:
        """Return a variable's text, empty where it is absent or refers elsewhere."""
        value = self.variables.get(name, "")
        return value.strip() if isinstance(value, str) else ""


def dotenv_of(cwd: Path | None, notes: list[str]) -> DotEnv:
    """Read the nearest ``.env``."""
    path = find(cwd, ".env") if cwd is not None else None
    return DotEnv(path, *read_dotenv(path, notes)) if path is not None else DotEnv()


def layers(
    cwd: Path | None,
    environ: Mapping[str, str],
    arguments: Mapping[str, _Raw],
    dotenv: DotEnv,
    notes: list[str],
) -> list[Layer]:
    """Return the layers, strongest first.

    Raises ``SettingsError`` for a setting of ours that does not exist or has the wrong shape.
    """
    here = {name: value for name, value in environ.items() if value}
    own = {name: value for name, value in environ.items() if name not in READ_ELSEWHERE}
    return [
        _table(arguments, lambda key: Source("argument", ".".join(key))),
        _variables(own, lambda name: Source("environment", name)),
        _variables(dotenv.variables, dotenv.source),
        *_files(cwd, notes),
        _openai(here, lambda name: Source("environment", name), notes),
        _openai(dotenv.variables, dotenv.source, notes),
        _seed(dotenv, notes),
    ]


def foreign_keys(environ: Mapping[str, str], dotenv: DotEnv) -> dict[str, Credential]:
    """Return the keys that providers' own names hold; the environment's come first."""
    from pydantic import SecretStr

    found = {name: (dotenv.text(name), dotenv.source(name)) for name in dotenv.variables}
    found |= {
        name: (text.strip(), Source("environment", name))
        for name, text in environ.items()
        if text.strip()
    }
    return {
        name: Credential(SecretStr(text), source)
        for name, (text, source) in found.items()
        if _FOREIGN_KEY.fullmatch(name) and text and all("!" <= letter <= "~" for letter in text)
    }


def _files(cwd: Path | None, notes: list[str]) -> Iterator[Layer]:
    """Yield the layers of ``tframex.toml`` and of ``pyproject.toml``."""
    if cwd is None:
        return
    path = find(cwd, "tframex.toml")
    if path is not None:
        table, linked = read_toml(path)
        file = str(path)
        yield _table(table, lambda key: Source("toml", ".".join(key), file, linked), folder=True)
    project = find(cwd, "pyproject.toml")
    if project is not None:
        table, away = read_pyproject(project, notes)
        name = str(project)
        yield _table(
            table,
            lambda key: Source("pyproject", ".".join(("tool.tframex", *key)), name, away),
            folder=True,
        )


def _table(
    table: Mapping[str, _Raw], source_of: Callable[[Key], Source], *, folder: bool = False
) -> Layer:
    values: _Values = {}
    for key, value in _flat(table, source_of):
        source = source_of(key)
        if folder:
            _refuse_indirection(key, value, source)
        _check_known(key, source, ".".join)
        if value is not None:
            values[_lowered(key)] = (value, source)
    return Layer("tframex", values)


def _variables(
    variables: Mapping[str, str | Reference], source_of: Callable[[str], Source]
) -> Layer:
    values: _Values = {}
    for name, value in variables.items():
        if not name.startswith(PREFIX):
            continue
        key = tuple(name.removeprefix(PREFIX).lower().split("__"))
        source = source_of(name)
        _check_known(key, source, _variable_name)
        if isinstance(value, Reference):
            raise _reaches_out(source, f"it refers to ${{{value.name}}}, which is not in that file")
        if value.strip() or key[-1] == "api_key":  # an empty key says that none is needed
            values[key] = (_parsed(key, value.strip(), source), source)
    return Layer("tframex", values)


def _openai(
    variables: Mapping[str, str | Reference], source_of: Callable[[str], Source], notes: list[str]
) -> Layer:
    """Read OpenAI's two names; an unusable value is only noted, since the names are not ours."""
    values: _Values = {}
    names = (("OPENAI_BASE_URL", "api_url"), ("OPENAI_API_KEY", "api_key"))
    for name, setting in names:
        value = variables.get(name)
        if not isinstance(value, str) or not value.strip():
            continue
        problem = _unusable(setting, value.strip())
        if problem:
            notes.append(f"{source_of(name)} is not used: {problem}")
        else:
            values[(setting,)] = (value.strip(), source_of(name))
    return Layer("openai", values)


def _seed(dotenv: DotEnv, notes: list[str]) -> Layer:
    """Read TFrameX's names, which count only where URL and model are there: many use API_URL."""
    url, model = dotenv.text("API_URL"), dotenv.text("MODEL_NAME")
    if not url or not model or _unusable("api_url", url):
        return Layer("legacy", {})
    values: _Values = {
        ("api_url",): (url, dotenv.source("API_URL")),
        ("model",): (model, dotenv.source("MODEL_NAME")),
    }
    key = dotenv.text("API_KEY")
    if key and not _unusable("api_key", key):
        values["api_key",] = (key, dotenv.source("API_KEY"))
    for name, (setting, number, least) in _SEED_NUMBERS.items():
        text = dotenv.text(name)
        try:
            usable = bool(text) and number(text) >= least
        except ValueError:
            usable = False
        if usable:
            values[setting,] = (text, dotenv.source(name))
        elif text:
            notes.append(f"{dotenv.source(name)} is not used: it is no fitting number")
    return Layer("legacy", values)


def _unusable(setting: str, value: str) -> str:
    """Return why a foreign value cannot be used, or nothing."""
    if setting == "api_key":
        return "" if all("!" <= c <= "~" for c in value) else "it holds what no API key has"
    try:
        base_url(value)
    except ValueError as exc:
        return str(exc)
    return ""


def _flat(
    table: Mapping[str, _Raw], source_of: Callable[[Key], Source], above: Key = ()
) -> Iterator[tuple[Key, _Raw]]:
    for name, value in table.items():
        key = (*above, str(name))
        if not _is_table(key):
            yield key, value
        elif isinstance(value, Mapping):
            yield from _flat(value, source_of, key)
        elif value is not None:
            raise SettingsError(
                f"{source_of(key)} must be a table", hint=f"write it as [{'.'.join(key)}]"
            )


def _is_table(key: Key) -> bool:
    if key[0] in _NAMED:
        return len(key) <= 2 or key[2:] == ("timeouts",)  # noqa: PLR2004 - endpoints.NAME
    return key == ("timeouts",)


def _lowered(key: Key) -> Key:
    """Return the key with a table's name in lower case: names do not differ by case."""
    return (key[0], key[1].lower(), *key[2:]) if key[0] in _NAMED else key


def _check_known(key: Key, source: Source, written: Callable[[Key], str]) -> None:
    """Raise ``SettingsError`` where there is no such setting; name the nearest."""
    if key[0] in _NAMED and len(key) > 1 and not _NAME.fullmatch(key[1]):
        raise SettingsError(
            f"{source} is not valid: {key[1]!r} can be no {_NAMED[key[0]]}'s name",
            hint="allowed: letters, digits, and _ - . between them",
        )
    if _is_table(key):
        inner = {"endpoints": ("NAME", "url"), "mcp": ("NAME", "command")}.get(key[0], ("connect",))
        example = written((*key, *inner[len(key) - 1 :]))
        raise SettingsError(
            f"{source} is a table, not a value", hint=f"set what is in it, such as {example}"
        )
    above, known = _known_beside(key)
    if key[-1] in known:
        return
    names = [written((*above, name)) for name in known]
    raise SettingsError(f"{source}: there is no such setting", hint=nearest(written(key), names))


def _known_beside(key: Key) -> tuple[Key, Iterable[str]]:
    """Return the table that a key is in, and the names which that table may hold."""
    match key:
        case ("timeouts", _):
            return key[:1], TimeoutSettings.model_fields
        case ("endpoints", _, "timeouts", _):
            return key[:3], TimeoutSettings.model_fields
        case ("endpoints", _, _):
            return key[:2], EndpointSettings.model_fields
        case ("mcp", _, _):
            return key[:2], McpSettings.model_fields
        case (_,):
            return (), Settings.model_fields
        case _:
            return (), ()


def _variable_name(key: Key) -> str:
    return PREFIX + "__".join(key).upper()


def _parsed(key: Key, text: str, source: Source) -> _Raw:
    """Return a variable's value; a table of headers or of prices is written as JSON."""
    if key[-1] not in _AS_JSON:
        return text
    try:
        return json.loads(text)
    except ValueError:
        what, example = _AS_JSON[key[-1]]
        raise SettingsError(
            f"{source} is not valid: it must be {what}",
            hint=f"write {source.key}='{example}'",
        ) from None


def _refuse_indirection(key: Key, value: _Raw, source: Source) -> None:
    """Refuse what would let a folder's file reach a secret of the environment."""
    if _INDIRECT.fullmatch(key[-1].lower()):
        raise _reaches_out(source, "it would take a key from elsewhere")
    texts = value.values() if isinstance(value, Mapping) else (value,)
    if key[-1] in ("api_key", "headers") and any(_POINTS_OUT.match(str(t)) for t in texts):
        raise _reaches_out(source, "it refers to a variable")


def _reaches_out(source: Source, why: str) -> SettingsError:
    return SettingsError(
        f"{source} may not be used: {why}, and a file in a folder may not read the environment",
        hint="set URL and key in the environment both, or write the key beside its URL in the file",
    )
