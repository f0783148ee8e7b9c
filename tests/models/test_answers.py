"""Answers that are right, in every shape in which servers send them: text exact, once, in order."""

from __future__ import annotations

import random

import pytest
from fault_server import ANSWER, WHOLE

from tframex_nb.http import Timeouts
from tframex_nb.messages import ReasoningDelta, ToolCall, ToolCallStarted, Usage
from tframex_nb.models._assembly import Assembly
from tframex_nb.models._bodies import load_json
from tframex_nb.models._sse import EventReader, EventTooLarge

CALLS = (ToolCall("a", "f", '{"x": 1}'), ToolCall("b", "g", "{}"))

TEXTS = {
    "plain": ANSWER,
    "byte_by_byte": ANSWER,
    "crlf": ANSWER,
    "cr": ANSWER,
    "bom": ANSWER,
    "bom_cut": ANSWER,
    "comments": ANSWER,
    "no_space": ANSWER,
    "ids_and_names": ANSWER,
    "multi_line": "a b",
    "glued": ANSWER,
    "no_done": ANSWER,
    "no_last_blank_line": ANSWER,
    "odd_done": ANSWER,
    "after_done": ANSWER,
    "first_null": ANSWER,
    "delta_null": ANSWER,
    "choices_null": ANSWER,
    "error_null": ANSWER,
    "separators": "a\u2028b\u0085c\u2029d\x0be",
    "two_choices": "right",
    "no_index": ANSWER,
    "split_surrogates": "a😀b",
    "lone_surrogate": "a\ufffdb",
    "refusal": "I can't help with that.",
    "think_almost": "<three>",
    "think_prefix": "  <thi",
    "big_event": "x" * 3_000_000,
    "empty_answer": "",
    "document": ANSWER,
    "document_as_stream": ANSWER,
    "document_bom": ANSWER,
    "wrong_kind": ANSWER,
    "no_kind": ANSWER,
    "status_201": ANSWER,
    "gzipped": ANSWER,
    "until_close": ANSWER,
    "cut_after_finish": ANSWER,
    "stall_after_done": ANSWER,
    "hints": ANSWER,
    "redirected": ANSWER,
}


@pytest.mark.parametrize("case", TEXTS)
def test_text_is_exact(ask, case):
    """The events' text, the message's text and the expected text are one."""
    outcome = ask(case)
    assert outcome.finished.message.text == outcome.text == TEXTS[case]
    assert outcome.finished.finish_reason == "stop"
    assert outcome.finished.message.reasoning == ""


REASONING = {
    "reasoning_content": ("hm so", "yes", "stop"),
    "reasoning": ("hm so", "yes", "stop"),
    "think": ("hm so", "yes", "stop"),
    "think_whole": ("hm so", "yes <think> no", "stop"),
    "think_open": ("hm so", "", "length"),
    "parts": ("hm", "ab", "stop"),
}


@pytest.mark.parametrize("case", REASONING)
def test_reasoning_is_kept_apart(ask, case):
    """In a field, under either name, as a part, or between tags cut over chunks."""
    outcome = ask(case)
    reasoning, text, reason = REASONING[case]
    assert "".join(e.text for e in outcome.of(ReasoningDelta)) == reasoning
    assert outcome.finished.message.reasoning == reasoning
    assert outcome.text == text
    assert outcome.finished.finish_reason == reason


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("think", "<think>\nhm so</think>\n\nyes"),
        ("think_whole", "<think>hm so</think>yes <think> no"),
    ],
)
def test_inline_leaves_think_blocks_in_the_text(ask, case, text):
    """The switch changes nothing in what the server wrote."""
    outcome = ask(case, reasoning="inline")
    assert outcome.text == text
    assert outcome.of(ReasoningDelta) == []


@pytest.mark.parametrize(
    ("case", "reason"),
    [("content_filter", "content_filter"), ("length", "length"), ("odd_finish", "eos_token")],
)
def test_finish_reason_is_passed_on(ask, case, reason):
    """Known or not, the endpoint's own word."""
    assert ask(case).finished.finish_reason == reason


USAGE = {
    "usage_own_chunk": Usage(9, 4, 1, 2),
    "usage_on_finish": Usage(9, 4),
    "usage_each_chunk": Usage(9, 4),
    "usage_odd": Usage(0, 0),
}


@pytest.mark.parametrize("case", USAGE)
def test_usage_comes_once(ask, case):
    """On its own chunk, on the last one, or on every one: the last figure counts, once."""
    outcome = ask(case)
    assert outcome.of(Usage) == [USAGE[case]]
    assert outcome.text == "a"


