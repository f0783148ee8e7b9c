"""Agents and functions as an MCP server."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import AgentError, TFrameXError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tframex_nb.mcp.server_calls import AgentServer
    from tframex_nb.mcp.server_offers import Ask

__all__ = ["build_server", "need_sdk", "serve"]


def need_sdk() -> None:
    """Raise TFrameXError where the SDK of the protocol is not installed, or hidden."""
    spec = importlib.util.find_spec("mcp")
    if spec is not None and not spec.submodule_search_locations:
        raise TFrameXError(
            f"{spec.origin} hides the package mcp, which a server of tools needs",
            hint="rename that file, or run tframex-nb itself and not python -m tframex_nb",
        )
    if spec is None:
        raise TFrameXError(
            "a server of tools needs the package mcp, which is not installed here",
            hint=f"{sys.executable} -m pip install 'tframex-nb[mcp]'",
        )


def build_server(
    *things: Any,  # agents, functions, ``Tool``s; checked one by one
    name: str = "tframex-nb",
    model: str | None = None,
    schemas: Mapping[str, Any] | None = None,  # types, or JSON schemas, by the agent's name
    ask: Ask | None = None,
) -> AgentServer:
    """Return a server whose tools are these agents and functions.

    ``model`` takes the place of the agents' own. ``schemas`` says what an agent's answer has to
    look like; it is the tool's structured output. ``ask`` runs an agent: ``Frameworks().stream``
    where agents name a framework. Raises ToolError, InvalidInput or AgentError, and
    TFrameXError where the SDK of the protocol is not installed.
    """
    need_sdk()
    from tframex_nb.mcp.server_calls import AgentServer
    from tframex_nb.mcp.server_offers import ask_natively, offers_of

    return AgentServer(
        offers_of(things, ask=ask or ask_natively, model=model, schemas=schemas), name=name
    )


def serve(
    *things: Any,  # agents, functions, ``Tool``s; checked one by one
    http: int | None = None,
    token: str = "",
    aclose: Callable[[], Awaitable[None]] | None = None,
    **options: Any,  # what ``build_server`` takes
) -> int:
    """Serve until the client goes away or somebody stops it; return the exit code.

    Over stdin and stdout, or with ``http`` at that port of 127.0.0.1 (0 for any); ``token`` is
    what clients must send there, a new one is made and printed to stderr where it is empty.
    ``aclose`` is called at the end. This takes the process: what it prints goes to stderr.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise AgentError(
            "a server needs a process of its own, and here an event loop runs",
            hint="in a terminal: tframex-nb mcp FILE.py",
        )
    server = build_server(*things, **options)
    if http is None:
        from tframex_nb.mcp.server_stdio import run_stdio

        return run_stdio(server, aclose=aclose)
    from tframex_nb.mcp.server_http import run_http

    return run_http(server, port=http, token=token, aclose=aclose)
