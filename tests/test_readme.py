"""The README cannot lie: its cells run in order in one kernel, its commands in a shell."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

README = Path(__file__).parents[1] / "README.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# These install, or need a browser or a whole checkout; CI runs them as what they are.
ELSEWHERE = ("make ", "python3 -m venv", ".venv/bin/")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the ``text`` block right after it."""

    language: str
    text: str
    shown: str = ""


def blocks() -> list[Block]:
    """Return the README's blocks; what a cell shows belongs to its cell."""
    found: list[Block] = []
    for language, text in FENCE.findall(README.read_text(encoding="utf-8")):
        if language == "text" and found:
            found[-1] = Block(found[-1].language, found[-1].text, text)
        else:
            found.append(Block(language, text))
    return found


def commands() -> list[str]:
    """Return the lines that a reader may type, comments aside."""
    lines = [
        line
        for block in blocks()
        if block.language == "console"
        for line in block.text.splitlines()
    ]
    typed = [
        line.removeprefix("$ ").split("  #")[0].strip() for line in lines if line.startswith("$ ")
    ]
    return [line for line in typed if not line.startswith(ELSEWHERE)]


def test_the_readme_has_what_is_tested() -> None:
    """No block has a language that nobody runs or reads."""
    assert {block.language for block in blocks()} <= {
        "python",
        "ipython",
        "console",
        "toml",
        "bash",
    }
    assert len([block for block in blocks() if block.language == "ipython"]) >= 3


@pytest.mark.kernel
def test_every_cell_runs_and_shows_what_the_readme_says(tmp_path: Path) -> None:
    """In order, in one kernel, with nothing configured: as a reader would paste them."""
    cells = [block for block in blocks() if block.language in {"python", "ipython"}]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(block.text.rstrip("\n")) for block in cells]
    )
    NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    for block, cell in zip(cells, notebook.cells, strict=True):
        printed = "".join(plain(output) for output in cell.outputs)
        assert resembles(printed, block.shown), printed


@pytest.mark.parametrize("command", commands())
def test_every_command_runs(command: str, tmp_path: Path) -> None:
    """The console lines end well with nothing configured."""
    name, *arguments = shlex.split(command)
    assert name == "tframex-nb", f"a command that nobody tests: {command}"
    done = subprocess.run(
        [sys.executable, "-m", "tframex_nb", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def plain(output: nbformat.NotebookNode) -> str:
    """Return an output as a terminal would show it."""
    if output.output_type == "stream":
        return output.text
    return output.get("data", {}).get("text/plain", "")


def resembles(printed: str, shown: str) -> bool:
    """Whether the README's sample stands in the output; ``…`` stands for anything."""
    parts = (" ".join(part.split()) for part in shown.split("…"))
    pattern = ".*".join(re.escape(part) for part in parts)
    return re.search(pattern, " ".join(printed.split()), re.DOTALL) is not None
