"""Tools that ask in the cell before they act, as a person sees and answers them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from notebook_page import answer
from playwright.sync_api import expect

if TYPE_CHECKING:
    from notebook_page import NotebookPage
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser

TOOLS = """from tframex_nb import tool
done = []

@tool(writes=True)
def save(path: str, text: str = 'x'):
    'Save a text.'
    done.append((path, text)); return 'saved ' + path

@tool(writes=True)
def erase(path: str):
    'Erase a file.'
    done.append(('erased', path)); return 'gone'"""

HOSTILE = "<img src=x onerror=alert(1)><b>bold</b>"


@pytest.fixture
def book(book: NotebookPage) -> NotebookPage:
    """A notebook with tools that write."""
    book.run(TOOLS, paste=True)
    return book


def start(book: NotebookPage, name: str, options: str = "", **arguments: str) -> Locator:
    """Start a cell whose model calls a tool; wait until it asks."""
    call = json.dumps(arguments, separators=(",", ":"))
    line = f"%%agent -m 'tool-{name}-{call}' --tools save,erase {options}"
    cell = book.start(f"{line}\ngo", paste=True)
    expect(button(cell, "Allow")).to_be_visible()
    return cell


def button(cell: Locator, label: str) -> Locator:
    return cell.get_by_role("button", name=label, exact=True)


def field(cell: Locator) -> Locator:
    return cell.locator(".tframex-approval-arguments textarea")


def done(book: NotebookPage) -> str:
    return book.run("done").locator(".jp-OutputArea-output").last.inner_text()


def test_a_tool_runs_once_it_is_allowed(book: NotebookPage) -> None:
    """The question shows who, what and with which arguments; nothing of it stays."""
    cell = start(book, "save", path="a.txt", text=HOSTILE)
    expect(cell).to_contain_text("agent wants to call save (__main__.save): changes something")
    assert HOSTILE in field(cell).input_value()
    _picture(book, "asked")
    button(cell, "Allow").click()
    book.wait(cell)
    expect(answer(cell)).to_contain_text("save: allowed")
    expect(answer(cell)).to_contain_text("done")
    expect(button(cell, "Allow")).to_have_count(0)
    _picture(book, "allowed")
    assert HOSTILE in done(book)
    saved = book.saved()
    assert "widget" not in json.dumps(saved.cells)
    assert not saved.metadata.get("widgets")


def test_a_denied_tool_does_not_run_and_the_model_is_told_why(book: NotebookPage) -> None:
    cell = start(book, "erase", path="all")
    cell.get_by_placeholder("a reason, told to the model").fill("not that one")
    button(cell, "Deny").click()
    book.wait(cell)
    expect(answer(cell)).to_contain_text("erase: denied: not that one")
    expect(answer(cell)).to_contain_text("error")
    expect(button(cell, "Deny")).to_have_count(0)
    assert "erased" not in done(book)


def test_arguments_are_edited_and_refused_until_they_fit(book: NotebookPage) -> None:
    """What is no JSON, or does not fit, stays in the field beside the reason."""
    cell = start(book, "save", path="a.txt")
    field(cell).fill('{"path": ')
    button(cell, "Allow").click()
    expect(cell).to_contain_text("Not run:")
    _picture(book, "refused")
    assert field(cell).input_value() == '{"path": '
    field(cell).fill('{"path": "edited.txt", "text": "mine"}')
    button(cell, "Allow").click()
    book.wait(cell)
    expect(answer(cell)).to_contain_text("save: allowed, arguments edited")
    expect(answer(cell)).to_contain_text('save(path="edited.txt", text="mine")')
    assert "('edited.txt', 'mine')" in done(book)


def test_always_is_remembered(book: NotebookPage) -> None:
    """The next cell is not asked about this tool, but about another one."""
    cell = start(book, "save", path="first.txt")
    button(cell, "Always allow save").click()
    book.wait(cell)
    again = book.run('%%agent -m \'tool-save-{"path":"second.txt"}\' --tools save\ngo', paste=True)
    expect(answer(again)).to_contain_text("done")
    expect(answer(again)).not_to_contain_text("allowed")
    other = start(book, "erase", path="x")
    button(other, "Deny").click()
    book.wait(other)


def test_an_interrupt_takes_the_question_back(book: NotebookPage) -> None:
    cell = start(book, "erase", path="y")
    book.stop()
    book.wait(cell)
    expect(answer(cell)).to_contain_text("stopped")
    expect(button(cell, "Allow")).to_have_count(0)
    assert "('erased', 'y')" not in done(book)


def test_a_long_call_is_folded_until_it_is_asked_for(book: NotebookPage) -> None:
    cell = start(book, "erase", path="long " * 2000)
    shown = field(cell).input_value()
    assert len(shown) < 1000
    assert "(10,000 characters)" in shown
    expect(field(cell)).to_be_disabled()
    _picture(book, "folded")
    cell.get_by_role("button", name="Show all").click()
    expect(field(cell)).to_be_enabled()
    assert len(field(cell).input_value()) > 10_000
    button(cell, "Deny").click()
    book.wait(cell)


def test_a_run_in_the_background_asks_in_its_own_cell(book: NotebookPage) -> None:
    """Other cells run meanwhile, and the answer stands in the cell that asked."""
    cell = start(book, "erase", "--background --out h", path="behind")
    beside = book.run("6 * 7")
    expect(beside.locator(".jp-OutputArea-output")).to_have_text("42")
    button(cell, "Allow").click()
    expect(answer(cell)).to_contain_text("erase: allowed")
    expect(button(cell, "Allow")).to_have_count(0)
    assert "('erased', 'behind')" in done(book)


def _picture(book: NotebookPage, name: str) -> None:
    """Keep a picture for the eye where a folder is named."""
    folder = os.environ.get("PICTURES")
    if folder:
        book.page.screenshot(path=Path(folder) / f"approval-{book.app.kind}-{name}.png")
