"""The main job as a person sees it, in JupyterLab and in Notebook 7."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from notebook_page import answer, errors
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from notebook_page import NotebookPage

pytestmark = pytest.mark.browser


def test_the_main_job(open_notebook: Callable[[], NotebookPage]) -> None:
    """Text arrives in steps, ■ stops it, the next cell works, plain Markdown is saved."""
    book = open_notebook()
    book.run("%load_ext tframex_nb")
    cell = book.start("%%agent -m text-100000-r100\nTell me everything.")
    book.watch(cell)
    expect(answer(cell)).to_contain_text("ZQ0 001")
    expect(answer(cell)).to_contain_text(" 080 ")
    book.stop()
    book.wait(cell)
    lengths, heights = book.samples()
    assert len(set(lengths)) > 5
    assert lengths == sorted(lengths)
    assert heights == sorted(heights)
    expect(errors(cell)).to_have_text(
        "Stopped: the run was interrupted; the partial answer is kept."
    )
    expect(answer(cell)).to_contain_text("stopped · text-100000-r100")
    after = book.run("%%agent\nGo on.")
    expect(answer(after)).to_contain_text("ZQ0 001")
    _, stopped, finished, _ = book.saved().cells
    assert [o.output_type for o in stopped.outputs] == ["display_data", "error"]
    assert [o.output_type for o in finished.outputs] == ["display_data"]
    for output in (stopped.outputs[0], finished.outputs[0]):
        assert set(output.data) == {"text/markdown", "text/plain"}
        assert output.data["text/markdown"].startswith("ZQ0 001")
        assert output.metadata == {}
    assert not book.complaints
    assert not book.elsewhere
