"""People read a run in order, with what it cost, and nothing of it can harm them."""

from __future__ import annotations

import re

import pytest

from tests.test_markdown import ATTACKS, harm
from tframex_nb.errors import ServerError
from tframex_nb.messages import (
    ApprovalAsked,
    Message,
    MessageFinished,
    ReasoningDelta,
    Retrying,
    RunFinished,
    RunInterrupted,
    RunStarted,
    TextDelta,
    ToolCallStarted,
    ToolResult,
    Usage,
)
from tframex_nb.runs import Run
from tframex_nb.transcript import TerminalWriter, footer, to_markdown, to_text

STARTED = RunStarted("r", "analyst", "team:gpt")
STEPS = [
    STARTED,
    Retrying(2, 2.0, "rate-limited"),
    ReasoningDelta("I should add."),
    TextDelta("Let me see."),
    ToolCallStarted("c1", "add", '{"a": 2, "b": [3, "x"]}'),
    MessageFinished(Message("assistant", "Let me see.")),
    ToolResult("c1", "add", "5", seconds=0.003),
    TextDelta("It is **5**."),
    Usage(1200, 80),
    MessageFinished(Message("assistant", "It is **5**.")),
    RunFinished("It is **5**."),
]


def recorded(*events, **fields):
    run = Run(**fields)
    for event in events:
        run.record(event)
    return run


def test_a_run_reads_in_order():
    run = recorded(*STEPS, notes=("sent df: DataFrame 10 x 2",))
    lines = to_markdown(run).split("\n\n")
    assert lines[:-1] == [
        "*rate-limited; trying again in 2 s (attempt 2)*",
        "<details><summary>Reasoning · 3 words</summary>",
        "I should add.",
        "</details>",
        "Let me see.",
        '▸ `add(a=2, b=[3, "x"])` → `5` · 3 ms',
        "It is **5**.",
    ]
    assert re.fullmatch(
        r"\*team:gpt · native · 1,200 tokens in, 80 out · \d+ ms"
        r" · sent df: DataFrame 10 x 2\*",
        lines[-1],
    )


def test_a_rate_is_told_of_an_answer_that_took_a_while():
    """What came at once has no rate that means anything."""
    run = recorded(*STEPS)
    run.first_token_seconds, run.seconds = 0.5, 2.5
    assert "80 out · 2.5 s · 40 tokens/s" in to_text(run)
    run.notes = ("2 replayed, 1 recorded",)
    assert "tokens/s" not in to_text(run), "a recording comes at its own pace"
    run.notes, run.seconds = (), 0.55
    assert "tokens/s" not in to_text(run)
    asked = recorded(*STEPS, ApprovalAsked("1", "f"))
    asked.first_token_seconds, asked.seconds = 0.5, 2.5
    assert "tokens/s" not in to_text(asked), "a person took part of that time"


def test_plain_text_has_the_same_without_reasoning():
    text = to_text(recorded(*STEPS))
    assert text.startswith("rate-limited; trying again in 2 s (attempt 2)\n\nLet me see.\n\n")
    assert '> add(a=2, b=[3, "x"])\n  add -> 5 · 3 ms\n\nIt is **5**.\n\n[team:gpt' in text
    assert "I should add" not in text


def test_a_call_that_still_runs_is_seen():
    run = recorded(ToolCallStarted("c", "wait", "{}"))
    assert to_markdown(run, live=True).startswith("▸ `wait()` …\n")


def test_errors_of_tools_are_marked():
    run = recorded(ToolCallStarted("c", "div"), ToolResult("c", "div", "by zero", is_error=True))
    assert "→ `by zero` · **error** · 0 ms" in to_markdown(run)
    assert "div -> error: by zero" in to_text(run)


def test_long_calls_and_results_fold():
    run = recorded(ToolCallStarted("c", "read", "{}"), ToolResult("c", "read", "line\n" * 9000))
    shown = to_markdown(run)
    assert shown.startswith("<details><summary><code>read&#40;&#41;</code> · 0 ms</summary>")
    assert "… 41,000 characters more" in shown
    assert len(shown) < 5000


def test_arguments_that_are_no_object_are_shown_as_they_came():
    for raw in ("not json", "[1]", '{"a": ', "[" * 3000):
        run = recorded(ToolCallStarted("c", "f", raw))
        assert raw[:50] in to_text(run)
        assert harm(to_markdown(run)) == {}


def test_reasoning_shows_its_last_lines_while_nothing_follows():
    run = recorded(ReasoningDelta("\n".join(f"line {i} <b>" for i in range(50))))
    live = to_markdown(run, live=True)
    assert "line 49 &#60;b&#62;" in live
    assert "line 40" not in live
    assert "<details>" not in live
    run.record(TextDelta("Answer"))
    assert "<details><summary>Reasoning · 150 words</summary>" in to_markdown(run, live=True)


