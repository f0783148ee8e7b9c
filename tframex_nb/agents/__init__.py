"""Agents: a model, a system message, tools and a conversation; every one streams run events."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tframex_nb.agents.agent import Agent
    from tframex_nb.agents.approval import ApprovalRequest, Approvals, Decision
    from tframex_nb.agents.base import BaseAgent
    from tframex_nb.agents.basic import BasicAgent
    from tframex_nb.agents.context import ContextAgent
    from tframex_nb.agents.conversation import Conversation, Turn
    from tframex_nb.agents.tools import Tool, tool

__all__ = [
    "Agent",
    "ApprovalRequest",
    "Approvals",
    "BaseAgent",
    "BasicAgent",
    "ContextAgent",
    "Conversation",
    "Decision",
    "Tool",
    "Turn",
    "tool",
]

_HOMES = {
    "Agent": "agent",
    "ApprovalRequest": "approval",
    "Approvals": "approval",
    "BaseAgent": "base",
    "BasicAgent": "basic",
    "ContextAgent": "context",
    "Conversation": "conversation",
    "Decision": "approval",
    "Tool": "tools",
    "Turn": "conversation",
    "tool": "tools",
}


def __getattr__(name: str) -> Any:  # the lazily imported public names have many types
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
