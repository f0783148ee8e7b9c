"""A small table that every front end can show and pandas can take over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tframex_nb.dataframes import frame
from tframex_nb.markdown import clean, escape_inline

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

__all__ = ["Table"]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns, with one closing line that says what to do next.

    ``wraps`` lets a browser put the words of a column's name on several lines.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    records: tuple[tuple[object, ...], ...] = field(default=(), repr=False)
    wraps: bool = False

    @classmethod
    def of(cls, columns: Sequence[str], rows: Iterable[Sequence[object]], note: str = "") -> Table:
        """Make a table of any cells; None is an empty cell, fractions show three digits."""
        records = tuple(tuple(row) for row in rows)
        cells = tuple(tuple(_cell(c) for c in row) for row in records)
        return cls(tuple(columns), cells, note, records)

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a DataFrame, numbers as numbers; needs pandas."""
        return frame(list(self.records), list(self.columns))

    def to_markdown(self) -> str:
        """Return a Markdown table, its cells and the note escaped."""
        heads = tuple(name.replace("_", " ") if self.wraps else name for name in self.columns)
        lines = [_row(heads), "|" + "---|" * len(heads)]
        lines += [_row(tuple(escape_inline(cell) for cell in row)) for row in self.rows]
        return "\n".join(lines) + (f"\n\n*{escape_inline(self.note)}*" if self.note else "")

    def __str__(self) -> str:
        grid = [self.columns, *(tuple(map(_flat, row)) for row in self.rows)]
        widths = [max(len(row[i]) for row in grid) for i in range(len(self.columns))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in grid
        ]
        return "\n".join([*lines, clean(self.note)] if self.note else lines)

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:  # IPython's include and exclude
        return {"text/plain": str(self), "text/markdown": self.to_markdown()}


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else clean(str(value))


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(map(_flat, cells)) + " |"


def _flat(text: str) -> str:
    return " ".join(text.split())
