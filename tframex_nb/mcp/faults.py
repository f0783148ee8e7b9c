"""What can go wrong with an MCP server; every class is a ``McpError``."""

from __future__ import annotations

from tframex_nb.errors import McpError

__all__ = ["McpCallFailed", "McpConnectionLost", "McpStartFailed", "McpTimeout", "McpUntrusted"]


class McpUntrusted(McpError):
    """The server's definition may have come with a folder; nothing of it was started."""


class McpStartFailed(McpError):
    """The server could not be started or reached, or does not speak MCP."""


class McpConnectionLost(McpError):
    """The server ended, or the connection to it did; the next use starts it anew."""


class McpTimeout(McpError):
    """The server did not answer within the bound; a call is told to it as cancelled."""


class McpCallFailed(McpError):
    """The server refused a call, or its tool says that it failed."""
