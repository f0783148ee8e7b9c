"""The composition root: it hands an agent its model and keeps the runs of this process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tframex_nb.models import Endpoints, shared_endpoints

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tframex_nb.agents import BaseAgent
    from tframex_nb.messages import Event
    from tframex_nb.systems.base import BaseSystem

__all__ = ["RunRequest", "Runtime"]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One question to one agent, or to a system, which takes its arguments as ``params``.

    ``model`` and ``api_url`` override the agent's own for this run; ``turn`` is the key of the
    conversation's turn that this run replaces; ``params`` go to the endpoint unchanged.
    """

    agent: BaseAgent | BaseSystem
    prompt: str
    model: str | None = None
    api_url: str | None = None
    turn: str | None = None
    fresh: bool = False
    remember: bool = True
    params: Mapping[str, Any] = field(default_factory=dict)  # sampling parameters, any JSON


class Runtime:
    """Agents, models and runs of one process, put together."""

    def __init__(self, endpoints: Endpoints | None = None) -> None:
        self.endpoints = endpoints or shared_endpoints()

    def stream(self, request: RunRequest) -> AsyncIterator[Event]:
        """Yield the events of one run.

        Raises SettingsError at once where the model cannot be resolved, ModelError or
        AgentError while it runs, after a ``RunFailed`` event.
        """
        from tframex_nb.agents import BaseAgent

        model = None
        if not isinstance(request.agent, BaseAgent):
            return request.agent.stream(request.prompt, **request.params)
        if request.model or request.api_url:
            model = self.endpoints.resolve(request.model, api_url=request.api_url)
        return request.agent.stream(
            request.prompt,
            turn=request.turn,
            model=model,
            fresh=request.fresh,
            remember=request.remember,
            **request.params,
        )

    async def aclose(self) -> None:
        """Close every model, and the demo server where it runs."""
        await self.endpoints.aclose()
