"""From ``chat.completion.chunk`` objects to run events, and to the whole message.

The shapes: https://platform.openai.com/docs/api-reference/chat/streaming, and what servers make
of them.
"""

from __future__ import annotations

from typing import Any

from tframex_nb.messages import (
    Event,
    Message,
    MessageFinished,
    ReasoningDelta,
    TextDelta,
    ToolCallStarted,
    Usage,
)
from tframex_nb.models._surrogates import SurrogateJoiner
from tframex_nb.models._thinking import ThinkFilter
from tframex_nb.models._tool_calls import MalformedToolCall, ToolCallPieces

__all__ = ["Assembly", "ErrorInStream", "Malformed"]


class Malformed(Exception):
    """A chunk has a shape that the protocol does not allow; the text says which."""


class ErrorInStream(Exception):
    """The server put an error object where a chunk belongs; ``payload`` is that object."""

    def __init__(self, payload: Any) -> None:  # whatever JSON came
        super().__init__("an error in the stream")
        self.payload = payload


class Assembly:
    """One answer as it grows. Choice 0 wins; other choices are not looked at.

    With ``pieces``, tool calls are given as ``ToolCallDelta`` while they come, in place of a
    ``ToolCallStarted`` each at the end.
    """

    def __init__(self, *, inline: bool = False, pieces: bool = False) -> None:
        self.finish_reason: str | None = None
        self.answered = False  # a choice came
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._model = ""
        self._calls = ToolCallPieces()
        self._pieces = pieces
        self._usage: dict[str, Any] | None = None
        self._text_joiner = SurrogateJoiner()
        self._reasoning_joiner = SurrogateJoiner()
        self._filter: ThinkFilter | None = None if inline else ThinkFilter()

    @property
    def received(self) -> str:
        """The answer's text so far."""
        return "".join(self._text)

    def take(self, chunk: Any, events: list[Event]) -> None:  # any JSON value that came
        """Add the events of one chunk; raise ``Malformed`` or ``ErrorInStream``."""
        if type(chunk) is not dict:
            raise Malformed(f"JSON of type {type(chunk).__name__} where an object belongs")
        if chunk.get("error") or chunk.get("object") == "error":
            raise ErrorInStream(chunk)
        usage = chunk.get("usage")
        if type(usage) is dict:
            self._usage = usage
        choices = chunk.get("choices")
        if not choices:
            return
        if type(choices) is not list:
            raise Malformed(f"choices is of JSON type {type(choices).__name__}, not a list")
        if not self._model:
            self._model = str(chunk.get("model") or "")
        for choice in choices:
            if type(choice) is not dict:
                raise Malformed("a choice is no object")
            index = choice.get("index")
            if index is None or index == 0:
                self._choose(choice, events)

    def end(self) -> list[Event]:
        """Return the last events: held text, tool calls, usage, and ``MessageFinished``."""
        events: list[Event] = []
        self.flush(events)
        try:
            calls = self._calls.calls()
        except MalformedToolCall as exc:
            raise Malformed(str(exc)) from None
        if self._pieces:
            events.extend(self._calls.deltas(last=True))
        else:
            events.extend(ToolCallStarted(call.id, call.name, call.arguments) for call in calls)
        if self._usage is not None:
            events.append(_usage(self._usage))
        message = Message(
            "assistant", self.received, tool_calls=calls, reasoning="".join(self._reasoning)
        )
        events.append(MessageFinished(message, self.finish_reason or "stop", self._model))
        return events

    def flush(self, events: list[Event]) -> None:
        """Add what was held back: half a surrogate pair, what might have become a tag."""
        half = self._reasoning_joiner.end()
        if half:
            self._think(half, events)
        half = self._text_joiner.end()
        if half:
            self._say(half, events)
        if self._filter is not None:
            reasoning, text = self._filter.end()
            self._filter = None
            if reasoning:
                self._think(reasoning, events)
            if text:
                self._say(text, events)

    def _choose(self, choice: dict[str, Any], events: list[Event]) -> None:
        self.answered = True
        delta = choice.get("delta")
        if delta is None:
            delta = choice.get("message")
        if delta is not None:
            if type(delta) is not dict:
                raise Malformed(f"a delta is of JSON type {type(delta).__name__}, not an object")
            self._delta(delta, events)
        reason = choice.get("finish_reason")
        if reason is not None:
            if choice.get("error"):
                raise ErrorInStream(choice)
            self.finish_reason = str(reason)

    def _delta(self, delta: dict[str, Any], events: list[Event]) -> None:
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if reasoning:
            self._think(_string(reasoning, "reasoning"), events)
        content = delta.get("content")
        if content:
            if type(content) is str:
                self._say(content, events)
            else:
                self._parts(content, events)
        if len(delta) > 1 or "content" not in delta:
            self._rare(delta, events)

    def _rare(self, delta: dict[str, Any], events: list[Event]) -> None:
        refusal = delta.get("refusal")
        if refusal:
            self._say(_string(refusal, "refusal"), events)
        try:
            if delta.get("tool_calls"):
                self._calls.take(delta["tool_calls"])
            if delta.get("function_call"):
                self._calls.take_legacy(delta["function_call"])
        except MalformedToolCall as exc:
            raise Malformed(str(exc)) from None
        if self._pieces and self._calls:
            events.extend(self._calls.deltas())

    def _parts(self, content: object, events: list[Event]) -> None:
        """Take content as a list of parts: text, and thinking as Mistral sends it."""
        if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
            raise Malformed(f"content is of JSON type {type(content).__name__}, not text")
        for part in content:
            if part.get("type") == "thinking":
                self._think(_joined(part.get("thinking")), events)
            elif part.get("text"):
                self._say(_string(part["text"], "text"), events)

    def _say(self, text: str, events: list[Event]) -> None:
        text = self._text_joiner.feed(text)
        if self._filter is not None:
            reasoning, text = self._filter.feed(text)
            if reasoning:
                self._reasoning.append(reasoning)
                events.append(ReasoningDelta(reasoning))
            if self._filter.passed:
                self._filter = None
        if text:
            self._text.append(text)
            events.append(TextDelta(text))

    def _think(self, text: str, events: list[Event]) -> None:
        text = self._reasoning_joiner.feed(text)
        if text:
            self._reasoning.append(text)
            events.append(ReasoningDelta(text))


