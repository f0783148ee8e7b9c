"""Pages that cannot lie: their fenced blocks, run as a reader would paste them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import nbformat
from nbclient import NotebookClient

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Block", "blocks", "resembles", "run_cells", "typed"]

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CELLS = frozenset({"python", "ipython"})


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the ``text`` block after it."""

    language: str
    text: str
    shown: str = ""


def blocks(page: Path) -> list[Block]:
    """Return a page's blocks; what a cell shows belongs to its cell."""
    found: list[Block] = []
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "text" and found:
            found[-1] = Block(found[-1].language, found[-1].text, text)
        else:
            found.append(Block(language, text))
    return found


def typed(found: Iterable[Block]) -> list[str]:
    """Return the commands that a reader may type, comments aside."""
    lines = [
        line for block in found if block.language == "console" for line in block.text.splitlines()
    ]
    return [line.removeprefix("$ ").split("  #")[0].strip() for line in lines if line[:2] == "$ "]


def run_cells(found: Iterable[Block], folder: Path, *, timeout: int = 60) -> None:
    """Run the cells in order, in one kernel; each must show what its page says it shows."""
    cells = [block for block in found if block.language in CELLS]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(block.text.rstrip("\n")) for block in cells]
    )
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources=resources).execute()
    for block, cell in zip(cells, notebook.cells, strict=True):
        printed = "".join(_plain(output) for output in cell.outputs)
        assert resembles(printed, block.shown), f"{block.text}\nshows:\n{printed}"


def resembles(printed: str, shown: str) -> bool:
    """Whether a page's sample stands in the output; ``…`` stands for anything."""
    parts = (" ".join(part.split()) for part in shown.split("…"))
    pattern = ".*".join(re.escape(part) for part in parts)
    return re.search(pattern, " ".join(printed.split()), re.DOTALL) is not None


def _plain(output: nbformat.NotebookNode) -> str:
    """Return an output as a terminal would show it."""
    if output.output_type == "stream":
        return output.text
    return output.get("data", {}).get("text/plain", "")
