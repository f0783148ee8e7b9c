"""Engines: what answers in place of an agent's own steps, such as another framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tframex_nb.agents.running import closing
from tframex_nb.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tframex_nb.agents.base import BaseAgent
    from tframex_nb.messages import Event, Message
    from tframex_nb.models.base import ChatModel

__all__ = ["Engine", "Engines", "NamedEngine", "named"]

OWN = {"", "native"}


class Engine(Protocol):
    """What answers in place of an agent's own steps: an agent framework.

    Where it has a ``takes_schema``, that says whether it heeds a schema in ``response_format``.
    """

    @property
    def framework(self) -> str:
        """The framework's name."""
        ...

    def steps(
        self,
        agent: BaseAgent,
        messages: list[Message],
        *,
        model: ChatModel,
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncIterator[Event]:
        """Yield the events of one answer, as ``BaseAgent.steps`` does."""
        ...


class Engines(Protocol):
    """What has engines by the framework's name; ``Frameworks`` is one."""

    async def engine(
        self, agent: BaseAgent, *, framework: str = ""
    ) -> tuple[Engine | None, object]:
        """Return the engine for a run of the agent, None for its own steps, and why that one."""
        ...


@dataclass(frozen=True, slots=True)
class NamedEngine:
    """The engine of a framework that an agent names, looked up when the run begins."""

    framework: str
    engines: Engines

    async def steps(
        self,
        agent: BaseAgent,
        messages: list[Message],
        *,
        model: ChatModel,
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncIterator[Event]:
        """Yield the events of one answer."""
        found, _ = await self.engines.engine(agent, framework=self.framework)
        if found is None:
            steps = agent.steps(messages, model=model, **params)
        else:
            steps = found.steps(agent, messages, model=model, **params)
        async with closing(steps) as events:
            async for event in events:
                yield event


def named(agent: BaseAgent) -> Engine | None:
    """Return the engine of the framework that an agent names, or None for its own steps.

    Raises AgentError where nobody has told the agent where frameworks are.
    """
    framework = str(getattr(agent, "framework", ""))
    if framework in OWN:
        return None
    if agent.engines is None:
        raise AgentError(
            f"{agent.name!r} names the framework {framework!r}, which only a cell starts by itself",
            hint="in plain Python: Frameworks().stream(agent, prompt), from tframex_nb.frameworks",
        )
    return NamedEngine(framework, agent.engines)
