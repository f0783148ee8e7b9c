"""The composition root: it hands an agent its model and keeps the runs of this process."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tframex_nb.models import Endpoints, shared_endpoints

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from tframex_nb.agents import BaseAgent
    from tframex_nb.agents.approval import Approver
    from tframex_nb.frameworks.service import Frameworks
    from tframex_nb.mcp import McpServers
    from tframex_nb.messages import Event
    from tframex_nb.models.budget import Budget
    from tframex_nb.systems.base import BaseSystem

__all__ = ["RunRequest", "Runtime"]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One question to one agent, or to a system, which takes its arguments as ``params``.

    ``model`` and ``api_url`` override the agent's own for this run; ``turn`` is the key of the
    conversation's turn that this run replaces; ``params`` go to the endpoint unchanged.
    ``framework`` is a framework's name or ``auto``; empty for what the agent names. ``subject``
    is what the user built with that framework, a function that builds it, or a name that a
    ``%%framework`` cell defined. ``schema`` is what the answer has to look like, asked for
    ``tries`` times at most. ``budget`` bounds what the run may spend; ``approve`` is asked
    before a tool runs.
    """

    agent: BaseAgent | BaseSystem
    prompt: str | Sequence[Any]  # as ``BaseAgent.stream`` takes it
    model: str | None = None
    api_url: str | None = None
    framework: str = ""
    template: str = ""
    subject: Any = None  # an object of the framework
    schema: Any = None  # a type, or a JSON schema
    tries: int = 3
    turn: str | None = None
    fresh: bool = False
    remember: bool = True
    params: Mapping[str, Any] = field(default_factory=dict)  # sampling parameters, any JSON
    budget: Budget | None = None
    approve: Approver | None = None


class Runtime:
    """Agents, models and runs of one process, put together."""

    def __init__(self, endpoints: Endpoints | None = None) -> None:
        self.endpoints = endpoints or shared_endpoints()
        self._frameworks: Frameworks | None = None
        self._mcp: McpServers | None = None

    @property
    def frameworks(self) -> Frameworks:
        """The agent frameworks, put together at first use."""
        if self._frameworks is None:
            from tframex_nb.frameworks.service import Frameworks

            self._frameworks = Frameworks()
        return self._frameworks

    @property
    def mcp(self) -> McpServers:
        """The MCP servers of the settings; none is started before its tools are asked for."""
        if self._mcp is None:
            from tframex_nb.mcp import McpServers

            self._mcp = McpServers()
        return self._mcp

    def stream(self, request: RunRequest) -> AsyncIterator[Event]:
        """Yield the events of one run.

        Raises SettingsError at once where the model cannot be resolved, ModelError or
        AgentError while it runs, after a ``RunFailed`` event.
        """
        from tframex_nb.agents import BaseAgent

        model = None
        if not isinstance(request.agent, BaseAgent):
            with request.budget or contextlib.nullcontext():
                return request.agent.stream(request.prompt, **request.params)
        if request.model or request.api_url:
            from tframex_nb.models.cassette import shared_cassettes

            found = shared_cassettes()
            model = found.model(request.model, endpoints=self.endpoints, api_url=request.api_url)
        options: dict[str, Any] = {  # what ``BaseAgent.stream`` takes
            "turn": request.turn,
            "model": model,
            "fresh": request.fresh,
            "remember": request.remember,
            "budget": request.budget,
            "approve": request.approve,
            "schema": request.schema,
            "tries": request.tries,
            **request.params,
        }
        if not self._needs_framework(request):
            return request.agent.stream(request.prompt, **options)
        return self.frameworks.stream(
            request.agent,
            request.prompt,
            framework=request.framework,
            template=request.template,
            subject=request.subject,
            **options,
        )

    def _needs_framework(self, request: RunRequest) -> bool:
        """Whether anything names a framework, so that they have to be looked at."""
        wishes = (request.framework, request.template, request.subject is not None)
        named = (getattr(request.agent, name, "") for name in ("framework", "template_id"))
        used = self._frameworks is not None and self._frameworks.counts
        return any(wishes) or any(named) or used

    async def aclose(self) -> None:
        """Close the frameworks with their workers, MCP servers, every model, the demo server."""
        if self._mcp is not None:
            await self._mcp.aclose()
            self._mcp = None
        if self._frameworks is not None:
            await self._frameworks.aclose()
            self._frameworks = None
        await self.endpoints.aclose()
