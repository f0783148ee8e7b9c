"""Approval by typing: where there is no widget, but somebody who can be asked with ``input``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.error import StdinNotImplementedError

from tframex_nb.agents.approval import Decision
from tframex_nb.interrupts import call_tool
from tframex_nb.markdown import clean
from tframex_nb.notebook.approvals_text import folded, headline, written

if TYPE_CHECKING:
    from contextvars import Context

    from tframex_nb.agents.approval import ApprovalRequest

__all__ = ["ask_by_typing"]

CHOICES = "Allow? y(es), n(o) [and why], e(dit), a(lways): "


def ask_by_typing(request: ApprovalRequest, context: Context) -> Decision | None:
    """Ask, and hold up the thread until somebody has answered; None where nobody can.

    ``context`` is that of the cell: the front end asks below it. An interrupt cancels the run.
    """
    arguments = request.call.arguments
    shown = folded(arguments) or written(arguments)
    lead = f"{headline(request)}\n{shown}\n"
    try:
        return _asked(request, context, lead)
    except EOFError:
        return Decision(allowed=False, reason="the question was left without an answer")
    except (StdinNotImplementedError, OSError):
        return None


def _asked(request: ApprovalRequest, context: Context, lead: str) -> Decision:
    while True:
        said = _typed(context, f"{lead}{CHOICES}").strip()
        letter, _, rest = said.partition(" ")
        match letter.lower():
            case "y" | "yes":
                return Decision(allowed=True)
            case "a" | "always":
                return Decision(allowed=True, always=True)
            case "n" | "no":
                return Decision(allowed=False, reason=rest.strip())
            case "e" | "edit":
                edited = _edited(request, context)
                if edited:
                    return Decision(allowed=True, arguments=edited)
        lead = ""


def _edited(request: ApprovalRequest, context: Context) -> str:
    """Return arguments that the tool can take, or nothing where none were typed."""
    lead = ""
    while True:
        typed = _typed(context, f"{lead}New arguments as JSON, in one line (empty: back): ").strip()
        problem = request.problem(typed) if typed else ""
        if not problem:
            return typed
        lead = f"{clean(typed)}\nis refused: {clean(problem)}\n"


def _typed(context: Context, prompt: str) -> str:
    return call_tool(context.run, input, prompt)
