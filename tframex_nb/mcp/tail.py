"""The last lines of what a server's program wrote, without secrets."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tframex_nb.mcp.veil import Veil

__all__ = ["Tail"]

LINES = 20
LONG = 500  # characters of a line


class Tail:
    """Keeps the last lines, each cut; secrets are masked, and nothing in it moves a cursor."""

    def __init__(self, veil: Veil) -> None:
        self._veil = veil
        self._lines: deque[str] = deque(maxlen=LINES)
        self._open = b""

    def feed(self, chunk: bytes) -> None:
        """Take what was written."""
        *whole, rest = (self._open + chunk).split(b"\n")
        for line in whole[-LINES:]:
            self.note(line)
        self._open = rest[-4 * LONG :]

    def note(self, line: bytes) -> None:
        """Take one line."""
        text = self._clean(line[: 4 * LONG].decode("utf-8", "replace"))
        if text:
            self._lines.append(text)

    @property
    def text(self) -> str:
        """What is kept."""
        rest = self._clean(self._open.decode("utf-8", "replace"))
        return "\n".join([*self._lines, *([rest] if rest else [])])

    @property
    def last(self) -> str:
        """The last line."""
        return self.text.rpartition("\n")[2]

    def _clean(self, text: str) -> str:
        shown = "".join(c if c.isprintable() else " " for c in self._veil.text(text))
        return " ".join(shown.split())[:LONG]
