"""A request on its way to a worker, as JSON and back (stdlib only)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tframex_nb.frameworks.base import AgentExecutionRequest, AgentSpec, ModelAccess, ToolHandle
from tframex_nb.messages import Message

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterable

__all__ = ["pack_request", "pack_tools", "unpack_request"]


def pack_request(request: AgentExecutionRequest) -> dict[str, Any]:
    """Return a request as JSON, except for its subject, which travels beside it."""
    agent = request.agent
    return {
        "agent": {
            "id": agent.id,
            "name": agent.name,
            "template_id": agent.template_id,
            "configuration": dict(agent.configuration),
            "description": getattr(agent, "description", ""),
        },
        "prompt": request.prompt,
        "model": dataclasses.asdict(request.model),
        "system": request.system,
        "history": [{**m.to_dict(), "reasoning": m.reasoning} for m in request.history],
        "tools": pack_tools(request.tools),
        "params": dict(request.params),
        "max_steps": request.max_steps,
        "schema": None if request.schema is None else dict(request.schema),
        "run_id": request.run_id,
    }


def pack_tools(tools: Iterable[ToolHandle]) -> list[dict[str, Any]]:
    """Return what there is to know of each tool, as JSON."""
    return [
        {"name": t.name, "description": t.description, "parameters": dict(t.parameters)}
        for t in tools
    ]


def unpack_request(
    data: dict[str, Any],
    call: Callable[[str], Callable[[dict[str, Any] | str], Awaitable[str]]],
    loop: asyncio.AbstractEventLoop,
) -> AgentExecutionRequest:
    """Return the request of its JSON; ``call`` gives what calls the tool of a name."""
    own: dict[str, Any] = {
        "agent": AgentSpec(**data["agent"]),
        "model": ModelAccess(**data["model"]),
        "history": tuple(map(Message.from_dict, data["history"])),
        "tools": tuple(ToolHandle(**t, call=call(t["name"]), loop=loop) for t in data["tools"]),
    }
    return AgentExecutionRequest(**{**data, **own})
