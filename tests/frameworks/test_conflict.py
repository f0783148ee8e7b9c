"""Why frameworks have environments of their own: one environment cannot hold them.

uv's own resolver says so, about the metadata of what is installed here. Nothing is fetched: each
installed distribution stands in a folder as a wheel that holds nothing but its metadata.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest
from uv import find_uv_bin

from tframex_nb.frameworks.environments import Environments, shipped_locks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.frameworks

FOUR = ("crewai", "openai_agents", "pydantic_ai", "langgraph")


@pytest.fixture
def resolve(installed: Callable[[str], None], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Ask uv for one environment with frameworks; return its exit code and what it says."""
    locks = shipped_locks()
    for name in FOUR:
        installed(name)
        found = Environments().find(name, locks[name])
        if found is None:
            pytest.skip(f"{name} is installed beside the tests, not in an environment of its own")
        (site,) = found.path.glob("lib/python*/site-packages")
        _lay_out(site, tmp_path)

    def ask(*names: str) -> tuple[int, str]:
        wanted = "".join(locks[name].with_suffix(".in").read_text() for name in names)
        options = ("--no-index", "--offline", "--no-cache", "--no-config", "--find-links")
        command = [find_uv_bin(), "pip", "compile", *options, str(tmp_path), "-"]
        done = subprocess.run(command, input=wanted, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return ask


def _lay_out(site: Path, folder: Path) -> None:
    """Write a wheel for each distribution, of its metadata alone."""
    for each in importlib.metadata.distributions(path=[str(site)]):
        stem = f"{re.sub('[-_.]+', '_', each.name).lower()}-{each.version}"
        with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{stem}.dist-info/METADATA", each.read_text("METADATA") or "")
            tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            wheel.writestr(f"{stem}.dist-info/WHEEL", tags)
            wheel.writestr(f"{stem}.dist-info/RECORD", "")


@pytest.mark.parametrize("name", FOUR)
def test_an_environment_holds_each_framework_alone(resolve, name: str) -> None:
    """What makes the next test mean something."""
    code, said = resolve(name)
    assert code == 0, said
    assert "openai==" in said


@pytest.mark.parametrize(
    "names", [("crewai", "openai_agents"), ("crewai", "pydantic_ai"), FOUR], ids=" and ".join
)
def test_no_environment_holds_them_together(resolve, names: tuple[str, ...]) -> None:
    code, said = resolve(*names)
    assert code == 1
    assert "unsatisfiable" in said
    assert "openai" in said
