"""A run as people read it: Markdown for a notebook, plain text for a terminal."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tframex_nb.markdown import (
    clean,
    code_block,
    code_span,
    defang,
    encode,
    escape_inline,
    in_form,
    pretty,
)
from tframex_nb.messages import (
    ApprovalAsked,
    ApprovalGiven,
    MessageFinished,
    ReasoningDelta,
    Retrying,
    RunStarted,
    TextDelta,
    ToolCallStarted,
    ToolResult,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tframex_nb.messages import Event
    from tframex_nb.runs import Part, Run

__all__ = ["TerminalWriter", "footer", "runs_table", "to_markdown", "to_text"]

SHORT = 120  # characters of a call, and of a result, that stay on the line
LONG = 4000  # characters of a result that are shown when it is unfolded
SHORTEST = 0.1  # seconds that an answer streams before its rate is told
LIVE_LINES = 6  # of reasoning, while nothing follows it yet
LIVE_TAIL = 1200  # characters of reasoning in which those lines are looked for
_DEMO = re.compile(r"demo\b")
_PREVIEW = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/=]{1,40000}")  # nothing remote
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
# What a later piece may complete: an escape sequence, a line end, a joined emoji.
_UNFINISHED = re.compile(
    "(?:\x1b(?:\\[[0-?]{0,64}[ -/]{0,8}|[\\]PX^_][^\x07\x1b\n]{0,4096}\x1b?)?"
    "|\r|[\u200c\u200d]+)\\Z"
)


def to_markdown(run: Run, *, live: bool = False) -> str:
    """Return the run as Markdown that is safe to save; ``live`` while it still lasts.

    What did not grow since the last call is not made again, so the cost is that of the part
    that grows.
    """
    last = run.parts[-1] if live and run.parts else None
    blocks = [
        _tail(p) if p is last and p.kind == "reasoning" else _view(p, run.form) for p in run.parts
    ]
    blocks.append(f"*{escape_inline(footer(run))}*")
    return "\n\n".join(block for block in blocks if block)


def to_text(run: Run) -> str:
    """Return the run as plain text, without reasoning and control characters."""
    parts = [part for part in run.parts if part.kind != "reasoning"]
    shown = [clean(_plain(part, run.form)).strip("\n") for part in parts]
    return "\n\n".join([*(text for text in shown if text), f"[{clean(footer(run))}]"])


def footer(run: Run) -> str:
    """Return the one line under an answer: marks, model, framework, tokens, time, notes."""
    usage, rate = run.usage, run.tokens_per_second
    tokens = f"{usage.prompt_tokens:,} tokens in, {usage.completion_tokens:,} out"
    cells = [
        *_marks(run),
        run.model if run.model != "demo" else "",  # its mark says it already
        run.framework,
        tokens if usage.total_tokens else "",
        _spent(run),
        _duration(run.elapsed),
        f"{rate:,.0f} tokens/s" if rate and run.status != "running" and _streamed(run) else "",
        *run.notes,
    ]
    return " · ".join(cell for cell in cells if cell)


def _spent(run: Run) -> str:
    """Return what the run spent; that nobody knows a price of the demo is no news."""
    if run.budget is None:
        return ""
    said = run.budget.footer
    unpriced = run.cost is None and said == run.budget.spent.price
    return "" if unpriced and _DEMO.match(run.model) else said


def _streamed(run: Run) -> bool:
    """Whether the answer took so long to come that its rate means something.

    What is replayed comes at no pace of a model's, and a person who is asked takes time.
    """
    if any("replayed" in note for note in run.notes):
        return False
    if any(isinstance(part.event, (ApprovalAsked, ApprovalGiven)) for part in run.parts):
        return False
    return run.elapsed - (run.first_token_seconds or 0) >= SHORTEST


def runs_table(rows: Sequence[Mapping[str, Any]]) -> str:  # rows of Run.summary
    """Return the log of runs as a Markdown table, newest first."""
    if not rows:
        return "*no runs yet*"
    names = list(rows[0])
    lines = [" | ".join(names), "|".join("---" for _ in names)]
    lines += [" | ".join(escape_inline(_cell(row[n])) for n in names) for row in reversed(rows)]
    return "\n".join(f"| {line} |" for line in lines)


class TerminalWriter:
    """Turns the events of one run into what a terminal prints, piece by piece.

    The model's text comes out exactly, without control characters, also where an escape
    sequence is cut over two pieces. Reasoning is dimmed, or marked where there is no colour.
    """

    def __init__(self, *, colour: bool = True) -> None:
        self._dim, self._plain = (_DIM, _PLAIN) if colour else ("(reasoning) ", "")
        self._kind = ""
        self._held = ""
        self._last = ""
        self._streamed = False
        self._began = False
        self._fresh = True  # whether the cursor stands at the start of a line

    def feed(self, event: Event) -> str:
        """Return what this event adds to the screen, which may be nothing."""
        match event:
            case TextDelta(text=text):
                self._streamed = True
                return self._grow("text", text)
            case ReasoningDelta(text=text):
                return self._grow("reasoning", text)
            case MessageFinished(message=message):
                # An endpoint that does not stream gives its text only here.
                late = "" if self._streamed else message.text
                self._streamed = False
                return self._grow("text", late) if late else ""
            case RunStarted() if not self._began:
                self._began = True
                return ""
            case _:
                line = _line(event)
                return self._switch("") + (f"{clean(line)}\n" if line else "")

    def close(self, run: Run) -> str:
        """Return the last line: the footer."""
        return f"{self._switch('')}[{clean(footer(run))}]"

    def _grow(self, kind: str, text: str) -> str:
        lead = self._switch(kind) if kind != self._kind else ""
        text = self._held + text
        unfinished = _UNFINISHED.search(text, max(0, len(text) - LONG))
        self._held = unfinished[0] if unfinished else ""
        ended = text[: unfinished.start()] if unfinished else text
        # A joiner at the start of a piece is judged by the character before it.
        shown = clean(self._last + ended)[len(self._last) :]
        if shown:
            self._fresh = shown.endswith("\n")
            self._last = "" if shown[-1].isascii() else shown[-1]
        return lead + shown

    def _switch(self, kind: str) -> str:
        before, self._kind, self._last = self._kind, kind, ""
        rest, self._held = clean(self._held), ""
        end = rest + (self._plain if before == "reasoning" else "")
        line = "" if self._fresh else "\n"
        self._fresh = True
        blank = "\n" if before and kind else ""
        return end + line + blank + (self._dim if kind == "reasoning" else "")


def _marks(run: Run) -> list[str]:
    out = []
    if run.status == "interrupted":
        out.append("stopped")
    if run.status == "failed":
        out.append(f"failed: {type(run.error).__name__}" if run.error else "failed")
    if run.truncated:
        out.append("truncated at the token limit")
    if _DEMO.match(run.model):
        out.append("demo: the words are scripted")
    return out


def _view(part: Part, form: str) -> str:
    """Return a part as Markdown, made anew only where the part has grown."""
    size = part.size + (part.result is not None)
    if part.view[0] != size:
        part.view = (size, _made(part, form))
    return part.view[1]


def _made(part: Part, form: str) -> str:
    match part.kind:
        case "text":
            return in_form(part.text, form) or defang(part.text, careful=True).strip("\n")
        case "reasoning":
            return _folded(f"Reasoning · {_count(part.text)}", defang(part.text, careful=True))
        case "tool":
            return _tool(part)
        case _:
            return f"*{escape_inline(_line(part.event))}*{_picture(part)}" if part.event else ""


def _picture(part: Part) -> str:
    """Return the small picture that an event carries, below its line."""
    preview = str(getattr(part.event, "preview", ""))
    return f"\n\n![]({preview})" if _PREVIEW.fullmatch(preview) else ""


def _tail(part: Part) -> str:
    """Return the last lines of reasoning that still grows, as a quote."""
    lines = part.text[-LIVE_TAIL:].rstrip().split("\n")[-LIVE_LINES:]
    return "\n".join(f"> {escape_inline(line)}  " for line in lines)


def _folded(summary: str, body: str) -> str:
    body = body.strip("\n")
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>" if body.strip() else ""


def _count(text: str) -> str:
    words = len(text.split())
    return f"{words:,} word{'' if words == 1 else 's'}"


def _tool(part: Part) -> str:
    call, result = _call(part), _result(part)
    if len(call) <= SHORT and len(result) <= SHORT:
        arrow = f" → {code_span(result) or 'nothing'}" if part.result else ""
        return f"▸ {code_span(call)}{arrow}{_after(part, bold='**')}"
    body = code_block(_cut(call, LONG), "python")
    if part.result:
        body += f"\n\n{code_block(_cut(result, LONG))}"
    return _folded(f"{encode(_short(clean(call)))}{_after(part)}", body)  # it has its own triangle


def _after(part: Part, *, bold: str = "") -> str:
    if part.result is None:
        return " …"
    mark = f" · {bold}error{bold}" if part.result.is_error else ""
    return f"{mark} · {_duration(part.result.seconds)}"


def _call(part: Part) -> str:
    if isinstance(part.event, ToolCallStarted):
        return _signature(part.event)
    return f"{part.result.name}()" if part.result else ""


def _signature(event: ToolCallStarted) -> str:
    """Return a call as Python would write it; arguments that are no JSON object as they came."""
    try:
        arguments = json.loads(event.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        return f"{event.name}({event.arguments})"
    shown = (f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in arguments.items())
    return f"{event.name}({', '.join(shown)})"


def _result(part: Part) -> str:
    return part.result.content if part.result else ""


def _line(event: Event) -> str:
    """Return the one line that stands for an event which is no text, or the empty text."""
    match event:
        case Retrying(attempt=attempt, delay=delay, reason=reason):
            return f"{reason}; trying again in {_duration(delay)} (attempt {attempt})"
        case RunStarted(agent=agent):
            return f"agent {agent}" if agent else ""
        case ToolCallStarted():
            return f"> {_short(_signature(event))}"
        case ToolResult(name=name, content=content, is_error=is_error, seconds=seconds):
            mark = "error: " if is_error else ""
            return f"  {name} -> {mark}{_short(content)} · {_duration(seconds)}"
        case _:
            return event.line


def _plain(part: Part, form: str) -> str:
    if part.kind == "text":
        return pretty(part.text) if form == "json" else part.text
    lines = [_line(event) for event in (part.event, part.result) if event is not None]
    return "\n".join(line for line in lines if line)


def _short(text: str) -> str:
    flat = " ".join(text[: SHORT * 8].split())
    return flat if len(flat) <= SHORT and len(text) <= SHORT * 8 else f"{flat[: SHORT - 1]}…"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}\n… {len(text) - most:,} characters more"


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:,.0f} s"  # noqa: PLR2004  # three digits
    return f"{seconds * 1000:.0f} ms"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
