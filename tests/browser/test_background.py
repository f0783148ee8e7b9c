"""Cells that go on behind themselves, as a person sees them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from notebook_page import answer, errors
from playwright.sync_api import expect

if TYPE_CHECKING:
    from notebook_page import NotebookPage

pytestmark = pytest.mark.browser

LOUD = """async def loud(mark: str):
    'Speak late.'
    import asyncio
    await asyncio.sleep(1)
    print(mark, 'printed'); display({'text/plain': mark + ' shown'}, raw=True)
    return 'ok'"""


def test_cells_below_run_while_cells_above_go_on(book: NotebookPage) -> None:
    """Each shows its own answer, prints and errors; the saved notebook holds the final state."""
    book.run(LOUD, paste=True)
    first = book.run("%%agent --background -m text-100000-r50 --out a\nTell me.")
    tool = book.run(
        '%%agent --background -m \'tool-loud-{"mark":"M1"}\' --tools loud\nSpeak.', paste=True
    )
    bad = book.run("%%agent --background -m err-401\nFail.")
    waits = book.run("%%agent --background -m hang --out w\nWait.")
    queued = book.run("%%agent --background -m hang\nWait, too.")
    other = book.run("print('other'); 6 * 7")
    expect(answer(first)).to_contain_text("ZQ0 001")
    expect(answer(first)).to_contain_text("background")
    _picture(book, "running")
    expect(errors(bad)).to_contain_text("AuthError: ")
    expect(tool.locator(".jp-OutputArea")).to_contain_text("M1 printed")
    expect(tool.locator(".jp-OutputArea")).to_contain_text("M1 shown")
    stop = book.run("%runs stop all")
    expect(stop.locator(".jp-OutputArea")).to_contain_text("stopping")
    for cell in (waits, queued):
        expect(answer(cell)).to_contain_text("stopped")
    expect(answer(first)).to_contain_text("stopped")
    expect(answer(first)).not_to_contain_text("background")
    assert "M1" not in other.inner_text()
    _picture(book, "ended")
    saved = "".join(str(cell.get("outputs")) for cell in book.saved().cells)
    assert "waiting for" not in saved
    assert "M1 shown" in saved


def _picture(book: NotebookPage, name: str) -> None:
    """Keep a picture for the eye where a folder is named."""
    folder = os.environ.get("PICTURES")
    if folder:
        book.page.screenshot(path=Path(folder) / f"background-{book.app.kind}-{name}.png")
