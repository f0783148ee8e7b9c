"""A resolution: every candidate with every point, and the reason for each exclusion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tframex_nb.dataframes import frame
from tframex_nb.markdown import clean, escape_inline

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from tframex_nb.frameworks.base import Capability
    from tframex_nb.frameworks.measured import Figures
    from tframex_nb.frameworks.policies import Point

__all__ = ["Candidate", "Readiness", "Resolution", "Step"]

Step = Literal["template", "fallback", "default"]

_STEPS: dict[Step, str] = {
    "template": "its template",
    "fallback": "the generic template: no framework is registered for its own",
    "default": "the default framework: none is registered for its template or the generic one",
}


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a framework could run now, where, and if not, why and what to do."""

    ready: bool
    mode: Literal["in-process", "worker", ""] = ""
    version: str = ""
    reason: str = ""
    hint: str = ""

    def __str__(self) -> str:
        if not self.ready:
            return self.reason or "not ready"
        return " ".join(part for part in (self.mode or "ready", self.version) if part)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One framework that was looked at.

    ``total`` is the sum of ``points``, which are empty where it was excluded before it was
    scored. ``excluded`` is the reason, or the empty text. ``levels`` maps each capability that
    is needed to its level here. ``origin`` tells how it became a candidate, ``preferred`` is its
    place in the template's list, from 0, or None.
    """

    name: str
    points: tuple[Point, ...] = ()
    total: float = 0
    excluded: str = ""
    readiness: Readiness = field(default_factory=lambda: Readiness(ready=False))
    levels: Mapping[str, Capability] = field(default_factory=dict)
    origin: str = ""
    preferred: int | None = None
    weight: float = 0
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:  # JSON
        """Return it as JSON."""
        return {
            "name": self.name,
            "total": self.total,
            "points": [{"reason": point.reason, "value": point.value} for point in self.points],
            "excluded": self.excluded,
            "ready": self.readiness.ready,
            "mode": self.readiness.mode,
            "version": self.readiness.version,
            "not_ready": self.readiness.reason,
            "hint": self.readiness.hint,
            "capabilities": {name: each.level for name, each in self.levels.items()},
            "origin": self.origin,
            "preferred": self.preferred,
            "weight": self.weight,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Resolution:
    """Which framework was chosen for a template, among which, and why.

    ``chosen`` is the best candidate that is ready, or the empty text; ``reason`` says it in
    words. ``better`` is one with more points that is not ready, ``better_hint`` names it and how
    to get it. ``hint`` is what would help where nothing fits. ``candidates`` are in order, the
    best first.
    ``requirements`` are the capabilities that were needed, each with who needs it.
    """

    template_id: str
    candidates: tuple[Candidate, ...] = ()
    chosen: str = ""
    reason: str = ""
    better: str = ""
    better_hint: str = ""
    hint: str = ""
    step: Step = "template"
    requirements: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    measured: Mapping[str, Figures] = field(default_factory=dict)

    def candidate(self, name: str) -> Candidate | None:
        """Return the candidate of this name, or None where it was not looked at."""
        return next((each for each in self.candidates if each.name == name), None)

    def to_dict(self) -> dict[str, Any]:  # JSON
        """Return the whole as JSON."""
        rows = [each.to_dict() for each in self.candidates]
        for row in rows:
            row["measured"] = self._measured(row["name"])
        return {
            "template_id": self.template_id,
            "requirements": dict(self.requirements),
            "chosen": self.chosen,
            "reason": self.reason,
            "better": self.better,
            "better_hint": self.better_hint,
            "hint": self.hint,
            "step": self.step,
            "notes": list(self.notes),
            "candidates": rows,
        }

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per candidate, the best first; needs pandas."""
        rows = [self._row(each) for each in self.candidates]
        return frame(rows, list(self._row(Candidate(""))) if not rows else None)

    def __str__(self) -> str:
        head, *rows = self._table()
        widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)
        ]
        return "\n".join([*(lines if rows else []), *self._said()])

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": str(self), "text/markdown": self._markdown()}

    def _markdown(self) -> str:
        head, *rows = self._table()
        lines = [" | ".join(head), "|".join("---" for _ in head)]
        lines += [" | ".join(escape_inline(cell) for cell in row) for row in rows]
        table = "\n".join(f"| {line} |" for line in lines) if rows else ""
        return "\n\n".join(part for part in (table, *map(escape_inline, self._said())) if part)

    def _table(self) -> list[tuple[str, ...]]:
        """Return the head and a row per candidate, as plain text on one line each."""
        needed = list(self.requirements)
        head = ("framework", "total", "points", *needed, "ready")
        measured = ("measured",) if self.measured else ()
        table = [(*head, *measured, "excluded")]
        for each in self.candidates:
            levels = (_level(each.levels.get(name)) for name in needed)
            cells = [
                f"{each.name} ✓" if each.name == self.chosen else each.name,
                f"{each.total:g}" if each.points else "",
                ", ".join(str(point) for point in each.points),
                *levels,
                str(each.readiness),
                *((str(self.measured.get(each.name, "")),) if measured else ()),
                each.excluded,
            ]
            table.append(tuple(" ".join(clean(cell).split()) for cell in cells))
        return table

    def _said(self) -> list[str]:
        """Return the sentences below the table."""
        by = _STEPS[self.step]
        of = f"template {self.template_id}, by {by}" if self.template_id else f"by {by}"
        chosen = f"chosen: {self.chosen or 'none'} ({of})"
        lines = [f"{chosen}: {self.reason}" if self.reason else chosen, self.better_hint]
        lines += [f"hint: {self.hint}" if self.hint else "", *self.notes]
        return [" ".join(clean(line).split()) for line in lines if line]

    def _row(self, each: Candidate) -> dict[str, Any]:  # cells of many types
        figures = self._measured(each.name)
        return {
            "framework": each.name,
            "chosen": each.name == self.chosen and bool(each.name),
            "total": each.total,
            "points": ", ".join(str(point) for point in each.points),
            **{name: _level(each.levels.get(name)) for name in self.requirements},
            "ready": each.readiness.ready,
            "mode": each.readiness.mode,
            "version": each.readiness.version,
            "preferred": each.preferred,
            "weight": each.weight,
            "runs": figures.get("runs", 0),
            "success_rate": figures.get("success_rate"),
            "first_token_seconds": figures.get("first_token_seconds"),
            "total_seconds": figures.get("total_seconds"),
            "tokens_per_second": figures.get("tokens_per_second"),
            "excluded": each.excluded,
        }

    def _measured(self, name: str) -> dict[str, Any]:  # JSON
        found = self.measured.get(name)
        return found.to_dict() if found is not None else {}


def _level(capability: Capability | None) -> str:
    return "" if capability is None else capability.level
