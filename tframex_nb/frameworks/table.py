"""The frameworks as rows: what each is, whether it could run now, and what it did."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tframex_nb.frameworks.base import Capability
    from tframex_nb.frameworks.loader import LoadFailure
    from tframex_nb.frameworks.registry import FrameworkRegistry
    from tframex_nb.frameworks.resolution import Readiness

__all__ = ["rows_of"]


def rows_of(
    registry: FrameworkRegistry,
    readiness: Callable[[str], Readiness],
    failures: Iterable[LoadFailure],
    runs: Sequence[Mapping[str, Any]],  # rows of Run.summary
) -> list[dict[str, Any]]:
    """Return a row for each framework, and one for each adapter that failed to load.

    ``state`` is ready, not installed or failed; ``capabilities`` lists them, partial ones with a
    tilde.
    """
    ran = Counter(row["framework"] for row in runs)
    failed = Counter(row["framework"] for row in runs if row["status"] == "failed")
    rows = []
    for name in registry.names():
        found = readiness(name)
        framework = registry.get_framework(name)
        rows.append(
            {
                "name": name,
                "version": found.version or framework.version,
                "state": "ready" if found.ready else "not installed",
                "mode": found.mode,
                "capabilities": _listed(framework.describe_capabilities()),
                "runs": ran[name],
                "running": registry.running(name),
                "failures": failed[name],
                "why_not": "" if found.ready else _why(found.reason, found.hint),
            }
        )
    return rows + [_failure(each) for each in failures]


def _listed(capabilities: Mapping[str, Capability]) -> str:
    marks = {"native": "", "partial": "~"}
    return " ".join(marks[c.level] + name for name, c in capabilities.items() if c.met)


def _failure(failure: LoadFailure) -> dict[str, Any]:
    return {
        "name": failure.name,
        "version": "",
        "state": "failed",
        "mode": "",
        "capabilities": "",
        "runs": 0,
        "running": 0,
        "failures": 0,
        "why_not": _why(f"{failure.source}: {failure.reason}", failure.hint),
    }


def _why(reason: str, hint: str) -> str:
    return "; ".join(part for part in (reason, hint) if part)
