"""From an agent to a run on the framework that fits: requirements, resolution, engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tframex_nb.agents.base import BaseAgent
from tframex_nb.errors import UnknownAgent, nearest
from tframex_nb.frameworks.base import AgentExecutionResult, ExecutionRequirements
from tframex_nb.runs import collect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tframex_nb.messages import Event

__all__ = ["ExecuteAgentCommand", "ExecuteAgentService", "requirements_of"]


@dataclass(frozen=True, slots=True)
class ExecuteAgentCommand:
    """A wish to run an agent: by its id, or the agent itself."""

    agent_id: str | BaseAgent
    prompt: str
    stream: bool = True
    framework: str = "auto"
    params: Mapping[str, Any] = field(default_factory=dict)  # sampling parameters


class Streams(Protocol):
    """What runs an agent on a framework; ``Frameworks`` is one."""

    def stream(
        self, agent: BaseAgent, prompt: str, *, framework: str, **params: Any
    ) -> AsyncIterator[Event]:
        """Yield the events of a run."""
        ...


class ExecuteAgentService:
    """Runs agents by their id, each on the framework that fits it best."""

    def __init__(self, agents: Mapping[str, BaseAgent], frameworks: Streams) -> None:
        self._agents = agents
        self._frameworks = frameworks

    async def execute(
        self, command: ExecuteAgentCommand
    ) -> AgentExecutionResult | AsyncIterator[Event]:
        """Return the events where ``command.stream`` is set, else the whole result.

        Raises UnknownAgent, NoFrameworkFits, and what the run raises.
        """
        agent = self._find(command.agent_id)
        events = self._frameworks.stream(
            agent, command.prompt, framework=command.framework, **command.params
        )
        if command.stream:
            return events
        run = await collect(events)
        return AgentExecutionResult(run.text, run.messages, run.usage, tuple(run.events))

    def _find(self, agent: str | BaseAgent) -> BaseAgent:
        if isinstance(agent, BaseAgent):
            return agent
        found = self._agents.get(agent)
        if found is None:
            raise UnknownAgent(f"no agent is named {agent!r}", hint=nearest(agent, self._agents))
        return found


def requirements_of(
    agent: BaseAgent, *, stream: bool = True, remember: bool = True
) -> ExecutionRequirements:
    """Return what an agent needs of a framework: told by its tools, memory, configuration.

    ``configuration["required_capabilities"]`` is a list of further capabilities. ``remember``
    says whether this run is a turn of a conversation.
    """
    configuration: Mapping[str, Any] = getattr(agent, "configuration", {})
    return ExecutionRequirements(
        streaming=stream,
        tools=bool(getattr(agent, "tools", ())),
        memory=remember and agent.memory != 0,
        capabilities=frozenset(configuration.get("required_capabilities", ())),
    )
