"""Agents as tools: an agent asks another, whose run is its own."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tframex_nb.agents.tools import Tool, tool
from tframex_nb.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tframex_nb.models.base import ChatModel

__all__ = ["Caller", "agent_tool", "calling", "check_depth"]

MAX_NESTING = 5  # agents waiting for each other; deeper is nearly always a circle


@dataclass(frozen=True, slots=True)
class Caller:
    """An agent whose tools are running, and the model of its run."""

    agent: str
    model: ChatModel


# Per task by nature, so it is a context variable: a tool of a run sees the agents above it.
_callers: contextvars.ContextVar[tuple[Caller, ...]] = contextvars.ContextVar(
    "tframex_callers", default=()
)


@contextlib.contextmanager
def calling(caller: Caller) -> Iterator[None]:
    """Let the agents that are asked inside the block know who asks, and spend its budgets."""
    from tframex_nb.models._metered import budgets_of
    from tframex_nb.models.budget import within

    token = _callers.set((*_callers.get(), caller))
    try:
        with within(budgets_of(caller.model)):
            yield
    finally:
        _callers.reset(token)


def check_depth(agent: str) -> None:
    """Raise AgentError where too many agents wait for each other, this one included.

    It counts an agent that a tool asks in its own way, too, not only agents given as tools.
    """
    callers = _callers.get()
    if len(callers) > MAX_NESTING:
        chain = " > ".join([*(caller.agent for caller in callers), agent])
        raise AgentError(
            f"agents ask each other more than {MAX_NESTING} deep: {chain}",
            hint="let one of them answer without asking another",
        )


def agent_tool(
    agent: str,
    ask: Callable[..., Awaitable[str]],  # prompt, and what ``BaseAgent.stream`` takes
    *,
    name: str,
    description: str,
    own_model: bool,
) -> Tool:
    """Return a tool with one argument that asks an agent.

    Its run neither sees nor changes the agent's conversation. An agent without a model of its
    own uses its caller's.
    """

    async def answer(
        prompt: Annotated[str, "the whole task: the agent sees nothing else of this conversation"],
    ) -> str:
        callers = _callers.get()
        options: dict[str, Any] = {"remember": False, "fresh": True}  # a model, two switches
        if callers and not own_model:
            options["model"] = callers[-1].model
        return await ask(prompt, **options)

    made = Tool.of(tool(answer, name=name, description=description))
    return dataclasses.replace(made, origin=f"agent {agent!r}")
