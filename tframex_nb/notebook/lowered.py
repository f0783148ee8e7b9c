"""What the classes of magics share: option lines, and work that a lowered cell awaits."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING, Any, ClassVar

from IPython.core.error import UsageError
from IPython.core.magic import Magics

from tframex_nb.interrupts import RunStopped, interruptible

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from IPython.core.interactiveshell import InteractiveShell

    from tframex_nb.notebook.config import TFrameX
    from tframex_nb.notebook.session import Session

__all__ = ["LoweredMagics", "parse"]


class LoweredMagics(Magics):
    """Magics that do their work on an event loop: the kernel's own where their cell awaits it.

    ``valued`` names those whose value a lowered cell has; what the others return stands in a
    display already.
    """

    valued: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, shell: InteractiveShell, *, session: Session, wishes: TFrameX) -> None:
        super().__init__(shell)
        self.session = session
        self.wishes = wishes

    async def awaited(self, magic: str, line: str, cell: str) -> object:
        """Run a lowered cell or line: what the input transformer calls."""
        try:
            value = await interruptible(self.work(magic, line, cell))
        except RunStopped:
            raise self.stopped(magic, line) from None
        except asyncio.CancelledError:  # the kernel's own interrupt came before our handler
            raise self.stopped(magic, line) from None
        return value if magic in self.valued else None

    def work(self, magic: str, line: str, cell: str) -> Coroutine[None, None, object]:
        """Return the work of a magic, not begun yet."""
        raise NotImplementedError

    def stopped(self, _magic: str, _line: str) -> RunStopped:
        """Return what tells the user that a magic was interrupted."""
        return RunStopped()


def parse(magic: Any, line: str) -> Any:  # a magic with IPython's parser; argparse's Namespace
    """Parse an option line split as a shell does: quotes group words and are taken off."""
    try:
        words = shlex.split(line)
    except ValueError as exc:
        raise UsageError(f"{exc} in: {line}") from None
    return magic.parser.parse_args(words)
