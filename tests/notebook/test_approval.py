"""Tools that ask before they act, in a real kernel: typed answers, nobody there, an interrupt."""

from __future__ import annotations

import ast
import json

import nbformat
import pytest
from nbclient import NotebookClient

# named here too: older pytests do not look through a fixture of the same name for its scope
pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("shared_kernel")]

PATIENCE = 20.0  # seconds

TOOLS = """
from tframex_nb import tool
written = []

@tool(writes=True)
def save(path: str, text: str = 'x'):
    'Save a text.'
    written.append((path, text))
    return f'saved {path}'

def look(path: str):
    'Look at a file.'
    written.append(('look', path))
    return 'seen'
"""

HASTE = """
from tframex_nb.notebook import approvals
approvals.WAIT = approvals.WAIT_BEHIND = 0.2
"""


def model(name: str, **arguments: object) -> str:
    """Return an option that names a model which calls a tool."""
    return f"-m 'tool-{name}-{json.dumps(arguments, separators=(',', ':'))}'"


def value(kernel, expression: str):
    cell = kernel.run(expression)
    assert cell.status == "ok", cell.error
    return ast.literal_eval(cell.displays[-1]["text/plain"])


def question(kernel) -> str:
    """Wait for the next question that the running cell asks; return its text."""
    return kernel.client.get_stdin_msg(timeout=30)["content"]["prompt"]


@pytest.fixture
def kernel(kernel):
    """A kernel with a tool that writes and one that does not.

    The client here shows no widgets, so no question need wait long for one that does.
    """
    assert kernel.run(TOOLS).status == "ok"
    assert kernel.run(HASTE).status == "ok"
    return kernel


def ask(kernel, *answers: str, options: str = "", tools: str = "save,look", call: str = ""):
    """Run a cell whose model calls a tool; answer its questions; return the cell and them."""
    cell = kernel.start(
        f"%%agent {call or model('save', path='a.txt')} --tools {tools} {options}\ngo"
    )
    asked = []
    for answer in answers:
        asked.append(question(kernel))
        kernel.client.input(answer)
    return kernel.wait(cell), asked


def test_a_tool_that_writes_is_asked_about_and_runs_once_allowed(kernel):
    cell, (asked,) = ask(kernel, "y")
    assert cell.status == "ok", cell.error
    assert asked.startswith("agent wants to call save (__main__.save): changes something\n")
    assert '"path": "a.txt"' in asked
    assert asked.endswith("Allow? y(es), n(o) [and why], e(dit), a(lways): ")
    assert value(kernel, "written") == [("a.txt", "x")]
    assert "save: allowed" in cell.markdown
    assert "widget-view" not in json.dumps(cell.displays)


def test_a_denied_tool_does_not_run_and_the_model_is_told_why(kernel, clock):
    cell, _ = ask(kernel, "what?", "n not on a Sunday")
    assert value(kernel, "written") == []
    assert "save: denied: not on a Sunday" in cell.markdown
    told = clock.runs()[-1]["messages"][-1]
    assert told["role"] == "tool"
    assert "not on a Sunday" in told["content"]


def test_edited_arguments_reach_the_tool_once_they_fit(kernel):
    """What is refused is told with the reason, beside what was typed."""
    cell, asked = ask(kernel, "e", "{", '{"way": 1}', '{"path": "b.txt", "text": "t"}')
    assert value(kernel, "written") == [("b.txt", "t")]
    assert "Invalid JSON" in asked[2]
    assert '{"way": 1}\nis refused: ' in asked[3]
    assert "save: allowed, arguments edited" in cell.markdown


def test_always_holds_for_the_session_and_this_tool(kernel):
    define = TOOLS.replace("def save", "def keep")
    assert kernel.run(define).status == "ok"
    ask(kernel, "a", tools="keep", call=model("keep", path="1"))
    cell, _ = ask(kernel, tools="keep", call=model("keep", path="2"))
    assert "allowed" not in cell.markdown
    assert value(kernel, "written") == [("1", "x"), ("2", "x")]


