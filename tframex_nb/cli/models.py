"""The table of models in a terminal."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tframex_nb.models.endpoints import EndpointStatus

__all__ = ["list_models", "table"]

MANY = 3  # models of one endpoint that a row names
_COLUMNS = ("name", "kind", "url", "models", "state", "next")


def list_models(*, as_json: bool = False) -> str:
    """Return what is configured, found on this host and built in; probes take 0.3 s at most."""
    from tframex_nb.models.endpoints import Endpoints

    async def survey() -> list[EndpointStatus]:
        endpoints = Endpoints()
        try:
            return await endpoints.survey()
        finally:
            await endpoints.aclose()

    statuses = asyncio.run(survey())
    if as_json:
        rows = [{name: _plain(getattr(s, name)) for name in _COLUMNS} for s in statuses]
        return json.dumps(rows, indent=2)
    return table(_COLUMNS, [[_short(getattr(s, name)) for name in _COLUMNS] for s in statuses])


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns, as plain text."""
    grid = [list(columns), *map(list, rows)]
    widths = [max(len(row[i]) for row in grid) for i in range(len(columns))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in grid)
    return "\n".join(line.rstrip() for line in lines)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple | list) else str(value)


def _short(value: object) -> str:
    """Return a cell: of many models the first three."""
    if not isinstance(value, tuple | list):
        return str(value)
    more = f", … ({len(value)})" if len(value) > MANY else ""
    return ", ".join(map(str, value[:MANY])) + more
