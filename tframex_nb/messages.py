"""Messages and run events: the one vocabulary that crosses every wall (stdlib only)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AnswerChecked",
    "AnswerRejected",
    "ApprovalAsked",
    "ApprovalGiven",
    "Event",
    "Message",
    "MessageFinished",
    "ReasoningDelta",
    "Retrying",
    "Role",
    "RunFailed",
    "RunFinished",
    "RunInterrupted",
    "RunStarted",
    "TextDelta",
    "ToolCall",
    "ToolCallStarted",
    "ToolResult",
    "Usage",
    "event_from_dict",
]

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to call a tool; ``arguments`` is the raw JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str = "{}"

    def to_dict(self) -> dict[str, Any]:
        """Return OpenAI's shape of a tool call."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ToolCall:
        """Read OpenAI's shape of a tool call; raises KeyError where a piece is missing."""
        function = data["function"]
        return cls(id=data["id"], name=function["name"], arguments=function["arguments"])


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation, in OpenAI's terms.

    ``content`` is text, or a list of OpenAI content parts (dicts) for images and files.
    ``reasoning`` is kept for the reader and never sent back to a model.
    """

    role: Role
    content: str | list[dict[str, Any]] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    reasoning: str = ""

    @property
    def text(self) -> str:
        """The text of the content, its parts joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(str(part.get("text", "")) for part in self.content)

    def to_dict(self) -> dict[str, Any]:
        """Return the message as ``/v1/chat/completions`` takes it."""
        out: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            out["tool_calls"] = [call.to_dict() for call in self.tool_calls]
        if self.tool_call_id:
            out["tool_call_id"] = self.tool_call_id
        if self.name:
            out["name"] = self.name
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Message:
        """Read a message in OpenAI's shape; a null content is the empty text."""
        return cls(
            role=data["role"],
            content=data.get("content") or "",
            tool_calls=tuple(ToolCall.from_dict(call) for call in data.get("tool_calls") or ()),
            tool_call_id=data.get("tool_call_id") or "",
            name=data.get("name") or "",
            reasoning=data.get("reasoning") or "",
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Base of the run events; ``type`` is the tag on every wire."""

    type: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON-ready data with its ``type`` tag."""
        return {"type": self.type, **dataclasses.asdict(self)}

    @property
    def subject(self) -> str:
        """What ``line`` is about, or nothing; a later event about it takes the line's place."""
        return ""

    @property
    def line(self) -> str:
        """The one line that people read of the event, or nothing."""
        return ""


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """First event of a run."""

    type: ClassVar[str] = "run_started"
    run_id: str
    agent: str = ""
    model: str = ""
    framework: str = "native"


@dataclass(frozen=True, slots=True)
class TextDelta(Event):
    """A piece of the answer's text, exact and in order."""

    type: ClassVar[str] = "text_delta"
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta(Event):
    """A piece of the model's reasoning, kept apart from the text."""

    type: ClassVar[str] = "reasoning_delta"
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted(Event):
    """A whole tool call, after its pieces were assembled."""

    type: ClassVar[str] = "tool_call_started"
    id: str
    name: str
    arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class ToolResult(Event):
    """What a tool gave back to the model; ``seconds`` is the time it took."""

    type: ClassVar[str] = "tool_result"
    id: str
    name: str
    content: str
    is_error: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Usage(Event):
    """Tokens of one model call, as the endpoint counted them."""

    type: ClassVar[str] = "usage"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True)
class Retrying(Event):
    """A model call failed before its first token and is tried again after ``delay`` seconds."""

    type: ClassVar[str] = "retrying"
    attempt: int
    delay: float
    reason: str


@dataclass(frozen=True, slots=True)
class MessageFinished(Event):
    """Last event of one model call: the assembled message and OpenAI's finish reason."""

    type: ClassVar[str] = "message_finished"
    message: Message
    finish_reason: str = "stop"
    model: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the event with the message in OpenAI's shape, reasoning included."""
        message = {**self.message.to_dict(), "reasoning": self.message.reasoning}
        return {
            "type": self.type,
            "message": message,
            "finish_reason": self.finish_reason,
            "model": self.model,
        }


