"""Tables and arrays of any library as schema and first rows, without importing the library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Table", "table"]

ROWS = 10
CELL = 60  # characters
COUNTED = 20_000_000  # cells; above, counting what is not null would take seconds
TIMES = "\N{MULTIPLICATION SIGN}"
VALUES = 20  # of an array
SMALL_ARRAY = 200  # elements


@dataclass(frozen=True, slots=True)
class Table:
    """What a model is shown of a table, and what the user is told: kind, shape, extent."""

    text: str
    note: str


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    dtype: str
    filled: str  # how many values are not null, "" where it was not counted


def table(value: object, *, cap: int) -> Table | None:
    """Return the table of a pandas, polars, pyarrow or numpy value; None for any other."""
    for cls in type(value).__mro__:
        library = (cls.__module__ or "").partition(".")[0]
        reader = _READERS.get((library, cls.__name__))
        if reader is not None:
            return reader(value, cap)
    return None


def _pandas(value: Any, cap: int) -> Table:  # a pandas DataFrame
    count, width = value.shape
    counted = count * width <= COUNTED
    columns = [
        _Column(
            str(name),
            str(value.dtypes.iloc[at]),
            f"{int(value.iloc[:, at].count()):,}" if counted else "",
        )
        for at, name in _some(value.columns, cap)
    ]
    head = value.head(ROWS).iloc[:, : len(columns)]
    rows = [list(row) for row in head.itertuples(index=True, name=None)]
    return _table("DataFrame", (count, width), columns, rows, cap, index=True)


def _pandas_series(value: Any, cap: int) -> Table:  # a pandas Series
    name = str(value.name if value.name is not None else "value")
    filled = f"{int(value.count()):,}" if len(value) <= COUNTED else ""
    rows = [[index, item] for index, item in value.head(ROWS).items()]
    column = _Column(name, str(value.dtype), filled)
    return _table("Series", (len(value), 1), [column], rows, cap, index=True)


def _polars(value: Any, cap: int) -> Table:  # a polars DataFrame
    count, width = value.shape
    names = [name for _, name in _some(value.columns, cap)]
    columns = [
        _Column(name, str(value.schema[name]), f"{count - value[name].null_count():,}")
        for name in names
    ]
    rows = [list(row) for row in value.select(names).head(ROWS).rows()]
    return _table("DataFrame", (count, width), columns, rows, cap)


def _polars_series(value: Any, cap: int) -> Table:  # a polars Series
    filled = f"{len(value) - value.null_count():,}"
    column = _Column(value.name or "value", str(value.dtype), filled)
    rows = [[item] for item in value.head(ROWS).to_list()]
    return _table("Series", (len(value), 1), [column], rows, cap)


def _polars_lazy(value: Any, cap: int) -> Table:  # a polars LazyFrame: never collected
    schema = value.collect_schema()
    columns = [_Column(name, str(schema[name]), "") for _, name in _some(schema.names(), cap)]
    lines = ["LazyFrame, not collected", *_grid(["column", "dtype"], _cells(columns))]
    note = f"LazyFrame of {len(schema):,} columns, schema only"
    return Table("\n".join(lines), note)


def _arrow(value: Any, cap: int) -> Table:  # a pyarrow Table or RecordBatch
    count, width = value.num_rows, value.num_columns
    columns = [
        _Column(
            str(name), str(value.schema.field(at).type), f"{count - value.column(at).null_count:,}"
        )
        for at, name in _some(value.schema.names, cap)
    ]
    heads = [value.column(at).slice(0, ROWS).to_pylist() for at in range(len(columns))]
    rows = [list(row) for row in zip(*heads, strict=True)]
    return _table("Table", (count, width), columns, rows, cap)


def _array(value: Any, cap: int) -> Table:  # a numpy array
    shape = f" {TIMES} ".join(f"{n:,}" for n in value.shape) or "a single value"
    head = f"array of {value.dtype}, shape {shape}"
    small = value.size <= SMALL_ARRAY
    shown = repr(value) if small else str(value.reshape(-1)[:VALUES].tolist())
    if len(shown) > cap:
        shown = f"{shown[:cap]} …"
    if small:
        return Table(f"{head}\n{shown}", f"{head}, all values")
    return Table(f"{head}\nfirst {VALUES} values: {shown}", f"{head}, first {VALUES} values")


def _table(
    kind: str,
    shape: tuple[int, int],
    columns: Sequence[_Column],
    rows: Sequence[Sequence[object]],
    cap: int,
    *,
    index: bool = False,
) -> Table:
    count, width = shape
    lines = [f"{kind}: {count:,} rows {TIMES} {width:,} columns"]
    lines += _grid(["column", "dtype", "not null"], _cells(columns))
    if len(columns) < width:
        lines.append(f"… and {width - len(columns):,} more columns")
    header = [*([""] if index else []), *(column.name for column in columns)]
    fitting = _fitting(header, rows, cap - sum(len(line) + 1 for line in lines))
    shown = max(0, len(fitting) - 2)
    if shown:
        extent = f"all {count:,} rows" if shown == count else f"first {shown:,} rows"
        lines += ["", f"{extent}:".capitalize(), *fitting]
        return Table("\n".join(lines), f"{kind} {count:,} {TIMES} {width:,}, schema and {extent}")
    return Table("\n".join(lines), f"{kind} {count:,} {TIMES} {width:,}, schema only")


def _fitting(header: Sequence[str], rows: Iterable[Sequence[object]], room: int) -> list[str]:
    """Return as many lines of the grid as there is room for, the header included."""
    lines: list[str] = []
    used = 0
    for line in _grid(header, rows):
        used += len(line) + 1
        if used > room and len(lines) > 1:
            break
        lines.append(line)
    return lines if used <= room or len(lines) > 3 else []  # noqa: PLR2004  # header, rule, a row


def _cells(columns: Iterable[_Column]) -> list[list[object]]:
    return [[c.name, c.dtype, *([c.filled] if c.filled else [])] for c in columns]


def _grid(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterable[str]:
    """Yield a Markdown table, line by line."""
    yield f"| {' | '.join(map(_cell, header))} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"


def _cell(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    flat = " ".join(text[: CELL * 4].split()).replace("|", "\\|")
    return flat if len(flat) <= CELL and len(text) <= CELL * 4 else f"{flat[: CELL - 1]}…"


def _some(names: Any, cap: int) -> list[tuple[int, Any]]:  # column labels may be any objects
    """Return the first column names with their places, as many as half of the cap can hold."""
    out: list[tuple[int, Any]] = []  # as above
    used = 0
    for at, name in enumerate(names):
        used += 2 * min(len(str(name)), CELL) + 24
        if out and used > cap // 2:
            break
        out.append((at, name))
    return out


_READERS = {
    ("pandas", "DataFrame"): _pandas,
    ("pandas", "Series"): _pandas_series,
    ("polars", "DataFrame"): _polars,
    ("polars", "Series"): _polars_series,
    ("polars", "LazyFrame"): _polars_lazy,
    ("pyarrow", "Table"): _arrow,
    ("pyarrow", "RecordBatch"): _arrow,
    ("numpy", "ndarray"): _array,
}
