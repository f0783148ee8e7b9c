"""The configuration of the frameworks: what a ``runtime-config.yaml`` holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tframex_nb.errors import nearest
from tframex_nb.frameworks.versions import is_specifier, is_version

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "WEIGHTS",
    "AdditionalFramework",
    "Discovery",
    "Limits",
    "RuntimeConfig",
    "TemplateEntry",
    "load_config",
]

WEIGHTS = {"langgraph": 10.0, "crewai": 8.0, "autogen": 6.0}
OTHER_WEIGHT = 5.0  # of a framework that no one gave a weight
_POLICIES = ("standard", "measured")


class _Strict(BaseModel):
    """A table in which an unknown key is an error that names the nearest."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, str_strip_whitespace=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:  # YAML of any shape
        if value is None:  # a key with nothing behind it
            return {}
        if not isinstance(value, dict):
            return value
        for key in value:
            if key not in cls.model_fields:
                raise PydanticCustomError(
                    "unknown_key",
                    "there is no such key",
                    {"key": key, "hint": nearest(str(key), cls.model_fields)},
                )
        return value


def _as_tuple(value: Any) -> Any:  # YAML of any shape
    """Take one text for a list of one, and nothing for an empty list."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _below(value: Path, info: ValidationInfo) -> Path:
    """Return a path as seen from the configuration's own folder."""
    folder = (info.context or {}).get("folder") or Path.cwd()
    return Path(folder, value.expanduser())


_Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
_Name = Annotated[str, Field(min_length=1)]
_Weight = Annotated[float, Field(ge=-1000, le=1000)]


class Discovery(_Strict):
    """Where adapters are looked for.

    ``auto_scan`` takes in the adapters that come with this package and those of installed
    packages (entry points); ``directories`` are searched either way, for ``framework.py`` and
    ``NAME/framework.py``. ``watch`` reloads an adapter or this file when it changes on disk.
    """

    auto_scan: bool = True
    directories: Annotated[tuple[Path, ...], BeforeValidator(_as_tuple)] = ()
    watch: bool = False

    @field_validator("directories")
    @classmethod
    def _from_here(cls, value: tuple[Path, ...], info: ValidationInfo) -> tuple[Path, ...]:
        return tuple(_below(each, info) for each in value)


