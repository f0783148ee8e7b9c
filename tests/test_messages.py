"""Messages and events cross every wall as JSON and come out as they went in."""

from __future__ import annotations

import json

import pytest

from tframex_nb.messages import (
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
    event_from_dict,
)

CALL = ToolCall("c1", "add", '{"a": 1}')
SAID = Message("assistant", "é \u2028 \U0001f600", tool_calls=(CALL,), reasoning="hm")
EVENTS = [
    RunStarted("r1", "analyst", "demo", "native"),
    TextDelta("a\nb"),
    ReasoningDelta("c"),
    ToolCallStarted("c1", "add", '{"a": 1}'),
    ToolResult("c1", "add", "2", is_error=True, seconds=0.5),
    Usage(1, 2, 3, 4),
    Retrying(2, 0.5, "rate-limited"),
    MessageFinished(SAID, "tool_calls", "m"),
    RunFinished("x", "length", (Message("user", "q"), SAID)),
    RunFailed("ServerError", "it broke", "try again"),
    RunInterrupted(),
]
MESSAGES = [
    Message("system", "be kind"),
    Message("user", [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {}}]),
    Message("assistant", "", tool_calls=(CALL, ToolCall("c2", "now"))),
    Message("tool", "2", tool_call_id="c1", name="add"),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_events_survive_the_wire(event):
    assert event_from_dict(json.loads(json.dumps(event.to_dict()))) == event


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.role)
def test_messages_survive_the_wire(message):
    assert Message.from_dict(json.loads(json.dumps(message.to_dict()))) == message


def test_a_message_has_the_shape_of_openai():
    assert MESSAGES[2].to_dict()["tool_calls"][0] == {
        "id": "c1",
        "type": "function",
        "function": {"name": "add", "arguments": '{"a": 1}'},
    }
    assert Message("user", "hi").to_dict() == {"role": "user", "content": "hi"}


def test_reasoning_is_never_sent_back():
    assert "hm" not in json.dumps(SAID.to_dict())


def test_text_of_parts_is_joined():
    assert MESSAGES[1].text == "see"
    assert Message.from_dict({"role": "assistant", "content": None}).text == ""


def test_unknown_and_broken_events_are_refused():
    with pytest.raises(ValueError, match="unknown event type 'nonsense'"):
        event_from_dict({"type": "nonsense"})
    with pytest.raises(TypeError):
        event_from_dict({"type": "text_delta"})
    with pytest.raises(KeyError):
        event_from_dict({"type": "message_finished", "message": {}})


def test_usage_adds_up():
    assert Usage(1, 2, 3, 4) + Usage(10, 20, 30, 40) == Usage(11, 22, 33, 44)
    assert Usage(1, 2).total_tokens == 3
