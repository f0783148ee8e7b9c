"""Three sources, one stream: whatever order a framework calls tools in, a conversation holds."""

from __future__ import annotations

import itertools

import pytest

from tframex_nb.frameworks.merging import Merger
from tframex_nb.messages import (
    Message,
    MessageFinished,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolResult,
    Usage,
)
from tframex_nb.runs import Run


def record(run: Run, events) -> None:
    for event in events:
        run.record(event)


def valid(messages: tuple[Message, ...]) -> bool:
    """As endpoints want it: each call answered right behind its message, before anything else."""
    open_calls: list[str] = []
    for message in messages:
        if message.role == "tool":
            if message.tool_call_id not in open_calls:
                return False
            open_calls.remove(message.tool_call_id)
        elif open_calls:
            return False
        else:
            open_calls = [call.id for call in message.tool_calls]
    return not open_calls


def test_text_passes_at_once_and_becomes_the_last_message():
    merger, run = Merger(), Run(prompt="hi")
    for piece in ("a", "b"):
        out = merger.framework(TextDelta(piece))
        assert out == [TextDelta(piece)]
        record(run, out)
    record(run, merger.end("m"))
    assert run.text == "ab"
    assert [m.role for m in run.messages] == ["user", "assistant"]


def test_the_models_own_events_pass_and_its_message_does_not():
    """Reasoning and usage come from the model; its message is the framework's to tell."""
    merger = Merger()
    assert merger.model(ReasoningDelta("hm")) == [ReasoningDelta("hm")]
    assert merger.model(Usage(1, 2)) == [Usage(1, 2)]
    assert merger.model(MessageFinished(Message("assistant", "x"), "length")) == []
    assert merger.end("m")[-1].finish_reason == "length"


def test_a_call_gets_the_models_own_id_by_its_name_and_arguments():
    merger = Merger()
    wishes = (ToolCall("x1", "add", '{"a": 1}'), ToolCall("x2", "add", '{"a":2}'))
    merger.model(MessageFinished(Message("assistant", tool_calls=wishes), "tool_calls"))
    assert merger.call("add", '{"a": 2}').id == "x2"
    assert merger.call("add", '{"a": 1}').id == "x1"
    assert merger.call("add", '{"a": 1}').id not in {"x1", "x2"}


ORDERS = sorted(
    order
    for order in itertools.permutations(["a+", "a-", "b+", "b-", "c+", "c-"])
    if all(order.index(f"{n}+") < order.index(f"{n}-") for n in "abc")
)


@pytest.mark.parametrize("order", ORDERS, ids="".join)
def test_overlapping_calls_never_tear_a_call_from_its_result(order):
    """Every interleaving of three calls gives messages that an endpoint accepts."""
    merger, run = Merger(), Run(prompt="hi")
    record(run, merger.framework(TextDelta("before")))
    calls = {}
    for step in order:
        name = step[0]
        if step[1] == "+":
            calls[name] = merger.call(name, "{}")
            record(run, merger.framework(calls[name]))
        else:
            record(run, merger.framework(ToolResult(calls[name].id, name, f"got {name}")))
    record(run, merger.framework(TextDelta("after")))
    record(run, merger.end("m"))
    assert valid(run.messages)
    assert sorted(m.text for m in run.messages if m.role == "tool") == ["got a", "got b", "got c"]
    assert run.messages[1].text == "before"
    assert run.text == "after"
