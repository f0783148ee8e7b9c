"""A figure in a prompt, as a person sees it: a small picture that stays in the saved notebook."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from notebook_page import answer
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from notebook_page import NotebookPage

pytestmark = pytest.mark.browser

FIGURE = """import matplotlib; matplotlib.use("agg")
import matplotlib.pyplot as plt
fig, ax = plt.subplots(); ax.bar(["Oslo", "Lima", "Rome"], [120, 80, 95])
plt.close(fig)"""
NATURAL = "image => image.complete ? image.naturalWidth : 0"


def test_the_figure_is_shown_small_and_stays_after_a_reload(
    open_notebook: Callable[[str], NotebookPage],
) -> None:
    """The sanitizer of the front end lets the picture through; nothing is fetched for it."""
    book = open_notebook("images")
    book.run("%load_ext tframex_nb")
    book.run(FIGURE, paste=True)
    cell = book.run("%%agent -m text-200-r1000\nWhat does {{ fig }} show?", paste=True)
    picture = answer(cell).locator("img")
    expect(picture).to_have_count(1)
    assert picture.evaluate(NATURAL) == 160
    expect(answer(cell)).to_contain_text("sent fig: PNG 640x480")
    if folder := os.environ.get("PICTURES"):
        book.page.screenshot(path=Path(folder) / f"images-{book.app.kind}.png")
    saved = book.saved()
    outputs = [o for cell in saved.cells for o in cell.get("outputs", ()) if "data" in o]
    assert "data:image/jpeg;base64," in outputs[-1]["data"]["text/markdown"]
    assert len(str(outputs)) < 30_000
    book.reload()
    expect(book.cells.nth(2).locator(".jp-RenderedMarkdown img")).to_have_count(1)
    assert book.elsewhere == []
