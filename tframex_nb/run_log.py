"""The last runs of this process as plain rows."""

from __future__ import annotations

import functools
import json
from collections import deque
from typing import TYPE_CHECKING, Any

from tframex_nb.dataframes import frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["RunLog", "recent_runs"]


class RunLog:
    """The last runs as plain rows, bounded: a row holds no events and no text."""

    def __init__(self, limit: int = 200) -> None:
        self._rows: deque[dict[str, Any]] = deque(maxlen=limit)  # rows of Run.summary

    def add(self, row: dict[str, Any]) -> None:  # a row of Run.summary
        """Take the summary of a run in; the oldest falls out beyond the limit."""
        self._rows.append(row)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(tuple(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per run; needs pandas."""
        return frame(list(self._rows))

    def __repr__(self) -> str:
        if not self._rows:
            return "no runs yet"
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in self._rows)

    def _repr_markdown_(self) -> str:
        from tframex_nb.transcript import runs_table

        return runs_table(tuple(self._rows))


@functools.cache
def recent_runs() -> RunLog:
    """Return the log of this process; every run that ends under ``observe`` is in it.

    A process has one history of runs, as a shell has one, hence the cached owner.
    """
    return RunLog()
