"""Stamps: whether a file on disk is still the one that was read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Stamp"]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file was: cheap marks that a look costs nothing for, and the hash of its bytes."""

    marks: tuple[int, ...] = ()
    digest: str = ""

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Return the stamp of a file; that of no file is empty.

        The marks are taken first: a file that changes meanwhile is looked at again.
        """
        marks = _marks(path)
        try:
            return cls(marks, hashlib.sha256(path.read_bytes()).hexdigest())
        except OSError:
            return cls()

    def again(self, path: Path) -> Stamp:
        """Return the stamp of now; the file is read only where its marks differ."""
        return self if self.marks and _marks(path) == self.marks else Stamp.of(path)


def _marks(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    # An editor may write the same size within one tick of mtime: ctime and the inode tell more.
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
