"""Tools that ask before they act, in a real kernel: typed answers, nobody there, an interrupt."""

from __future__ import annotations

import ast
import json
import time

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.kernel

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
    """A kernel with a tool that writes and one that does not."""
    assert kernel.run(TOOLS).status == "ok"
    return kernel


def ask(kernel, *answers: str, options: str = "", tools: str = "save,look", call: str = ""):
    """Run a cell whose model calls a tool; answer its questions; return the cell and them."""
    cell = kernel.start(f"%%agent {call or model('save', path='a.txt')} --tools {tools} {options}\ngo")
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
