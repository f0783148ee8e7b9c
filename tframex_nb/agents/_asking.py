"""One call of a tool on its way past the approver: asked about, allowed or denied, run."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tframex_nb.agents.approval import asked_about, decided
from tframex_nb.messages import ApprovalAsked, ApprovalGiven, ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from tframex_nb.agents.approval import ApprovalRequest, Approver, Decision
    from tframex_nb.messages import Event, ToolCall

__all__ = ["Asked", "invalid", "listener_in_force", "listening", "question"]


@dataclass(slots=True)
class Asked:
    """A call as it runs, what the model is told before its result, and its result."""

    call: ToolCall
    told: str = ""
    result: ToolResult | None = None
    _heard: list[Event] = field(default_factory=list)
    _above: Asked | None = None

    @contextlib.contextmanager
    def hears(self) -> Iterator[None]:
        """Hear what the agents that the tool asks are asked about."""
        self._above = _listener.get()
        with listening(self):
            yield

    def hear(self, event: ApprovalAsked | ApprovalGiven) -> None:
        """Take in what was asked or answered below this call, and let the call above know."""
        told = dataclasses.replace(event, id=f"{self.call.id}/{event.id}")
        self._heard.append(told)
        if self._above is not None:
            self._above.hear(told)

    def events(self) -> Iterator[Event]:
        """Yield what was asked and answered below this call, then its result."""
        yield from self._heard
        if self.result is not None:
            yield self.result


# The call inside which something runs: a run below it is no part of the run above.
_listener: contextvars.ContextVar[Asked | None] = contextvars.ContextVar(
    "tframex_listener", default=None
)


def listener_in_force() -> Asked | None:
    """Return the call inside which this runs, or None."""
    return _listener.get()


@contextlib.contextmanager
def listening(listener: Asked | None) -> Iterator[None]:
    """Let a call hear what is asked inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


async def question(
    asked: Asked, request: ApprovalRequest, approve: Approver
) -> AsyncGenerator[Event, None]:
    """Ask about a call where that has to be, and yield the question and the answer.

    A call whose arguments do not fit is not asked about, and does not run.
    """
    call = request.call
    if not asked_about(request.tool, approve):
        return
    if problem := request.problem(call.arguments):
        asked.result = ToolResult(call.id, call.name, invalid(call, problem), is_error=True)
        return
    yield _heard(ApprovalAsked(call.id, call.name, call.arguments))
    decision = await decided(request, approve)
    arguments = decision.arguments if decision.allowed else None
    given = ApprovalGiven(call.id, call.name, decision.allowed, decision.reason, arguments)
    if not decision.allowed:
        asked.result = ToolResult(call.id, call.name, _denial(call, decision), is_error=True)
    elif arguments is not None:
        asked.call = dataclasses.replace(call, arguments=arguments)
        asked.told = f"The user changed the arguments of this call to {arguments}\n"
    yield _heard(given)


def _heard(event: ApprovalAsked | ApprovalGiven) -> Event:
    listener = _listener.get()
    if listener is not None:
        listener.hear(event)
    return event


def invalid(call: ToolCall, problem: object) -> str:
    """Return what a model is told of arguments that do not fit."""
    return f"Invalid arguments for {call.name}; call it again with these mended:\n{problem}"


def _denial(call: ToolCall, decision: Decision) -> str:
    why = decision.reason or "no reason was given"
    return f"{call.name} was not run: the call was denied ({why}). Go on without it, and say so."
