"""Where the output of a background run goes: to the cell that started it, whichever runs now.

ipykernel addresses what is printed and shown by the request that it handles. Since 7.0 it looks
that up in the context of a task, before that only for ``stdout`` and ``stderr``: a display of a
task went to the latest cell. A hook on each message puts the right address there in both.
"""

from __future__ import annotations

import contextvars
import sys
import traceback
from typing import TYPE_CHECKING, Any

from tframex_nb.interrupts import stand_apart

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Outlet", "lines_of"]

LINES = 3  # of an error
LONG = 500  # characters of one

_home: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar(  # a header, JSON
    "tframex_home", default=None
)
_METHODS = ("publish", "clear_output")


class Outlet:
    """The way to the cells of one shell; ``lift`` takes away what it put there."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._publisher: Any = None  # ipykernel's, which ships no types
        self._awake = False

    def context(self) -> Context:
        """Return a context whose output goes to the cell that runs now, and no interrupt ends.

        Made in such a context, it goes where that one goes.
        """
        self._hold()
        self._keep_awake()
        context = contextvars.copy_context()
        header = _home.get() or getattr(self._shell.display_pub, "parent_header", None)
        context.run(_home.set, dict(header) if header else None)
        context.run(stand_apart)
        return context

    def show_error(self, exc: BaseException) -> None:
        """Show an error in red in the cell of this context, in at most three lines."""
        lines = lines_of(exc)
        kernel: Any = getattr(self._shell, "kernel", None)  # as above
        header = _home.get()
        if kernel is None or header is None:
            print("\n".join(lines), file=sys.stderr, flush=True)  # noqa: T201  # a terminal's display
            return
        content = {"ename": type(exc).__name__, "evalue": str(exc), "traceback": lines}
        topic = f"kernel.{kernel.ident}.error".encode()
        kernel.session.send(kernel.iopub_socket, "error", content, parent=header, ident=topic)

    def lift(self) -> None:
        """Give the shell back what it had."""
        if self._awake:
            self._awake = False
            self._shell.enable_gui(None)
        if self._publisher is None:
            return
        for name in _METHODS:
            readdress = vars(self._publisher).get(name)
            if isinstance(readdress, _Readdress):
                readdress.holders -= 1
                if not readdress.holders:
                    delattr(self._publisher, name)
        self._publisher = None

    def _keep_awake(self) -> None:
        """Let a terminal's prompt run on the event loop of the cells, which rests there else."""
        shell: Any = self._shell  # IPython's terminal has more than the base class
        if getattr(shell, "pt_app", None) is not None and shell.active_eventloop is None:
            shell.enable_gui("asyncio")
            self._awake = True

    def _hold(self) -> None:
        """Stand before the publisher's methods; one without hooks is no kernel's."""
        publisher: Any = self._shell.display_pub  # as above
        if self._publisher is not None or not hasattr(publisher, "register_hook"):
            return
        self._publisher = publisher
        for name in _METHODS:
            method = getattr(publisher, name)
            if not isinstance(method, _Readdress):
                method = _Readdress(publisher, method)
                setattr(publisher, name, method)
            method.holders += 1


class _Readdress:
    """A method of the publisher whose messages go to the cell of the context that calls it.

    Hooks belong to a thread, and a tool may display from one of its own: so the hook is put
    there for each call.
    """

    def __init__(self, publisher: Any, method: Callable[..., Any]) -> None:  # ipykernel's
        self.holders = 0
        self._publisher = publisher
        self._method = method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # as the method takes and gives them
        if _home.get() is None:
            return self._method(*args, **kwargs)
        self._publisher.register_hook(_readdressed)
        try:
            return self._method(*args, **kwargs)
        finally:
            self._publisher.unregister_hook(_readdressed)


def _readdressed(message: dict[str, Any]) -> dict[str, Any]:  # a message, JSON
    message["parent_header"] = _home.get()
    return message


def lines_of(exc: BaseException) -> list[str]:
    """Return an error as IPython shows it, cut to three lines; a foreign one without its frames."""
    render: Any = getattr(exc, "_render_traceback_", None)  # IPython's protocol
    if render is not None:
        lines = [str(line) for line in render()]
    else:
        lines = "".join(traceback.format_exception_only(exc)).strip().splitlines()
    return [line if len(line) <= LONG else f"{line[: LONG - 1]}…" for line in lines[:LINES]]
