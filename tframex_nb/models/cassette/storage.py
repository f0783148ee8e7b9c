"""The file of a cassette: read whole or refused, written whole, by one process at a time."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import SettingsError
from tframex_nb.models.cassette.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["Content", "is_cassette", "locked", "read", "stamp", "write"]

VERSION = 1
_MARK = "tframex_cassette"
_HEAD = json.dumps({_MARK: VERSION}).encode() + b"\n"
_END = b'{"end": true}\n'
_PATIENCE = 10.0  # seconds that a writer waits for another one

Stamp = tuple[int, int, int]  # what changes with a file: inode, size, time


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds; ``note`` says what a crash has cut off, where that was so."""

    recordings: tuple[Recording, ...] = ()
    note: str = ""
    stamp: Stamp | None = None


def stamp(path: Path) -> Stamp | None:
    """Return what changes with the file, None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def read(path: Path) -> Content:
    """Read a cassette; none is an empty one.

    A last line that was cut is left out, and told. Raises SettingsError, with the line's number,
    for anything else that is no recording, and for a version that is not known.
    """
    try:
        before = stamp(path)
        if before is None:
            return Content()
        lines = path.read_bytes().split(b"\n")
    except OSError as exc:
        raise SettingsError(
            f"the cassette {path} cannot be read: {exc.strerror}",
            hint="choose another folder: %cassettes use record FOLDER, or TFRAMEX_CASSETTE_DIR",
        ) from exc
    if lines and not lines[-1].strip():
        lines.pop()
    return _content(path, lines, before)


def is_cassette(path: Path) -> bool:
    """Whether a file says that it is a cassette, whatever its state; none is one."""
    try:
        with path.open("rb") as file:
            head = file.readline(64)
    except FileNotFoundError:
        return True
    return not head or _MARK.encode() in head


def write(path: Path, recordings: Iterable[Recording]) -> Stamp | None:
    """Write a cassette whole: another reader sees the old file or the new one."""
    draft = path.with_name(f".{path.stem}-{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("xb") as file:
            file.write(_HEAD)
            file.writelines(each.line for each in recordings)
            file.write(_END)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # a new file has the mode that the user's umask gives
            draft.chmod(path.stat().st_mode & 0o777)
        draft.replace(path)
    except BaseException:  # a stop, too, leaves no draft behind
        draft.unlink(missing_ok=True)
        raise
    return stamp(path)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other writers of a folder away while the block lasts; raises TimeoutError.

    The lock is on the folder itself, so that it leaves no file behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows: writes stay whole, and the last of two writers wins
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TimeoutError(f"{folder} is locked by another process") from None
                time.sleep(0.005)
        yield
    finally:
        os.close(descriptor)


def _content(path: Path, lines: list[bytes], before: Stamp) -> Content:
    if not lines:
        return Content((), f"{path.name} is empty: it was cut", before)
    _check_head(path, lines[0], alone=len(lines) == 1)
    whole = lines[-1] + b"\n" == _END
    found = []
    for number, line in enumerate(lines[1 : -1 if whole else None], 2):
        try:
            found.append(Recording.from_dict(_object(line)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
            if number == len(lines):
                break
            raise _broken(path, number, exc) from None
    note = "" if whole else f"{path.name} was cut: {len(found)} whole recordings were found in it"
    return Content(tuple(found), note, before)


def _check_head(path: Path, line: bytes, *, alone: bool) -> None:
    """Raise SettingsError for a file that is no cassette, or one of another version."""
    try:
        version = _object(line).get(_MARK)
    except (ValueError, TypeError, RecursionError) as exc:
        if alone and _HEAD.startswith(line):
            return
        raise _broken(path, 1, exc) from None
    if version != VERSION:
        known = isinstance(version, int)
        raise SettingsError(
            f"{path} is a cassette of version {version}, and {VERSION} is known here"
            if known
            else f"{path} is no cassette: line 1 does not say so",
            hint="update tframex-nb, or record it anew" if known else "choose another folder",
        )


def _object(line: bytes) -> dict[str, Any]:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _broken(path: Path, number: int, exc: Exception) -> SettingsError:
    why = str(exc) if not isinstance(exc, KeyError) else f"{exc} is missing"
    return SettingsError(
        f"{path}, line {number} is no recording: {why}",
        hint=f"mend or delete line {number}; nothing of the file is used as it is",
    )
