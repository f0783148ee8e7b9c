"""What a chat request holds, read without trust: texts, turns, tools, wishes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tframex_nb.models.demo.told import ANSWER_TOOL, as_calls
from tframex_nb.models.parts import describe_part

__all__ = ["Conversation", "ToolSpec", "read"]

_TOLD = re.compile(r"\bJSON schema:\s*(?=\{)")
_THINK = re.compile(r"\b(think|reason|step by step|ponder)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A function that the caller offers; ``schema`` is the JSON schema of its arguments."""

    name: str
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A chat request in the demo's terms; ``messages`` are (role, text) pairs."""

    messages: tuple[tuple[str, str], ...]
    raw: tuple[dict[str, Any], ...]  # JSON objects as they came
    tools: tuple[ToolSpec, ...]
    tool_choice: str
    answers_by: str  # the tool through which the answer is wanted, or empty
    schema: dict[str, Any] | None
    thinks: bool
    characters: int

    @property
    def prompt(self) -> str:
        """The text of the last user message."""
        return next((text for role, text in reversed(self.messages) if role == "user"), "")

    @property
    def system(self) -> str:
        """All system and developer text."""
        roles = ("system", "developer")
        return "\n".join(text for role, text in self.messages if role in roles)

    @property
    def attached(self) -> tuple[tuple[str, ...], ...]:
        """What came beside text, by user message, oldest first."""
        return tuple(_attached(message) for message in self.raw if message.get("role") == "user")

    @property
    def earlier(self) -> tuple[str, ...]:
        """What the user wrote in earlier turns, oldest first."""
        return tuple(text for role, text in self.messages if role == "user")[:-1]

    @property
    def results(self) -> tuple[tuple[str, str], ...]:
        """Name and content of the tool results that came since the last user message."""
        start = max((i for i, (role, _) in enumerate(self.messages) if role == "user"), default=-1)
        names = self._call_names()
        return tuple(
            (str(names.get(raw.get("tool_call_id")) or raw.get("name") or "tool"), text)
            for raw, (role, text) in list(zip(self.raw, self.messages, strict=True))[start + 1 :]
            if role == "tool"
        )

    @property
    def calls_so_far(self) -> int:
        """How many tool calls the conversation holds, so that new ids are unique."""
        return sum(len(_list(message.get("tool_calls"))) for message in self.raw)

    def _call_names(self) -> dict[Any, str]:
        calls = [call for message in self.raw for call in _list(message.get("tool_calls"))]
        return {call.get("id"): _dict(call.get("function")).get("name", "tool") for call in calls}


def read(request: dict[str, Any]) -> Conversation:
    """Read a chat request; pieces of the wrong type count as absent."""
    sent = _list(request.get("messages"))
    raw = tuple(as_calls((m, text_of(m.get("content"))) for m in sent))
    messages = tuple((str(m.get("role", "")), text_of(m.get("content"))) for m in raw)
    prompt = next((text for role, text in reversed(messages) if role == "user"), "")
    prompt, schema = _told(prompt)
    tools = _tools(request)
    answers_by = any(tool.name == ANSWER_TOOL for tool in tools)
    choice = _tool_choice(request.get("tool_choice"))
    return Conversation(
        messages=messages,
        raw=raw,
        tools=tuple(tool for tool in tools if tool.name != ANSWER_TOOL),
        tool_choice="auto" if answers_by and choice in {"required", ANSWER_TOOL} else choice,
        answers_by=ANSWER_TOOL if answers_by else "",
        schema=_schema(_dict(request.get("response_format"))) or schema,
        thinks=bool(_THINK.search(prompt)) or _asked_to_think(request),
        characters=sum(len(text) for _, text in messages),
    )


def text_of(content: object) -> str:
    """Return the text of a message's content: a string, or OpenAI's content parts."""
    if isinstance(content, str):
        return content
    parts = _list(content)
    return "".join(
        str(part.get("text", ""))
        if part.get("type", "text") == "text"
        else f"[{describe_part(part)}]"
        for part in parts
    )


def _attached(message: dict[str, Any]) -> tuple[str, ...]:
    """Return kind, format and size of each part of a message that is no text."""
    parts = _list(message.get("content"))
    return tuple(describe_part(part) for part in parts if part.get("type", "text") != "text")


def _asked_to_think(request: dict[str, Any]) -> bool:
    effort = request.get("reasoning_effort")
    template = _dict(request.get("chat_template_kwargs"))
    return bool(template.get("enable_thinking")) or effort in ("low", "medium", "high", "xhigh")


def _tools(request: dict[str, Any]) -> list[ToolSpec]:
    functions = [_dict(tool.get("function")) for tool in _list(request.get("tools"))]
    return [
        ToolSpec(str(f["name"]), str(f.get("description", "")), _dict(f.get("parameters")))
        for f in functions
        if f.get("name")
    ]


def _tool_choice(choice: object) -> str:
    """Return auto, none, required, or the name of the one tool that must be called."""
    if isinstance(choice, dict):
        return str(_dict(choice.get("function")).get("name", "required"))
    return choice if isinstance(choice, str) else "auto"


def _schema(response_format: dict[str, Any]) -> dict[str, Any] | None:
    match response_format.get("type"):
        case "json_schema":
            return _dict(_dict(response_format.get("json_schema")).get("schema"))
        case "json_object":
            return {"type": "object"}
        case _:
            return None


def _told(prompt: str) -> tuple[str, dict[str, Any] | None]:
    """Take off the prompt the JSON schema that it tells, as it does for want of a form."""
    found = _TOLD.search(prompt)
    if found is None:
        return prompt, None
    try:
        schema, _ = json.JSONDecoder().raw_decode(prompt, found.end())
    except (ValueError, RecursionError):
        return prompt, None
    return prompt[: found.start()], _dict(schema)


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
