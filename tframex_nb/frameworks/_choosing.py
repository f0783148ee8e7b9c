"""Choosing from a ranked list, and saying what would help where there is nothing to choose."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tframex_nb.errors import NoFrameworkFits, nearest
from tframex_nb.frameworks.base import CAPABILITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tframex_nb.frameworks.registry import FrameworkRegistry
    from tframex_nb.frameworks.resolution import Candidate, Resolution

__all__ = ["choose", "help_for", "not_ready", "refused"]

SHOWN = 4  # candidates that an error's text tells of; its resolution holds all


def choose(ranked: Resolution, running: Callable[[str], int] | None) -> Resolution:
    """Return the resolution with the best candidate that is ready, and the better one that is not.

    With ``running`` the candidate of the best total that has the fewest runs is taken.
    """
    best = _first(ranked.candidates, ready=False)
    ready = _first(ranked.candidates, ready=True)
    if best is None:
        return ranked
    if ready is None:
        hint = best.readiness.hint or f"%frameworks install {best.name}"
        return dataclasses.replace(
            ranked,
            reason="what fits is not ready here",
            better=best.name,
            better_hint=f"{best.name} would be best ({best.readiness}): {hint}",
        )
    taken, reason = ready, _reason(ranked, ready)
    if running is not None:
        taken, reason = _balanced(ranked, ready, running) or (taken, reason)
    better = best if best.total > taken.total else None
    return dataclasses.replace(
        ranked,
        chosen=taken.name,
        reason=reason,
        better=better.name if better else "",
        better_hint=_offer(better, taken) if better else "",
    )


def help_for(ranked: Resolution, registry: FrameworkRegistry) -> str:
    """Return what would help where every candidate is excluded."""
    known = sorted({*CAPABILITIES, *registry.capabilities()})
    unknown = next((name for name in ranked.requirements if name not in known), None)
    if unknown is not None:
        return f"no framework has {unknown!r}: {nearest(unknown, known)}"
    if not ranked.candidates:
        return (
            "load one with %frameworks load, or set default_framework to one that %frameworks lists"
        )
    invalid = next((each for each in ranked.candidates if each.points), None)
    if invalid is not None:
        return f"mend the agent's configuration for {invalid.name}: {invalid.excluded}"
    able = _able(ranked, registry)
    if able:
        needed = ", ".join(ranked.requirements)
        return f"{', '.join(able)} can do {needed}: choose it with -f {able[0]}"
    return f"ask for less, or for one of them with -f {ranked.candidates[0].name}"


def refused(resolution: Resolution) -> NoFrameworkFits:
    """Return the error that says why nothing could be chosen."""
    of = f"the template {resolution.template_id!r}" if resolution.template_id else "this agent"
    shown = [f"{each.name}: {_why_not(each)}" for each in resolution.candidates[:SHOWN]]
    more = len(resolution.candidates) - SHOWN
    if more > 0:
        shown.append(f"and {more} more")
    told = "; ".join(shown) or "; ".join(resolution.notes) or "none is registered"
    error = NoFrameworkFits(
        f"no framework fits {of}: {told}", hint=resolution.hint or resolution.better_hint
    )
    error.resolution = resolution
    return error


def not_ready(resolution: Resolution) -> NoFrameworkFits:
    """Return the error that what fits cannot run here."""
    fit = ", ".join(each.name for each in resolution.candidates if not each.excluded)
    error = NoFrameworkFits(
        f"what fits this agent cannot run here: {fit}", hint=resolution.better_hint
    )
    error.resolution = resolution
    return error


def _first(candidates: Sequence[Candidate], *, ready: bool) -> Candidate | None:
    """Return the best that is not excluded; they stand before all that are."""
    for each in candidates:
        if each.excluded:
            return None
        if each.readiness.ready or not ready:
            return each
    return None


def _reason(ranked: Resolution, taken: Candidate) -> str:
    rest = [each for each in ranked.candidates if not each.excluded and each is not taken]
    second = next((each for each in rest if each.readiness.ready), None)
    points = f"{taken.total:g} points"
    if second is None:
        return f"{points}, the only one that fits{' and is ready' if rest else ''}"
    if second.total < taken.total:
        return f"{points}, {taken.total - second.total:g} more than {second.name}"
    if taken.preferred != second.preferred:
        return f"{points} as {second.name}, and preferred"
    return f"{points} as {second.name}, and first by name"


def _balanced(
    ranked: Resolution, best: Candidate, running: Callable[[str], int]
) -> tuple[Candidate, str] | None:
    """Return the least busy of those with the best total; the order among them breaks ties."""
    equal = [
        each
        for each in ranked.candidates
        if not each.excluded and each.readiness.ready and each.total == best.total
    ]
    if len(equal) == 1:
        return None
    counts = {each.name: running(each.name) for each in equal}
    taken = min(equal, key=lambda each: counts[each.name])
    count = counts[taken.name]
    told = f"{count} run{'' if count == 1 else 's'} now"
    return taken, f"{taken.total:g} points as {len(equal) - 1} more, and the least busy ({told})"


def _offer(better: Candidate, taken: Candidate) -> str:
    hint = better.readiness.hint or f"%frameworks install {better.name}"
    gain = better.total - taken.total
    return f"{better.name} has {gain:g} more points and is not ready: {hint}"


def _able(ranked: Resolution, registry: FrameworkRegistry) -> list[str]:
    """Return registered frameworks that have all that is needed and were not looked at."""
    looked_at = {each.name for each in ranked.candidates}
    able = set(registry.names()) - looked_at
    for name in ranked.requirements:
        able &= set(registry.get_frameworks_with_capability(name))
    return sorted(able)[:SHOWN]


def _why_not(candidate: Candidate) -> str:
    return candidate.excluded or candidate.readiness.reason or "not ready"
