"""Run events as OpenAI's wire has them: chunks of a stream, or one whole answer.

The shapes: https://platform.openai.com/docs/api-reference/chat/streaming
"""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

from tframex_nb.messages import (
    MessageFinished,
    ReasoningDelta,
    TextDelta,
    ToolCallStarted,
    Usage,
)
from tframex_nb.models._tool_calls import ToolCallDelta

if TYPE_CHECKING:
    from tframex_nb.messages import Event

__all__ = ["DONE", "ChunkWriter", "error_event", "whole_answer"]

DONE = "data: [DONE]\n\n"
_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})


class ChunkWriter:
    """Write events as server-sent chunks; with ``usage``, the tokens come in a chunk of their own.

    Chunks are pure ASCII: clients that split lines as Python does would break a line at U+2028.
    """

    def __init__(self, model: str, *, usage: bool) -> None:
        self.finished = False
        self._want_usage = usage
        self._usage: Usage | None = None
        self._calls = 0
        self._begun = False
        head = json.dumps({**_head(model), "object": "chat.completion.chunk"})[:-1]
        self._head = f'data: {head}, "choices": '
        self._delta = f'{self._head}[{{"index": 0, "delta": '
        self._text = f'{self._delta}{{"content": '

    def write(self, events: list[Event]) -> bytes:
        """Return the bytes for ``events``, empty where they say nothing here."""
        out: list[str] = []
        for event in events:
            if type(event) is TextDelta:
                out.append(f"{self._text}{json.dumps(event.text)}{_TAIL}")
            else:
                self._rare(event, out)
        if not out:
            return b""
        if not self._begun:
            self._begun = True
            out.insert(0, self._chunk({"role": "assistant", "content": ""}))
        return "".join(out).encode()

    def _rare(self, event: Event, out: list[str]) -> None:
        match event:
            case TextDelta():  # a subclass
                out.append(self._chunk({"content": event.text}))
            case ReasoningDelta():
                out.append(self._chunk({"reasoning_content": event.text}))
            case ToolCallDelta():
                self._calls = max(self._calls, event.index + 1)
                out.append(self._chunk({"tool_calls": [_piece(event)]}))
            case ToolCallStarted():
                whole = ToolCallDelta(self._calls, event.id, event.name, event.arguments)
                self._rare(whole, out)
            case Usage():
                self._usage = event
            case MessageFinished():
                self._finish(event, out)

    def _finish(self, event: MessageFinished, out: list[str]) -> None:
        self.finished = True
        reason = _reason(event.finish_reason, called=self._calls > 0)
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason}
        out.append(f"{self._head}{json.dumps([choice])}}}\n\n")
        if self._want_usage and self._usage is not None:
            out.append(f'{self._head}[], "usage": {json.dumps(_usage(self._usage))}}}\n\n')
        out.append(DONE)

    def _chunk(self, delta: dict[str, Any]) -> str:
        return f"{self._delta}{json.dumps(delta)}{_END}"


_END = ', "logprobs": null, "finish_reason": null}]}\n\n'
_TAIL = "}" + _END


def whole_answer(model: str, finished: MessageFinished, usage: Usage | None) -> bytes:
    """Return a ``chat.completion`` object; unknown usage is zeros, which clients can add up."""
    answer = finished.message
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text if answer.text or not answer.tool_calls else None,
        "refusal": None,
    }
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        message["tool_calls"] = [call.to_dict() for call in answer.tool_calls]
    reason = _reason(finished.finish_reason, called=bool(answer.tool_calls))
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return json.dumps(
        {
            **_head(model),
            "object": "chat.completion",
            "choices": [choice],
            "usage": _usage(usage or Usage()),
        }
    ).encode()


def error_event(error: dict[str, Any]) -> bytes:
    """Return the event that ends a stream in an error."""
    return f"data: {json.dumps({'error': error})}\n\n".encode()


def _head(model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}


def _piece(delta: ToolCallDelta) -> dict[str, Any]:
    function = {"arguments": delta.arguments}
    if delta.name:
        function = {"name": delta.name, **function}
    start = {"id": delta.id, "type": "function"} if delta.id else {}
    return {"index": delta.index, **start, "function": function}


def _reason(reason: str, *, called: bool) -> str:
    """Return one of OpenAI's four: clients check them, and servers end calls in many ways."""
    if called and reason not in {"length", "content_filter"}:
        return "tool_calls"
    return reason if reason in _REASONS else "stop"


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
