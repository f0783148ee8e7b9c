"""A run: the events of one answer, and what people read from them (IPython-free)."""

from __future__ import annotations

import json
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tframex_nb.messages import (
    Event,
    Message,
    MessageFinished,
    ReasoningDelta,
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

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import pandas as pd

__all__ = ["Run", "RunLog", "Status", "collect", "observe"]

Status = Literal["running", "finished", "failed", "interrupted"]


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


@dataclass(slots=True)
class Run:
    """One answer of one agent: its events while it lasts, its result afterwards.

    ``text`` is the last answer (partial when the run was stopped or failed), ``events`` all
    events in order, ``messages`` what the conversation gained. Times are in seconds.
    """

    agent: str = ""
    model: str = ""
    framework: str = "native"
    prompt: str = ""
    id: str = field(default_factory=_new_id)
    events: list[Event] = field(default_factory=list, repr=False)
    status: Status = "running"
    error: BaseException | None = field(default=None, repr=False)
    finish_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    notes: tuple[str, ...] = ()
    started_at: float = field(default_factory=time.time, repr=False)
    first_token_seconds: float | None = None
    seconds: float = 0.0
    _clock: float = field(default_factory=time.perf_counter, repr=False)
    _finished: list[Message] = field(default_factory=list, repr=False)
    _text: list[str] = field(default_factory=list, repr=False)
    _reasoning: list[str] = field(default_factory=list, repr=False)
    _answer: str = field(default="", repr=False)

    def record(self, event: Event) -> None:
        """Take one event in; the terminal events end the run."""
        self.events.append(event)
        match event:
            case TextDelta(text=text):
                self._first_token()
                self._text.append(text)
            case ReasoningDelta(text=text):
                self._first_token()
                self._reasoning.append(text)
            case Usage():
                self.usage = self.usage + event
            case ToolCallStarted():
                self._first_token()
            case ToolResult(id=call_id, name=name, content=content):
                self._finished.append(Message("tool", content, tool_call_id=call_id, name=name))
            case MessageFinished():
                self._end_step(event)
            case RunStarted():
                self.agent = event.agent or self.agent
                self.model = event.model or self.model
                self.framework = event.framework
            case RunFinished(finish_reason=reason):
                self.finish_reason = reason
                self._end("finished")
            case RunFailed():
                self._end("failed")
            case RunInterrupted():
                self._end("interrupted")
            case _:
                pass

    @property
    def text(self) -> str:
        """The text of the last answer, exactly as the model gave it."""
        return "".join(self._text) or self._answer

    @property
    def reasoning(self) -> str:
        """All reasoning of the run, kept apart from the text."""
        return "".join(self._reasoning)

    @property
    def messages(self) -> tuple[Message, ...]:
        """What the run added to the conversation: the prompt, answers, tool results."""
        prompt = (Message("user", self.prompt),) if self.prompt else ()
        partial = "".join(self._text)
        tail = (Message("assistant", partial),) if partial else ()
        return (*prompt, *self._finished, *tail)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Every tool call of the run, in order."""
        started = (e for e in self.events if isinstance(e, ToolCallStarted))
        return tuple(ToolCall(e.id, e.name, e.arguments) for e in started)

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
    def truncated(self) -> bool:
        """Whether the model stopped at its token limit."""
        return self.finish_reason == "length"

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per event: ``type`` and the event's fields; needs pandas."""
        import pandas as pd

        return pd.DataFrame([event.to_dict() for event in self.events])

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

    def _first_token(self) -> None:
        if self.first_token_seconds is None:
            self.first_token_seconds = time.perf_counter() - self._clock

    def _end_step(self, event: MessageFinished) -> None:
        self._finished.append(event.message)
        self._answer = event.message.text or self._answer
        self._text.clear()
        self.finish_reason = event.finish_reason

    def _end(self, status: Status) -> None:
        self.status = status
        self.seconds = time.perf_counter() - self._clock


class RunLog:
    """The last runs of this process as plain rows, bounded."""

    def __init__(self, limit: int = 200) -> None:
        self._runs: deque[Run] = deque(maxlen=limit)

    def add(self, run: Run) -> None:
        """Take a run in; the oldest falls out beyond the limit."""
        self._runs.append(run)

    def __iter__(self) -> Iterator[Run]:
        return iter(tuple(self._runs))

    def __len__(self) -> int:
        return len(self._runs)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per run; needs pandas."""
        import pandas as pd

        return pd.DataFrame([run.summary() for run in self._runs])

    def __repr__(self) -> str:
        return "\n".join(json.dumps(run.summary(), ensure_ascii=False) for run in self._runs)


async def observe(events: AsyncIterator[Event], run: Run) -> AsyncIterator[Event]:
    """Record every event into ``run``; turn the way the stream ends into a terminal event.

    An ``Exception`` yields ``RunFailed`` and is raised again. A cancellation, or a consumer
    that goes away, is recorded as ``RunInterrupted`` and passes through.
    """
    try:
        async for event in events:
            run.record(event)
            yield event
    except Exception as exc:
        run.error = exc
        failed = RunFailed(type(exc).__name__, getattr(exc, "message", str(exc)), getattr(exc, "hint", ""))
        run.record(failed)
        yield failed
        raise
    except BaseException:
        if run.status == "running":
            run.record(RunInterrupted())
        raise
    finally:
        aclose = getattr(events, "aclose", None)
        if aclose is not None:
            await aclose()


async def collect(events: AsyncIterator[Event]) -> Run:
    """Drain a stream of run events into a ``Run``; errors pass through."""
    run = Run()
    async for event in observe(events, run):
        del event
    return run