def _string(value: object, what: str) -> str:
    if type(value) is not str:
        raise Malformed(f"{what} is of JSON type {type(value).__name__}, not text")
    return value


def _joined(value: object) -> str:
    if isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else []
    return "".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


def _usage(usage: dict[str, Any]) -> Usage:
    """Return the tokens as OpenAI counts them: reasoning is part of the completion.

    xAI and Gemini leave it out of ``completion_tokens``, and only the total tells; DeepSeek and
    Moonshot have names of their own for what came from a cache.
    """
    prompt = usage.get("prompt_tokens_details")
    completion = usage.get("completion_tokens_details")
    asked = _count(usage.get("prompt_tokens"))
    answered = _count(usage.get("completion_tokens"))
    thought = _count(completion.get("reasoning_tokens")) if isinstance(completion, dict) else 0
    cached = _count(prompt.get("cached_tokens")) if isinstance(prompt, dict) else 0
    rest = _count(usage.get("total_tokens")) - asked - answered
    if rest > 0 and thought in {0, rest}:
        thought, answered = rest, answered + rest
    return Usage(
        prompt_tokens=asked,
        completion_tokens=answered,
        reasoning_tokens=thought,
        cached_tokens=cached
        or _count(usage.get("prompt_cache_hit_tokens"))
        or _count(usage.get("cached_tokens")),
    )


def _count(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) and 0 <= value < 1 << 53 else 0
