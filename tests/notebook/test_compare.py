"""``%%compare``: the same question to several frameworks, side by side, one table at the end."""

from __future__ import annotations

import pytest

from tframex_nb.errors import FrameworkNotInstalled
from tframex_nb.messages import (
    Message,
    MessageFinished,
    RunFinished,
    RunStarted,
    TextDelta,
    ToolCallStarted,
    ToolResult,
    Usage,
)
from tframex_nb.notebook.sides import Comparison, Side
from tframex_nb.runs import Run

HOSTILE = "</div></td><script>x()</script> ![](http://evil/)\n\n```\nan unclosed fence </div>"


def ran(text: str, framework: str) -> Run:
    run = Run(framework=framework, prompt="hi")
    for event in (
        RunStarted("1", "agent", "gpt", framework),
        ToolCallStarted("c", "weather", '{"city": "Rome"}'),
        ToolResult("c", "weather", "sunny"),
        TextDelta(text),
        Usage(12, 34),
        MessageFinished(Message("assistant", text)),
        RunFinished(text),
    ):
        run.record(event)
    return run


@pytest.fixture
def made() -> Comparison:
    refused = FrameworkNotInstalled(
        "crewai cannot run here: not installed", hint="%frameworks install crewai"
    )
    sides = (
        Side("native", ran("Forty-two.", "native")),
        Side("auto", ran(HOSTILE, "langgraph")),
        Side("crewai", error=refused),
    )
    return Comparison("hi", sides, ("not ready: autogen",))


def test_a_comparison_has_the_runs_by_the_names_that_were_asked(made):
    assert {name: run.framework for name, run in made.runs.items()} == {
        "native": "native",
        "auto": "langgraph",
    }
    assert list(made.errors) == ["crewai"]


def test_the_frame_has_one_row_each_with_the_whole_answer_and_numbers_as_numbers(made):
    frame = made.to_pandas()
    assert list(frame["framework"]) == ["native", "auto: langgraph", "crewai"]
    assert frame["answer"][1] == HOSTILE
    assert list(frame["completion_tokens"][:2]) == [34, 34]
    assert list(frame["tool_calls"][:2]) == [1, 1]
    assert (frame["seconds"][:2] >= frame["first_token_seconds"][:2]).all()
    assert list(frame["status"]) == ["finished", "finished", "failed"]
    assert frame["error"][2] == (
        "FrameworkNotInstalled: crewai cannot run here: not installed; %frameworks install crewai"
    )


def test_what_a_model_writes_cannot_leave_its_column(made):
    """The only HTML is ours: a row, three columns, and their ends."""
    shown = made.to_markdown()
    assert shown.count("<div ") == 4
    assert shown.count("</div>") == 5  # the fifth is text, inside the fence that was closed
    fence = shown[shown.index("```") : shown.rindex("```")]
    assert "</div>" in fence
    assert "<script" not in shown
    assert "![" not in shown


def test_the_table_names_the_start_of_each_answer_and_why_one_is_missing(made):
    lines = str(made.table).splitlines()
    assert lines[1].split()[:2] == ["native", "Forty-two."]
    assert "%frameworks install crewai" in lines[3]
    assert lines[-1] == "not ready: autogen"


def test_plain_text_holds_every_answer_below_its_name(made):
    text = str(made)
    assert text.index("--- native ---") < text.index("Forty-two.") < text.index("--- auto: lang")
    assert "crewai cannot run here" in text


def test_a_note_is_text_and_no_markdown(made):
    made.notes = ("sent <img src=x> ![](http://evil/)",)
    shown = made.to_markdown()
    assert "<img" not in shown
    assert "![" not in shown


def test_while_it_lasts_a_silent_framework_is_said_to_be_waited_for():
    waiting = Comparison("hi", (Side("native"), Side("auto", ran("here", "langgraph"))))
    shown = waiting.to_markdown(live=True)
    assert "*waiting … 0 s*" in shown
    assert "here" in shown
    assert "first token" not in shown
