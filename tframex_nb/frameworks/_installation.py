"""One environment in the making: uv makes it from a lock, and it counts when it is whole."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tframex_nb.frameworks._places import (
    MB,
    Environment,
    FolderLock,
    discard,
    size_of,
    write_marker,
)
from tframex_nb.frameworks._uv import TICK, watch_uv
from tframex_nb.frameworks._uv_output import UvOutput, failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from tframex_nb.frameworks._interpreter import Interpreter
    from tframex_nb.frameworks._lock import Lock

__all__ = ["Installation", "Progress"]

AGAIN = "the same line goes on from what was fetched"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an installation is: steps done of all, what happens now, seconds since its start."""

    done: int
    total: int
    line: str
    seconds: float


class Installation:
    """One environment in the making."""

    def __init__(
        self,
        framework: str,
        lock: Lock,
        *,
        python: Interpreter,
        place: Path,
        progress: Callable[[Progress], None] | None,
        offline: bool,
    ) -> None:
        self.framework = framework
        self.lock = lock
        self.python = python
        self.place = place
        self.progress = progress
        self.offline = offline
        self.output = UvOutput(lock.packages(python.version))
        self.started = time.monotonic()
        self._ticks = 0

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[int]:
        """Wait for our turn, visibly; give the descriptor that the lock lies on."""
        lock = FolderLock(self.place.parent, self.framework)
        try:
            while not lock.acquire():
                self.output.line = f"waiting: process {lock.holder()} installs {self.framework}"
                self.tell()
                await asyncio.sleep(TICK)
            yield lock.descriptor
        finally:
            lock.release()

    async def make(self, descriptor: int) -> Environment:
        """Make it from nothing; what is half made goes away again."""
        try:
            await self._uv(descriptor, *self._venv())
            await self._uv(descriptor, *self._install())
            environment = await asyncio.to_thread(self._finish)
        except OSError as exc:
            self._undo()
            said = [f"error: {exc.strerror} (os error {exc.errno})"]
            raise failure(self.framework, said) from exc
        except asyncio.CancelledError:
            self._undo()
            self.tell(f"stopped; nothing half-made is left, and {AGAIN}")
            raise
        except BaseException:  # whatever ends it, nothing half-made stays
            self._undo()
            raise
        self.output.done = self.output.total
        self.tell("done")
        return environment

    def tell(self, line: str = "") -> None:
        """Report how far it is."""
        if self.progress is not None:
            seconds = time.monotonic() - self.started
            out = self.output
            self.progress(Progress(out.done, out.total, line or out.line, seconds))

    def _undo(self) -> None:
        with contextlib.suppress(OSError):  # what cannot be moved away has no marker, so is unused
            discard(self.place, wait=False)

    def _venv(self) -> tuple[str, ...]:
        options = ("--no-project", "--no-python-downloads", "--prompt", self.framework)
        return ("venv", "--quiet", *options, "--python", str(self.python.path), str(self.place))

    def _install(self) -> tuple[str, ...]:
        offline = ("--offline",) if self.offline else ()
        python = str(self.place / "bin" / "python")
        options = ("--require-hashes", "--compile-bytecode", *offline, "--python", python)
        return ("pip", "install", *options, "-r", str(self.lock.path.absolute()))

    async def _uv(self, descriptor: int, *arguments: str) -> None:
        root = self.place.parent  # where no project of the user's changes what uv does
        code = await watch_uv(
            arguments, cwd=root, hold=descriptor, read=self.output.feed, tick=self._tick
        )
        self.output.end()
        if code:
            raise failure(self.framework, self.output.said)

    async def _tick(self) -> None:
        self._ticks += 1
        if self.output.compiling and self._ticks % 2:  # looking costs more than telling
            self.output.compiled(await asyncio.to_thread(_compiled, self.place))
        self.tell()

    def _finish(self) -> Environment:
        environment = Environment(
            framework=self.framework,
            path=self.place,
            python=self.place / "bin" / "python",
            lock_hash=self.lock.digest,
            versions=_versions(self.place),
            size_mb=round(size_of(self.place) / MB, 2),
            python_version=self.python.version,
        )
        write_marker(environment)
        return environment


def _versions(place: Path) -> Mapping[str, str]:
    from packaging.utils import canonicalize_name

    where = [str(path) for path in place.glob("lib/python*/site-packages")]
    found = importlib.metadata.distributions(path=where)
    return {canonicalize_name(each.name): each.version for each in sorted(found, key=_name)}


def _name(distribution: importlib.metadata.Distribution) -> str:
    return distribution.name.lower()


def _compiled(place: Path) -> float:
    """Return which share of the modules is compiled."""
    modules = compiled = 0
    for _, _, names in os.walk(place / "lib"):
        modules += sum(name.endswith(".py") for name in names)
        compiled += sum(name.endswith(".pyc") for name in names)
    return compiled / modules if modules else 0.0
