"""Environments of frameworks: made by uv from hashed locks, shared by kernels, used when whole.

Each lies in a folder of its own, ``NAME-HASH-pyX.Y``: a lock that changes makes another one.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tframex_nb.errors import FrameworkError, InstallFailed
from tframex_nb.frameworks._installation import Installation, Progress
from tframex_nb.frameworks._interpreter import Interpreter, choose_interpreter
from tframex_nb.frameworks._lock import Lock
from tframex_nb.frameworks._places import (
    Environment,
    FolderLock,
    checked_name,
    default_roots,
    discard,
    environments_in,
    folders_of,
    processes_in,
    read_marker,
    size_of,
)
from tframex_nb.frameworks._uv import ask_uv

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Environment", "Environments", "InstallPlan", "Progress", "shipped_locks"]


@dataclass(frozen=True, slots=True)
class InstallPlan:
    """What an installation would bring; sizes are in MB (10^6 bytes), 0 where unknown.

    ``path`` is where it would lie, ``python`` what it is made with, ``note`` what else to know.
    """

    framework: str
    packages: int
    download_mb: float
    disk_mb: float
    python: Path
    path: Path
    note: str = ""


class Environments:
    """The environments that this process can use, and where it makes new ones.

    ``root`` is the folder that is written to; ``shared`` are folders that are looked at first and
    only read. Without a root ``TFRAMEX_FRAMEWORKS_DIR`` names them, else it is the ``configured``
    folder, else the user's own data folder. Nothing is made or downloaded before ``install``.
    """

    def __init__(self, root: Path | None = None, *, shared: Sequence[Path] = ()) -> None:
        self._given = root
        self.configured: Path | None = None
        self._shared = tuple(shared)
        self._locks: dict[tuple[Path, int, int], Lock] = {}
        self._markers: dict[tuple[Path, int], Environment | None] = {}

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders that are looked at, in order; the last one is written to."""
        if self._given:
            return (*self._shared, self._given.absolute())
        return (*self._shared, *default_roots(os.environ, self.configured))

    @property
    def root(self) -> Path:
        """The folder that is written to."""
        return self.roots[-1]

    def find(self, framework: str, lock: Path) -> Environment | None:
        """Return the complete environment of this very lock, or None; cheap enough to poll.

        Of several, the one with this process's own Python comes first.
        """
        try:
            digest = self._lock(lock).digest
        except InstallFailed:  # whoever installs it is told
            return None
        mine = f"py{sys.version_info[0]}.{sys.version_info[1]}"
        for root in self.roots:
            folders = root.glob(f"{checked_name(framework)}-{digest}-py*")
            for folder in sorted(folders, key=lambda path: (not path.name.endswith(mine), path)):
                found = self._marked(folder)
                if found is not None:
                    return found
        return None

    def plan(self, framework: str, lock: Path) -> InstallPlan:
        """Say what ``install`` would bring, without doing it; asks uv what its cache has."""
        read = self._lock(lock)
        found = self.find(framework, lock)
        python = choose_interpreter(framework, read.requires_python)
        download, disk = read.size()
        note = "" if disk else "its size was not measured"
        if found is not None:
            download, note = 0.0, "installed"
        elif _is_cached(read, python):
            download, note = 0.0, "uv's cache has it: nothing to download"
        path = found.path if found else self._folder(framework, read, python)
        packages = read.packages(python.version)
        return InstallPlan(framework, packages, download, disk, python.path, path, note)

    async def install(
        self,
        framework: str,
        lock: Path,
        *,
        progress: Callable[[Progress], None] | None = None,
        offline: bool = False,
    ) -> Environment:
        """Make the environment of this lock, unless it is there; return it.

        ``progress`` is called on this loop, four times a second. Two processes may ask at once:
        the second waits, and then uses what the first one made. ``offline`` takes only what uv's
        cache or a local mirror has. A cancellation kills uv and takes the half-made folder away;
        what was fetched stays in uv's cache. Raises ``InstallFailed``.
        """
        found = self.find(framework, lock)
        if found is not None:
            return found
        if os.name != "posix":
            raise InstallFailed(
                f"{framework} was not installed: environments need Linux or macOS",
                hint="use WSL, or install the framework beside Jupyter and run it in-process",
                framework=framework,
            )
        read = self._lock(lock)
        python = await asyncio.to_thread(choose_interpreter, framework, read.requires_python)
        making = Installation(
            framework,
            read,
            python=python,
            place=self._folder(framework, read, python),
            progress=progress,
            offline=offline,
        )
        async with making.locked() as descriptor:
            found = self.find(framework, lock)  # another process may have made it meanwhile
            if found is None:
                _clear(self.root, framework)
                found = await making.make(descriptor)
        return found

    def remove(self, framework: str, *, keep: Path | None = None) -> int:
        """Delete a framework's environments in our own folder; return the bytes that they had.

        ``keep`` is a lock whose environment stays: then only stale ones go. Raises
        ``FrameworkError`` where a process still runs in one, and deletes nothing then.
        """
        digest = self._lock(keep).digest if keep else ""
        if not folders_of(self.root, checked_name(framework)):
            return 0
        with FolderLock(self.root, framework):
            folders = [
                folder
                for folder in folders_of(self.root, framework)
                if not digest or not folder.name.startswith(f"{framework}-{digest}-")
            ]
            _refuse_running(framework, folders)
            freed = sum(map(size_of, folders))
            for folder in folders:
                discard(folder)
        return freed

    def installed(self) -> list[Environment]:
        """Return every complete environment in every folder, stale ones too."""
        return [each for root in self.roots for each in environments_in(root)]

    def stale(self, framework: str, lock: Path) -> list[Environment]:
        """Return what ``remove`` could free: environments of other locks, in our own folder."""
        digest = self._lock(lock).digest
        mine = environments_in(self.root)
        return [each for each in mine if each.framework == framework and each.lock_hash != digest]

    def _folder(self, framework: str, lock: Lock, python: Interpreter) -> Path:
        return self.root / f"{checked_name(framework)}-{lock.digest}-py{python.minor}"

    def _lock(self, path: Path) -> Lock:
        """Read a lock once, and again when it changed."""
        try:
            state = path.stat()
        except OSError:
            return Lock.read(path)
        key = (path, state.st_mtime_ns, state.st_size)
        if key not in self._locks:
            self._locks[key] = Lock.read(path)
        return self._locks[key]

    def _marked(self, folder: Path) -> Environment | None:
        """Read a marker once; a Python that went away since is seen all the same."""
        try:
            key = (folder, (folder / "environment.json").stat().st_mtime_ns)
        except OSError:
            return None
        if key not in self._markers:
            self._markers[key] = read_marker(folder)
        found = self._markers[key]
        return found if found is not None and found.python.exists() else None


def shipped_locks() -> dict[str, Path]:
    """Return the locks that come with the package, by the framework's name."""
    folder = Path(__file__).with_name("adapters") / "locks"
    return {path.stem: path for path in sorted(folder.glob("*.txt"))}


def _clear(root: Path, framework: str) -> None:
    """Take away what a killed installation left half made."""
    for folder in folders_of(root, framework):
        if read_marker(folder) is None:
            discard(folder)


def _refuse_running(framework: str, folders: list[Path]) -> None:
    running = processes_in(folders)
    if running:
        raise FrameworkError(
            f"{framework} is in use by process {', '.join(map(str, running))}",
            hint="end its runs, or restart the kernels that use it, then again",
            framework=framework,
        )


def _is_cached(lock: Lock, python: Interpreter) -> bool:
    """Whether uv could install this without the network."""
    with tempfile.TemporaryDirectory() as folder:
        asked = ask_uv(
            *("pip", "install", "--dry-run", "--offline", "--require-hashes"),
            *("--python", str(python.path), "--target", folder, "-r", str(lock.path.absolute())),
            cwd=Path(folder),
        )
    return asked.returncode == 0 and "Would download" not in asked.stderr
