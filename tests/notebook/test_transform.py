"""Which lines are lowered to an await, and which are left alone."""

from __future__ import annotations

import pytest

from tframex_nb.notebook.transform import lower_cell, lower_lines


def lower(source: str, *, may_await: bool = True) -> str:
    lines = source.splitlines(keepends=True)
    lines = lower_cell(lines, may_await=lambda: may_await)
    return "".join(lower_lines(lines, may_await=lambda: may_await))


def awaited(magic: str, line: str, body: str = "") -> str:
    holder = "AgentMagics" if magic in ("agent", "agents", "ask", "fix") else "FrameworkMagics"
    return (
        f'await get_ipython().magics_manager.registry["{holder}"]'
        f".awaited({magic!r}, {line!r}, {body!r})\n"
    )


def test_a_top_level_agent_cell_becomes_one_await():
    assert lower("%%agent bob -m demo\nhello\n") == awaited("agent", "bob -m demo", "hello\n")


def test_comments_and_blank_lines_before_the_magic_stay():
    """Export marks such as ``#| export`` stand above the magic."""
    lowered = lower("#| export\n\n%%agent\nhi {x} what?\n")
    assert lowered == "#| export\n\n" + awaited("agent", "", "hi {x} what?\n")


@pytest.mark.parametrize(
    "source",
    [
        "x = 1\n%%agent\nhi\n",
        "%%time\n%%agent\nhi\n",
        "%%agentsx\nhi\n",
        "%%agentic\nhi\n",
        "text = '''\n%ask no\n'''\n",
        "f(\n%ask no\n)\n",
        "x = 1 + \\\n%ask no\n",
        "%%writefile notes.txt\n%ask no\n",
        "%asking\n",
    ],
    ids=[
        "below code",
        "inside time",
        "longer cell name",
        "longer name",
        "string",
        "bracket",
        "continued",
        "other cell magic",
        "longer line name",
    ],
)
def test_everything_else_is_left_alone(source):
    assert lower(source) == source


def test_a_cell_that_may_not_await_keeps_its_magic():
    assert lower("%%agent\nhi\n", may_await=False) == "%%agent\nhi\n"


def test_ask_lines_keep_question_marks_braces_and_quotes():
    """IPython would take a trailing ``?`` for help and braces for variables."""
    lowered = lower("%ask what's {this}?\n%ask bob: and $that??\n")
    assert lowered == awaited("ask", "what's {this}?") + awaited("ask", "bob: and $that??")


def test_agents_is_lowered_as_a_line_a_value_and_a_cell():
    """What it asks anew may hold question marks and braces."""
    assert lower("%agents edit bob 1 why {x}?\n") == awaited("agents", "edit bob 1 why {x}?")
    assert lower("t = %agents\n") == "t = " + awaited("agents", "")
    assert lower("%%agents edit bob 1\nwhy?\n") == awaited("agents", "edit bob 1", "why?\n")


def test_an_indented_ask_becomes_a_call():
    """An await may not stand inside a function; a call may stand anywhere."""
    lowered = lower("for x in y:\n    %ask why?\n")
    assert lowered == "for x in y:\n    get_ipython().run_line_magic('ask', 'why?')\n"


def test_an_ask_after_other_magics_is_a_statement():
    assert lower("!ls 'x\n%time 1\n%ask a?\n").endswith(awaited("ask", "a?"))


@pytest.mark.parametrize("magic", ["compare", "framework"])
def test_cells_of_frameworks_become_one_await(magic):
    assert lower(f"%%{magic} crewai\nx = 1\n") == awaited(magic, "crewai", "x = 1\n")


def test_frameworks_lines_are_awaited_and_keep_their_value():
    assert lower("%frameworks\n") == awaited("frameworks", "")
    named = lower("t = %frameworks why qa --tools\n")
    assert named == "t = " + awaited("frameworks", "why qa --tools")


def test_an_indented_frameworks_line_becomes_a_call():
    lowered = lower("if x:\n    t = %frameworks\n")
    assert lowered == "if x:\n    t = get_ipython().run_line_magic('frameworks', '')\n"


@pytest.mark.parametrize("source", ["%frameworks?\n", "t = %frameworksx\n", "t = %ask a?\n"])
def test_lines_that_only_look_alike_stay(source):
    assert lower(source) == source
