"""The files of a folder that may hold settings, read with bounds and without trust."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tframex_nb.errors import SettingsError

__all__ = ["Found", "Reference", "find", "read_dotenv", "read_pyproject", "read_toml"]

LIMIT = 256 * 1024  # bytes of a settings file
_OUR_TABLE = re.compile(r"^\s*\[\s*tool\s*\.\s*[\"']?tframex[\"']?\s*[.\]]", re.MULTILINE)
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_DEPTH = 5  # references that refer to references

_Table = dict[str, Any]  # a TOML table


@dataclass(frozen=True, slots=True)
class Found:
    """A settings file and the text in it; ``linked`` says that it is a link out of its folder."""

    path: Path
    text: str = field(repr=False)
    linked: bool = False


@dataclass(frozen=True, slots=True)
class Reference:
    """A value of a ``.env`` that names a variable which the file itself does not define."""

    name: str


class _Unreadable(Exception):
    """Why a file cannot be read."""


def find(cwd: Path, name: str) -> Path | None:
    """Return the nearest file of this name: here, or above up to the project's root.

    The root is the first folder with a ``.git`` or a ``pyproject.toml``; without one, only the
    folder itself counts, and the home folder is never passed.
    """
    for folder in _folders(cwd):
        path = folder / name
        if os.path.lexists(path):
            return path
    return None


def read_dotenv(path: Path, notes: list[str]) -> tuple[dict[str, str | Reference], bool]:
    """Return the ``.env``'s variables and whether it is a link out of its folder.

    The file may be anyone's, so what cannot be read is only noted. ``${NAME}`` means a variable
    of the same file and never one of the environment: a folder's file could otherwise send a
    secret of the environment to a URL of its own.
    """
    from dotenv.parser import parse_stream

    try:
        found = _read(path)
    except _Unreadable as exc:
        notes.append(f"{path} is not used: {exc}")
        return {}, False
    bindings = list(parse_stream(io.StringIO(found.text)))
    if any(binding.error for binding in bindings):
        notes.append(f"{path} has lines that are not NAME=value; they are not used")
    raw = {b.key: b.value for b in bindings if b.key and b.value is not None and not b.error}
    return {name: _filled(value, raw, _DEPTH) for name, value in raw.items()}, found.linked


def read_toml(path: Path) -> tuple[_Table, bool]:
    """Return the table of a ``tframex.toml``, and whether it is a link out of its folder.

    Raises ``SettingsError`` where it cannot be read: the file is ours.
    """
    try:
        found = _read(path)
        return tomllib.loads(found.text), found.linked
    except _Unreadable as exc:
        raise SettingsError(f"{path} cannot be read: {exc}", hint="mend or remove it") from None
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise _not_toml(path, exc) from None


def read_pyproject(path: Path, notes: list[str]) -> tuple[_Table, bool]:
    """Return the ``[tool.tframex]`` table of a ``pyproject.toml``; a foreign file is only noted.

    Raises ``SettingsError`` where the file has our table and is not TOML.
    """
    try:
        found = _read(path)
    except _Unreadable as exc:
        notes.append(f"{path} is not used: {exc}")
        return {}, False
    if "tframex" not in found.text:
        return {}, False
    try:
        tool = tomllib.loads(found.text).get("tool", {})
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        if _OUR_TABLE.search(found.text):
            raise _not_toml(path, exc) from None
        notes.append(f"{path} is not used: it is not TOML")
        return {}, False
    table = tool.get("tframex", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise SettingsError(f"tool.tframex in {path} is no table", hint="write [tool.tframex]")
    return table, found.linked


def _folders(cwd: Path) -> list[Path]:
    home = Path("~").expanduser()
    above = [cwd]
    for folder in [cwd, *cwd.parents]:
        if folder != cwd:
            above.append(folder)
        with contextlib.suppress(OSError):
            if (folder / ".git").exists() or (folder / "pyproject.toml").exists():
                return above
        if folder == home:
            break
    return [cwd]


def _read(path: Path) -> Found:
    """Return a regular file's text; raises ``_Unreadable``.

    It is opened without blocking (a named pipe would wait for ever) and read up to a bound.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
    try:
        data = _bytes_of(os.open(path, flags))
        linked = path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve())
    except (OSError, RuntimeError) as exc:
        raise _Unreadable(getattr(exc, "strerror", None) or "it cannot be opened") from None
    if len(data) > LIMIT:
        raise _Unreadable(f"it is larger than {LIMIT // 1024} KiB")
    try:
        return Found(path, data.decode("utf-8-sig"), linked)
    except UnicodeDecodeError:
        raise _Unreadable("it is not UTF-8 text") from None


def _bytes_of(descriptor: int) -> bytes:
    """Read one byte more than the bound, and close the descriptor."""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _Unreadable("it is no regular file")
        parts, room = [], LIMIT + 1
        while room and (part := os.read(descriptor, room)):
            parts.append(part)
            room -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _filled(value: str, raw: dict[str, str], depth: int) -> str | Reference:
    """Return the value with the file's own variables put in for ``${NAME}``."""
    missing: list[str] = []

    def put(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if name in raw and depth and raw[name] != value:
            inner = _filled(raw[name], raw, depth - 1)
            if isinstance(inner, str):
                return inner
        if default is None:
            missing.append(name)
        return default or ""

    text = _REFERENCE.sub(put, value)
    return Reference(missing[0]) if missing else text


def _not_toml(path: Path, exc: Exception) -> SettingsError:
    """Name the place of a syntax error, without the text there: it may be a key."""
    place = re.search(r"\(at (line \d+, column \d+|end of document)\)", str(exc))
    where = f" ({place[1]})" if place else ""
    return SettingsError(f"{path} is not valid TOML{where}", hint="mend that line, or remove it")
