"""Agent frameworks behind one interface: found, scored, chosen, isolated, swapped."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tframex_nb.frameworks.base import (
        ABSENT,
        NATIVE,
        PARTIAL,
        AgentExecutionRequest,
        AgentExecutionResult,
        Capability,
        ExecutionRequirements,
        FrameworkIntegration,
        StreamChunk,
        ValidationResult,
    )
    from tframex_nb.frameworks.execute_agent import ExecuteAgentCommand, ExecuteAgentService
    from tframex_nb.frameworks.loader import FrameworkLoader
    from tframex_nb.frameworks.registry import FrameworkRegistry
    from tframex_nb.frameworks.resolver import FrameworkResolverService
    from tframex_nb.frameworks.service import Frameworks
    from tframex_nb.frameworks.templates import TemplateFrameworkMapping

__all__ = [
    "ABSENT",
    "NATIVE",
    "PARTIAL",
    "AgentExecutionRequest",
    "AgentExecutionResult",
    "Capability",
    "ExecuteAgentCommand",
    "ExecuteAgentService",
    "ExecutionRequirements",
    "FrameworkIntegration",
    "FrameworkLoader",
    "FrameworkRegistry",
    "FrameworkResolverService",
    "Frameworks",
    "StreamChunk",
    "TemplateFrameworkMapping",
    "ValidationResult",
]

_HOMES = {
    "ExecuteAgentCommand": "execute_agent",
    "ExecuteAgentService": "execute_agent",
    "FrameworkLoader": "loader",
    "FrameworkRegistry": "registry",
    "FrameworkResolverService": "resolver",
    "Frameworks": "service",
    "TemplateFrameworkMapping": "templates",
}


def __getattr__(name: str) -> Any:  # the lazily imported public names have many types
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'base')}"), name)


def __dir__() -> list[str]:
    return __all__
