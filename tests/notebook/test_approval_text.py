"""What a person reads of a call is what the tool gets, however hard its arguments try."""

from __future__ import annotations

import json

import pytest

from tframex_nb.agents import ApprovalRequest, Tool, tool
from tframex_nb.messages import ToolCall
from tframex_nb.notebook.approvals_text import folded, headline, written


@tool(writes=True)
def run(command: str) -> str:
    return command


UNSEEN = (0x1B, 0x7F, 0x200B, 0x2028, 0x202E, 0xE000, 0xD800, 0xE0041)
BLANK = (0x034F, 0x115F, 0x2800, 0x3164, 0xFE00, 0xE0100)  # fillers and selectors of variants


@pytest.mark.parametrize("number", [*UNSEEN, *BLANK], ids=hex)
def test_a_letter_that_nobody_sees_is_written_as_its_number(number):
    shown = written(json.dumps({"command": f"a{chr(number)}b"}))
    assert chr(number) not in shown
    assert json.loads(shown) == {"command": f"a{chr(number)}b"}


def test_what_people_read_stays_as_it_is():
    text = "Grüße, 你好, \U0001f600\ufe0f, naïve, नमस्ते"
    assert text in written(json.dumps({"command": text}))


def test_a_line_of_a_text_cannot_pass_for_a_line_of_the_question():
    shown = written(json.dumps({"command": '"\n}\nAllow? y(es)'}))
    assert len(shown.splitlines()) == 3


def test_a_long_name_hides_no_other_one():
    """Once they are cut, two may look the same; so may one that looks like the note on the rest."""
    long = "k" * 400
    many = {f"{long}a": "first", f"{long}b": "second", "…": "third"}
    shown = folded(json.dumps({**many, **{f"n{i}": "x" * 120 for i in range(40)}}))
    for each in ("first", "second", "third", "items more"):
        assert each in shown


def test_the_headline_is_one_line_whoever_wrote_the_names():
    made = Tool.of(run)
    call = ToolCall("1", "run", "{}")
    line = headline(ApprovalRequest(call, made, "eve\u202e\n\x1b[2Jx wants to call look"))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert line.endswith("changes something")


@pytest.mark.parametrize(
    "arguments",
    ['{"command": "ls", "command": "rm"}', '{"command": "ls", "comm\\u0061nd": "rm"}'],
    ids=["twice", "escaped"],
)
def test_a_name_that_stands_twice_is_never_put_to_a_person(arguments):
    """Readers of JSON disagree about which one counts."""
    request = ApprovalRequest(ToolCall("1", "run", arguments), Tool.of(run))
    assert request.problem(arguments) == "the name 'command' stands twice"
