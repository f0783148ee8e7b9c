"""A real kernel and a real model: cells against llama.cpp, configured by the environment alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.llama, pytest.mark.kernel]

GREEDY = '-p temperature=0 -p max_tokens=400 -p chat_template_kwargs={"enable_thinking":false}'
TOOLS = '''\
def get_weather(city: str, unit: Literal["C", "F"] = "C") -> str:
    """Get the weather in a city."""
    return {"Oslo": '{"temp": 4, "sky": "rain"}'}[city]

async def add(a: int, b: int) -> int:
    """Add two integers."""
    return a + b
'''


def execute(folder: Path, *cells: str) -> list[list[Any]]:
    """Run cells in a fresh kernel; return each cell's outputs."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return [cell.outputs for cell in notebook.cells]


def test_a_cell_calls_the_notebooks_tools(
    llama: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's functions are called, the answer is shown once, the value can be used."""
    monkeypatch.setenv("TFRAMEX_API_URL", llama)
    monkeypatch.setenv("TFRAMEX_MODEL", "tiny")
    *_, answer, value = execute(
        tmp_path,
        "%load_ext tframex_nb\nfrom typing import Literal",
        TOOLS,
        f"%%agent guide --tools get_weather,add {GREEDY} --out run\n"
        "Weather in Oslo, and add 2 and 3.",
        "print(run.text)\nprint([c.name for c in run.tool_calls], run.usage.total_tokens > 0)",
    )
    assert len(answer) == 1
    assert "It is 4 C with rain in Oslo, and 2 + 3 = 5." in answer[0].data["text/markdown"]
    assert value[0].text == (
        "It is 4 C with rain in Oslo, and 2 + 3 = 5.\n['get_weather', 'add'] True\n"
    )


def test_hostile_markdown_of_a_real_model_is_shown_as_text(llama: str, tmp_path: Path) -> None:
    """The model answers with HTML and a script: the run keeps it, the page does not get it."""
    *_, answer, value = execute(
        tmp_path,
        "%load_ext tframex_nb",
        f"%%agent -m tiny --api-url {llama} {GREEDY} --out run\nShow html.",
        "print(run.text)",
    )
    assert value[0].text.startswith("<h1>Title</h1>\n<script>alert('x')</script>")
    assert "<script" not in answer[0].data["text/markdown"]
    assert "<h1" not in answer[0].data["text/markdown"]


def test_the_tour_runs_unchanged_on_another_model(
    llama: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    """The environment alone moves the tour from the demo to a real server; no cell fails.

    The tiny model knows none of these questions, so what it says is not compared.
    """
    monkeypatch.setenv("TFRAMEX_API_URL", llama)
    monkeypatch.setenv("TFRAMEX_MODEL", "tiny")
    monkeypatch.setenv("TFRAMEX_TEMPERATURE", "0")
    monkeypatch.setenv("TFRAMEX_MAX_TOKENS", "60")
    notebook = nbformat.read(root / "notebooks" / "01-quickstart.ipynb", as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    outputs = execute(tmp_path, *cells)
    answers = [
        output.data["text/markdown"]
        for cell, shown in zip(cells, outputs, strict=True)
        if cell.startswith(("%%agent", "%ask"))
        for output in shown
    ]
    assert len(answers) == 4
    assert all("tiny" in answer and "demo" not in answer for answer in answers)