@dataclass(frozen=True, slots=True)
class AnswerRejected(Event):
    """An answer is not in the wanted form; while ``tries`` are left, it is asked for again.

    ``attempt`` counts from 1; 0 is an answer given beside tools, before the form was asked for.
    ``problems`` says what does not match, a line for each place.
    """

    type: ClassVar[str] = "answer_rejected"
    form: str
    attempt: int
    tries: int
    problems: tuple[str, ...] = ()

    @property
    def again(self) -> bool:
        """Whether another answer is asked for."""
        return self.attempt < self.tries

    @property
    def subject(self) -> str:
        """Each answer has a line of its own."""
        return f"answer {self.attempt}"

    @property
    def line(self) -> str:
        """Which answer it is, and the first problem."""
        if not self.attempt:
            return f"the answer is asked for as {self.form}"
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        told = f": {self.problems[0]}{more}" if self.problems else ""
        return f"answer {self.attempt} of {self.tries} does not match {self.form}{told}"


@dataclass(frozen=True, slots=True)
class AnswerChecked(Event):
    """The answer is in the wanted form: ``data`` as JSON, ``value`` as what was asked for."""

    type: ClassVar[str] = "answer_checked"
    form: str
    data: Any  # any JSON
    value: Any = None  # an instance of whatever the user asked for; it stays in this process

    def to_dict(self) -> dict[str, Any]:
        """Return the event with the answer as JSON."""
        return {"type": self.type, "form": self.form, "data": self.data}


@dataclass(frozen=True, slots=True)
class ApprovalAsked(Event):
    """A tool waits until somebody says whether it may run."""

    type: ClassVar[str] = "approval_asked"
    id: str
    name: str
    arguments: str = "{}"

    @property
    def subject(self) -> str:
        """The call."""
        return f"approval {self.id}"

    @property
    def line(self) -> str:
        """Which tool it is."""
        return f"{self.name}: may it run?"


@dataclass(frozen=True, slots=True)
class ApprovalGiven(Event):
    """Whether the tool may run; ``arguments`` are what it runs with where they were edited."""

    type: ClassVar[str] = "approval_given"
    id: str
    name: str
    allowed: bool
    reason: str = ""
    arguments: str | None = None

    @property
    def subject(self) -> str:
        """The call."""
        return f"approval {self.id}"

    @property
    def line(self) -> str:
        """What was answered, in few words."""
        why = f": {self.reason}" if self.reason else ""
        if not self.allowed:
            return f"{self.name}: denied{why}"
        edited = ", arguments edited" if self.arguments is not None else ""
        return f"{self.name}: allowed{edited}{why}"


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """Terminal: the run ended as it should; ``text`` is the last answer."""

    type: ClassVar[str] = "run_finished"
    text: str = ""
    finish_reason: str = "stop"
    messages: tuple[Message, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the event with its messages in OpenAI's shape."""
        return {
            "type": self.type,
            "text": self.text,
            "finish_reason": self.finish_reason,
            "messages": [{**m.to_dict(), "reasoning": m.reasoning} for m in self.messages],
        }


@dataclass(frozen=True, slots=True)
class RunFailed(Event):
    """Terminal: the run ended in an error; the partial text is in the events before it."""

    type: ClassVar[str] = "run_failed"
    error: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class RunInterrupted(Event):
    """Terminal: the user stopped the run; the partial text is in the events before it."""

    type: ClassVar[str] = "run_interrupted"


_EVENTS: dict[str, type[Event]] = {
    cls.type: cls
    for cls in (
        RunStarted,
        TextDelta,
        ReasoningDelta,
        ToolCallStarted,
        ToolResult,
        Usage,
        Retrying,
        MessageFinished,
        AnswerRejected,
        AnswerChecked,
        ApprovalAsked,
        ApprovalGiven,
        RunFinished,
        RunFailed,
        RunInterrupted,
    )
}


def event_from_dict(data: Mapping[str, Any]) -> Event:
    """Read an event from its wire form.

    Raises ValueError for an unknown type, TypeError or KeyError for missing pieces.
    """
    fields = dict(data)
    cls = _EVENTS.get(str(fields.pop("type", "")))
    if cls is None:
        raise ValueError(f"unknown event type {data.get('type')!r}")
    if "message" in fields and cls is MessageFinished:
        fields["message"] = Message.from_dict(fields["message"])
    if "problems" in fields:
        fields["problems"] = tuple(fields["problems"])
    if "messages" in fields:
        fields["messages"] = tuple(Message.from_dict(m) for m in fields["messages"])
    return cls(**fields)
