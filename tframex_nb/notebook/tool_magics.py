"""The magic of tools: ``%tools``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from IPython.core.error import UsageError
from IPython.core.magic import line_magic, magics_class, no_var_expand

from tframex_nb.interrupts import run_sync
from tframex_nb.notebook.lowered import LoweredMagics

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["ToolMagics"]


@magics_class
class ToolMagics(LoweredMagics):
    """``%tools``."""

    valued: ClassVar[frozenset[str]] = frozenset({"tools"})

    @no_var_expand
    @line_magic
    def tools(self, line: str) -> object:
        """List the tools: functions, agents, MCP servers; ``.to_pandas()`` gives a DataFrame.

        ``show NAME`` tells all of a tool or a server. ``start NAME`` starts an MCP server and
        ``stop NAME`` ends it. ``trust NAME`` lets one be started though a file of the folder
        defines it, in this kernel.
        """
        return run_sync(self._tools(line))

    def work(self, _magic: str, line: str, _cell: str) -> Coroutine[None, None, object]:
        """Return the work of the magic, not begun yet."""
        return self._tools(line)

    async def _tools(self, line: str) -> object:
        from tframex_nb.notebook.tools_view import tools_view

        words = line.split()
        if any(word.startswith("-") for word in words):
            raise UsageError(f"%tools takes no options: {' '.join(words)}")
        return await tools_view(self.session, self.wishes, words)
