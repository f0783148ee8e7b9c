"""``--schema`` and ``--as`` in a real kernel: what is asked, shown, bound and inserted."""

from __future__ import annotations

import pytest
from scripted_server import Say, server

__all__ = ["server"]

pytestmark = pytest.mark.kernel

TYPES = """
from dataclasses import dataclass
from typing import Literal
from pydantic import BaseModel

class Invoice(BaseModel):
    total: float
    note: str | None = None

@dataclass
class Point:
    x: int
    y: int

city = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
}
answer_to_all = 42
"""
CODE = "Sure:\n\n```python\nprint('never run')\n```\n\nThat prints."


@pytest.fixture
def typed(kernel):
    """The kernel with types to ask for."""
    assert kernel.run(TYPES).status == "ok"
    return kernel


def value(kernel, expression: str) -> str:
    cell = kernel.run(expression)
    assert cell.status == "ok", cell.error
    return cell.displays[-1]["text/plain"]


def ask(kernel, server, options: str, *replies: str | Say, prompt: str = "go"):
    """Run a cell on the scripted server."""
    server.say(*replies)
    return kernel.run(f"%%agent --api-url {server.url} -m scripted {options}\n{prompt}")


@pytest.mark.parametrize(
    ("schema", "said", "shown"),
    [
        ("Invoice", '{"total": 3}', "Invoice(total=3.0, note=None)"),
        ("Point", '{"x": 1, "y": 2}', "Point(x=1, y=2)"),
        ("city", '{"name": "Oslo"}', "{'name': 'Oslo'}"),
        ("list[Point]", '{"answer": [{"x": 1, "y": 2}]}', "[Point(x=1, y=2)]"),
        ("\"Literal['yes', 'no']\"", '{"answer": "no"}', "'no'"),
    ],
)
def test_the_output_is_an_instance_of_the_notebooks_type(typed, server, schema, said, shown):
    cell = ask(typed, server, f"--schema {schema} --out r", said)
    assert cell.status == "ok", cell.error
    assert value(typed, "r.output") == shown
    assert "```json\n" in cell.markdown
    assert len(cell.displays) == 1


def test_a_type_of_a_cell_is_looked_up_at_each_run(typed, server):
    typed.run("class Invoice(BaseModel):\n    amount: int")
    ask(typed, server, "--schema Invoice --out r", '{"amount": 3}')
    assert value(typed, "r.output") == "Invoice(amount=3)"


def test_a_json_schema_is_named_after_its_variable(typed, server):
    ask(typed, server, "--schema city", '{"name": "Oslo"}')
    assert server.requests[0].body["response_format"]["json_schema"]["name"] == "city"


def test_an_invalid_answer_is_asked_for_again_in_the_cell(typed, server):
    cell = ask(typed, server, "--schema Invoice --out r", '{"total": "x"}', '{"total": 3}')
    assert cell.status == "ok", cell.error
    assert "answer 1 of 3 does not match Invoice" in cell.markdown
    assert value(typed, "r.output.total") == "3.0"


def test_after_the_last_try_the_cell_is_red_and_keeps_the_text(typed, server):
    cell = ask(typed, server, "--schema Invoice --tries 2 --out r", "{}", '{"total": []}')
    assert cell.status == "error"
    assert cell.error[0].startswith("InvalidAnswer: 'agent' gave no answer that matches Invoice")
    assert cell.error[0].endswith("in 2 tries: total: Input should be a valid number, got []")
    assert len(cell.error) == 2
    assert value(typed, "r.text, r.status, r.output") == "('{\"total\": []}', 'failed', None)"


def test_an_endpoint_that_refuses_the_form_is_told_in_the_prompt(typed, server):
    refusal = Say(status=400, error="response_format is not supported")
    cell = ask(typed, server, "--schema Invoice", refusal, '{"total": 3}')
    assert cell.status == "ok", cell.error
    assert "refuses response" in cell.markdown
    assert '"total"' in server.requests[1].texts[-1]


