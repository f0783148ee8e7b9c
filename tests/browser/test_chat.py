"""A chat as a person has it: typed, pressed and read in JupyterLab and Notebook 7."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from notebook_page import errors
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from notebook_page import NotebookPage
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser

WIDGETS = '[data-mime-type="application/vnd.jupyter.widget-view+json"]'
THEME = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"


def past(cell: Locator) -> Locator:
    """The turns that were."""
    return cell.locator(".jp-RenderedMarkdown").nth(0)


def now(cell: Locator) -> Locator:
    """The turn that is, or an error."""
    return cell.locator(".jp-RenderedMarkdown").nth(1)


def button(cell: Locator, name: str) -> Locator:
    return cell.get_by_role("button", name=name)


def box(cell: Locator) -> Locator:
    return cell.locator("textarea")


def picture(book: NotebookPage, name: str) -> None:
    """Keep a screenshot where ``SCREENSHOTS`` names a folder for them."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        book.page.screenshot(path=Path(folder) / f"chat-{name}-{book.app.kind}.png")


def test_a_chat_is_typed_streamed_stopped_and_changed(book: NotebookPage) -> None:
    """On the conversation of the cells, which run meanwhile; plain Markdown is saved."""
    book.run("%%agent ann\nOne?")
    cell = book.run("%agents chat ann")
    expect(past(cell)).to_contain_text("One?")
    box(cell).click()
    book.page.keyboard.type("Two, by Enter?")
    book.page.keyboard.press("Enter")
    expect(past(cell)).to_contain_text("Two, by Enter?")
    expect(box(cell)).to_have_value("")
    assert box(cell).evaluate("box => box === document.activeElement")

    book.run("ann.model = 'text-100000-r50'")
    box(cell).fill("Three, by Send?")
    button(cell, "Send").click()
    expect(now(cell)).to_contain_text("ZQ0 001")
    expect(button(cell, "Send")).to_be_disabled()
    other = book.run("print('beside'); 6 * 7")
    expect(other.locator(".jp-OutputArea")).to_contain_text("beside")
    picture(book, "running")
    button(cell, "Stop").click()
    expect(past(cell)).to_contain_text("stopped")
    expect(past(cell)).to_contain_text("Three, by Send?")
    expect(button(cell, "Stop")).to_be_disabled()

    book.run("ann.model = 'text-40'")
    cell.locator("select").select_option(label="1: One?")
    expect(box(cell)).to_have_value("One?")
    box(cell).fill("One, changed?")
    button(cell, "Ask turn 1 anew").click()
    expect(past(cell)).to_contain_text("One, changed?")
    expect(past(cell).get_by_text("stale")).to_have_count(2)
    picture(book, "stale")
    button(cell, "Re-run stale turns").click()
    expect(past(cell).get_by_text("stale")).to_have_count(0)
    expect(button(cell, "Re-run stale turns")).to_be_hidden()
    expect(errors(cell)).to_have_count(0)
    if book.app.kind == "lab":
        book.page.evaluate(THEME, "JupyterLab Dark")
        expect(book.page.locator("#jupyterlab-splash")).to_have_count(0)
        picture(book, "dark")
        book.page.evaluate(THEME, "JupyterLab Light")
    picture(book, "light")

    button(cell, "Close").click()
    expect(box(cell)).to_have_count(0)
    expect(cell.locator(WIDGETS)).to_have_count(0)
    picture(book, "closed")
    saved = next(c for c in book.saved().cells if c.source == "%agents chat ann")
    assert "One, changed?" in saved.outputs[0].data["text/markdown"]
    assert "widget" not in str(saved.outputs)


def test_hostile_text_stays_text_in_a_chat(book: NotebookPage) -> None:
    """Neither a prompt nor the name of a turn runs or loads anything."""
    evil = "<img src=x onerror=document.title='pwned'> <b>x</b> ![a](http://evil.example/x.png)"
    book.run("%%agent eve\nOne?")
    cell = book.run("%agents chat eve")
    box(cell).fill(evil)
    button(cell, "Send").click()
    expect(past(cell)).to_contain_text("<img src=x")
    expect(cell.locator("select option").last).to_contain_text("2: <img src=x")
    assert cell.locator("img").count() == 0
    assert "pwned" not in book.page.title()
    button(cell, "Close").click()


def test_a_page_that_is_loaded_anew_keeps_the_turns_and_says_what_to_do(
    open_notebook: Callable[[str], NotebookPage],
) -> None:
    """And the notebook of a kernel that has ended holds no dead box."""
    book = open_notebook("reload")
    book.run("%load_ext tframex_nb")
    book.run("%%agent ann\nOne?")
    cell = book.run("%agents chat ann")
    box(cell).fill("Two?")
    button(cell, "Send").click()
    expect(past(cell)).to_contain_text("Two?")
    expect(now(cell)).to_have_text("")
    expect(button(cell, "Stop")).to_be_disabled()
    book.saved()
    book.reload()
    cell = book.cells.nth(2)
    expect(past(cell)).to_contain_text("Two?")
    expect(cell).to_contain_text("run the cell again to see new answers")
    button(cell, "Close").click()
    expect(box(cell)).to_have_count(0)
    expect(past(cell)).to_contain_text("Two?")
