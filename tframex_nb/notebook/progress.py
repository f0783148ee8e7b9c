"""One line of a cell that moves while a long piece of work goes on, and tells how it ended."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tframex_nb.markdown import clean
from tframex_nb.notebook.live import Paced

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from tframex_nb.notebook.front_end import Mode

__all__ = ["ProgressLine", "bar"]

WIDTH = 20  # characters of a bar
LONG = 100  # characters of a line; longer ones would wrap in a terminal and leave pieces behind


class ProgressLine:
    """A line under a cell: ``head`` stays above it until the end, which is one line."""

    def __init__(self, shell: InteractiveShell, mode: Mode, *, head: str) -> None:
        self._mode = mode
        self._publish = shell.display_pub.publish
        self._head = clean(head)
        self._line = ""
        self._display: Paced | None = None
        if mode == "live":
            self._display = Paced(shell, self._bundle(), lambda: (self._bundle(), 0))
        elif mode == "terminal":
            print(self._head, flush=True)  # noqa: T201  # a terminal's display

    def show(self, line: str) -> None:
        """Put ``line`` in the place of the one before."""
        self._line = _short(line)
        if self._display is not None:
            self._display.touch()
        elif self._mode == "terminal" and sys.stdout.isatty():
            print(f"\r\x1b[2K{self._line}", end="", flush=True)  # noqa: T201  # a terminal's display

    def close(self, line: str) -> None:
        """End with ``line``, which may be nothing, in place of all that stood there."""
        end = clean(line)
        if self._display is not None:
            self._display.send({"text/plain": end})
        elif self._mode == "terminal":
            erase = "\r\x1b[2K" if sys.stdout.isatty() else ""
            print(f"{erase}{end}", flush=True)  # noqa: T201  # a terminal's display
        elif end:
            self._publish({"text/plain": end})

    def _bundle(self) -> dict[str, str]:
        return {"text/plain": f"{self._head}\n{self._line}" if self._line else self._head}


def bar(done: int, total: int) -> str:
    """Return a bar of fixed width: ``████████░░░░ 12/44``; nothing where the total is unknown."""
    if total <= 0:
        return ""
    full = min(WIDTH, WIDTH * max(done, 0) // total)
    return f"{'█' * full}{'░' * (WIDTH - full)} {done}/{total}"


def _short(line: str) -> str:
    flat = " ".join(clean(line).split())
    return flat if len(flat) <= LONG else f"{flat[: LONG - 1]}…"
