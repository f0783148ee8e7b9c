"""Answers side by side: the value of a comparison, as people read it and as data."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import TFrameXError
from tframex_nb.markdown import clean, escape_inline
from tframex_nb.notebook.tables import Table
from tframex_nb.transcript import to_markdown, to_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from tframex_nb.runs import Run

__all__ = ["Comparison", "Side"]

COLUMNS = (
    "framework",
    "answer",
    "output",
    "first_token_seconds",
    "seconds",
    "prompt_tokens",
    "completion_tokens",
    "tool_calls",
    "status",
    "error",
)
HEADS = ("framework", "answer", "first token (s)", "total (s)", "tokens", "tool calls", "error")
SHORT = 60  # characters of an answer in the table
ROW = '<div style="display: flex; flex-wrap: wrap">'
COLUMN = '<div style="flex: 1 1 15em; min-width: 0; padding-right: 1.5em; overflow: auto">'


@dataclass(slots=True)
class Side:
    """One framework's part in a comparison: its run, once it began, and its error."""

    name: str
    run: Run | None = None
    error: Exception | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def label(self) -> str:
        """The name, and what it stands for where it left the choice open."""
        chosen = self.run.framework if self.run is not None else self.name
        return self.name if chosen == self.name else f"{self.name}: {chosen}"

    @property
    def silent(self) -> bool:
        """Whether nothing can be shown of it yet."""
        return self.error is None and (self.run is None or not self.run.parts)

    @property
    def reason(self) -> str:
        """Why it failed, in one line, with the next move; empty where it did not."""
        if self.error is None:
            return ""
        message = getattr(self.error, "message", str(self.error))
        hint = self.error.hint if isinstance(self.error, TFrameXError) else ""
        text = f"{type(self.error).__name__}: {message}"
        return f"{text}; {hint}" if hint else text

    def markdown(self, *, live: bool) -> str:
        """Return the answer so far below the framework's name."""
        if self.run is None or (live and self.silent):
            body = "" if self.error else f"*waiting … {time.monotonic() - self.began:.0f} s*"
        else:
            body = to_markdown(self.run, live=live)
        reason = f"*{escape_inline(self.reason)}*" if self.error else ""
        return "\n\n".join(
            part for part in (f"**{escape_inline(self.label)}**", body, reason) if part
        )

    def text(self) -> str:
        """Return the same as plain text."""
        body = "" if self.run is None else to_text(self.run)
        reason = f"[{clean(self.reason)}]" if self.error else ""
        head = f"--- {clean(self.label)} ---"
        return "\n".join(part for part in (head, body, reason) if part)

    def row(self) -> tuple[object, ...]:
        """Return the figures, one for each of ``COLUMNS``."""
        run = self.run
        if run is None:
            status = "failed" if self.error else "interrupted"
            return (self.name, "", *[None] * 6, status, self.reason)
        return (
            self.label,
            run.text,
            run.output,
            run.first_token_seconds,
            run.elapsed,
            run.usage.prompt_tokens,
            run.usage.completion_tokens,
            len(run.tool_calls),
            run.status,
            self.reason,
        )


@dataclass(slots=True)
class Comparison:
    """One prompt on several frameworks: ``runs`` by name, a table, and the answers."""

    prompt: str
    sides: tuple[Side, ...]
    notes: tuple[str, ...] = ()
    waiting: str = ""  # why nobody was asked yet

    @property
    def runs(self) -> dict[str, Run]:
        """The run of each framework that began one, by the name it was asked for."""
        return {side.name: side.run for side in self.sides if side.run is not None}

    @property
    def outputs(self) -> dict[str, Any]:  # what the user's types say
        """What ``--schema`` or ``--as`` made of each answer, where it made anything."""
        return {n: run.output for n, run in self.runs.items() if run.output is not None}

    @property
    def errors(self) -> dict[str, Exception]:
        """The error of each framework that failed."""
        return {side.name: side.error for side in self.sides if side.error is not None}

    @property
    def length(self) -> int:
        """Characters that all models wrote so far."""
        return sum(run.length for run in self.runs.values())

    @property
    def table(self) -> Table:
        """One row for each framework, for the eye."""
        rows = [_shown(dict(zip(COLUMNS, side.row(), strict=True))) for side in self.sides]
        return Table.of(HEADS, rows, "; ".join(self.notes))

    def to_pandas(self) -> pd.DataFrame:
        """Return one row for each framework, the whole answer in it; needs pandas."""
        return Table.of(COLUMNS, [side.row() for side in self.sides]).to_pandas()

    def to_markdown(self, *, live: bool = False) -> str:
        """Return the answers beside each other; below them the table, once they have ended."""
        if live and self.waiting:
            return f"*{escape_inline(self.waiting)} …*"
        answers = _grid([side.markdown(live=live) for side in self.sides])
        return answers if live else f"{answers}\n\n{self.table.to_markdown()}"

    def __str__(self) -> str:
        return "\n\n".join([*(side.text() for side in self.sides), str(self.table)])

    def __repr__(self) -> str:
        states = (f"{side.name} {side.row()[-2]}" for side in self.sides)
        return f"<Comparison: {', '.join(states)}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:  # IPython's include and exclude
        return {"text/plain": str(self), "text/markdown": self.to_markdown()}


def _shown(row: dict[str, Any]) -> tuple[object, ...]:  # by COLUMNS
    """Return a row as the table shows it."""
    asked, said = row["prompt_tokens"], row["completion_tokens"]
    return (
        row["framework"],
        _short(row["answer"]) or (row["status"] if row["status"] != "finished" else ""),
        _seconds(row["first_token_seconds"]),
        _seconds(row["seconds"]),
        f"{asked:,} in, {said:,} out" if asked or said else "",
        row["tool_calls"],
        row["error"],
    )


def _grid(answers: Sequence[str]) -> str:
    """Lay Markdown out in columns, as many as the width allows; where styles go, below each other.

    Blank lines let the Markdown inside be read. What a model wrote holds no HTML any more, so
    nothing in a column can end it.
    """
    columns = "\n".join(f"{COLUMN}\n\n{answer}\n\n</div>" for answer in answers)
    return f"{ROW}\n{columns}\n</div>"


def _short(text: str) -> str:
    flat = " ".join(text[: SHORT * 4].split())
    return flat if len(flat) <= SHORT and len(text) <= SHORT * 4 else f"{flat[: SHORT - 1]}…"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f}"
