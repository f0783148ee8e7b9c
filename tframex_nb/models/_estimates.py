"""How many tokens a call will need, by rules of thumb: before it is made, and while it streams."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tframex_nb.messages import (
    Message,
    MessageFinished,
    ReasoningDelta,
    TextDelta,
    ToolCallStarted,
)
from tframex_nb.models._tool_calls import ToolCallDelta
from tframex_nb.models.parts import bytes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tframex_nb.messages import Event

__all__ = ["prompt_tokens", "said", "size_of", "tokens_in", "whole"]

BYTES = 4  # of UTF-8 for one token: English prose; code and other scripts need more tokens
FRAME = 16  # tokens around a message, at most
IMAGE = (85, 6_000)  # tokens of an image, at least and at most
SOUND = 100  # bytes of sound for one token, at least: MP3 is the densest
DOCUMENT = 2  # bytes of a file for one token, at least: its text is packed
_OFFERED = ("tools", "functions", "response_format")  # parameters that are part of the prompt


def prompt_tokens(
    messages: Sequence[Message | Mapping[str, Any]],
    params: Mapping[str, Any],  # sampling parameters
) -> tuple[int, int]:
    """Return how many tokens a prompt needs: about, and never more than.

    No token stands for less than one byte, so the bytes bound them.
    """
    parts = [part for message in messages for part in _parts(message)]
    text = sum(size_of(part) for part in parts if isinstance(part, str))
    others = [part for part in parts if not isinstance(part, str)]
    text += sum(size_of(_as_json(params[name])) for name in _OFFERED if params.get(name))
    about = max(1, text // BYTES) + len(others) * IMAGE[0]
    return about, text + sum(others) + FRAME * (len(messages) + 1)


def tokens_in(size: int) -> int:
    """Return about how many tokens so many bytes of text are."""
    return -(-size // BYTES)


def said(event: Event) -> str:
    """Return what an event holds of a completion."""
    match event:
        case TextDelta() | ReasoningDelta():
            return event.text
        case ToolCallDelta() | ToolCallStarted():
            return event.name + event.arguments
        case _:
            return ""


def whole(event: MessageFinished) -> str:
    """Return all that a completion holds."""
    message = event.message
    calls = (call.name + call.arguments for call in message.tool_calls)
    return "".join([message.reasoning, message.text, *calls])


def size_of(text: str) -> int:
    """Return the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _parts(message: Message | Mapping[str, Any]) -> list[str | int]:
    """Return the texts of a message, and for each image or file the most tokens it may be."""
    data = message.to_dict() if isinstance(message, Message) else message
    content = data.get("content") or ""
    rest = {name: value for name, value in data.items() if name not in ("content", "role")}
    texts: list[str | int] = [_as_json(rest)] if rest else []
    if isinstance(content, str):
        return [content, *texts]
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        texts.append(str(part.get("text", "")) if kind == "text" else _most(part))
    return texts


def _most(part: Any) -> int:  # whatever stands in a content
    """Return the most tokens that an image, a sound or a file may be: its base64 is no text."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "file":
        return max(IMAGE[1], bytes_of(part) // DOCUMENT)
    return max(IMAGE[1], bytes_of(part) // SOUND) if kind == "input_audio" else IMAGE[1]


def _as_json(value: Any) -> str:  # any JSON; what is none fails later, with its own error
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)
