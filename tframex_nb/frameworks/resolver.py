"""The resolver: which framework is best for an agent, and why."""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import FrameworkFailed, TFrameXError, UnknownFramework
from tframex_nb.frameworks import _choosing
from tframex_nb.frameworks._scoring import Pool, Scorer, pool_of, rank, requirements_of
from tframex_nb.frameworks._validating import validate_all
from tframex_nb.frameworks.base import importable
from tframex_nb.frameworks.config import RuntimeConfig
from tframex_nb.frameworks.measured import Figures, figures
from tframex_nb.frameworks.policies import load_policy
from tframex_nb.frameworks.resolution import Readiness, Resolution
from tframex_nb.frameworks.templates import TemplateFrameworkMapping

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from tframex_nb.frameworks.base import Agent, ExecutionRequirements, FrameworkIntegration
    from tframex_nb.frameworks.policies import Policy
    from tframex_nb.frameworks.registry import FrameworkRegistry

__all__ = ["FrameworkResolverService"]

KEPT = 20_000  # candidates in all the results that are kept
VALIDATION_SECONDS = 2.0
ATTEMPTS = 5  # where the registry changes while a framework is being chosen


class FrameworkResolverService:
    """Chooses the framework for an agent, and tells everything that led to the choice.

    The candidates are the frameworks of the agent's template, else of ``generic-<type>``, else
    the default framework. A capability that is needed and absent excludes, as do a version out
    of range and a configuration that is not valid. The policy gives points to the others; among
    equal totals the template's order of preference decides, then the name. What is installed
    changes no points: the best candidate that ``readiness`` calls ready is chosen, and a better
    one is named. Nothing is ever installed here.

    ``readiness_generation`` changes whenever a readiness may have; without it each candidate's
    readiness is asked anew each time. ``runs`` gives rows of ``RunLog``. ``running`` tells how
    many runs a framework has now, for ``balance``. A ``policy`` given here wins over that of the
    configuration.
    """

    def __init__(
        self,
        registry: FrameworkRegistry,
        mapping: TemplateFrameworkMapping | None = None,
        config: RuntimeConfig | None = None,
        readiness: Callable[[str], Readiness] | None = None,
        policy: Policy | str | None = None,
        *,
        readiness_generation: Callable[[], Hashable] | None = None,
        runs: Callable[[], Iterable[Mapping[str, Any]]] = lambda: (),  # rows of Run.summary
        running: Callable[[str], int] | None = None,
        validation_seconds: float = VALIDATION_SECONDS,
    ) -> None:
        self.registry = registry
        self.mapping = mapping or TemplateFrameworkMapping()
        self._readiness = readiness
        self._readiness_generation = readiness_generation
        self._given_policy = None if policy is None else load_policy(policy)
        self._runs = runs
        self._running = running or registry.running
        self._validation_seconds = validation_seconds
        self._lock = threading.Lock()
        self._cache: OrderedDict[Hashable, Resolution] = OrderedDict()
        self._kept = 0
        self._epoch: Hashable = None
        self._swaps = 0
        self._figures: tuple[Hashable, dict[str, Figures]] = (None, {})
        self.config = config or RuntimeConfig()

    @property
    def config(self) -> RuntimeConfig:
        """The configuration in force. Setting it applies templates, weights and policy.

        Raises SettingsError where the policy cannot be loaded; then nothing changes.
        """
        return self._config

    @config.setter
    def config(self, config: RuntimeConfig) -> None:
        policy = self.check(config)
        self.mapping.configure(config.template_mappings)
        self._config, self._policy = config, policy
        self._swaps += 1

    def check(self, config: RuntimeConfig) -> Policy:
        """Return the policy that would hold; raises SettingsError where it cannot be loaded."""
        return self._given_policy or load_policy(config.policy)

    async def resolve_framework(
        self, agent: Agent, requirements: ExecutionRequirements
    ) -> FrameworkIntegration:
        """Return the best framework that is ready, initialized where it runs in this process.

        Raises NoFrameworkFits, and FrameworkFailed where it cannot be initialized.
        """
        for _ in range(ATTEMPTS):
            resolution = await self.resolve(agent, requirements)
            if not resolution.chosen:
                raise _choosing.refused(resolution)
            try:
                framework = self.registry.get_framework(resolution.chosen)
            except UnknownFramework:  # it went while we chose
                continue
            found = resolution.candidate(resolution.chosen)
            if found is None or found.readiness.mode != "worker":
                await _initialize(framework)
            return framework
        raise _choosing.refused(resolution)

    async def resolve(self, agent: Agent, requirements: ExecutionRequirements) -> Resolution:
        """Return the resolution; its ``chosen`` is empty where what fits is not ready.

        Raises NoFrameworkFits, which holds the resolution, where every candidate is excluded or
        there is none.
        """
        resolution = await self.explain(agent, requirements)
        if all(each.excluded for each in resolution.candidates):
            raise _choosing.refused(resolution)
        return resolution

    async def explain(self, agent: Agent, requirements: ExecutionRequirements) -> Resolution:
        """Return the resolution, also where nothing fits."""
        measured = self._measured()
        key = self._key(agent, requirements)
        ranked = self._cached(key)
        if ranked is None or not self._still_ready(ranked):
            ranked = await self._rank(agent, requirements, measured)
            self._keep(key, ranked)
        chosen = _choosing.choose(ranked, self._running if self.config.balance else None)
        return dataclasses.replace(chosen, measured=measured) if measured else chosen

    def invalidate(self) -> None:
        """Forget every result; for a change that no generation tells of."""
        self._swaps += 1

    async def _rank(
        self,
        agent: Agent,
        requirements: ExecutionRequirements,
        measured: Mapping[str, Figures],
    ) -> Resolution:
        """Return the candidates in order, with nothing chosen yet."""
        template = agent.template_id or ""
        pool = pool_of(self.registry, self.mapping, template, self.config.default_framework)
        required = requirements_of(pool, requirements.get_required_capabilities())
        frameworks = self.registry.get_frameworks(pool.origins)
        scorer = self._scorer(pool, required, measured)
        drafts = {name: scorer.look(name, each) for name, each in frameworks.items()}
        fit = {name: frameworks[name] for name, each in drafts.items() if not each.excluded}
        said = await validate_all(fit, agent, self._validation_seconds)
        candidates = rank(
            scorer.judge(name, each, said.get(name, "")) for name, each in drafts.items()
        )
        ranked = Resolution(
            pool.template_id,
            candidates,
            step=pool.step,
            requirements=required,
            notes=tuple(pool.notes),
        )
        if any(not each.excluded for each in candidates):
            return ranked
        return dataclasses.replace(ranked, hint=_choosing.help_for(ranked, self.registry))

    def _scorer(
        self, pool: Pool, required: Mapping[str, str], measured: Mapping[str, Figures]
    ) -> Scorer:
        return Scorer(
            pool,
            required,
            self._policy,
            self.config.weight,
            self._ready,
            measured,
            self.registry.template_range,
        )

    def _ready(self, name: str, framework: FrameworkIntegration) -> Readiness:
        if self._readiness is None:
            return _readiness_here(framework)
        try:
            return self._readiness(name)
        except UnknownFramework:  # it went while we chose
            return Readiness(ready=False, reason="it is no longer registered")

    def _still_ready(self, ranked: Resolution) -> bool:
        """Whether the readiness of each candidate is what it was; told by a generation if any."""
        if self._readiness is None or self._readiness_generation is not None:
            return True
        names = [each.name for each in ranked.candidates]
        frameworks = self.registry.get_frameworks(names)
        return len(frameworks) == len(names) and all(
            self._ready(each.name, frameworks[each.name]) == each.readiness
            for each in ranked.candidates
        )

    def _measured(self) -> dict[str, Figures]:
        """Return the figures of the runs so far, made again only where there are new ones."""
        rows = tuple(self._runs())
        mark = (len(rows), rows[-1].get("id")) if rows else None
        if self._figures[0] != mark:
            self._figures = (mark, figures(rows))
        return self._figures[1]

    def _key(self, agent: Agent, requirements: ExecutionRequirements) -> Hashable:
        """Return what a result depends on, or None where it cannot be told."""
        try:
            configuration = json.dumps(dict(agent.configuration), sort_keys=True)
        except (TypeError, ValueError, RecursionError):  # no JSON: it may change unseen
            return None
        needed = frozenset(requirements.get_required_capabilities())
        return self._now(), agent.template_id, agent.id, agent.name, needed, configuration

    def _now(self) -> Hashable:
        """Return what changes with the registry, the configuration, readiness and figures."""
        generation = self._readiness_generation
        return (
            self.registry.generation,
            self.mapping.generation,
            self._swaps,
            None if generation is None else generation(),
            self._figures[0] if getattr(self._policy, "measures", False) else None,
        )

    def _cached(self, key: Hashable) -> Resolution | None:
        with self._lock:
            found = self._cache.get(key) if key is not None else None
            if found is not None:
                self._cache.move_to_end(key)
            return found

    def _keep(self, key: Hashable, ranked: Resolution) -> None:
        """Keep a result under what held when it began: a change meanwhile makes it unfindable."""
        if key is None:
            return
        now = self._now()
        with self._lock:
            if now != self._epoch:
                self._cache.clear()
                self._kept, self._epoch = 0, now
            before = self._cache.pop(key, None)
            self._kept += _size(ranked) - (_size(before) if before is not None else 0)
            self._cache[key] = ranked
            while self._kept > KEPT and len(self._cache) > 1:
                self._kept -= _size(self._cache.popitem(last=False)[1])


def _size(ranked: Resolution) -> int:
    return 1 + len(ranked.candidates)


async def _initialize(framework: FrameworkIntegration) -> None:
    try:
        await framework.initialize()
    except TFrameXError:
        raise
    except Exception as exc:  # the wall around an adapter
        raise FrameworkFailed(
            f"{framework.name} cannot be initialized: {type(exc).__name__}: {exc}",
            hint="%frameworks shows whether it is installed; %frameworks reload reads it again",
            framework=framework.name,
        ) from exc


_HERE = Readiness(ready=True, mode="in-process")


@functools.lru_cache(maxsize=1024)
def _importable(module: str) -> bool:
    return importable(module)


def _readiness_here(framework: FrameworkIntegration) -> Readiness:
    """Return whether a framework can be imported in this process; kept until the process ends."""
    module = framework.module
    if not module or _importable(module):
        return _HERE
    return Readiness(
        ready=False,
        reason=f"{module} is not installed here",
        hint=f"%frameworks install {framework.name}",
    )
