"""An open notebook as a person has it: typed by keyboard, read from the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nbformat
from playwright.sync_api import expect

if TYPE_CHECKING:
    from pathlib import Path

    from jupyter_app import JupyterApp
    from playwright.sync_api import ConsoleMessage, Dialog, Locator, Page, Request

__all__ = ["NotebookPage"]

PATIENCE = 60_000  # milliseconds, playwright's unit
STOP = '[data-command="notebook:interrupt-kernel"]'
# The panel of the open notebook, which ``--expose-app-in-browser`` lets us reach.
_PANEL = "window.jupyterapp?.shell.currentWidget"
_IDLE = f"() => {_PANEL}?.sessionContext?.session?.kernel?.status === 'idle'"
_SAVED = f"() => {_PANEL}.context.model.dirty === false"
_END = f"() => {_PANEL}.content.scrollToItem({_PANEL}.content.widgets.length - 1)"
# One sample a frame: the length of the answer (without the footer, its last block) and the
# height of the output.
_WATCH = """cell => {
  window.samples = [];
  const look = () => {
    const answer = cell.querySelector('.jp-RenderedMarkdown');
    const blocks = answer ? [...answer.children].slice(0, -1) : [];
    const text = blocks.map(block => block.textContent).join('');
    window.samples.push([text.length, cell.querySelector('.jp-OutputArea')?.offsetHeight ?? 0]);
    if (window.samples !== null) requestAnimationFrame(look);
  };
  look();
}"""


class NotebookPage:
    """One notebook in a tab; ``complaints`` is what the console said since it was ready."""

    def __init__(self, app: JupyterApp, page: Page, name: str) -> None:
        self.app = app
        self.page = page
        self.path: Path = app.new_notebook(name)
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        page.on("dialog", self._accept)
        page.on("request", self._notice)
        page.goto(app.address(name))
        self.ready()

    @property
    def cells(self) -> Locator:
        return self.page.locator(".jp-Notebook .jp-CodeCell")

    def ready(self) -> None:
        """Wait until the kernel waits for us; forget what Jupyter itself complained about."""
        expect(self.cells.first).to_be_visible(timeout=PATIENCE)
        self.page.wait_for_function(_IDLE)
        self.complaints.clear()

    def start(self, code: str, *, paste: bool = False) -> Locator:
        """Type a cell at the end, press Shift+Enter and return it at once."""
        number = self.cells.count() - 1
        cell = self.cells.nth(number)
        cell.locator(".cm-content").click()
        keyboard = self.page.keyboard
        (keyboard.insert_text if paste else keyboard.type)(code)
        keyboard.press("Shift+Enter")
        return cell

    def run(self, code: str, *, paste: bool = False) -> Locator:
        """Type a cell (or paste it, as the editor indents what is typed) and wait for its end."""
        return self.wait(self.start(code, paste=paste))

    def wait(self, cell: Locator) -> Locator:
        """Wait until a cell has its number."""
        self.page.wait_for_function(
            r"cell => /\[\d+\]/.test(cell.querySelector('.jp-InputPrompt').textContent)",
            arg=cell.element_handle(),
        )
        return cell

    def watch(self, cell: Locator) -> None:
        """Begin to sample a cell's output, once a frame."""
        cell.evaluate(_WATCH)

    def samples(self) -> tuple[list[int], list[int]]:
        """End sampling; return the answer's lengths and the output's heights, frame by frame."""
        pairs = self.page.evaluate("() => window.samples")
        return [length for length, _ in pairs], [height for _, height in pairs]

    def stop(self) -> None:
        """Press the toolbar's ■."""
        self.page.locator(STOP).first.click()

    def saved(self) -> nbformat.NotebookNode:
        """Save with Ctrl+S and return what is in the file."""
        self.page.keyboard.press("Control+s")
        self.page.wait_for_function(_SAVED)
        return nbformat.read(self.path, 4)

    def scroll_to_end(self) -> None:
        """Show the last cell; JupyterLab hides what is far from the window."""
        self.page.evaluate(_END)

    def reload(self) -> None:
        self.page.reload()
        self.ready()

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text}")

    def _accept(self, dialog: Dialog) -> None:
        """Say yes, as who leaves a page that is not saved: unanswered, it would stop the tab."""
        self.complaints.append(f"dialog: {dialog.type} {dialog.message}")
        dialog.accept()

    def _notice(self, request: Request) -> None:
        if not request.url.startswith((self.app.origin, "data:", "blob:")):
            self.elsewhere.append(request.url)


def answer(cell: Locator) -> Locator:
    return cell.locator(".jp-RenderedMarkdown")


def errors(cell: Locator) -> Locator:
    return cell.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
