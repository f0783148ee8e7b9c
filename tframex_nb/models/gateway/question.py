"""A request as it came in: checked, and taken apart."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from tframex_nb.models._bodies import load_json

__all__ = ["Question", "Refusal", "read_question"]

# The rest is the gateway's to say, or (self) would collide with a name of Python's.
_OURS = frozenset({"model", "messages", "stream", "stream_options", "self"})


class Refusal(Exception):
    """A request that is not passed on: the HTTP status, the words and OpenAI's code."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


@dataclass(frozen=True)
class Question:
    """What a framework asks: messages and parameters in OpenAI's shapes."""

    messages: list[dict[str, Any]]  # any JSON
    params: dict[str, Any]  # any JSON
    stream: bool
    usage: bool

    @functools.cached_property
    def key(self) -> str:
        """What two equal questions have in common, streamed or not."""
        text = json.dumps([self.messages, self.params], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_question(body: bytes) -> Question:
    """Read a body of ``/v1/chat/completions``; raises ``Refusal``."""
    try:
        data = load_json(body)
    except ValueError:
        raise Refusal(400, "the body is not JSON", "invalid_json") from None
    messages = data.get("messages") if isinstance(data, dict) else None
    if not isinstance(messages, list) or not messages or not _all_objects(messages):
        message = "'messages' must be a list of messages, not empty"
        raise Refusal(400, message, "invalid_messages")
    if data.get("n") is not None and data["n"] != 1:
        raise Refusal(400, "there is one choice: leave 'n' out", "unsupported_value")
    options = data.get("stream_options")
    return Question(
        messages,
        {name: value for name, value in data.items() if name not in _OURS and value is not None},
        stream=bool(data.get("stream")),
        usage=isinstance(options, dict) and bool(options.get("include_usage")),
    )


def _all_objects(values: list[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)
