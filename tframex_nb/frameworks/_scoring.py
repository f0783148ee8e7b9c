"""From a template to a ranked list: who is looked at, who is excluded and why, who gets what."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tframex_nb.errors import SettingsError, nearest
from tframex_nb.frameworks._inspection import capabilities_of
from tframex_nb.frameworks.base import ABSENT, ValidationResult
from tframex_nb.frameworks.policies import CandidateFacts
from tframex_nb.frameworks.resolution import Candidate, Readiness, Step
from tframex_nb.frameworks.templates import GENERIC, Template, TemplateFrameworkMapping
from tframex_nb.frameworks.versions import split_template, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tframex_nb.frameworks.base import Capability, Finding, FrameworkIntegration
    from tframex_nb.frameworks.measured import Figures
    from tframex_nb.frameworks.policies import Point, Policy
    from tframex_nb.frameworks.registry import FrameworkRegistry

__all__ = ["Pool", "Scorer", "pool_of", "rank", "requirements_of"]

_UNTOLD = ABSENT("it does not say that it has it")


@dataclass(slots=True)
class Pool:
    """The names that are looked at, each with how it came, and what was seen on the way.

    ``template`` is what is said of the template, ``wanted`` the range of its version that the
    agent asks for, ``supported`` the template whose supporters these are.
    """

    template_id: str
    template: Template
    wanted: str = ""
    supported: str = ""
    step: Step = "template"
    origins: dict[str, str] = field(default_factory=dict)
    preferred: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def pool_of(
    registry: FrameworkRegistry, mapping: TemplateFrameworkMapping, asked: str, default: str
) -> Pool:
    """Return the candidates: of the template, else of its generic one, else the default."""
    template_id, wanted = split_template(asked)
    pool = Pool(template_id, mapping.template(template_id), wanted)
    known = template_id in mapping
    if template_id:
        if not known:
            _say_unknown(pool, [*mapping.names(), *registry.templates()])
        _take(pool, registry, template_id, pool.template if known else None)
    if not pool.origins:
        pool.step = "fallback"
        kind = pool.template.fallback_type if known else "conversation"
        generic = f"generic-{kind}" if kind else ""
        if generic and generic != template_id:
            _take(
                pool, registry, generic, mapping.template(generic) if generic in mapping else None
            )
    if not pool.origins:
        pool.step = "default"
        if default in registry:
            pool.origins[default] = "the default framework"
        else:
            pool.notes.append(
                f"the default framework {default!r} is not registered; "
                f"{nearest(default, registry.names())}"
            )
    return pool


def requirements_of(pool: Pool, needed: Iterable[str]) -> dict[str, str]:
    """Return each capability that is needed, with who needs it."""
    own = sorted(needed)
    template = dict.fromkeys(pool.template.required_capabilities, "the template")
    run = dict.fromkeys(own, "the run")
    return {**template, **run, **{name: "both" for name in own if name in template}}


def rank(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates, the best first: by total, by preference, by name.

    Those that are excluded come last, so that an invalid one never beats a valid one.
    """

    def key(each: Candidate) -> tuple[bool, bool, float, float, str]:
        place = math.inf if each.preferred is None else each.preferred
        unscored = bool(each.excluded) and not each.points
        return bool(each.excluded), unscored, -each.total, place, each.name

    return tuple(sorted(candidates, key=key))


