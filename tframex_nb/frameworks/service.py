"""The frameworks of one process, put together: what the notebook and the runtime talk to."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, Any

from tframex_nb.agents.running import closing
from tframex_nb.errors import (
    FrameworkNotInstalled,
    InstallFailed,
    SettingsError,
)
from tframex_nb.frameworks._choosing import not_ready
from tframex_nb.frameworks.base import AgentSpec, ExecutionRequirements
from tframex_nb.frameworks.configuration import Configuration
from tframex_nb.frameworks.environments import Environments
from tframex_nb.frameworks.events import ConfigurationRefused, FrameworkChosen
from tframex_nb.frameworks.execute_agent import requirements_of
from tframex_nb.frameworks.execution import FrameworkEngine, spec_of
from tframex_nb.frameworks.loader import FrameworkLoader, LoadFailure
from tframex_nb.frameworks.own_steps import NATIVE, OwnSteps
from tframex_nb.frameworks.placement import Placement, lock_of
from tframex_nb.frameworks.registry import Closed, FrameworkRegistry, Registered, Replaced
from tframex_nb.frameworks.resolver import FrameworkResolverService
from tframex_nb.frameworks.slots import Slots
from tframex_nb.frameworks.table import rows_of
from tframex_nb.frameworks.templates import TemplateFrameworkMapping
from tframex_nb.run_log import recent_runs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from tframex_nb.agents import BaseAgent
    from tframex_nb.agents.engines import Engine
    from tframex_nb.frameworks.base import FrameworkIntegration, ToolHandle
    from tframex_nb.frameworks.config import Limits, RuntimeConfig
    from tframex_nb.frameworks.environments import Environment, InstallPlan, Progress
    from tframex_nb.frameworks.execution import Place
    from tframex_nb.frameworks.registry import Change
    from tframex_nb.frameworks.resolution import Readiness, Resolution
    from tframex_nb.messages import Event
    from tframex_nb.models.gateway import Gateway

__all__ = ["Frameworks"]

AUTO = "auto"


class Frameworks:
    """Registry, loader, resolver, environments and workers of one process.

    ``config_path`` is a ``runtime-config.yaml``. ``default`` is what a run uses that names
    neither a framework nor a template: ``native``, or what ``use`` was told.
    """

    def __init__(
        self,
        *,
        config_path: Path | str | None = None,
        environments: Environments | None = None,
    ) -> None:
        self.default = NATIVE
        self.configuration = Configuration()
        self.registry = FrameworkRegistry()
        self.mapping = TemplateFrameworkMapping()
        self.environments = environments or Environments()
        self.placement = Placement(self.environments, self.limits)
        self.loader = FrameworkLoader(self.registry, self.config)
        self.resolver = FrameworkResolverService(
            self.registry, self.mapping, self.config, self.readiness, runs=recent_runs
        )
        self.registry.subscribe(self._changed)
        self._config_path = config_path
        self._slots: dict[str, Slots] = {}
        self._gateway: Gateway | None = None  # made at the first run; its import is not light
        self._starting: asyncio.Task[None] | None = None
        self._started = False

    @property
    def config(self) -> RuntimeConfig:
        """The configuration in force."""
        return self.configuration.current

    async def start(self) -> None:
        """Read the configuration and find the frameworks, once; later calls cost nothing.

        Raises SettingsError; the next call tries again.
        """
        if not self._started:
            if self._starting is None or self._starting.done():
                self._starting = asyncio.get_running_loop().create_task(self._discover())
            await asyncio.shield(self._starting)
        await self._follow()

    @property
    def counts(self) -> bool:
        """Whether a run that names no framework is to be given to this service, too."""
        return self.default != NATIVE or self._own_engine(self._told()) is not None

    def limits(self, name: str) -> Limits:
        """Return the limits of a framework, as they are configured now."""
        return self.config.limits(name)

    def readiness(self, name: str) -> Readiness:
        """Return where a framework would run now, or why it cannot.

        Raises UnknownFramework.
        """
        return self.placement.readiness(self.registry.get_framework(name))

    async def engine(
        self,
        agent: BaseAgent,
        *,
        framework: str = "",
        template: str = "",
        subject: Any = None,  # what the user built with the framework, a builder, or a name
        remember: bool = True,
    ) -> tuple[Engine | None, Resolution | None]:
        """Return what runs the agent, None for its own steps, and why it was chosen.

        Without a framework and a template the agent runs on what it names, else on the default.
        Raises FrameworkError where nothing can run it.
        """
        await self.start()
        template = template or getattr(agent, "template_id", "")
        name = framework or getattr(agent, "framework", "") or ("" if template else self.default)
        resolution = None
        preface = self._told()
        if name in {"", AUTO}:
            needs = requirements_of(agent, remember=remember)
            resolution = await self.resolver.resolve(spec_of(agent, template), needs)
            name = resolution.chosen
            if not name:
                raise not_ready(resolution)
            preface += (FrameworkChosen(name, resolution.reason, resolution.better_hint),)
        if subject is None and self._own_steps(name):
            named = bool(getattr(agent, "framework", ""))
            return self._own_engine(preface, always=named), resolution
        integration = self.registry.get_framework(name)
        ready = self.placement.readiness(integration)
        if not ready.ready:
            raise FrameworkNotInstalled(
                f"{name} cannot run here: {ready.reason}", hint=ready.hint, framework=name
            )
        return self._engine(name, subject, preface), resolution

    @property
    def gateway(self) -> Gateway:
        """The endpoint through which every framework speaks to its model."""
        if self._gateway is None:
            from tframex_nb.models.gateway import Gateway

            self._gateway = Gateway()
        return self._gateway

    def stream(
        self,
        agent: BaseAgent,
        prompt: str | Sequence[Any],
        *,
        framework: str = "",
        template: str = "",
        subject: Any = None,  # what the user built with the framework, a builder, or a name
        **options: Any,  # what ``BaseAgent.stream`` takes
    ) -> AsyncIterator[Event]:
        """Yield the events of a run on the framework that is named, or that fits best."""
        return self._stream(
            agent, prompt, options, framework=framework, template=template, subject=subject
        )

    async def _stream(
        self, agent: BaseAgent, prompt: str | Sequence[Any], options: dict[str, Any], **choice: Any
    ) -> AsyncIterator[Event]:
        agent.engines = self
        remember = options.get("remember", True)
        engine, resolution = await self.engine(agent, remember=remember, **choice)
        events = agent.stream(prompt, engine=engine, **options)
        if agent.last is not None:
            agent.last.resolution = resolution
        async with closing(events):
            async for event in events:
                yield event

    async def rows(self) -> list[dict[str, Any]]:
        """Return a row for each framework, and one for each adapter that failed to load."""
        await self.start()
        failures, wrong = self.loader.failures, self.configuration.refused
        if wrong is not None:
            file = str(self.config.file)
            failures.append(LoadFailure("configuration", file, wrong.message, wrong.hint))
        return rows_of(self.registry, self.readiness, failures, tuple(recent_runs()))

    async def load(self, target: Any) -> FrameworkIntegration:  # a class, an instance, a path
        """Load an adapter and register it; raises FrameworkLoadError."""
        await self.start()
        return await self.loader.load(target)

    async def reload(self, name: str) -> FrameworkIntegration:
        """Load a changed adapter anew; runs that go on finish on the old one."""
        await self.start()
        return await self.loader.reload(name)

    async def unload(self, name: str) -> None:
        """Forget a framework and end its workers once they are idle."""
        await self.start()
        await self.loader.unload(name)

    async def plan(self, name: str) -> InstallPlan:
        """Return what installing a framework would fetch and write."""
        return await asyncio.to_thread(self.environments.plan, name, await self._lock(name))

    async def install(
        self, name: str, *, progress: Callable[[Progress], None], offline: bool = False
    ) -> Environment:
        """Make the environment of a framework; raises InstallFailed."""
        lock = await self._lock(name)
        made = await self.environments.install(name, lock, progress=progress, offline=offline)
        self._versions(name)
        return made

    async def remove(self, name: str) -> int:
        """End a framework's workers and remove its environments; return the bytes freed."""
        await self.start()
        await self.placement.close(name)
        freed = self.environments.remove(name)
        self._versions(name)
        return freed

    async def use(self, name: str) -> None:
        """Let runs that name no framework and no template use this one."""
        await self.start()
        if name not in {AUTO, NATIVE}:
            self.registry.get_framework(name)
        self.default = name

    async def reconfigure(self, path: Path | str | None = None) -> tuple[str, ...]:
        """Read the configuration anew, and apply all of it or nothing; return what changed.

        Raises SettingsError; then everything stays as it was.
        """
        if not self._started:
            with contextlib.suppress(SettingsError):  # the file that counts now is read below
                await self.start()
        file = path if path is not None else self.config.file or self._config_path
        changes = self.configuration.reconfigure(file, check=self.resolver.check)
        await self._apply()
        return (*changes, *self.config.strangers(self.registry.names()), *self.config.notes)

    async def why(
        self,
        template_id: str,
        requirements: ExecutionRequirements,
        agent: BaseAgent | None = None,
    ) -> Resolution:
        """Return what a resolution would say of every candidate."""
        await self.start()
        spec = AgentSpec("agent", "agent", template_id)
        asked = spec if agent is None else spec_of(agent, template_id)
        return await self.resolver.explain(asked, requirements)

    async def run_cell(
        self,
        name: str,
        source: str,
        *,
        tools: Sequence[ToolHandle] = (),
        log: Callable[[str], None],
        cell_id: str = "",
    ) -> None:
        """Run source in a framework's worker, where later runs find what it defines."""
        await self.start()
        with self.registry.pin(name) as integration, self.placement.hold(integration) as pool:
            await pool.run_cell(source, tools=tools, log=log, cell_id=cell_id)

    async def aclose(self) -> None:
        """End the workers, the frameworks and the gateway."""
        if self._starting is not None and not self._starting.done():
            await asyncio.wait({self._starting})
        async with contextlib.AsyncExitStack() as stack:
            if self._gateway is not None:
                stack.push_async_callback(self._gateway.aclose)
            stack.push_async_callback(self.registry.aclose)
            await self.placement.aclose()

    def _own_steps(self, name: str) -> bool:
        """Whether an agent's own steps are meant; those are there whatever is loaded."""
        if name not in self.registry:
            return name == NATIVE
        return getattr(self.registry.get_framework(name), "own_steps", False)

    def _holds(self, name: str, capability: str) -> bool:
        found = self.registry.get_framework(name).capabilities.get(capability)
        return found is not None and found.met

    def _versions(self, name: str) -> None:
        """Note that the version of a framework in use may be another one now."""
        self.registry.get_framework(name).version = self.readiness(name).version
        self.registry.refresh(name)

    def _changed(self, change: Change) -> None:
        """Let the workers follow their adapters."""
        match change:
            case Closed():
                replaced = change.name in self.registry
                self.placement.retire(change.integration, replaced=replaced)
            case Registered() | Replaced() if change.name in self.registry:
                self.placement.learn(self.registry.get_framework(change.name))

    async def _follow(self) -> None:
        """Take in what has changed on disk, where the configuration asks for it."""
        if self.config.discovery.watch:
            if self.configuration.follow(check=self.resolver.check):
                await self._apply()
            if self.loader.changed():
                await self.loader.refresh()

    async def _discover(self) -> None:
        self.configuration.reconfigure(self._config_path, check=self.resolver.check)
        await self._apply()

    async def _apply(self) -> None:
        """Let everyone know the configuration that is in force now."""
        self.resolver.config = self.config
        self.loader.config = self.config
        self.environments.configured = self.config.environments
        for name in self._slots:
            self._slots_of(name)
        self.placement.adjust()
        await self.loader.discover_and_load_frameworks()
        for name in self.registry.names():
            if version := self.readiness(name).version:
                self.registry.get_framework(name).version = version
                self.registry.refresh(name)
        self._started = True

    def _told(self) -> tuple[Event, ...]:
        """Return what runs have to say of the configuration."""
        wrong = self.configuration.refused
        return () if wrong is None else (ConfigurationRefused(wrong.message),)

    def _own_engine(self, preface: tuple[Event, ...], *, always: bool = False) -> Engine | None:
        """Return an engine of an agent's own steps, where there is something to add to them."""
        slots, timeout = self._slots_of(NATIVE), self.limits(NATIVE).timeout_seconds
        if not (preface or always) and slots.limit is None and timeout is None:
            return None
        return OwnSteps(preface, slots=slots, timeout=timeout)

    def _engine(
        self,
        name: str,
        subject: Any,  # what the user built with the framework, a builder, or a name
        preface: tuple[Event, ...],
    ) -> FrameworkEngine:
        return FrameworkEngine(
            framework=name,
            enter=functools.partial(self._enter, name, subject),
            gateway=self.gateway,
            slots=self._slots_of(name),
            timeout=self.config.limits(name).timeout_seconds,
            preface=preface,
            takes_schema=subject is None and self._holds(name, "structured_output"),
        )

    @contextlib.contextmanager
    def _enter(
        self,
        name: str,
        subject: Any,  # as ``_engine`` has it
        nested: bool,
    ) -> Iterator[Place]:
        """Hold the adapter that the run begins with, and the place where it runs."""
        with (
            self.registry.pin(name) as integration,
            self.placement.enter(integration, subject, nested=nested) as place,
        ):
            yield place

    def _slots_of(self, name: str) -> Slots:
        limit = self.config.limits(name).max_concurrent_executions
        slots = self._slots.setdefault(name, Slots(limit))
        slots.limit = limit
        return slots

    async def _lock(self, name: str) -> Path:
        await self.start()
        lock = lock_of(self.registry.get_framework(name))
        if lock is None:
            raise InstallFailed(
                f"{name} has no environment to install",
                hint="its adapter names no lock; install what it imports with %pip",
                framework=name,
            )
        return lock
