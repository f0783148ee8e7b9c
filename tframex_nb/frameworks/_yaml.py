"""Reading a configuration file: every fault is told with its line and column."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from tframex_nb.errors import SettingsError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

__all__ = ["parsed", "place_of"]

ROOT = "frameworks"  # the one table of the file
LIMIT = 256 * 1024  # bytes
NODES = 50_000  # values in a file, each alias counted again: a few lines can mean millions

M = TypeVar("M", bound=BaseModel)
_Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where a key and its value stand, counted from one."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


def place_of(path: Path | str | None, notes: list[str]) -> Path | None:
    """Return the file to read, or None where none is named; see ``load_config``."""
    if path is not None:
        return Path(path).expanduser().absolute()
    from tframex_nb.settings import load_settings

    settings = load_settings()
    named = settings.runtime_config
    if named is None:
        return None
    source = settings.sources["runtime_config"]
    if source.is_own:
        return Path(named).expanduser().absolute()
    notes.append(
        f"{source} is not used: it may load code, and the folder may be anyone's; "
        "set TFRAMEX_RUNTIME_CONFIG in the environment"
    )
    return None


def parsed(path: Path, model: type[M]) -> M:
    """Return what a file holds under ``frameworks:``, checked as a whole.

    Raises SettingsError.
    """
    text = _read(path)
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        marks = _marks(path, tree)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as exc:
        raise _not_yaml(path, exc) from None
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        raise _error(path, None, "is not valid YAML", f"{type(exc).__name__}") from None
    try:
        return model.model_validate(_table(path, content, marks), context={"folder": path.parent})
    except ValidationError as exc:
        raise _invalid(path, exc.errors(include_url=False)[0], marks) from None


def _read(path: Path) -> str:
    hint = "name another with TFRAMEX_RUNTIME_CONFIG, or %frameworks reconfigure PATH"
    try:
        if not path.is_file():
            why = "is no file" if path.exists() else "does not exist"
            raise SettingsError(f"the configuration {path} {why}", hint=hint)
        if path.stat().st_size > LIMIT:
            raise SettingsError(f"the configuration {path} has over {LIMIT // 1024} KiB", hint=hint)
        return path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise SettingsError(f"{path} cannot be read: {exc.strerror}", hint=hint) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from None


def _marks(path: Path, tree: yaml.Node | None) -> dict[_Path, _Mark]:
    """Return where each value stands; a key that is there twice is an error."""
    marks: dict[_Path, _Mark] = {}
    for at, node in _walk(tree, ()):
        if len(marks) > NODES:
            raise _error(path, None, "holds too many values", "write it without aliases")
        mark = _Mark(node.start_mark.line + 1, node.start_mark.column + 1)
        if at in marks:
            raise _error(path, mark, f"has {_dotted(at)} twice", "remove one of them")
        marks[at] = mark
    return marks


def _walk(node: yaml.Node | None, at: _Path) -> Iterator[tuple[_Path, yaml.Node]]:
    """Yield the path of each value with the node of its key, or of itself in a list."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*at, str(key.value))
            yield below, key
            yield from _walk(value, below)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*at, index), value
            yield from _walk(value, (*at, index))


def _table(path: Path, content: Any, marks: dict[_Path, _Mark]) -> Any:  # YAML of any shape
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise _error(path, _Mark(1, 1), "holds no table", f"write {ROOT}: and the rest below it")
    for key in content:
        if key != ROOT:
            hint = f"everything belongs below {ROOT}: ({nearest(str(key), [ROOT])})"
            raise _error(path, marks.get((str(key),)), f"has an unknown key {key!r}", hint)
    return content[ROOT]


def _invalid(path: Path, problem: ErrorDetails, marks: dict[_Path, _Mark]) -> SettingsError:
    """Say of the first problem what is wrong, where, and what would be right."""
    context = problem.get("ctx", {})
    key = context.get("key")
    at: _Path = (ROOT, *problem["loc"], *(() if key is None else (str(key),)))
    mark = None
    for length in range(len(at), 0, -1):
        if mark := marks.get(at[:length]):
            break
    reason = problem["msg"].removeprefix("Input ")
    hint = context.get("hint") or "mend or remove it"
    return _error(path, mark, f"has no valid {_dotted(at)}: {reason}", str(hint))


def _not_yaml(path: Path, exc: yaml.MarkedYAMLError) -> SettingsError:
    found = exc.problem_mark
    mark = _Mark(found.line + 1, found.column + 1) if found else None
    return _error(path, mark, f"is not valid YAML: {exc.problem or exc.context}", "mend that line")


def _error(path: Path, mark: _Mark | None, what: str, hint: str) -> SettingsError:
    where = f" ({mark})" if mark else ""
    return SettingsError(f"{path}{where} {what}", hint=hint)


def _dotted(at: _Path) -> str:
    return ".".join(str(part) for part in at)