@dataclass(slots=True)
class Draft:
    """What is known of a framework before it is scored."""

    levels: dict[str, Capability]
    readiness: Readiness
    excluded: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Scorer:
    """What one resolution needs to judge its candidates."""

    pool: Pool
    required: Mapping[str, str]
    policy: Policy
    weight: Callable[[str], float]
    readiness: Callable[[str, FrameworkIntegration], Readiness]
    measured: Mapping[str, Figures]
    template_range: Callable[[str, str], str]

    def look(self, name: str, framework: FrameworkIntegration) -> Draft:
        """Return what is known of a framework, excluded where it cannot do what is needed."""
        levels, reason = self._levels(framework)
        readiness = self.readiness(name, framework)
        reason = reason or _missing(levels) or self._versions(name, framework, readiness)
        return Draft(levels, readiness, reason, _untested(framework, readiness))

    def judge(self, name: str, draft: Draft, said: ValidationResult | str) -> Candidate:
        """Return the candidate; ``said`` is its validation, or why there is none.

        Raises SettingsError where the policy fails.
        """
        pool, weight = self.pool, self.weight(name)
        preferred = pool.preferred.get(name)
        excluded, warnings, total = draft.excluded, draft.warnings, 0.0
        points: tuple[Point, ...] = ()
        if isinstance(said, str):
            excluded = excluded or said
        else:
            seen = self.measured.get(name)
            points, total = _points(
                self.policy,
                CandidateFacts(name, said, draft.levels, weight, preferred, seen, pool.template_id),
            )
            if said.errors:
                excluded = f"its configuration is not valid: {_findings(said.errors)}"
            if said.warnings:
                warnings = (*warnings, *map(str, said.warnings))
        return Candidate(
            name,
            points,
            total,
            excluded,
            draft.readiness,
            draft.levels,
            pool.origins.get(name, ""),
            preferred,
            weight,
            warnings,
        )

    def _levels(self, framework: FrameworkIntegration) -> tuple[dict[str, Capability], str]:
        if not self.required:
            return {}, ""
        try:
            has = capabilities_of(framework)
            return {name: has.get(name, _UNTOLD) for name in self.required}, ""
        except Exception as exc:  # noqa: BLE001 - an adapter's own fault excludes it, with its text
            return {}, f"it cannot tell its capabilities: {type(exc).__name__}: {exc}"

    def _versions(self, name: str, framework: FrameworkIntegration, readiness: Readiness) -> str:
        """Return why a version does not fit; what is not known, and not set, fits."""
        template = self.pool.template
        version = template.template_version
        if version and not within(version, self.pool.wanted):
            return f"the template's version is {version}, the agent wants {self.pool.wanted}"
        supported = self.template_range(name, self.pool.supported) if version else ""
        if supported and self.pool.step == "template" and not within(version, supported):
            return f"it supports the template {supported}, whose version is {version}"
        allowed = template.framework_versions.get(name, "")
        if allowed:
            here = readiness.version or framework.version
            if not within(here, allowed):
                return f"its version here is {here}, the template allows {allowed}"
        return ""


def _take(
    pool: Pool, registry: FrameworkRegistry, template_id: str, described: Template | None
) -> None:
    """Take in the frameworks that declare a template, and those that its mapping prefers."""
    for name in registry.get_frameworks_for_template(template_id):
        pool.origins[name] = f"it supports {template_id}"
    pool.supported = template_id
    for place, name in enumerate(described.preferred_frameworks if described else ()):
        if name not in registry:
            pool.notes.append(f"{name!r}, preferred for {template_id}, is not registered")
            continue
        by = f"preferred for {template_id} ({described.origin})" if described else ""
        came = pool.origins.get(name)
        pool.origins[name] = f"{came}; {by}" if came else by
        pool.preferred.setdefault(name, place)


def _say_unknown(pool: Pool, known: Iterable[str]) -> None:
    names = set(known)
    if pool.template_id in names:
        pool.notes.append(f"nothing is set for the template {pool.template_id!r}: {GENERIC} counts")
    else:
        pool.notes.append(
            f"the template {pool.template_id!r} is not known, {GENERIC} counts; "
            f"{nearest(pool.template_id, names)}"
        )


def _missing(levels: Mapping[str, Capability]) -> str:
    absent = [(name, each.reason) for name, each in levels.items() if each.level == "absent"]
    return "; ".join(
        f"{name} is absent: {why}" if why else f"{name} is absent" for name, why in absent
    )


def _untested(framework: FrameworkIntegration, readiness: Readiness) -> tuple[str, ...]:
    if not readiness.version or within(readiness.version, framework.versions):
        return ()
    return (f"its adapter was tested with {framework.versions}, here is {readiness.version}",)


def _points(policy: Policy, facts: CandidateFacts) -> tuple[tuple[Point, ...], float]:
    """Return the points and their sum."""
    try:
        points = tuple(policy.score(facts))
        total = math.fsum([point.value for point in points])
        if math.isfinite(total):
            return points, total
        why = f"it gave {points}"
    except Exception as exc:  # a policy is the user's own code
        raise _policy_failed(policy, facts, f"{type(exc).__name__}: {exc}") from exc
    raise _policy_failed(policy, facts, why)


def _policy_failed(policy: Policy, facts: CandidateFacts, why: str) -> SettingsError:
    return SettingsError(
        f"the policy {type(policy).__name__} failed on {facts.name!r}: {why}",
        hint="score must return Points with a reason and a number; or set policy: standard",
    )


def _findings(errors: Iterable[Finding]) -> str:
    return "; ".join(str(each) for each in errors)
