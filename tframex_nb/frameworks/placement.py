"""Where a framework runs: in this process, or in a worker of its own environment.

In this process where it is importable, cancellable, of a version that the adapter was tested
with, and without a memory limit; else in a worker, where its environment is installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib
import inspect
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import FrameworkNotInstalled
from tframex_nb.frameworks._modules import file_of
from tframex_nb.frameworks.base import (
    answer_of,
    importable,
    installed_version,
)
from tframex_nb.frameworks.resolution import Readiness
from tframex_nb.frameworks.subjects import built, travelling
from tframex_nb.frameworks.versions import within
from tframex_nb.frameworks.worker import AdapterSource, WorkerPool, WorkerSpec
from tframex_nb.messages import Event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from contextlib import AbstractContextManager

    from tframex_nb.frameworks.base import AgentExecutionRequest, FrameworkIntegration
    from tframex_nb.frameworks.config import Limits
    from tframex_nb.frameworks.environments import Environment, Environments
    from tframex_nb.frameworks.worker import Subject

__all__ = ["Placement", "lock_of"]


MAX_WORKERS = 4  # processes of one framework, where the configuration says nothing
IDLE_SECONDS = 300.0  # after which a worker ends, likewise

_NO_EVENT = "the adapter yielded a {}; events such as TextDelta are wanted"


class Placement:
    """Decides where each framework runs, and keeps the pools of workers.

    ``limits`` gives the limits of a framework by its name.
    """

    def __init__(self, environments: Environments, limits: Callable[[str], Limits]) -> None:
        self.environments = environments
        self._limits = limits
        self._pools: dict[str, _Pooled] = {}
        self._old: dict[asyncio.Task[None], _Pooled] = {}  # by the task that closes it when idle
        self._left: dict[str, WorkerPool] = {}  # whose cells the next pool of the name takes over
        self._sources: dict[int, AdapterSource] = {}  # by the integration's id, until it is closed

    def readiness(self, integration: FrameworkIntegration) -> Readiness:
        """Return where a framework would run now, or why it cannot; costs no import."""
        here, why = self._here(integration)
        if here is not None:
            return here
        there = self._environment(integration)
        if there is not None:
            version = there.versions.get(_normal(integration.distribution), "")
            return Readiness(ready=True, mode="worker", version=version)
        if integration.lock:
            return Readiness(
                ready=False,
                reason=why or "not installed",
                hint=f"%frameworks install {integration.name}",
            )
        if importable(integration.module) or not integration.module:
            version = _version_here(integration)
            return Readiness(ready=True, mode="worker", version=version, reason=why)
        needed = integration.distribution or integration.module
        return Readiness(ready=False, reason="not installed", hint=f"%pip install {needed}")

    @contextlib.contextmanager
    def enter(
        self,
        integration: FrameworkIntegration,
        subject: Any = None,  # an object of the framework, its builder, or a name
        *,
        nested: bool = False,
    ) -> Iterator[InProcess | InWorker]:
        """Hold the place where a run of the framework happens.

        ``nested`` says that another run of it waits for this one, so that it gets a worker.
        Raises FrameworkNotInstalled, and CannotTravel for a live object that would have to go
        to a worker.
        """
        found = self.readiness(integration)
        if not found.ready:
            raise not_installed(integration, found)
        integration.version = found.version
        if found.mode == "in-process" and not isinstance(subject, str):
            yield InProcess(integration, subject)
            return
        sent = travelling(integration.name, subject)
        with self._pool(integration).held() as pool:
            yield InWorker(pool, sent, nested)

    def hold(self, integration: FrameworkIntegration) -> AbstractContextManager[WorkerPool]:
        """Hold the workers of a framework; raises FrameworkNotInstalled."""
        return self._pool(integration).held()

    def pools(self) -> dict[str, WorkerPool]:
        """Return the pools there are, by framework."""
        return {name: each.pool for name, each in self._pools.items()}

    def adjust(self) -> None:
        """Let the pools there are have the bounds that are configured now."""
        for name, pooled in self._pools.items():
            size, idle = _bounds(self._limits(name))
            pooled.pool.resize(size, idle_seconds=idle)

    def learn(self, integration: FrameworkIntegration) -> None:
        """Keep the text of an adapter as it is now: its file may change before a worker starts."""
        if id(integration) not in self._sources and file_of(type(integration)) is not None:
            with contextlib.suppress(OSError):  # gone already: told when a worker needs it
                self._sources[id(integration)] = AdapterSource.of(type(integration))

    def retire(self, integration: FrameworkIntegration, *, replaced: bool) -> None:
        """End the workers of an adapter that no run holds any more.

        Where another one has ``replaced`` it, that one's workers run its cells.
        """
        self._sources.pop(id(integration), None)
        pooled = self._pools.get(integration.name)
        if pooled is not None and pooled.integration is integration:
            del self._pools[integration.name]
            self._retire(pooled)
            if replaced:
                self._left[integration.name] = pooled.pool

    async def close(self, name: str) -> None:
        """End the workers of a framework, whatever they do."""
        pooled = self._pools.pop(name, None)
        if pooled is not None:
            await pooled.pool.aclose()

    async def aclose(self) -> None:
        """End every worker."""
        for name in list(self._pools):
            await self.close(name)
        for task, pooled in list(self._old.items()):
            task.cancel()
            await pooled.pool.aclose()
        self._old.clear()

    def _here(self, integration: FrameworkIntegration) -> tuple[Readiness | None, str]:
        """Return that the framework runs in this process, or why it does not."""
        if integration.module and not importable(integration.module):
            return None, ""
        version = _version_here(integration)
        if integration.distribution and not version:
            return None, ""  # a module of that name, and not the framework
        if not within(version, integration.versions):
            return None, f"{version} is installed here, the adapter needs {integration.versions}"
        if not integration.cancellable:
            return None, "it cannot be cancelled, so it needs an environment of its own"
        if self._limits(integration.name).memory_limit_mb:
            return None, "its memory_limit_mb needs a worker"
        return Readiness(ready=True, mode="in-process", version=version), ""

    def _environment(self, integration: FrameworkIntegration) -> Environment | None:
        lock = lock_of(integration)
        return None if lock is None else self.environments.find(integration.name, lock)

    def _pool(self, integration: FrameworkIntegration) -> _Pooled:
        """Return the workers of this very adapter: a changed one gets new workers."""
        key = (self._python(integration), self._limits(integration.name).memory_limit_mb)
        pooled = self._pools.get(integration.name)
        if pooled is not None and pooled.integration is integration and pooled.key == key:
            return pooled
        before = self._left.pop(integration.name, None) if pooled is None else pooled.pool
        if pooled is not None:
            self._retire(pooled)
        python, memory = key
        limits = self._limits(integration.name)
        spec = WorkerSpec(
            framework=integration.name,
            python=python,
            adapter=self._sources.get(id(integration)) or AdapterSource.of(type(integration)),
            environment=dict(integration.environment),
            exclusive=not integration.cancellable,
        )
        size, idle = _bounds(limits)
        pool = WorkerPool(spec, size=size, idle_seconds=idle, memory_limit_mb=memory)
        if before is not None:
            pool.adopt(before)
        made = self._pools[integration.name] = _Pooled(integration, key, pool)
        return made

    def _python(self, integration: FrameworkIntegration) -> Path:
        found = self._environment(integration)
        if found is not None:
            return found.python
        if integration.lock:
            raise not_installed(integration, self.readiness(integration))
        return Path(sys.executable)

    def _retire(self, pooled: _Pooled) -> None:
        task = asyncio.get_running_loop().create_task(pooled.drained())
        self._old[task] = pooled
        task.add_done_callback(self._drained)

    def _drained(self, task: asyncio.Task[None]) -> None:
        """Forget an old pool, except where its loop has ended before it did."""
        if not task.cancelled():
            self._old.pop(task, None)


@dataclass(slots=True)
class _Pooled:
    """A pool, for whom it was made, and how many runs hold it."""

    integration: FrameworkIntegration
    key: tuple[Path, int | None]
    pool: WorkerPool
    users: int = 0
    idle: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    @contextlib.contextmanager
    def held(self) -> Iterator[WorkerPool]:
        self.users += 1
        self.idle.clear()
        try:
            yield self.pool
        finally:
            self.users -= 1
            if not self.users:
                self.idle.set()

    async def drained(self) -> None:
        """Close the pool once no run holds it."""
        if self.users:
            await self.idle.wait()
        await self.pool.aclose()


@dataclass(frozen=True, slots=True)
class InProcess:
    """A framework in this process."""

    integration: FrameworkIntegration
    subject: Any = None  # an object of the framework, or its builder

    async def prepare(self) -> None:
        """Import the framework in a thread: an import of seconds must not stop the loop."""
        for name, value in self.integration.environment.items():
            os.environ.setdefault(name, value)
        if self.integration.module:
            await asyncio.to_thread(importlib.import_module, self.integration.module)
        await self.integration.initialize()

    async def stream(
        self,
        request: AgentExecutionRequest,
        *,
        log: Callable[[str], None],  # noqa: ARG002 - what it prints is printed here already
        waiting: Callable[[int], None],  # noqa: ARG002 - nothing is waited for
    ) -> AsyncGenerator[Event, None]:
        """Yield what the framework says."""
        request = dataclasses.replace(
            request, subject=await built(self.integration.name, self.subject, request)
        )
        async with contextlib.aclosing(answer_of(self.integration, request)) as events:
            async for event in events:
                if not isinstance(event, Event):
                    raise TypeError(_NO_EVENT.format(type(event).__name__))
                yield event


@dataclass(frozen=True, slots=True)
class InWorker:
    """A framework in a worker."""

    pool: WorkerPool
    subject: Subject | None = None
    nested: bool = False  # another run of the framework waits for this one

    async def prepare(self) -> None:
        """Start a worker, unless a warm one is there."""
        await self.pool.warm()

    def stream(
        self,
        request: AgentExecutionRequest,
        *,
        log: Callable[[str], None],
        waiting: Callable[[int], None],
    ) -> AsyncGenerator[Event, None]:
        """Yield what the framework says."""
        request = dataclasses.replace(request, subject=None)
        return self.pool.stream(
            request, subject=self.subject, log=log, waiting=waiting, nested=self.nested
        )


def _bounds(limits: Limits) -> tuple[int, float]:
    """Return how many workers there may be, and how long one may be idle (seconds)."""
    most = min(limits.max_concurrent_executions or MAX_WORKERS, MAX_WORKERS)
    idle = IDLE_SECONDS if limits.idle_seconds is None else limits.idle_seconds
    return limits.workers or most, idle


def lock_of(integration: FrameworkIntegration) -> Path | None:
    """Return the file of hashed requirements beside the adapter's own file."""
    if not integration.lock:
        return None
    named = next(cls for cls in type(integration).__mro__ if "lock" in vars(cls))
    return Path(inspect.getfile(named)).parent / integration.lock


def not_installed(integration: FrameworkIntegration, found: Readiness) -> FrameworkNotInstalled:
    """Return the error of a framework that cannot run here, with the command that helps."""
    reason = found.reason or "not installed"
    return FrameworkNotInstalled(
        f"{integration.name} cannot run here: {reason}",
        hint=found.hint,
        framework=integration.name,
    )


def _version_here(integration: FrameworkIntegration) -> str:
    """Return the version that is installed beside the kernel; an adapter may need nothing."""
    return installed_version(integration.distribution) if integration.distribution else ""


def _normal(distribution: str) -> str:
    return distribution.lower().replace("_", "-").replace(".", "-")
