"""A conversation as a file: JSON that says its version, holds no secret, and runs nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tframex_nb.agents.conversation import MAX_TURNS, OWN, Turn
from tframex_nb.agents.running import label_of
from tframex_nb.errors import InvalidInput
from tframex_nb.messages import Message, ToolCall, Usage
from tframex_nb.models._surrogates import mend
from tframex_nb.models.cassette.masking import Mask, known_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tframex_nb.agents.base import BaseAgent
    from tframex_nb.agents.conversation import Conversation

__all__ = [
    "MARK",
    "MAX_DEPTH",
    "SavedAgent",
    "SavedConversation",
    "SavedTurn",
    "decode",
    "encode",
    "refuse",
]

VERSION = 1
MARK = "tframex_conversation"
MAX_DEPTH = 32  # of lists and objects in each other
MAX_MESSAGES = 2000  # of a turn
LONG = 200  # characters of a fault that are told
_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+;=-]+;base64,[A-Za-z0-9+/=]*")
_FETCHED = ("data:", "https://", "http://")  # what an image may be
_ANEW = "save the conversation anew: %agents save NAME FILE"

Name = Annotated[str, Field(max_length=1000)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class _Strict(BaseModel):
    """Data that comes from outside: no other fields, no conversions, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class SavedCall(_Strict):
    """A tool call that a model wished for; it is shown and sent, never run."""

    id: Name
    name: Name
    arguments: str = Field(
        default="{}", description="The JSON text of the arguments, as the model wrote."
    )


class SavedMessage(_Strict):
    """One message; ``content`` is text, or OpenAI's content parts."""

    role: Literal["user", "assistant", "tool"]
    content: str | list[dict[str, Any]] = ""
    tool_calls: list[SavedCall] = []
    tool_call_id: Name = ""
    name: Name = ""
    reasoning: str = Field(default="", description="Kept for the reader; never sent to a model.")

    def to_message(self) -> Message:
        """Return the message."""
        calls = tuple(ToolCall(c.id, c.name, c.arguments) for c in self.tool_calls)
        return Message(self.role, self.content, calls, self.tool_call_id, self.name, self.reasoning)


class SavedTurn(_Strict):
    """One question and all that followed."""

    messages: Annotated[list[SavedMessage], Field(max_length=MAX_MESSAGES)]
    cell: Name | None = Field(default=None, description="The id of the cell that owns the turn.")
    status: Literal["finished", "failed", "interrupted"] = "finished"
    stale: bool = Field(default=False, description="Whether an earlier turn has changed since.")
    run: Name = Field(default="", description="The id of its run.")
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    seconds: float = Field(default=0.0, ge=0)

    def to_turn(self) -> Turn:
        """Return the turn."""
        return Turn(
            self.cell,
            tuple(message.to_message() for message in self.messages),
            self.run,
            self.status,
            self.stale,
            Usage(self.prompt_tokens, self.completion_tokens),
            self.seconds,
        )


