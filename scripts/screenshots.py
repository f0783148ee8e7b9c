"""Take the pictures of docs/images in a real JupyterLab.

``.venv/bin/python scripts/screenshots.py`` needs what the browser tests need.
``--theme "JupyterLab Dark" --out FOLDER`` shows the same cells in the other theme.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "browser"), str(ROOT / "tests" / "servers")]

from conftest import FLAGS, find_chromium  # noqa: E402  # the test bench, found by the line above
from jupyter_app import JupyterApp  # noqa: E402 - as above
from notebook_page import NotebookPage, answer  # noqa: E402 - as above
from playwright.sync_api import sync_playwright  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser

THEME = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
HIDE = "() => window.jupyterapp.commands.execute('application:toggle-left-area')"
TOOL = '''def revenue_of(city: str) -> int:
    """Return the revenue of a city, in thousands."""
    return {"Oslo": 120, "Lima": 80}[city]'''

WRITES = """from tframex_nb import tool

@tool(writes=True)
def order(item: str, count: int) -> str:
    'Order an item from the supplier.'
    return f'{count} x {item} ordered'"""


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--theme", default="JupyterLab Light")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        app = JupyterApp("lab", Path(folder), {"TFRAMEX_MODEL": "demo"})
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        try:
            for scene in (quickstart, tool, approval, chat, stopped, error, fix):
                _take(scene, app, browser, options)
        finally:
            browser.close()
            app.close()


def quickstart(book: NotebookPage) -> None:
    """An answer of the demo model."""
    book.run("%%agent\nWhat can you do in this notebook?")


def tool(book: NotebookPage) -> None:
    """A tool call and its result."""
    book.run(TOOL, paste=True)
    book.run("%%agent analyst --tools revenue_of\nWhat is the revenue of Oslo?")


def approval(book: NotebookPage) -> None:
    """A tool that is asked about; nobody answers."""
    book.run(WRITES, paste=True)
    cell = book.start(
        '%%agent keeper --tools order\nPlease order(item="sail", count=2).', paste=True
    )
    cell.get_by_role("button", name="Allow", exact=True).wait_for()


def chat(book: NotebookPage) -> None:
    """A turn of a cell, and one of the chat below."""
    book.run(TOOL, paste=True)
    book.run("%%agent analyst --tools revenue_of\nWhat is the revenue of Oslo?")
    cell = book.run("%agents chat analyst")
    cell.locator("textarea").fill("And what is the revenue of Lima?")
    cell.get_by_role("button", name="Send").click()
    cell.get_by_text("2 turns").wait_for()


def stopped(book: NotebookPage) -> None:
    """An answer that was stopped."""
    cell = book.start("%%agent -m demo:slow\nWrite me a long story.")
    answer(cell).get_by_text("step 3 of 200").wait_for()
    book.stop()
    book.wait(cell)


def error(book: NotebookPage) -> None:
    """A model that refuses."""
    book.run("%%agent -m demo:401\nIs anybody there?")


def fix(book: NotebookPage) -> None:
    """A mended cell, put below."""
    book.run("total = 3\nprint(totl)")
    book.run("%fix")


def _take(
    scene: Callable[[NotebookPage], None],
    app: JupyterApp,
    browser: Browser,
    options: argparse.Namespace,
) -> None:
    name = scene.__name__
    page = browser.new_page(viewport={"width": 860, "height": 1600})
    book = NotebookPage(app, page, name)
    page.evaluate(THEME, options.theme)
    page.evaluate(HIDE)
    book.run("%load_ext tframex_nb")
    scene(book)
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)  # the theme's transition
    first, last = (book.cells.nth(n).bounding_box() for n in (1, book.cells.count() - 1))
    clip = {"x": first["x"], "y": first["y"] - 4, "width": first["width"], "height": 0}
    end = last["y"] if name != "fix" else last["y"] + last["height"]
    page.screenshot(path=options.out / f"{name}.png", clip={**clip, "height": end - first["y"] + 8})
    page.close()


if __name__ == "__main__":
    main()
