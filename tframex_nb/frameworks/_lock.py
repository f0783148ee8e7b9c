"""A lock: the file of hashed requirements that an environment is made from."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tframex_nb.errors import InstallFailed

if TYPE_CHECKING:
    from pathlib import Path

    from packaging.requirements import Requirement

__all__ = ["Lock"]

DIGEST = 12  # characters of the hash that tell one lock from another
ANY_PYTHON = ">=3.11"  # where a lock does not say which Pythons it holds for
_REQUIRES = re.compile(r"^#\s*requires-python:\s*(\S.*)$", re.MULTILINE)
_PINNED = re.compile(r"^([A-Za-z0-9][^\s\\]*==[^\\\n]*)", re.MULTILINE)


@dataclass(frozen=True)
class Lock:
    """The text of a lock, and what it says.

    A line ``# requires-python: >=3.11,<3.14`` names the Pythons that it holds for.
    """

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> Lock:
        """Read a lock; a file that is not there or not text raises ``InstallFailed``."""
        try:
            return cls(path, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as exc:
            raise InstallFailed(
                f"the lock {path} cannot be read: {exc}",
                hint="an adapter's `lock` names a file of hashed requirements beside it",
            ) from exc

    @cached_property
    def digest(self) -> str:
        """The first characters of the SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:DIGEST]

    @cached_property
    def requires_python(self) -> str:
        """A PEP 440 specifier of the Pythons that it holds for."""
        found = _REQUIRES.search(self.text)
        return found[1].strip() if found else ANY_PYTHON

    def packages(self, version: str) -> int:
        """Return how many distributions it installs on this system with this Python."""
        minor = ".".join(version.split(".")[:2])
        system = {"python_version": minor, "python_full_version": version, "extra": ""}
        return sum(each.marker is None or each.marker.evaluate(system) for each in self._pinned)

    def size(self) -> tuple[float, float]:
        """Return MB to download and MB on disk as measured when it was made; 0 is unknown."""
        try:
            sizes = json.loads(self.path.with_name("sizes.json").read_text(encoding="utf-8"))
            mine = sizes[self.path.stem]
        except (OSError, ValueError, KeyError):  # a lock of the user's own has none
            return 0.0, 0.0
        return float(mine["download_mb"]), float(mine["disk_mb"])

    @cached_property
    def _pinned(self) -> list[Requirement]:
        from packaging.requirements import Requirement

        return [Requirement(line.strip()) for line in _PINNED.findall(self.text)]
