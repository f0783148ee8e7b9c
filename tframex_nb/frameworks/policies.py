"""Policies: how many points a candidate gets, and for what."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tframex_nb.errors import SettingsError, nearest
from tframex_nb.frameworks.base import ValidationResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tframex_nb.frameworks.base import Capability
    from tframex_nb.frameworks.measured import Figures

__all__ = ["CandidateFacts", "Measured", "Point", "Policy", "Standard", "load_policy"]

VALID = 100
PER_ERROR = -10
PER_CAPABILITY = 20


@dataclass(frozen=True, slots=True)
class Point:
    """Points for one reason; negative ones are taken off."""

    reason: str
    value: float

    def __str__(self) -> str:
        return f"{self.value:+g} {self.reason}"


@dataclass(frozen=True, slots=True)
class CandidateFacts:
    """What a policy knows of a candidate.

    ``required`` maps each capability that is needed to its level here, native or partial: where
    one is absent the candidate is excluded before. ``preferred`` is its place in the template's
    list, from 0, or None. ``weight`` is the configured one, ``measured`` what this kernel's runs
    say, or None. Whether it is installed is not known here on purpose.
    """

    name: str
    validation: ValidationResult = field(default_factory=ValidationResult)
    required: Mapping[str, Capability] = field(default_factory=dict)
    weight: float = 0
    preferred: int | None = None
    measured: Figures | None = None
    template_id: str = ""


@runtime_checkable
class Policy(Protocol):
    """Gives points; their sum is the candidate's total.

    An invalid candidate is excluded whatever its points are, so no policy can choose one.
    Points are kept until something changes; a policy that reads ``measured`` has an attribute
    ``measures = True``, and each finished run is then such a change.
    """

    def score(self, facts: CandidateFacts) -> Sequence[Point]:
        """Return the points of one candidate, each with its reason."""
        ...


class Standard:
    """+100 where the configuration is valid, else -10 an error; +20 a capability; the weight."""

    def score(self, facts: CandidateFacts) -> Sequence[Point]:
        """Return the points."""
        return (*basic(facts), _weight(facts.weight))


class Measured:
    """As ``Standard``, with up to ten points from this kernel's own runs in the weight's place.

    Up to six for the share of runs that succeeded, up to four for a quick first token (half of
    them at one second). The weight counts until there are enough runs. ``measures`` tells the
    resolver that points change with the runs.
    """

    measures = True

    def score(self, facts: CandidateFacts) -> Sequence[Point]:
        """Return the points."""
        seen = facts.measured
        if seen is None or not seen.enough:
            return (*basic(facts), Point("weight, too few runs to measure", facts.weight))
        first = seen.first_token_seconds
        quick = 0.0 if first is None else round(4 / (1 + first), 1)
        told = "no first token was seen" if first is None else f"first token {first:.2g} s"
        done = Point(
            f"{seen.success_rate:.0%} of {seen.runs} runs", round(6 * seen.success_rate, 1)
        )
        return (*basic(facts), done, Point(told, quick))


BUILT_IN: Mapping[str, Callable[[], Policy]] = {"standard": Standard, "measured": Measured}


def basic(facts: CandidateFacts) -> list[Point]:
    """Return the points for validity and capabilities, which every built-in policy gives."""
    errors = len(facts.validation.errors)
    points = [_VALID] if not errors else [_per_error(errors)]
    for name, capability in facts.required.items():
        points.append(_met(name, capability.level))
    return points


def load_policy(policy: Policy | str) -> Policy:
    """Return a policy: itself, a built-in one by name, or ``pkg.module:Class``.

    Raises SettingsError.
    """
    if not isinstance(policy, str):
        return _checked(policy, repr(policy))
    if policy in BUILT_IN:
        return BUILT_IN[policy]()
    module, _, name = policy.partition(":")
    if not name:
        raise SettingsError(
            f"there is no policy {policy!r}",
            hint=f"{nearest(policy, BUILT_IN)} or write pkg.module:Class",
        )
    try:
        found = getattr(importlib.import_module(module), name)
        return _checked(found() if isinstance(found, type) else found, policy)
    except SettingsError:
        raise
    except Exception as exc:  # a user's module raises anything
        raise SettingsError(
            f"the policy {policy!r} cannot be loaded: {type(exc).__name__}: {exc}",
            hint="write pkg.module:Class of something that can be imported here",
        ) from exc


def _checked(policy: object, shown: str) -> Policy:
    if isinstance(policy, Policy) and callable(policy.score):
        return policy
    raise SettingsError(
        f"{shown} is no policy: it has no method score",
        hint="write score(self, facts), which returns Points",
    )


_VALID = Point("valid", VALID)


def _per_error(count: int) -> Point:
    return Point(f"{count} error{'' if count == 1 else 's'}", PER_ERROR * count)


@functools.lru_cache(maxsize=256)
def _weight(weight: float) -> Point:
    return Point("weight", weight)


@functools.lru_cache(maxsize=256)
def _met(name: str, level: str) -> Point:
    return Point(name if level == "native" else f"{name} ({level})", PER_CAPABILITY)
