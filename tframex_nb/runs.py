"""A run: the events of one answer, and what people read from them (IPython-free)."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tframex_nb.dataframes import frame
from tframex_nb.messages import (
    AnswerChecked,
    AnswerRejected,
    ApprovalGiven,
    Event,
    Message,
    MessageFinished,
    ReasoningDelta,
    Retrying,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    TextDelta,
    ToolCall,
    ToolCallStarted,
    ToolResult,
    Usage,
)
from tframex_nb.run_log import recent_runs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from decimal import Decimal

    import pandas as pd

__all__ = [
    "Part",
    "PartKind",
    "Run",
    "Status",
    "collect",
    "observe",
]

Status = Literal["running", "finished", "failed", "interrupted"]
PartKind = Literal["text", "reasoning", "tool", "retry", "agent", "note"]

_ENDS: Mapping[str, Status] = {
    RunFinished.type: "finished",
    RunFailed.type: "failed",
    RunInterrupted.type: "interrupted",
}


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


@dataclass(slots=True)
class Part:
    """A stretch of a run that people read as one thing; its text grows while it lasts.

    ``text`` and ``reasoning`` hold what the model wrote, ``tool`` a call with its ``result``,
    ``retry`` the event, ``agent`` the start of another agent inside this run,
    ``note`` an event that has a line of its own.
    ``view`` is a place for whoever shows the part: the size shown, and what was shown.
    """

    kind: PartKind
    event: Event | None = None
    result: ToolResult | None = None
    size: int = 0
    view: tuple[int, str] = (-1, "")
    _pieces: list[str] = field(default_factory=list, repr=False)

    def add(self, text: str) -> None:
        """Append a piece of text."""
        self._pieces.append(text)
        self.size += len(text)

    @property
    def text(self) -> str:
        """The text so far; pieces are joined once and stay joined."""
        if len(self._pieces) > 1:
            self._pieces[:] = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""


@dataclass(slots=True)
class Run:
    """One answer of one agent: its events while it lasts, its result afterwards.

    ``parts`` are the same events as people read them: a few, where events are many.
    ``text`` is the last answer (partial when the run was stopped or failed), ``events`` all
    events in order, ``messages`` what the conversation gained. Times are in seconds.
    """

    agent: str = ""
    model: str = ""
    framework: str = "native"
    prompt: str = ""
    content: str | list[dict[str, Any]] = field(default="", repr=False)  # the prompt as it is sent
    id: str = field(default_factory=_new_id)
    events: list[Event] = field(default_factory=list, repr=False)
    status: Status = "running"
    error: BaseException | None = field(default=None, repr=False)
    finish_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    notes: tuple[str, ...] = ()
    output: Any = None  # the checked answer, where one was asked for in a form
    form: str = ""  # how people read the answer: json, code, text; as Markdown where it is empty
    resolution: Any = None  # why its framework was chosen, where one was
    budget: Any = None  # a Budget: what it has spent, agents that it asked included
    first_token_seconds: float | None = None
    seconds: float = 0.0
    parts: list[Part] = field(default_factory=list, repr=False)
    _clock: float = field(default_factory=time.perf_counter, repr=False)
    _finished: list[Message] = field(default_factory=list, repr=False)
    _answer: str = field(default="", repr=False)
    _open: dict[str, Part] = field(default_factory=dict, repr=False)
    _calls: list[ToolCall] = field(default_factory=list, repr=False)
    _pending: list[Part] = field(default_factory=list, repr=False)
    _outer: list[dict[str, Part]] = field(default_factory=list, repr=False)
    _began: bool = field(default=False, repr=False)

    def record(self, event: Event) -> None:
        """Take one event in; the terminal events end the run.

        A run may hold the events of agents that work inside it, each between its own
        ``RunStarted`` and terminal event; only the outermost terminal event ends the run.
        """
        self.events.append(event)
        if isinstance(event, TextDelta):
            self._first_token()
            self._grow("text", event.text)
        elif isinstance(event, ReasoningDelta):
            self._first_token()
            self._grow("reasoning", event.text)
        else:
            self._turn(event)

    def finish(self, event: RunFinished | RunFailed | RunInterrupted) -> None:
        """Take in a terminal event that ends this run and every run inside it."""
        if self._outer:
            self._open = self._outer[0]
            self._outer.clear()
        self.record(event)

    @property
    def text(self) -> str:
        """The text of the last answer, exactly as the model gave it."""
        return self._partial or self._answer

    @property
    def length(self) -> int:
        """Characters that the model wrote so far, reasoning included; costs no join."""
        return sum(part.size for part in self.parts)

    @property
    def reasoning(self) -> str:
        """All reasoning of the run, kept apart from the text."""
        return "\n\n".join(part.text for part in self.parts if part.kind == "reasoning")

    @property
    def messages(self) -> tuple[Message, ...]:
        """What the run added to the conversation: the prompt, answers, tool results."""
        asked = self.content or self.prompt
        prompt = (Message("user", asked),) if asked else ()
        partial = self._partial
        tail = (Message("assistant", partial),) if partial else ()
        return (*prompt, *self._finished, *tail)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Every tool call of the run, in order."""
        return tuple(self._calls)

    @property
    def tokens_per_second(self) -> float | None:
        """Completion tokens over the time since the first token, where both are known."""
        if self.first_token_seconds is None or not self.usage.completion_tokens:
            return None
        elapsed = self.elapsed - self.first_token_seconds
        return self.usage.completion_tokens / elapsed if elapsed > 0 else None

    @property
    def elapsed(self) -> float:
        """Seconds since the run began, or its whole time once it has ended."""
        return self.seconds or time.perf_counter() - self._clock

    @property
    def cost(self) -> Decimal | None:
        """USD of the calls whose cost is known; None where no cost is. ``budget.spent`` has all."""
        cost: Decimal | None = None if self.budget is None else self.budget.spent.cost
        return cost

    @property
    def truncated(self) -> bool:
        """Whether the model stopped at its token limit."""
        return self.finish_reason == "length"

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per event: ``type`` and the event's fields; needs pandas."""
        return frame([event.to_dict() for event in self.events])

    def summary(self) -> dict[str, Any]:
        """Return the run as one flat row, JSON-ready."""
        return {
            "id": self.id,
            "agent": self.agent,
            "model": self.model,
            "framework": self.framework,
            "status": self.status,
            "finish_reason": self.finish_reason,
            "seconds": round(self.elapsed, 3),
            "first_token_seconds": self.first_token_seconds,
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "cost": None if self.cost is None else float(self.cost),
            "price": "" if self.budget is None else self.budget.spent.price,
            "tool_calls": len(self.tool_calls),
            "error": type(self.error).__name__ if self.error else "",
        }

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        head = f"Run {self.status}: {self.agent or 'agent'} on {self.model or 'a model'}"
        return f"<{head}, {len(self.text)} characters, {self.elapsed:.2f} s>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        from tframex_nb.transcript import to_markdown, to_text

        return {"text/plain": to_text(self), "text/markdown": to_markdown(self)}

    @property
    def _partial(self) -> str:
        """The text of the model call that still lasts."""
        part = (self._outer[0] if self._outer else self._open).get("text")
        return part.text if part else ""

    def _first_token(self) -> None:
        if self.first_token_seconds is None:
            self.first_token_seconds = time.perf_counter() - self._clock

    def _turn(self, event: Event) -> None:
        """Take in what is no delta: few events, so the order of the cases costs nothing."""
        match event:
            case Usage():
                self.usage = self.usage + event
            case ToolCallStarted():
                self._begin_tool(event)
            case ToolResult():
                self._end_tool(event)
            case MessageFinished():
                self._end_step(event)
            case Retrying():
                self.parts.append(Part("retry", event))
            case AnswerRejected() | AnswerChecked():
                self._judge(event)
            case RunStarted():
                self._start(event)
            case RunFinished() | RunFailed() | RunInterrupted():
                self._end(event)
            case _ if event.subject:
                self._note(event)

    def _note(self, event: Event) -> None:
        if isinstance(event, ApprovalGiven) and event.arguments is not None:
            self._edit(event.id, event.arguments)
        about = [p.event.subject if p.kind == "note" and p.event else "" for p in self.parts]
        self.parts = [p for p, s in zip(self.parts, about, strict=True) if s != event.subject]
        if event.line:
            self.parts.append(Part("note", event))

    def _judge(self, event: AnswerRejected | AnswerChecked) -> None:
        """Take in what is said of an answer; of those rejected the conversation keeps the last."""
        if isinstance(event, AnswerChecked):
            if not self._outer:
                self.output, self.form = event.value, self.form or "json"
            return
        self._open.clear()
        answer = next(iter(self._finished[-1:]), None)
        if answer and answer.role == "assistant" and not answer.tool_calls and event.again:
            self._finished.pop()
        self._note(event)

    def _edit(self, call_id: str, arguments: str) -> None:
        """Show the arguments that a tool runs with in place of the model's."""
        for part in self._pending:
            if isinstance(part.event, ToolCallStarted) and part.event.id == call_id:
                part.event = ToolCallStarted(call_id, part.event.name, arguments)
                part.view = (-1, "")

    def _grow(self, kind: Literal["text", "reasoning"], text: str) -> None:
        part = self._open.get(kind)
        if part is None:
            part = self._open[kind] = Part(kind)
            self.parts.append(part)
        part.add(text)

    def _begin_tool(self, event: ToolCallStarted) -> None:
        self._first_token()
        part = Part("tool", event)
        self.parts.append(part)
        self._pending.append(part)
        if not self._outer:
            self._calls.append(ToolCall(event.id, event.name, event.arguments))

    def _end_tool(self, event: ToolResult) -> None:
        if not self._outer:
            message = Message("tool", event.content, tool_call_id=event.id, name=event.name)
            self._finished.append(message)
        for part in self._pending:
            if isinstance(part.event, ToolCallStarted) and part.event.id == event.id:
                part.result = event
                self._pending.remove(part)
                return
        self.parts.append(Part("tool", result=event))

    def _end_step(self, event: MessageFinished) -> None:
        message = event.message
        # An endpoint that does not stream gives its text only here.
        if message.reasoning and "reasoning" not in self._open:
            self._grow("reasoning", message.reasoning)
        if message.text and "text" not in self._open:
            self._grow("text", message.text)
        self._open.clear()
        if self._outer:
            return
        self._finished.append(message)
        self._answer = message.text or self._answer
        self.finish_reason = event.finish_reason

    def _start(self, event: RunStarted) -> None:
        if self._began:
            self._outer.append(self._open)
            self._open = {}
            self.parts.append(Part("agent", event))
            return
        self._began = True
        self.id = event.run_id or self.id
        self.agent = event.agent or self.agent
        self.model = event.model or self.model
        self.framework = event.framework

    def _end(self, event: RunFinished | RunFailed | RunInterrupted) -> None:
        if self._outer:
            self._open = self._outer.pop()
            return
        if isinstance(event, RunFinished):
            self.finish_reason = event.finish_reason
        self.status = _ENDS[event.type]
        self.seconds = time.perf_counter() - self._clock


async def observe(events: AsyncIterator[Event], run: Run) -> AsyncIterator[Event]:
    """Record every event into ``run``; turn the way the stream ends into a terminal event.

    An ``Exception`` yields ``RunFailed`` and is raised again. A cancellation, or a consumer
    that goes away, is recorded as ``RunInterrupted`` and passes through.
    """
    try:
        async for event in events:
            run.record(event)
            yield event
    except Exception as exc:  # the record has every failure, and passes it on
        run.error = exc
        message, hint = getattr(exc, "message", str(exc)), getattr(exc, "hint", "")
        failed = RunFailed(type(exc).__name__, message, hint)
        run.finish(failed)
        yield failed
        raise
    except BaseException:  # a stop ends the record, and goes on
        if run.status == "running":
            run.finish(RunInterrupted())
        raise
    finally:
        aclose = getattr(events, "aclose", None)
        if aclose is not None:
            await aclose()
        recent_runs().add(run.summary())


async def collect(events: AsyncIterator[Event]) -> Run:
    """Drain the stream of an agent or a system into a ``Run``; errors pass through.

    Such a stream logs its run itself, so this does not.
    """
    run = Run()
    async for event in events:
        run.record(event)
    return run
