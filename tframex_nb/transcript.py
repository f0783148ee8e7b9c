"""A run as people read it: Markdown for a notebook, plain text for a terminal."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

from tframex_nb.markdown import code_block, code_span, defang, escape_inline
from tframex_nb.messages import ReasoningDelta, Retrying, RunStarted, TextDelta, ToolCallStarted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tframex_nb.messages import Event
    from tframex_nb.runs import Part, Run

__all__ = ["TerminalWriter", "footer", "runs_table", "to_markdown", "to_text"]

SHORT = 160  # characters of a call or a result that stay on the line
LIVE_LINES = 6  # of reasoning, while there is no answer yet


def to_markdown(run: Run, *, live: bool = False) -> str:
    """Return the run as Markdown that is safe to save; ``live`` while it still lasts."""
    waiting = live and not any(part.kind == "text" for part in run.parts)
    blocks = [_block(part, open_=waiting and part is run.parts[-1]) for part in run.parts]
    foot = footer(run)
    if foot:
        blocks.append(f"*{escape_inline(foot)}*")
    return "\n\n".join(block for block in blocks if block)


def to_text(run: Run) -> str:
    """Return the run as plain text, without reasoning."""
    lines = [line for part in run.parts if (line := _plain(part))]
    return "\n\n".join([*lines, f"[{footer(run)}]"])


def footer(run: Run) -> str:
    """Return the one line under an answer: marks, model, framework, tokens, time, notes."""
    usage = run.usage
    rate = run.tokens_per_second
    cells = [
        *_marks(run),
        run.model,
        run.framework,
        f"{usage.prompt_tokens:,} tokens in, {usage.completion_tokens:,} out"
        if usage.total_tokens
        else "",
        f"{run.elapsed:.1f} s",
        f"{rate:,.0f} tokens/s" if rate else "",
        *run.notes,
    ]
    return " · ".join(cell for cell in cells if cell)


class TerminalWriter:
    """Turns the events of one run into what a terminal prints, piece by piece."""

    def __init__(self) -> None:
        self._kind = ""

    def feed(self, event: Event) -> str:
        """Return what this event adds to the screen, which may be nothing."""
        match event:
            case TextDelta(text=text):
                return self._switch("text") + text
            case ReasoningDelta(text=text):
                return self._switch("reasoning") + text
            case _:
                return ""

    def close(self, run: Run) -> str:
        """Return the last line: the footer."""
        return f"{self._switch('footer')}[{footer(run)}]"

    def _switch(self, kind: str) -> str:
        before, self._kind = self._kind, kind
        return "\n" if before and before != kind else ""


def _marks(run: Run) -> list[str]:
    marks = {"interrupted": "stopped", "failed": "failed"}.get(run.status)
    out = [marks] if marks else []
    if run.truncated:
        out.append("truncated at the token limit")
    if run.model.startswith("demo"):
        out.append("demo: the words are scripted")
    return out


def _block(part: Part, *, open_: bool) -> str:
    if part.kind == "text":
        return _cached(part)
    if part.kind == "reasoning":
        return _reasoning(part, open_=open_)
    if part.kind == "tool":
        return _tool(part)
    return escape_inline(_aside(part))


def _cached(part: Part) -> str:
    size, view = part.view
    if size != part.size:
        view = defang(part.text).strip("\n")
        part.view = (part.size, view)
    return view


def _reasoning(part: Part, *, open_: bool) -> str:
    if open_:
        tail = part.text[-2000:].rstrip().splitlines()[-LIVE_LINES:]
        return "\n".join(f"> {line}" for line in defang("\n".join(tail)).splitlines())
    words = len(part.text.split())
    return (
        f"<details><summary>Reasoning · {words:,} words</summary>\n\n{_cached(part)}\n\n</details>"
    )


def _tool(part: Part) -> str:
    call, result = _call(part), _result(part)
    if len(call) <= SHORT and len(result) <= SHORT:
        return f"▸ {code_span(call)}{' → ' + code_span(result) if result else ''}{_after(part)}"
    head = html.escape(_cut(call))
    return (
        f"<details><summary>▸ <code>{head}</code>{_after(part)}</summary>\n\n"
        f"{code_block(call)}\n\n{code_block(result)}\n\n</details>"
    )


def _after(part: Part) -> str:
    if part.result is None:
        return " …"
    mark = " · error" if part.result.is_error else ""
    return f"{mark} · {_duration(part.result.seconds)}"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHORT else f"{flat[: SHORT - 1]}…"


def _call(part: Part) -> str:
    event = part.event
    if not isinstance(event, ToolCallStarted):
        return part.result.name if part.result else ""
    try:
        arguments = json.loads(event.arguments or "{}")
    except ValueError:
        return f"{event.name}({event.arguments})"
    if not isinstance(arguments, dict):
        return f"{event.name}({event.arguments})"
    shown = (f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in arguments.items())
    return f"{event.name}({', '.join(shown)})"


def _result(part: Part) -> str:
    return part.result.content if part.result else ""


def _aside(part: Part) -> str:
    match part.event:
        case Retrying(attempt=attempt, delay=delay, reason=reason):
            return f"{reason}; trying again in {delay:.2g} s (attempt {attempt})"
        case RunStarted(agent=agent):
            return f"{agent or 'agent'}:"
        case _:
            return ""


def _plain(part: Part) -> str:
    if part.kind == "text":
        return part.text
    if part.kind == "tool":
        return f"> {_cut(_call(part))} -> {_cut(_result(part))}{_after(part)}"
    return _aside(part)


def runs_table(rows: Sequence[Mapping[str, Any]]) -> str:  # rows of Run.summary
    """Return the log of runs as a Markdown table, newest first."""
    if not rows:
        return "*no runs yet*"
    names = list(rows[0])
    lines = ["|".join(names), "|".join("---" for _ in names)]
    lines += ["|".join(escape_inline(str(row[n])) for n in names) for row in reversed(rows)]
    return "\n".join(f"|{line}|" for line in lines)
