"""What this kernel's own runs say of each framework: how often, how fast, how much."""

from __future__ import annotations

import inspect
import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tframex_nb import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["ENOUGH", "Figures", "figures"]

ENOUGH = 5  # runs, before figures say anything

# Faults of the model, not of the framework that asked it.
_MODEL_FAULTS = frozenset(
    name
    for name, each in vars(errors).items()
    if inspect.isclass(each) and issubclass(each, errors.ModelError)
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one framework: medians in seconds, tokens a second after the first.

    ``success_rate`` is that of the ``runs`` that ended by themselves: a run that was stopped,
    or that its model failed, says nothing of the framework.
    """

    runs: int
    success_rate: float
    first_token_seconds: float | None = None
    total_seconds: float | None = None
    tokens_per_second: float | None = None

    @property
    def enough(self) -> bool:
        """Whether there are enough runs to judge by."""
        return self.runs >= ENOUGH

    def to_dict(self) -> dict[str, Any]:  # JSON
        """Return the figures as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        parts = [f"{self.success_rate:.0%} of {self.runs} run{'' if self.runs == 1 else 's'}"]
        if self.first_token_seconds is not None:
            parts.append(f"first token {self.first_token_seconds:.2f} s")
        if self.total_seconds is not None:
            parts.append(f"total {self.total_seconds:.2f} s")
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:.0f} tokens/s")
        return ", ".join(parts)


def figures(rows: Iterable[Mapping[str, Any]]) -> dict[str, Figures]:  # rows of Run.summary
    """Return the figures of each framework that the rows of ``RunLog`` tell of."""
    grouped: dict[str, list[Mapping[str, Any]]] = defaultdict(list)  # rows of Run.summary
    for row in rows:
        if row["status"] == "finished" or _own_fault(row):
            grouped[row["framework"]].append(row)
    return {name: _figures(each) for name, each in grouped.items()}


def _own_fault(row: Mapping[str, Any]) -> bool:  # a row of Run.summary
    return row["status"] == "failed" and row.get("error") not in _MODEL_FAULTS


def _figures(rows: Sequence[Mapping[str, Any]]) -> Figures:  # rows of Run.summary
    good = [row for row in rows if row["status"] == "finished"]
    return Figures(
        runs=len(rows),
        success_rate=len(good) / len(rows),
        first_token_seconds=_median(row.get("first_token_seconds") for row in good),
        total_seconds=_median(row.get("seconds") for row in good),
        tokens_per_second=_median(_rate(row) for row in good),
    )


def _rate(row: Mapping[str, Any]) -> float | None:  # a row of Run.summary
    first, total, tokens = (
        row.get(key) for key in ("first_token_seconds", "seconds", "completion_tokens")
    )
    if first is None or not total or not tokens or total <= first:
        return None
    return float(tokens / (total - first))


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
