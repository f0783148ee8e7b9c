"""Chromium before a real Jupyter server; everything belongs to one test file and ends with it."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

import pytest
from clock_server import Clock
from jupyter_app import JupyterApp
from notebook_page import NotebookPage
from playwright.sync_api import expect
from scripted_server import ScriptedServer, scripted_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZE = {"width": 900, "height": 1000}

# Playwright's own five seconds are few where two cores run a browser, a server and a kernel.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def clock() -> Iterator[Clock]:
    """A server that answers at a pace which the model's name gives."""
    server = Clock()
    yield server
    server.close()


@pytest.fixture(scope="module", params=["lab", "notebook"])
def app(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    root: Path,
    clock: Clock,
) -> Iterator[JupyterApp]:
    """JupyterLab, then Notebook 7, its kernels' model on the clock server."""
    env = {
        "PYTHONPATH": str(root / "tests" / "offline"),
        "TFRAMEX_API_URL": clock.url,
        "TFRAMEX_MODEL": "text-40",
    }
    server = JupyterApp(request.param, tmp_path_factory.mktemp(request.param), env)
    yield server
    server.close()


@pytest.fixture(scope="module")
def chromium(missing_part: Callable[[str], None]) -> Iterator[Browser]:
    """A headless Chromium; playwright's own loop stands on this thread until the file ends."""
    path = find_chromium()
    if path is None:
        missing_part("there is no Chromium here; run: make chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_notebook(app: JupyterApp, chromium: Browser) -> Iterator[Callable[[str], NotebookPage]]:
    """Open a new notebook, each in a window of its own, without another's cookies or storage."""
    windows = contextlib.ExitStack()

    def start(name: str) -> NotebookPage:
        context = chromium.new_context(viewport=SIZE)
        windows.callback(context.close)
        return NotebookPage(app, context.new_page(), name)

    with windows:
        yield start


@pytest.fixture(scope="module")
def shared_book(app: JupyterApp, chromium: Browser) -> Iterator[NotebookPage]:
    context = chromium.new_context(viewport=SIZE)
    book = NotebookPage(app, context.new_page(), "shared")
    book.run("%load_ext tframex_nb")
    yield book
    context.close()


@pytest.fixture
def book(shared_book: NotebookPage) -> Iterator[NotebookPage]:
    """A notebook with the extension loaded; the console must stay silent, the network unused."""
    yield shared_book
    shared_book.page.title()  # one more round trip, in which playwright ends its waiting tasks
    complaints, shared_book.complaints = shared_book.complaints, []
    assert not complaints
    assert not shared_book.elsewhere


@pytest.fixture
def trap() -> Iterator[ScriptedServer]:
    """A model server whose other paths nobody may ask for."""
    with scripted_server() as server:
        yield server


def find_chromium() -> str | None:
    """The path of the Chromium that is installed here."""
    return next(filter(None, map(shutil.which, NAMES)), None)
