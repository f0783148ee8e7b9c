"""What one shell's extension knows while it is loaded: cells, turns, errors, the runtime."""

from __future__ import annotations

import atexit
import traceback
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tframex_nb.agents.approval import Approvals

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

    from tframex_nb.agents import BaseAgent
    from tframex_nb.notebook.background import Background
    from tframex_nb.notebook.chat import Chat
    from tframex_nb.notebook.outlet import Outlet
    from tframex_nb.runtime import Runtime

__all__ = ["Session"]

ERRORS_KEPT = 50
ERROR_FRAMES = 6


class Session:
    """The state of one loaded extension; ``Extension`` feeds it with the shell's events."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.errors: OrderedDict[int, str] = OrderedDict()
        self.tool_names: WeakKeyDictionary[BaseAgent, list[str]] = WeakKeyDictionary()
        self.shown: set[int] = set()
        self.inserted: dict[str, str] = {}  # code that went below a cell, by the cell
        self.chats: list[Chat] = []
        self.worker_names: dict[str, set[str]] = {}  # what %%framework cells defined, and where
        self._cells: list[str | None] = []
        self._turns: Counter[str] = Counter()
        self._executing = 0
        self.approvals = Approvals()
        self._runtime: Runtime | None = None
        self._background: Background | None = None
        self._outlet: Outlet | None = None

    @property
    def runtime(self) -> Runtime:
        """The runtime, made at first use: loading the extension stays light."""
        if self._runtime is None:
            from tframex_nb.runtime import Runtime

            self._runtime = Runtime()
        return self._runtime

    @property
    def background(self) -> Background:
        """The runs that go on beside the cells."""
        if self._background is None:
            from tframex_nb.notebook.background import Background

            self._background = Background()
            atexit.register(self._background.finish)
        return self._background

    @property
    def outlet(self) -> Outlet:
        """The way from those runs to their cells."""
        if self._outlet is None:
            from tframex_nb.notebook.outlet import Outlet

            self._outlet = Outlet(self.shell)
        return self._outlet

    @property
    def idle(self) -> bool:
        """Whether no cell is executing, so that a transformed cell is a top-level one."""
        return self._executing == 0

    @property
    def inputs(self) -> list[str]:
        """The cells' sources as they were typed; the first is number 1."""
        manager = self.shell.history_manager
        return [] if manager is None else manager.input_hist_raw

    @property
    def cell(self) -> str | None:
        """The id of the cell that runs, or None where the front end sends none."""
        return next((c for c in reversed(self._cells) if c), None)

    def turn(self, agent_id: str) -> str | None:
        """Return the key of this agent's next turn in the running cell.

        None where the front end sends no cell id: such a turn is always appended.
        """
        cell = self.cell
        if cell is None:
            return None
        key = f"{cell}/{agent_id}"
        self._turns[key] += 1
        ordinal = self._turns[key]
        return cell if ordinal == 1 else f"{cell}#{ordinal}"

    def pre_execute(self) -> None:
        """Count the executions that are under way; they nest."""
        self._executing += 1

    def post_execute(self) -> None:
        """Count one execution less."""
        self._executing = max(0, self._executing - 1)

    def pre_run_cell(self, info: ExecutionInfo) -> None:
        """Remember which cell runs."""
        if not self._cells:
            self._turns.clear()
            self.shown.clear()
        self._cells.append(getattr(info, "cell_id", None))

    def post_run_cell(self, result: ExecutionResult) -> None:
        """Forget the cell; keep its error for ``Err[n]`` and ``%fix``."""
        if self._cells:
            self._cells.pop()
        error = result.error_in_exec or result.error_before_exec
        if error is None or result.execution_count is None:
            return
        self.errors[result.execution_count] = _describe_error(error)
        while len(self.errors) > ERRORS_KEPT:
            self.errors.popitem(last=False)

    def finish(self) -> None:
        """End what runs in the background, where no event loop runs."""
        if self._background is not None:
            self._background.finish()

    async def aclose(self) -> None:
        """End what runs in the background; close the runtime where one was made."""
        for chat in tuple(self.chats):
            chat.close()
        if self._background is not None:
            await self._background.aclose()
            atexit.unregister(self._background.finish)
            self._background = None
        if self._outlet is not None:
            self._outlet.lift()
            self._outlet = None
        if self._runtime is not None:
            await self._runtime.aclose()
            self._runtime = None


def _describe_error(error: BaseException) -> str:
    """Return the error's text as ``%fix`` sends it: the last frames and the message."""
    render: Any = getattr(error, "_render_traceback_", None)  # IPython's protocol
    if render is not None:
        return "\n".join(render())
    return "".join(traceback.format_exception(error, limit=-ERROR_FRAMES)).strip()