class SavedAgent(_Strict):
    """What the agent was that had the conversation; its tools by their names alone."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Name = "Agent"
    system: str = ""
    description: str = ""
    model: Name = Field(default="", description="Empty: the one that the settings choose.")
    framework: Name = ""
    template: Name = ""
    tools: Annotated[list[Name], Field(max_length=1000)] = []
    max_steps: int | None = Field(default=None, ge=1, le=10_000)
    memory: int | None = Field(default=None, ge=0, le=1_000_000)

    @classmethod
    def of(cls, agent: BaseAgent) -> SavedAgent:
        """Describe an agent."""
        return cls(
            name=agent.agent_id,
            kind=type(agent).__name__,
            system=agent.system,
            description=agent.description,
            model=label_of(agent.model),
            framework=getattr(agent, "framework", ""),
            template=getattr(agent, "template_id", ""),
            tools=[tool.name for tool in getattr(agent, "tools", ())],
            max_steps=getattr(agent, "max_steps", None),
            memory=agent.memory,
        )


class SavedConversation(_Strict):
    """A conversation, and the agent that had it where one is told."""

    tframex_conversation: Literal[1] = Field(description="The version of this schema.")
    agent: SavedAgent | None = None
    turns: Annotated[list[SavedTurn], Field(max_length=MAX_TURNS)]

    def to_turns(self) -> list[Turn]:
        """Return the turns, oldest first."""
        return [turn.to_turn() for turn in self.turns]


def encode(conversation: Conversation, agent: BaseAgent | None = None) -> dict[str, Any]:
    """Return a conversation as JSON-ready data, every known secret in it masked."""
    mask = Mask(known_secrets())
    about = SavedAgent.of(agent).model_dump() if agent is not None else None
    turns = [_turn(turn) for turn in conversation.turns]
    data = _clean({"agent": about, "turns": turns}, mask)
    return {MARK: VERSION, **data}


def decode(data: Mapping[str, Any]) -> SavedConversation:
    """Check data of any origin; raises InvalidInput, with the place of the first fault."""
    _check_version(data)
    _check_tree(data)
    try:
        saved = SavedConversation.model_validate(dict(data))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        refuse(f"{_place(first['loc'])}: {first['msg']}")
    _check_addresses(saved)
    cells = [turn.cell for turn in saved.turns if turn.cell is not None]
    twice = next((n for n, cell in enumerate(cells) if cell in cells[:n]), None)
    if twice is not None:
        refuse(f"turns: the cell {cells[twice]!r} owns two of them")
    own = next((cell for cell in cells if cell.startswith(OWN)), None)
    if own is not None:
        refuse(f"turns: {own!r} is no id of a cell")
    return saved


def refuse(problem: str) -> NoReturn:
    """Raise InvalidInput for what is no conversation."""
    told = problem if len(problem) <= LONG else f"{problem[: LONG - 1]}…"
    raise InvalidInput(f"this is no conversation: {told}", hint=_ANEW)


def _turn(turn: Turn) -> dict[str, Any]:
    own = turn.key is None or turn.key.startswith(OWN)
    return {
        "cell": None if own else turn.key,
        "status": "interrupted" if turn.status == "running" else turn.status,
        "stale": turn.stale,
        "run": turn.run_id,
        "prompt_tokens": turn.usage.prompt_tokens,
        "completion_tokens": turn.usage.completion_tokens,
        "seconds": round(turn.seconds, 3),
        "messages": [_message(message) for message in turn.messages],
    }


def _message(message: Message) -> dict[str, Any]:
    """Return a message, without what it does not have."""
    calls = [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in message.tool_calls]
    rest = {
        "tool_calls": calls,
        "tool_call_id": message.tool_call_id,
        "name": message.name,
        "reasoning": message.reasoning,
    }
    told = {name: value for name, value in rest.items() if value}
    return {"role": message.role, "content": message.content, **told}


def _clean(value: Any, mask: Mask) -> Any:  # any JSON
    """Return JSON without secrets and lone surrogates; an image's bytes stay as they are."""
    if isinstance(value, str):
        return value if _DATA_URL.fullmatch(value) else mask.text(mend(value))
    if isinstance(value, dict):
        return {mask.text(mend(str(k))): _clean(v, mask) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(each, mask) for each in value]
    return value


def _check_version(data: Mapping[str, Any]) -> None:
    version = data.get(MARK)
    if version is None:
        raise InvalidInput(
            f"it is no conversation: {MARK!r} is missing",
            hint="name a file that %agents save wrote",
        )
    if isinstance(version, int) and version > VERSION:
        raise InvalidInput(
            f"it is of version {version}, and {VERSION} is known here", hint="update tframex-nb"
        )


def _check_tree(data: object) -> None:
    """Refuse what is nested too deep, and texts that are none."""
    level: list[object] = [data]
    for _ in range(MAX_DEPTH):
        level = [inner for each in level for inner in _inside(each)]
        for each in level:
            if isinstance(each, str) and mend(each) != each:
                refuse("a text holds half of a surrogate pair")
        if not level:
            return
    refuse(f"it is nested deeper than {MAX_DEPTH} levels")


def _check_addresses(saved: SavedConversation) -> None:
    """Refuse an image that is a file of the model's host, or anything else but data and the web.

    The endpoint fetches what a message names, and a file from elsewhere may name anything.
    """
    for number, turn in enumerate(saved.turns):
        for message in turn.messages:
            for part in message.content if isinstance(message.content, list) else ():
                held = part.get("image_url")
                url = held.get("url") if isinstance(held, dict) else held
                if url is not None and not str(url).lower().startswith(_FETCHED):
                    refuse(f"turns[{number}]: an image is no data and no address of the web")


def _inside(value: object) -> list[object]:
    """Return what stands in a list or an object."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _place(location: tuple[int | str, ...]) -> str:
    """Return where a fault is, as one would write it: ``turns[2].messages[0].role``."""
    parts = (f"[{each}]" if isinstance(each, int) else f".{each[:LONG]}" for each in location)
    return "".join(parts).lstrip(".")