SAME_CALLS = [
    "tools_openai",
    "tools_interleaved",
    "tools_no_index",
    "tools_index_always_0",
    "tools_repeated",
    "tools_random_ids",
    "tools_one_delta",
    "tools_objects",
]


@pytest.mark.parametrize("case", SAME_CALLS)
def test_tool_calls_are_assembled(ask, case):
    """However the server cuts them, they are the same two calls, in order."""
    outcome = ask(case)
    assert outcome.finished.message.tool_calls == CALLS
    started = outcome.of(ToolCallStarted)
    assert tuple(ToolCall(e.id, e.name, e.arguments) for e in started) == CALLS


@pytest.mark.parametrize("case", ["tools_no_ids", "tools_same_id"])
def test_tool_calls_get_ids_of_their_own(ask, case):
    """A missing or doubled id is made, so that each result can name its call."""
    calls = ask(case).finished.message.tool_calls
    assert [(c.name, c.arguments) for c in calls] == [("f", '{"x": 1}'), ("g", "{}")]
    assert len({c.id for c in calls}) == 2
    assert all(c.id for c in calls)


def test_tool_calls_in_odd_shapes(ask):
    """A name in pieces, arguments that are no JSON, the older protocol, a whole document."""
    assert ask("tools_name_in_pieces").finished.message.tool_calls[0].name == "get_weather"
    assert ask("tools_bad_json").finished.message.tool_calls[0].arguments == '{"x": '
    legacy = ask("tools_legacy").finished
    assert (legacy.message.tool_calls[0].name, legacy.finish_reason) == ("f", "function_call")
    assert legacy.message.tool_calls[0].arguments == '{"x": 1}'
    assert ask("document_tools").finished.message.tool_calls == CALLS[:1]


def test_comments_keep_a_slow_stream_alive(ask):
    """Silence between chunks is what the bound measures, and a comment breaks the silence."""
    bounds = Timeouts(connect=5, first_byte=5, between_chunks=0.2, run=0.4)
    error = ask("endless_comments_later", timeouts=bounds).error
    assert error.phase == "whole run"


def _read(data: bytes, cuts: list[int]) -> str:
    """Read a stream cut at the given offsets; return the text."""
    reader, assembly = EventReader(), Assembly()
    events: list = []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        for _, item in reader.feed(data[start:end]):
            if item != b"[DONE]":
                assembly.take(load_json(item), events)
    return "".join(event.text for event in events)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_text_is_exact_under_random_cuts(newline):
    """Wherever the bytes are cut: inside CRLF, UTF-8, a field's name, the BOM."""
    data = b"\xef\xbb\xbf" + WHOLE.replace(b"\n", newline)
    chance = random.Random(7)
    for _ in range(300):
        count = chance.randint(0, 40)
        cuts = sorted(chance.randrange(len(data)) for _ in range(count))
        assert _read(data, cuts) == ANSWER
    assert _read(data, list(range(1, len(data)))) == ANSWER


def test_think_tags_under_random_cuts():
    """Tags cut anywhere, at any number of places, and text that only looks like a tag."""
    raw = "\n<think>\n a < b </thin k </think>\n\n<think>more</think> so <think>: </think> 1 <"
    chance = random.Random(11)
    for _ in range(300):
        cuts = sorted(chance.randrange(len(raw)) for _ in range(chance.randint(0, 30)))
        assembly = Assembly()
        events: list = []
        for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
            assembly.take({"choices": [{"delta": {"content": raw[start:end]}}]}, events)
        assembly.finish_reason = "stop"
        message = assembly.end()[-1].message
        assert message.text == "so <think>: </think> 1 <"
        assert message.reasoning == "a < b </thin k more"


def test_reader_bounds_an_event():
    """Neither a line without an end nor an event without an end grows beyond the bound."""
    for piece in (b"data: " + b"x" * 600, b"data: " + b"x" * 600 + b"\n"):
        reader = EventReader(limit=1000)
        reader.feed(piece)
        with pytest.raises(EventTooLarge):
            reader.feed(piece)


def test_reader_takes_many_events_beyond_the_bound():
    """The bound is for one event, not for the stream."""
    reader = EventReader(limit=1000)
    events = [event for _ in range(50) for event in reader.feed(b"data: " + b"x" * 99 + b"\n\n")]
    assert len(events) == 50
