"""The Model Context Protocol: servers whose tools agents use, and agents as such a server."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tframex_nb.mcp.client import McpServer
    from tframex_nb.mcp.faults import (
        McpCallFailed,
        McpConnectionLost,
        McpStartFailed,
        McpTimeout,
        McpUntrusted,
    )
    from tframex_nb.mcp.server import build_server, serve
    from tframex_nb.mcp.servers import McpServers

__all__ = [
    "McpCallFailed",
    "McpConnectionLost",
    "McpServer",
    "McpServers",
    "McpStartFailed",
    "McpTimeout",
    "McpUntrusted",
    "build_server",
    "serve",
]

_HOMES = {
    "McpCallFailed": "faults",
    "McpConnectionLost": "faults",
    "McpServer": "client",
    "McpServers": "servers",
    "McpStartFailed": "faults",
    "McpTimeout": "faults",
    "McpUntrusted": "faults",
    "build_server": "server",
    "serve": "server",
}


def __getattr__(name: str) -> Any:  # the lazily imported public names have many types
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
