"""Notebooks executed without a person: nbclient, and with it papermill and nbconvert."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from clock_server import Clock

pytestmark = pytest.mark.kernel

LOAD = "%load_ext tframex_nb"


@pytest.fixture
def execute(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[..., nbformat.NotebookNode]:
    """Execute cells as ``jupyter execute`` does; return the notebook as it would be saved."""
    monkeypatch.setenv("TFRAMEX_API_URL", clock.url)
    monkeypatch.setenv("TFRAMEX_MODEL", "text-40")

    def run(*sources: str, **options: object) -> nbformat.NotebookNode:
        cells = [nbformat.v4.new_code_cell(source) for source in (LOAD, *sources)]
        book = nbformat.v4.new_notebook(cells=cells)
        client = NotebookClient(book, kernel_name="python3", **options)
        try:
            client.execute()
        except CellExecutionError as error:
            error.book = book  # what papermill saves before it raises
            raise
        nbformat.validate(book)
        return book

    return run


def test_a_cell_leaves_one_display_of_plain_markdown(execute) -> None:
    """No ids, no metadata, nothing that differs from one run to the next but the time."""
    book = execute("%%agent -m text-2000-r1000\ngo", "%ask what is this?", "_.text[:3]")
    loaded, agent, ask, value = (cell.outputs for cell in book.cells)
    assert loaded == []
    for outputs in (agent, ask):
        assert [output.output_type for output in outputs] == ["display_data"]
        assert set(outputs[0].data) == {"text/markdown", "text/plain"}
        assert outputs[0].data["text/markdown"].startswith("ZQ0 001")
        assert outputs[0].metadata == {}
    assert value[0].data["text/plain"] == "'ZQ0'"
    assert "display_id" not in json.dumps(book)


def test_every_cell_has_its_number(execute) -> None:
    book = execute("%%agent\ngo", "%ask hi", "%%time\n%%agent\ngo")
    assert [cell.execution_count for cell in book.cells] == [1, 2, 3, 4]


def test_a_failing_model_stops_the_notebook_with_our_text(execute) -> None:
    """The error says what and what next; the cells below it do not run."""
    with pytest.raises(CellExecutionError) as caught:
        execute("%%agent -m err-401\nhi", "print('never')")
    text = str(caught.value)
    assert "refused the API key (401)" in text
    assert "hint: " in text
    assert "Traceback" not in text.partition("AuthError")[2]
    failed, never = caught.value.book.cells[1:]
    assert [output.output_type for output in failed.outputs] == ["display_data", "error"]
    assert "failed: AuthError" in failed.outputs[0].data["text/markdown"]
    assert never.outputs == []


def test_errors_that_are_allowed_are_saved_short(execute) -> None:
    book = execute("%%agent -m err-404\nhi", "1 + 1", allow_errors=True)
    error = book.cells[1].outputs[-1]
    assert error.output_type == "error"
    assert len(error.traceback) <= 3
    assert book.cells[2].outputs[0].data["text/plain"] == "2"


def test_a_cell_that_takes_too_long_is_stopped_and_keeps_its_text(execute, clock: Clock) -> None:
    """The time limit of nbclient and papermill is an interrupt: partial text, one line, no hang."""
    with pytest.raises(CellExecutionError, match="Stopped: the run was interrupted") as caught:
        execute(
            "%%agent\nwarm up",
            "%%agent -m text-100000-r100\ngo",
            timeout_func=lambda cell: 1 if "100000" in cell.source else 60,
            interrupt_on_timeout=True,
        )
    display, error = caught.value.book.cells[2].outputs
    assert display.data["text/markdown"].startswith("ZQ0 001")
    assert "stopped" in display.data["text/markdown"]
    assert error.ename == "RunStopped"
    assert clock.runs()[-1]["closed"]


def test_the_key_is_in_no_saved_notebook(execute, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-a-key-for-nbclient"
    monkeypatch.setenv("TFRAMEX_API_KEY", key)
    book = execute(
        "%%agent -m err-401\nhi", "%models", "%agents", "%runs", "%debug", allow_errors=True
    )
    assert key in os.environ["TFRAMEX_API_KEY"]
    assert key not in json.dumps(book)
