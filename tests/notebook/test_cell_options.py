"""Options and surroundings of a cell that a person gets wrong, or that IPython changes."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.kernel


def value(kernel, expression: str) -> str:
    cell = kernel.run(expression)
    assert cell.status == "ok", cell.error
    return cell.displays[-1]["text/plain"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("%%agent -p model=gpt\nhi", "model is no sampling parameter; use --model"),
        ("%%agent -p tools=[]\nhi", "tools is no sampling parameter; use --tools"),
        ("%%agent -p system=x\nhi", "system is no sampling parameter; use --system"),
        ("%%agent -p messages=[]\nhi", "messages is no sampling parameter; the cell sets it"),
        ("%%agent -p turn=3\nhi", "turn is no sampling parameter; the cell sets it"),
        ("%%agent print\nhi", "no agent can be called 'print': Python itself uses the name"),
        ("%%agent class\nhi", "no agent can be called 'class': it is no name in Python"),
        ("%%agent table\nhi", "no agent can be called 'table': the name holds a dict"),
        ("%%agent --out bob bob\nhi", "that name holds the agent, and bob.last is its last run"),
        ("%%agent --out ann bob\nhi", "that name holds the agent, and ann.last is its last run"),
        ("%ask ann:", "nothing asked"),
        ("%%agent --out class\nhi", "--out 'class' is not a name that Python allows"),
    ],
)
def test_what_would_break_the_notebook_is_refused_in_one_line(kernel, clock, code, words):
    kernel.run("%%agent ann --define")
    kernel.run("table = {}")
    cell = kernel.run(code)
    assert cell.status == "error"
    assert cell.stderr.startswith("UsageError: ")
    assert words in cell.stderr
    assert not clock.runs()
    assert value(kernel, "type(ann).__name__") == "'Agent'"


def test_a_bound_below_one_is_refused_where_it_is_set(kernel, clock):
    cell = kernel.run("%%agent --max-steps 0\nhi")
    assert cell.error[0] == "InvalidInput: max_steps=0: agent could not ask its model even once"
    assert not clock.runs()


def test_a_model_that_means_nothing_leaves_no_empty_display(kernel):
    cell = kernel.run("%%agent -m openai:gpt\nhi")
    assert cell.error[0].startswith("SettingsError: ")
    assert not cell.displays


def test_captured_cells_hold_one_output(kernel):
    """Updates would be outputs of their own to %%capture."""
    kernel.run("%%capture kept\n%ask hi")
    assert value(kernel, "[o.data['text/plain'][:3] for o in kept.outputs if o.data]") == "['ZQ0']"


def test_another_loop_runner_takes_the_synchronous_path(kernel):
    """``%autoawait trio`` would hand the awaited cell to trio, installed or not."""
    kernel.run("%autoawait trio")
    try:
        cell = kernel.run("%%agent\ngo")
    finally:
        kernel.run("%autoawait asyncio")
    assert cell.status == "ok", cell.error
    assert cell.markdown.startswith("ZQ0 001")


def test_config_refuses_a_model_that_means_nothing_and_takes_the_choice_back(kernel, clock):
    cell = kernel.run("%config TFrameX.model = 'openai:gpt'")
    assert "openai needs an API key" in cell.stderr
    assert "Current: ''" in kernel.run("%config TFrameX").stdout
    kernel.run("%config TFrameX.model = 'demo:fast'")
    kernel.run("%%agent\nhi")
    assert not clock.runs()
    kernel.run("%config TFrameX.model = ''")
    kernel.run("%%agent\nhi")
    assert len(clock.runs()) == 1


def test_an_unknown_agent_is_told_what_to_do_in_whole_sentences(kernel):
    kernel.run("%%agent ann --define")
    cell = kernel.run("%agents show xyz")
    assert cell.error[1] == "hint: known: ann; define one with: %%agent xyz --define"
