"""The folders that environments lie in: their names, their markers, their locks, their end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tframex_nb.errors import FrameworkError, InstallFailed, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "Environment",
    "FolderLock",
    "checked_name",
    "default_roots",
    "discard",
    "environments_in",
    "folders_of",
    "processes_in",
    "read_marker",
    "size_of",
    "write_marker",
]

VARIABLE = "TFRAMEX_FRAMEWORKS_DIR"
MARKER = "environment.json"
MB = 1e6  # bytes
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FOLDER = "{name}-[0-9a-f]*-py[0-9]*"
_TRASH = ".removed-"


@dataclass(frozen=True, slots=True)
class Environment:
    """A framework's environment that is complete: its Python, and what is installed in it."""

    framework: str
    path: Path
    python: Path
    lock_hash: str
    versions: Mapping[str, str] = field(repr=False)  # of every distribution, by normalised name
    size_mb: float
    python_version: str = ""


def default_roots(environ: Mapping[str, str], configured: Path | None = None) -> tuple[Path, ...]:
    """Return the folders that hold environments, in the order in which they are looked at.

    ``TFRAMEX_FRAMEWORKS_DIR`` names one, or several as a PATH does: the last one is written to,
    those before it are shared and only read. An empty name is the default: the ``configured``
    folder, else the user's data folder. Raises SettingsError for a relative folder.
    """
    data = environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    own = configured or Path(data, "tframex_nb", "frameworks")
    given = environ.get(VARIABLE, "")
    folders = [Path(name).expanduser() if name else own for name in given.split(os.pathsep)]
    for folder in folders:
        if not folder.is_absolute():  # it would mean another folder in each notebook's
            raise SettingsError(
                f"{VARIABLE} has the folder {str(folder)!r}, which is not absolute",
                hint=f"{VARIABLE}={folder.absolute()}",
            )
    return tuple(folders)


def checked_name(framework: str) -> str:
    """Return a framework's name if it can be a folder's; else raise ``InstallFailed``."""
    if _NAME.fullmatch(framework):
        return framework
    raise InstallFailed(
        f"{framework!r} cannot name an environment", hint="letters, digits, and _ - . between them"
    )


def folders_of(root: Path, framework: str) -> list[Path]:
    """Return the folders of a framework's environments, complete or not."""
    return sorted(path for path in root.glob(_FOLDER.format(name=framework)) if path.is_dir())


def environments_in(root: Path) -> Iterator[Environment]:
    """Yield every complete environment in a folder."""
    for marker in sorted(root.glob(f"*/{MARKER}")):
        found = read_marker(marker.parent)
        if found is not None:
            yield found


def read_marker(folder: Path) -> Environment | None:
    """Return the environment in a folder, or None where it is not complete or lost its Python."""
    python = folder / "bin" / "python"
    try:
        kept = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        texts = {key: _text(kept[key]) for key in ("framework", "lock_hash", "python_version")}
        versions = {_text(name): _text(version) for name, version in kept["versions"].items()}
        found = Environment(
            path=folder, python=python, versions=versions, size_mb=float(kept["size_mb"]), **texts
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return found if python.exists() else None  # a link to a Python that may be gone


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(value)


def write_marker(environment: Environment) -> None:
    """Write the marker that makes a folder an environment: at once and last of all."""
    kept = asdict(environment)
    del kept["path"], kept["python"]  # the folder may be seen under another path
    target = environment.path / MARKER
    draft = target.with_suffix(".tmp")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(kept, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder; a link counts as a link."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(where, name)).st_size  # noqa: PTH118 - twice as fast
    return total


def discard(folder: Path, *, wait: bool = True) -> None:
    """Take a folder away at once, then delete it; also what earlier calls could not delete.

    Without ``wait`` a thread deletes, and whoever stopped an installation need not wait for it;
    only the end of the process does.
    """
    root = folder.parent
    if folder.exists():
        folder.rename(root / f"{_TRASH}{secrets.token_hex(6)}")
    trash = list(root.glob(f"{_TRASH}*"))
    if wait:
        _delete(trash)
    else:
        threading.Thread(target=_delete, args=(trash,), name="discard").start()


def processes_in(folders: Iterable[Path]) -> list[int]:
    """Return the ids of the processes that run the Python of one of these folders."""
    import psutil

    starts = tuple(f"{folder}{os.sep}" for folder in folders)
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if starts and any(word.startswith(starts) for word in (process.info["cmdline"] or [])[:1])
    ]


class FolderLock:
    """One process at a time works on a framework's folders; the lock ends with the process.

    A file that the lock lies on stays: deleting it would let two processes hold two locks.
    """

    def __init__(self, root: Path, framework: str) -> None:
        self._path = root / f"{framework}.lock"
        self.descriptor = -1

    def acquire(self) -> bool:
        """Try to take the lock, and return whether it is ours."""
        import fcntl

        if self.descriptor < 0:
            self.descriptor = _open(self._path)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, str(os.getpid()).encode(), 0)
        return True

    def holder(self) -> str:
        """Return the id of the process that took it last."""
        return os.pread(self.descriptor, 20, 0).decode(errors="replace").strip() or "another"

    def release(self) -> None:
        """Give the lock back; a child that inherited it keeps it until it ends."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        if not self.acquire():
            holder = self.holder()
            self.release()
            raise FrameworkError(
                f"process {holder} is installing into {self._path.with_suffix('')}",
                hint="wait until it is done, then again",
            )
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as exc:
        raise InstallFailed(
            f"the folder {path.parent} cannot be written to: {exc.strerror}",
            hint=f"{VARIABLE}={path.parent}{os.pathsep} reads it and writes to your own folder; "
            f"{VARIABLE}=/path writes to another",
        ) from exc


def _delete(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)  # what is left goes with the next call