@pytest.mark.parametrize(
    ("event", "fields", "mark"),
    [
        (RunInterrupted(), {}, "stopped"),
        (RunFinished("x", "length"), {}, "truncated at the token limit"),
        (RunFinished("x"), {"model": "demo:slow"}, "demo: the words are scripted"),
    ],
)
def test_the_footer_marks_what_is_not_as_it_should_be(event, fields, mark):
    assert footer(recorded(TextDelta("x"), event, **fields)).startswith(mark)


def test_the_footer_names_the_error():
    run = recorded(TextDelta("partial"), error=ServerError("it broke"), status="failed")
    assert footer(run).startswith("failed: ServerError")
    assert "partial" in to_markdown(run)


def test_a_model_that_only_begins_alike_is_no_demo():
    assert "scripted" not in footer(recorded(model="demographics-7b"))


def test_agents_inside_are_named():
    run = recorded(STARTED, RunStarted("r2", "helper"), TextDelta("hi"), RunFinished("hi"))
    assert to_markdown(run).startswith("*agent helper*\n\nhi\n\n")


def test_only_what_grew_is_made_again():
    run = recorded(ReasoningDelta("why"), TextDelta("a"))
    to_markdown(run, live=True)
    before = run.parts[0].view[1]
    run.record(TextDelta("b"))
    assert "ab" in to_markdown(run, live=True)
    assert run.parts[0].view[1] is before


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_nothing_breaks_out_of_its_place(attack):
    """The same hostile text as reasoning, answer, arguments, result, names and notes."""
    run = recorded(
        RunStarted("r", attack, attack, attack),
        Retrying(2, 1.0, attack),
        ReasoningDelta(attack),
        TextDelta(attack),
        ToolCallStarted("c", attack, attack),
        MessageFinished(Message("assistant", attack)),
        ToolResult("c", attack, attack),
        ToolCallStarted("d", attack, '{"a": "x"}'),
        ToolResult("d", attack, attack * 9, is_error=True),
        RunStarted("r2", attack),
        ReasoningDelta(attack),
        notes=(attack,),
    )
    assert harm(to_markdown(run)) == {}
    assert harm(to_markdown(run, live=True)) == {}
    assert "\x1b" not in to_text(run)


def test_mathematics_does_not_reach_from_part_to_part():
    """What is open in one part must not swallow the code of the next."""
    code = "```html\n`<img src=x>\n```\n"
    for opening, closing in (("`$$", "$$"), ("` \\begin{a}", "\\end{a}"), ("`\\\\[", "\\\\]")):
        call = (ToolCallStarted("c", "f"), ToolResult("c", "f", "`<img src=x>\n" * 20))
        run = recorded(TextDelta(opening), *call, TextDelta("x"), TextDelta(closing))
        assert harm(to_markdown(run)) == {}
        run = recorded(ReasoningDelta(opening), TextDelta(code), *call, ReasoningDelta(closing))
        assert harm(to_markdown(run)) == {}


def terminal(*events, colour=True):
    writer, run = TerminalWriter(colour=colour), Run()
    out = []
    for event in events:
        run.record(event)
        out.append(writer.feed(event))
    return "".join(out) + writer.close(run)


def test_a_terminal_gets_the_text_as_it_comes():
    shown = terminal(*STEPS)
    assert shown.startswith(
        "rate-limited; trying again in 2 s (attempt 2)\n"
        "\x1b[2mI should add.\x1b[0m\n\nLet me see.\n"
        '> add(a=2, b=[3, "x"])\n  add -> 5 · 3 ms\nIt is **5**.\n[team:gpt'
    )


def test_a_terminal_without_colour_marks_reasoning():
    assert terminal(*STEPS[2:4], colour=False).startswith("(reasoning) I should add.\n\nLet me")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é \U0001f600", "plain é \U0001f600"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("a\x08\x7fb\u202ec", "abc"),
        ("[x](<y>) `<b>`", "[x](<y>) `<b>`"),
    ],
)
def test_a_terminal_obeys_nothing_wherever_the_text_is_cut(text, shown):
    for at in range(len(text) + 1):
        pieces = [TextDelta(text[:at]), TextDelta(text[at:])]
        assert terminal(*pieces).rpartition("\n[")[0] == shown
    assert terminal(*map(TextDelta, text)).rpartition("\n[")[0] == shown


def test_a_terminal_shows_text_that_was_not_streamed():
    whole = MessageFinished(Message("assistant", "whole"))
    assert terminal(whole).startswith("whole\n[")
    assert terminal(TextDelta("whole"), whole).startswith("whole\n[")
