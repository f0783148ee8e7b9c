"""Who is asked before a tool acts in a cell, and by which way: widget, typing, or nobody."""

from __future__ import annotations

import contextvars
import importlib.util
import itertools
import os
import sys
from typing import TYPE_CHECKING, Any

from IPython.core.displaypub import CapturingDisplayPublisher

from tframex_nb.agents.approval import Decision
from tframex_nb.notebook.front_end import allow_stdin, sent_by_widget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from IPython.core.interactiveshell import InteractiveShell

    from tframex_nb.agents.approval import ApprovalRequest, Approver, Policy
    from tframex_nb.notebook.config import TFrameX
    from tframex_nb.notebook.session import Session
    from tframex_nb.settings import Settings

__all__ = ["CellAsker", "approver_of", "policy_of"]

NOBODY = "nobody can answer here; --approve never runs it unasked"
AWAITS = 7  # the first ipykernel whose awaiting cells let messages of widgets in
WAIT = 1.5  # seconds that a front end has to show the question while a cell waits
WAIT_BEHIND = 10.0  # the same of a run in the background, which has no other way

_serial = itertools.count(1)


def approver_of(
    session: Session, wish: str | None, config: TFrameX, settings: Settings, *, background: bool
) -> Approver | None:
    """Return who is asked about the tools of a cell's run; ``wish`` is what its line says."""
    policy = policy_of(wish, config, settings)
    return session.approvals.approver(policy, CellAsker(session, background=background))


def policy_of(wish: str | None, config: TFrameX, settings: Settings) -> Policy:
    """Return the policy of the cell, else of ``%config``, else of the settings.

    A file that came with a folder cannot say that nobody is asked.
    """
    chosen: Any = wish or config.approve  # checked where they come from
    if chosen:
        policy: Policy = chosen
        return policy
    source = settings.sources.get("approve")
    if settings.approve == "never" and source is not None and not source.is_own:
        return "writes"
    return settings.approve


class CellAsker:
    """Asks in the cell that runs when this is made, whichever runs when a tool is called."""

    def __init__(self, session: Session, *, background: bool) -> None:
        shell = session.shell
        self._session = session
        self._publish = shell.display_pub.publish
        self._id = f"tframex-approval-{os.getpid()}-{next(_serial)}"
        self._shown = False
        self._background = background
        self._hears = _version() >= AWAITS
        self._widgets = _has_widgets(shell) and (background or self._hears)
        self._types = not background and _can_type(shell)
        make = session.outlet.context if background else contextvars.copy_context
        self._context = make() if self._widgets or self._types else contextvars.copy_context()

    async def __call__(self, request: ApprovalRequest) -> Decision:
        """Return the answer, or a denial where nobody can give one."""
        decision = None
        if self._widgets:
            decision = await self._by_widget(request)
            self._widgets = decision is not None or self._background
        if decision is None and self._types:
            from tframex_nb.notebook.approvals_stdin import ask_by_typing

            decision = ask_by_typing(request, self._context)
        return decision or Decision(allowed=False, reason=NOBODY)

    async def _by_widget(self, request: ApprovalRequest) -> Decision | None:
        from tframex_nb.notebook.approvals_widget import ask_by_widget

        return await ask_by_widget(
            request,
            show=self._show,
            heard=self._heard,
            patience=WAIT_BEHIND if self._background else WAIT,
            counts=self._counts,
        )

    def _counts(self) -> bool:
        """Whether the front end can be heard, or never will be: a cell waits for a run's end."""
        session = self._session
        awaited = self._background and any(run.awaited for run in session.background.active)
        return self._hears or session.idle or awaited

    def _heard(self, message: Mapping[str, Any]) -> None:
        """Say that a message of the front end was taken in.

        A front end sends a widget's next text once the kernel was idle after the one before.
        ipykernel 7 does not say so of messages that come while a cell awaits. It is busy then.
        """
        shell: Any = self._session.shell  # a kernel's has more than the base class
        kernel = shell.kernel
        topic = f"kernel.{kernel.ident}.status".encode()
        for state in ("idle",) if self._session.idle else ("idle", "busy"):
            content = {"execution_state": state}
            kernel.session.send(kernel.iopub_socket, "status", content, message, ident=topic)

    def _show(self, bundle: Mapping[str, Any]) -> None:  # of a display
        """Show a bundle in the cell, each in the place of the one before."""
        about: dict[str, Any] = {"transient": {"display_id": self._id}, "update": self._shown}
        self._shown = True
        self._context.run(lambda: self._publish(dict(bundle), **about))


def _has_widgets(shell: InteractiveShell) -> bool:
    """Whether somebody with a screen may be there; whether widgets are shown is seen later."""
    if getattr(shell, "kernel", None) is None:
        return False
    if isinstance(shell.display_pub, CapturingDisplayPublisher):
        return False
    allowed = allow_stdin(shell)
    if allowed is None:
        allowed = sent_by_widget(shell) or bool(os.environ.get("JPY_SESSION_NAME"))
    return allowed and importlib.util.find_spec("ipywidgets") is not None


def _can_type(shell: InteractiveShell) -> bool:
    if getattr(shell, "kernel", None) is not None:
        return allow_stdin(shell) is True
    return sys.stdin is not None and sys.stdin.isatty()


def _version() -> int:
    """Return the major version of ipykernel; what a kernel says of itself is IPython's."""
    major = str(getattr(sys.modules.get("ipykernel"), "__version__", "")).partition(".")[0]
    return int(major) if major.isdigit() else 0