def test_a_policy_of_the_cell_the_session_and_the_settings(kernel):
    """``--approve`` counts before ``%config``, that before the settings."""
    look = model("look", path="a")
    cell, _ = ask(kernel, call=look)
    assert "allowed" not in cell.markdown
    cell, _ = ask(kernel, "y", options="--approve all", call=look)
    assert "look: allowed" in cell.markdown
    ask(kernel, options="--approve never")
    assert kernel.run("%config TFrameX.approve = 'all'").status == "ok"
    cell, _ = ask(kernel, "y", call=look)
    assert "look: allowed" in cell.markdown
    assert kernel.run("%config TFrameX.approve = ''").status == "ok"
    environ = "import os; os.environ['TFRAMEX_APPROVE'] = {!r}".format
    kernel.run(environ("never"))
    ask(kernel)
    kernel.run("del os.environ['TFRAMEX_APPROVE']")
    assert value(kernel, "[name for name, _ in written].count('a.txt')") == 2


def test_a_file_of_a_folder_cannot_say_that_nobody_is_asked(kernel):
    """A stranger's project could let its own tools act unasked."""
    kernel.run("open('tframex.toml', 'w').write('approve = \"never\"')")
    _, asked = ask(kernel, "n")
    kernel.run("import os; os.remove('tframex.toml')")
    assert len(asked) == 1
    assert value(kernel, "written") == []


def test_an_interrupt_while_it_asks_ends_the_run_and_keeps_the_text(kernel):
    """The kernel is idle at once, and the next cell runs."""
    cell = kernel.start(f"%%agent {model('save', path='a')} --tools save\ngo")
    question(kernel)
    kernel.interrupt()
    kernel.wait(cell, PATIENCE)
    assert cell.status == "error"
    assert cell.error == ["Stopped: the run was interrupted; the partial answer is kept."]
    assert "stopped" in cell.markdown
    assert value(kernel, "written, _.status") == ([], "interrupted")


def test_nobody_can_answer_a_client_without_stdin(kernel, clock):
    """The call is denied with the reason and the way out; the run goes on."""
    cell = kernel.run(f"%%agent {model('save', path='a')} --tools save\ngo", allow_stdin=False)
    assert cell.status == "ok", cell.error
    reason = "save: denied: nobody can answer here; --approve never runs it unasked"
    assert reason in cell.displays[-1]["text/plain"]
    assert "nobody can answer here" in clock.runs()[-1]["messages"][-1]["content"]
    assert value(kernel, "written") == []


def test_a_run_in_the_background_never_asks_by_stdin(kernel):
    """Where no front end shows the question, the call is denied."""
    assert kernel.run(f"%%agent --background --out h {model('save', path='a')} --tools save\ngo")
    assert value(kernel, "(await h).status, written") == ("finished", [])
    assert "nobody can answer here" in value(kernel, "str(h.run.events)[:0] + repr(h.run.events)")
    assert not kernel.client.stdin_channel.msg_ready()


def test_a_question_shows_no_character_that_nobody_sees(kernel):
    """What turns text around, or moves the cursor, stands there as an escape."""
    call = model("save", path="a\u202etxt.exe", text="x\u0007\u009b2J")
    _, (asked,) = ask(kernel, "n", call=call)
    assert "a\\u202etxt.exe" in asked
    assert "\\u009b" in asked
    assert not {"\u202e", "\u009b", "\u0007"} & set(asked)


def test_a_long_call_is_cut_and_its_size_told(kernel):
    _, (asked,) = ask(kernel, "n", call=model("save", path="a", text="long" * 3000))
    assert len(asked) < 1000
    assert "… (12,000 characters)" in asked


def test_a_comparison_asks_for_each_framework(kernel):
    """%%compare takes the policy, too, and says whose question it is."""
    line = f"%%compare -f native {model('save', path='a')} --tools save"
    cell = kernel.start(f"{line}\ngo")
    assert question(kernel).startswith("agent wants to call save")
    kernel.client.input("n no")
    kernel.wait(cell)
    assert "save: denied: no" in cell.markdown
    assert kernel.run(f"{line} --approve never\ngo").status == "ok"
    assert value(kernel, "written") == [("a", "x")]


def test_nbclient_runs_a_notebook_to_its_end(clock, monkeypatch):
    monkeypatch.setenv("TFRAMEX_API_URL", clock.url)
    cells = ["%load_ext tframex_nb", TOOLS, f"%%agent {model('save', path='a')} --tools save\ngo"]
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c) for c in [*cells, "written"]]
    )
    NotebookClient(book, kernel_name="python3").execute()
    (shown,) = book.cells[2].outputs
    assert "save: denied: nobody can answer here" in shown.data["text/plain"]
    assert book.cells[3].outputs[0].data["text/plain"] == "[]"
