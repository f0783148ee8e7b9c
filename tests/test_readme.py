"""The README cannot lie: its cells run in order in one kernel, its commands in a shell."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pages import blocks, run_cells, typed

README = Path(__file__).parents[1] / "README.md"

# These install, or need a browser or a whole checkout; CI runs them as what they are.
ELSEWHERE = ("make ", "python3 -m venv", ".venv/bin/", "tframex-nb frameworks install")


def commands() -> list[str]:
    """Return the commands that can run here."""
    return [line for line in typed(blocks(README)) if not line.startswith(ELSEWHERE)]


def test_the_readme_has_what_is_tested() -> None:
    """No block has a language that nobody runs or reads."""
    assert {block.language for block in blocks(README)} <= {
        "python",
        "ipython",
        "console",
        "toml",
        "bash",
    }
    assert len([block for block in blocks(README) if block.language == "ipython"]) >= 3


@pytest.mark.kernel
def test_every_cell_runs_and_shows_what_the_readme_says(tmp_path: Path) -> None:
    """In order, in one kernel, with nothing configured: as a reader would paste them."""
    run_cells(blocks(README), tmp_path)


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