def test_tools_and_a_schema_go_together(typed, server):
    typed.run("def add(a: int, b: int) -> int:\n    return a + b")
    call = Say(calls=[("add", {"a": 1, "b": 2})])
    cell = ask(typed, server, "--schema Invoice --tools add --out r", call, "3", '{"total": 3}')
    assert cell.status == "ok", cell.error
    assert value(typed, "r.output.total, len(r.tool_calls)") == "(3.0, 1)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--schema Invoce", "'Invoce' is not defined"),
        ("--schema Invoice[", "--schema Invoice[: not a type"),
        ("--schema Invoice.total.x", "--schema Invoice.total.x: AttributeError"),
        ("--schema None", "--schema None: that is None"),
        ("--schema Invoice --as code", "--as code: what matches a --schema is shown as JSON"),
        ("--as yaml", "invalid choice: 'yaml'"),
        ("--tries 2", "--tries is for --schema"),
        ("-p schema=x", "schema is no sampling parameter; use --schema"),
        ("-p tries=3", "tries is no sampling parameter; use --tries"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_asked(
    typed, server, options, words
):
    cell = ask(typed, server, f"fresh_name {options}")
    assert cell.status == "error"
    assert cell.stderr.startswith("UsageError: ")
    assert words in cell.stderr
    assert not server.requests
    assert value(typed, "'fresh_name' in globals()") == "False"


def test_a_value_that_is_no_type_is_refused(typed, server):
    cell = ask(typed, server, "fresh_name --schema answer_to_all")
    assert cell.error[0].startswith("InvalidInput: schema=42 is no type")
    assert value(typed, "'fresh_name' in globals()") == "False"


def test_a_schema_belongs_to_a_prompt(typed, server):
    cell = typed.run("%%agent clerk --define --schema Invoice")
    assert "--schema is for one run" in cell.stderr


def test_code_is_shown_alone_and_inserted_and_never_run(typed, server):
    cell = ask(typed, server, "--as code --out r", CODE)
    assert cell.status == "ok", cell.error
    assert cell.markdown.startswith("```python\nprint('never run')\n```\n\n*")
    assert "Sure" not in cell.markdown
    assert cell.reply["payload"] == [
        {"source": "set_next_input", "text": "print('never run')", "replace": False}
    ]
    assert cell.stdout == ""
    assert value(typed, "r.output, r.text.startswith('Sure')") == "(\"print('never run')\", True)"
    assert "fenced block" in server.requests[0].texts[0]


def test_a_cell_that_gives_the_same_code_again_inserts_nothing(typed, server):
    """Or Run All would leave a copy each time."""
    line = f"%%agent --api-url {server.url} -m scripted --as code\ngo"
    server.say(CODE, CODE, CODE.replace("never", "not"))
    first, again, changed = (typed.run(line, cell_id="coder") for _ in range(3))
    assert [len(cell.reply["payload"]) for cell in (first, again, changed)] == [1, 0, 1]


@pytest.mark.parametrize(
    ("said", "inserted"),
    [
        ("x = 1\nprint(x)", ["x = 1\nprint(x)"]),
        ("```bash\nls\n```", ["%%bash\nls"]),
        ("```rust\nfn main() {}\n```", []),
        ("There is no code for that.", []),
        ("```\na = 1\n```\n```\nb = 2\n```", ["a = 1"]),
    ],
    ids=["bare", "bash", "rust", "none", "two"],
)
def test_only_what_a_cell_can_hold_is_inserted(typed, server, said, inserted):
    cell = ask(typed, server, "--as code", said)
    assert cell.status == "ok", cell.error
    assert [p["text"] for p in cell.reply["payload"]] == inserted


def test_json_is_checked_and_pretty(typed, server):
    cell = ask(typed, server, "--as json --out r", '{"a": [1, 2]}')
    assert cell.status == "ok", cell.error
    assert '```json\n{\n  "a": [\n    1,\n    2\n  ]\n}\n```' in cell.markdown
    assert value(typed, "r.output") == "{'a': [1, 2]}"
    assert server.requests[0].body["response_format"] == {"type": "json_object"}


def test_what_is_no_json_is_asked_for_again(typed, server):
    cell = ask(typed, server, "--as json --tries 2", "No.", "No!")
    assert cell.status == "error"
    assert cell.error[0].startswith("InvalidAnswer: 'agent' gave no answer that matches JSON")


def test_text_is_shown_as_it_came(typed, server):
    cell = ask(typed, server, "--as text", "# no *heading* <b>\n  indented")
    assert cell.status == "ok", cell.error
    assert "```text\n# no *heading* <b>\n  indented\n```" in cell.markdown
    assert "plain text" in server.requests[0].texts[0]


def test_markdown_is_what_it_always_was(typed, server):
    cell = ask(typed, server, "--as markdown", "# a *heading*")
    assert cell.markdown.startswith("# a *heading*\n\n*")
    assert server.requests[0].roles == ["user"]


def test_a_form_holds_for_one_run(typed, server):
    """The agent keeps its own system message, and its next answer is Markdown again."""
    ask(typed, server, "coder --system Be-brief --as code", CODE)
    cell = typed.run(f"%%agent coder --api-url {server.url} -m scripted\nagain")
    assert cell.status == "error"  # the script is used up: what counts is what was asked
    assert server.requests[0].texts[0].startswith("Be-brief\n\nAnswer with code alone")
    assert server.requests[1].texts[0] == "Be-brief"


def test_a_systems_answer_is_checked_as_json_too(typed, server):
    typed.run(
        "from tframex_nb import ChainOfAgents, VLLMModel\n"
        f"chain = ChainOfAgents('chain', VLLMModel('scripted', {server.url!r}))\n"
        "story = 'Once upon a time.'"
    )
    server.answer = lambda _: Say('{"a": 1}')
    cell = typed.run("%%agent chain -c story --as json --out r\ngo")
    assert cell.status == "ok", cell.error
    assert value(typed, "r.output") == "{'a': 1}"
    server.answer = lambda _: Say("no")
    cell = typed.run("%%agent chain -c story --as json\ngo")
    assert cell.error[0].startswith("InvalidAnswer: 'chain' gave no JSON")
    cell = typed.run("%%agent chain -c story --schema Invoice\ngo")
    assert "--schema is for agents only" in cell.stderr


def test_options_and_types_complete(typed):
    assert "--schema" in typed.complete("%%agent --sc\nx", 12)
    assert "Invoice" in typed.complete("%%agent --schema Inv\nx", 20)
    assert typed.complete("%%agent --as \nx", 13) == ["code", "json", "markdown", "text"]


def test_a_background_run_has_its_output(typed, server):
    cell = ask(typed, server, "--schema Invoice --background --out h", '{"total": 3}')
    assert cell.status == "ok", cell.error
    assert value(typed, "(await h).output.total") == "3.0"


def compare(kernel, server, options: str, *replies: str | Say):
    server.say(*replies)
    line = f"%%compare -f native --api-url {server.url} -m scripted --out c {options}"
    return kernel.run(f"{line}\ngo")


def test_a_comparison_has_typed_outputs(typed, server):
    cell = compare(typed, server, "--schema Invoice", '{"total": "x"}', '{"total": 3}')
    assert cell.status == "ok", cell.error
    assert "answer 1 of 3 does not match Invoice" in cell.markdown
    assert "```json\n" in cell.markdown
    assert value(typed, "c.outputs") == "{'native': Invoice(total=3.0, note=None)}"
    assert value(typed, "c.to_pandas()['output'][0].total") == "3.0"


def test_a_side_that_never_matches_is_a_row_of_the_table(typed, server):
    cell = compare(typed, server, "--schema Invoice --tries 1", "{}")
    assert cell.error[0].startswith("FrameworkError: no framework answered: native")
    assert value(typed, "type(c.errors['native']).__name__, c.outputs") == "('InvalidAnswer', {})"
    assert "InvalidAnswer: 'agent' gave no answer that matches Invoice" in cell.markdown


def test_a_comparison_of_code_shows_it_and_inserts_nothing(typed, server):
    cell = compare(typed, server, "--as code", CODE)
    assert cell.status == "ok", cell.error
    assert "```python\nprint('never run')\n```" in cell.markdown
    assert "Sure" not in cell.markdown.split("| framework")[0]
    assert cell.reply["payload"] == []
    assert value(typed, "c.outputs") == "{'native': \"print('never run')\"}"
    assert "fenced block" in server.requests[0].texts[0]


def test_options_of_a_comparison_are_checked_before_anything_is_asked(typed, server):
    cell = compare(typed, server, "--schema Invoce")
    assert "'Invoce' is not defined" in cell.stderr
    cell = compare(typed, server, "--schema Invoice --as code")
    assert "what matches a --schema is shown as JSON" in cell.stderr
    assert not server.requests
    assert "--schema" in typed.complete("%%compare --sc\nx", 14)
