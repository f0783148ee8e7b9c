"""Answers on their way into files: whole under their name, or partial under another."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AnswerFile", "file_stem"]

MAX_STEM = 200  # bytes; file systems allow 255, and the number and the ending need some


class AnswerFile:
    """A file that gets its name when it is whole.

    Text goes into a temporary file beside it. ``finish`` renames that to ``{stem}.txt``,
    ``abandon`` to ``{stem}.partial.txt``, so an earlier answer of the same name stays whole
    until a new one is. Raises OSError.
    """

    def __init__(self, folder: Path, stem: str, *, tag: str) -> None:
        self.path = folder / f"{stem}.txt"
        self._partial = folder / f"{stem}.partial.txt"
        self._temporary = folder / f".{stem}.{tag}.tmp"
        # "x": a link that someone put there is not followed. newline="": the text is exact.
        self._file = self._temporary.open("x", encoding="utf-8", errors="replace", newline="")

    def write(self, text: str) -> None:
        """Append text; it is buffered, and a write to the page cache is shorter than a thread."""
        self._file.write(text)

    def finish(self) -> str:
        """Give the whole answer its name, and return its path."""
        self._file.close()
        self._temporary.replace(self.path)
        self._partial.unlink(missing_ok=True)
        return str(self.path)

    def abandon(self) -> str:
        """Keep what was received under the partial name; return its path, or "" for nothing."""
        with contextlib.suppress(OSError):  # a full disk may be why we are here
            self._file.close()
        with contextlib.suppress(OSError):
            if self._temporary.stat().st_size:
                self._temporary.replace(self._partial)
                return str(self._partial)
            self._temporary.unlink()
        return ""


def file_stem(name: str) -> str:
    """Return a name that stays in its folder: no separators, no leading dots, not too long."""
    clean = re.sub(r"[^\w. -]+", "_", name).strip(". ")
    return clean.encode()[:MAX_STEM].decode("utf-8", "ignore") or "answer"
