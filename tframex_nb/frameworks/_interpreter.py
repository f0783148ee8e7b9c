"""The Python that an environment is made with: the kernel's own, or another that fits."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tframex_nb.errors import InstallFailed
from tframex_nb.frameworks._uv import ask_uv

if TYPE_CHECKING:
    import subprocess

__all__ = ["Interpreter", "choose_interpreter"]


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python, and its version such as ``3.12.4``."""

    path: Path
    version: str

    @property
    def minor(self) -> str:
        """Its version as far as environments care: ``3.12``."""
        return ".".join(self.version.split(".")[:2])


def choose_interpreter(framework: str, requires: str) -> Interpreter:
    """Return this process's own Python if ``requires`` (PEP 440) allows it, else one uv finds.

    Raises ``InstallFailed`` where there is none; none is downloaded.
    """
    from packaging.specifiers import SpecifierSet

    own = Interpreter(Path(sys.executable), platform.python_version())
    if sys.executable and SpecifierSet(requires).contains(own.version):
        return own
    found = _find("--no-python-downloads", requires)
    path = found.stdout.strip()
    if found.returncode == 0 and path:
        return Interpreter(Path(path), _version(path))
    raise InstallFailed(
        f"{framework} needs Python {requires}, and none is here (this is {own.version})",
        hint=f"{sys.executable or 'python'} -m uv python install '{requires}'",
        framework=framework,
    )


def _version(path: str) -> str:
    """Return the version of the Python that uv found."""
    return _find("--show-version", path).stdout.strip()


def _find(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask uv for a Python of this system: it would run the one of a .venv where we stand."""
    top = Path(Path.cwd().anchor)
    return ask_uv("python", "find", "--no-project", "--system", *arguments, cwd=top)
