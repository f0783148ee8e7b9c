"""Loading and unloading: everything that the extension adds to a shell, and takes back."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any

from tframex_nb.notebook.completion import matcher_for
from tframex_nb.notebook.config import TFrameX
from tframex_nb.notebook.framework_magics import FrameworkMagics
from tframex_nb.notebook.magics import AgentMagics
from tframex_nb.notebook.session import Session
from tframex_nb.notebook.shield import Shield
from tframex_nb.notebook.tool_magics import ToolMagics
from tframex_nb.notebook.transform import lower_cell, lower_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Extension"]

# What a cell has shown while it ran, so that it is not shown again as the cell's value.
SHOWN_LIVE = (
    ("tframex_nb.runs", "Run"),
    ("tframex_nb.notebook.background", "BackgroundRun"),
    ("tframex_nb.notebook.sides", "Comparison"),
)


class Extension:
    """One shell's tframex_nb, from ``%load_ext`` to ``%unload_ext``."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.session = Session(shell)
        self.config = TFrameX(parent=shell, session=self.session)
        self.magics = (
            AgentMagics(shell, session=self.session, wishes=self.config),
            FrameworkMagics(shell, session=self.session, wishes=self.config),
            ToolMagics(shell, session=self.session, wishes=self.config),
        )
        self._transformers = [_transformer(lower_cell, self), _transformer(lower_lines, self)]
        self._matcher = matcher_for(self.session)
        self._shield = Shield(getattr(shell, "kernel", None))
        self._events: list[tuple[str, Callable[..., None]]] = [
            ("pre_execute", self.session.pre_execute),
            ("post_execute", self.session.post_execute),
            ("pre_run_cell", self.session.pre_run_cell),
            ("post_run_cell", self.session.post_run_cell),
        ]

    def load(self) -> None:
        """Register magics, transformers, events, completion and configuration."""
        shell = self.shell
        shell.register_magics(*self.magics)
        shell.input_transformers_cleanup.extend(self._transformers)
        for name, callback in self._events:
            shell.events.register(name, callback)
        configurables: list[Any] = shell.configurables  # IPython types it too narrowly
        configurables.append(self.config)
        if shell.Completer is not None:
            shell.Completer.custom_matchers.append(self._matcher)
        for module, name in SHOWN_LIVE:
            self._formatter().for_type_by_name(module, name, self._show_run)
        self._shield.hold()
        if _executing():
            self.session.pre_execute()  # the cell that holds %load_ext

    def unload(self) -> None:
        """Take back all that ``load`` gave, and close what runs."""
        shell = self.shell
        for transformer in self._transformers:
            _remove(shell.input_transformers_cleanup, transformer)
        for name, callback in self._events:
            with contextlib.suppress(ValueError):
                shell.events.unregister(name, callback)
        _remove(shell.configurables, self.config)
        self.config.session_max_cost = self.config.session_max_tokens = None
        if shell.Completer is not None:
            _remove(shell.Completer.custom_matchers, self._matcher)
        self._shield.lift()
        self._forget_magics()
        self._forget_formatter()
        _close(self.session)

    def _forget_magics(self) -> None:
        manager = self.shell.magics_manager
        for magics in self.magics:
            _remove(self.shell.configurables, magics)
            manager.registry.pop(type(magics).__name__, None)
        for kind in ("line", "cell"):
            table = manager.magics[kind]
            ours = [n for n, f in table.items() if getattr(f, "__self__", None) in self.magics]
            for name in ours:
                del table[name]

    def _forget_formatter(self) -> None:
        formatter = self._formatter()
        for key in SHOWN_LIVE:
            formatter.deferred_printers.pop(key, None)
        for cls in [c for c, f in formatter.type_printers.items() if f == self._show_run]:
            del formatter.type_printers[cls]

    def _formatter(self) -> Any:  # IPython's formatter of objects that display themselves
        assert self.shell.display_formatter is not None, "every shell formats its results"
        return self.shell.display_formatter.ipython_display_formatter

    def _show_run(self, run: Any) -> None:  # a Run or Comparison; its class is not imported yet
        """Show what ran as a value, unless its cell has just shown it live."""
        if id(run) in self.session.shown:
            self.session.shown.discard(id(run))
            if not hasattr(self.shell, "kernel"):  # a terminal has written "Out[n]:" already
                print(repr(run))  # noqa: T201  # a terminal's display
            return
        self.shell.display_pub.publish(run._repr_mimebundle_())

    def may_await(self) -> bool:
        """Whether a cell that is being transformed will run on the kernel's asyncio loop."""
        shell = self.shell
        if not (self.session.idle and shell.autoawait):
            return False
        return bool(shell.loop_runner is shell.loop_runner_map["asyncio"][0])


def _executing() -> bool:
    """Whether a cell is executing now, as it is under ``%load_ext`` and not at start-up."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "run_code":
            return True
        frame = frame.f_back
    return False


def _transformer(function: Any, extension: Extension) -> Any:  # IPython reads an attribute of it
    transformer = functools.partial(function, may_await=extension.may_await)
    # A terminal asks whether a cell is complete: it must see %%agent, which ends at a blank line.
    transformer.has_side_effects = function is lower_cell  # type: ignore[attr-defined]  # IPython's
    return transformer


def _remove(items: list[Any], item: object) -> None:
    with contextlib.suppress(ValueError):
        items.remove(item)


def _close(session: Session) -> None:
    """Close the session now where no loop runs, else as soon as the loop is free."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        session.finish()  # its runs belong to IPython's own loop
        asyncio.run(session.aclose())
        return
    task = loop.create_task(session.aclose())
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
