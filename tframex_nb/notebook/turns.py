"""A remembered turn as people read it: as a run that was, its prompt above it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tframex_nb.markdown import clean, escape_inline
from tframex_nb.messages import ToolCallStarted, ToolResult
from tframex_nb.models.parts import readable
from tframex_nb.runs import Part, Run
from tframex_nb.transcript import to_markdown, to_text

if TYPE_CHECKING:
    from tframex_nb.agents.conversation import Turn
    from tframex_nb.messages import Message

__all__ = ["TurnView", "prompt_markdown", "run_of", "short"]

SHORT = 60  # characters of a text in a table's cell
SHOWN = 1200  # characters of a prompt that a chat shows


@dataclass(frozen=True, slots=True)
class TurnView:
    """One turn in full: what was asked, the calls, the answer, what it took."""

    number: int
    turn: Turn
    whole: bool = True

    def to_markdown(self) -> str:
        """Return Markdown that is safe to save."""
        asked = prompt_markdown(self.turn.prompt, whole=self.whole)
        head = f"**{self.number}**" + (" · *stale*" if self.turn.stale else "")
        return "\n\n".join(part for part in (head, asked, to_markdown(run_of(self.turn))) if part)

    def __str__(self) -> str:
        head = f"turn {self.number}" + (", stale" if self.turn.stale else "")
        asked = "\n".join(f"> {line}" for line in _lines(self.turn.prompt, whole=self.whole))
        return "\n\n".join(
            part for part in (head, clean(asked), to_text(run_of(self.turn))) if part
        )

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:  # IPython's include and exclude
        return {"text/plain": str(self), "text/markdown": self.to_markdown()}


def prompt_markdown(prompt: str | list[dict[str, Any]], *, whole: bool = False) -> str:
    """Return a prompt as a quote that shows exactly its characters; a long one is cut."""
    lines = [escape_inline(line) for line in _lines(prompt, whole=whole)]
    return "\n".join(f"> {line}  " if line else ">" for line in lines)


def run_of(turn: Turn) -> Run:
    """Return a run as it would have been, to be shown as every run is."""
    run = Run(
        id=turn.run_id, framework="", status=turn.status, usage=turn.usage, seconds=turn.seconds
    )
    calls: dict[str, Part] = {}
    for message in turn.messages:
        _add(run, calls, message)
    return run


def short(text: str) -> str:
    """Return a text on one line, cut to what a table's cell takes."""
    flat = " ".join(text[: SHORT * 8].split())
    return flat if len(flat) <= SHORT else flat[: SHORT - 1] + "…"


def _add(run: Run, calls: dict[str, Part], message: Message) -> None:
    if message.role == "tool":
        result = ToolResult(message.tool_call_id, message.name, message.text)
        part = calls.pop(message.tool_call_id, None)
        if part is None:
            run.parts.append(Part("tool", result=result))
        else:
            part.result = result
    if message.role != "assistant":
        return
    texts = (("reasoning", message.reasoning), ("text", message.text))
    for kind, text in texts:
        if text:
            part = Part(kind)  # type: ignore[arg-type]  # both are kinds
            part.add(text)
            run.parts.append(part)
    for call in message.tool_calls:
        calls[call.id] = Part("tool", ToolCallStarted(call.id, call.name, call.arguments))
        run.parts.append(calls[call.id])


def _lines(prompt: str | list[dict[str, Any]], *, whole: bool) -> list[str]:
    text = readable(prompt)
    cut = text if whole or len(text) <= SHOWN else f"{text[:SHOWN]}…"
    return cut.strip("\n").splitlines()