class TemplateEntry(_Strict):
    """What is said of one template; what is left out stays as it was built in."""

    preferred_frameworks: _Texts = ()
    required_capabilities: _Texts = ()
    fallback_type: _Name | None = "conversation"
    template_version: str = ""
    framework_versions: dict[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _preferred(cls, value: Any) -> Any:  # YAML of any shape
        if not isinstance(value, dict) or "preferred" not in value:
            return value
        if "preferred_frameworks" in value:
            raise PydanticCustomError(
                "both_names",
                "preferred and preferred_frameworks are one",
                {"key": "preferred", "hint": "write one of them"},
            )
        rest = {key: each for key, each in value.items() if key != "preferred"}
        return {**rest, "preferred_frameworks": value["preferred"]}

    @field_validator("template_version", mode="before")
    @classmethod
    def _version(cls, value: Any) -> Any:  # YAML of any shape; 1.0 is a number there
        text = str(value) if isinstance(value, (int, float)) else value
        if isinstance(text, str) and text and not is_version(text):
            raise PydanticCustomError("version", "must be a version such as 1.2")
        return text

    @field_validator("framework_versions")
    @classmethod
    def _ranges(cls, value: dict[str, str]) -> dict[str, str]:
        wrong = [name for name, text in value.items() if not is_specifier(text)]
        if wrong:
            raise PydanticCustomError(
                "range", "must be a range such as >=1.0,<2", {"key": wrong[0]}
            )
        return value


class Limits(_Strict):
    """What is set for one framework.

    ``max_concurrent_executions`` runs at once (the others queue), ``timeout_seconds`` of a whole
    run, ``memory_limit_mb`` (MiB) of a worker with all its processes: a limit of memory forces
    worker mode. ``weight`` counts in the resolver. ``workers`` and ``idle_seconds`` bound the
    warm workers.
    """

    max_concurrent_executions: int | None = Field(default=None, ge=1, le=100_000)
    timeout_seconds: float | None = Field(default=None, gt=0, le=7 * 86_400)
    memory_limit_mb: int | None = Field(default=None, ge=16)
    weight: _Weight | None = None
    workers: int | None = Field(default=None, ge=1, le=64)
    idle_seconds: float | None = Field(default=None, ge=0, le=7 * 86_400)


class AdditionalFramework(_Strict):
    """One adapter by name: the ``class`` as ``pkg.module:Class``, or the ``path`` of a file.

    Both together name one class of a file that holds several. ``name`` registers it under a
    name of your own.
    """

    target: str = Field("", alias="class")
    path: Path | None = None
    name: str = ""

    model_config = ConfigDict(validate_by_name=False, validate_by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:  # YAML of any shape
        if isinstance(value, str):
            return _spelt(value)
        keys = ("class", "path", "name")
        for key in value if isinstance(value, dict) else ():
            if key not in keys:
                raise PydanticCustomError(
                    "unknown_key",
                    "there is no such key",
                    {"key": key, "hint": nearest(str(key), keys)},
                )
        return value

    @field_validator("path")
    @classmethod
    def _from_here(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else _below(value, info)

    @model_validator(mode="after")
    def _something(self) -> AdditionalFramework:
        if not self.target and self.path is None:
            raise PydanticCustomError(
                "empty", "must name a class (pkg.module:Class) or the path of a file"
            )
        if self.path is None and ":" not in self.target:
            raise PydanticCustomError(
                "class", "must be pkg.module:Class", {"hint": f"write {self.target}:ClassName"}
            )
        return self

    def __str__(self) -> str:
        return ":".join(part for part in (str(self.path or ""), self.target) if part)


class RuntimeConfig(_Strict):
    """Everything that is set for frameworks; made by ``load_config``, never changed afterwards.

    ``weights`` and the ``weight`` in ``framework_specific`` (which wins) take the place of the
    built-in ones. ``policy`` is ``standard``, ``measured`` or ``pkg.module:Class``. ``balance``
    spreads runs over candidates of equal score. ``environments`` is the folder where frameworks
    are installed, which may be shared by many users. ``file`` is where all this was read.
    """

    discovery: Discovery = Discovery()
    default_framework: _Name = "langgraph"
    template_mappings: dict[_Name, TemplateEntry] = {}
    framework_specific: dict[_Name, Limits] = {}
    additional_frameworks: tuple[AdditionalFramework, ...] = ()
    weights: dict[_Name, _Weight] = {}
    policy: str = "standard"
    balance: bool = False
    environments: Path | None = None
    _file: Path | None = None
    _notes: tuple[str, ...] = ()

    @field_validator("environments")
    @classmethod
    def _from_here(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else _below(value, info)

    @field_validator("policy")
    @classmethod
    def _policy(cls, value: str) -> str:
        if value not in _POLICIES and ":" not in value:
            raise PydanticCustomError(
                "policy",
                "must be standard, measured or pkg.module:Class",
                {"hint": nearest(value, _POLICIES)},
            )
        return value

    @property
    def file(self) -> Path | None:
        """The file that this was read from, or None."""
        return self._file

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found and not used, one sentence each."""
        return self._notes

    def adopt(self, file: Path | None, notes: tuple[str, ...] = ()) -> RuntimeConfig:
        """Take in where this came from; called once, by the reader."""
        self._file, self._notes = file, notes
        return self

    def limits(self, name: str) -> Limits:
        """Return what is set for a framework, which may be nothing."""
        return self.framework_specific.get(name) or Limits()

    def weight(self, name: str) -> float:
        """Return a framework's weight: its own, that of ``weights``, or the built-in one."""
        own = self.framework_specific.get(name)
        if own is not None and own.weight is not None:
            return own.weight
        return self.weights.get(name, WEIGHTS.get(name, OTHER_WEIGHT))

    def strangers(self, known: Iterable[str]) -> tuple[str, ...]:
        """Return a sentence for each name of a framework here that is not registered."""
        names = set(known)
        named = {
            "default_framework": (self.default_framework,),
            "framework_specific": self.framework_specific,
            "weights": self.weights,
        }
        return tuple(
            f"{where} names {name!r}, which is not registered; {nearest(name, names)}"
            for where, each in named.items()
            for name in each
            if name not in names
        )


def load_config(path: Path | str | None = None) -> RuntimeConfig:
    """Read the configuration: the file at ``path``, or the one that the environment names.

    ``TFRAMEX_RUNTIME_CONFIG`` in the environment names it; with neither, everything is as built
    in. A ``runtime-config.yaml`` that merely lies in the working directory is not read, and
    neither is one that a folder's own settings name: it may load code, and the folder may be
    anyone's. Raises SettingsError with line and column.
    """
    from tframex_nb.frameworks import _yaml

    notes: list[str] = []
    found = _yaml.place_of(path, notes)
    if found is None:
        return RuntimeConfig().adopt(None, tuple(notes))
    return _yaml.parsed(found, RuntimeConfig).adopt(found, tuple(notes))


def _spelt(text: str) -> dict[str, str]:
    """Read ``pkg.module:Class``, ``path/to/file.py``, that with ``:Class``, or a folder."""
    path, _, target = text.rpartition(":") if ".py:" in text else (text, "", "")
    if path.endswith(".py") or "/" in path or path.startswith((".", "~")):
        return {"path": path, "class": target}
    return {"class": text}
