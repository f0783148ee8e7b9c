"""The tools of one MCP server, and the calls of its clients that are under way."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import anyio
import mcp_types as wire
from mcp.server import Server
from mcp.shared.exceptions import MCPError

from tframex_nb.agents._results import failure
from tframex_nb.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.server import ServerRequestContext

    from tframex_nb.mcp.server_offers import Offer

__all__ = ["AgentServer"]

TICK = 0.25  # seconds between two looks at a call, and before its first progress notification
NEWS = 1.0  # seconds between two progress notifications at least
BEAT = 5.0  # seconds after which a call that says nothing new says that it is alive
PARTING = 15.0  # seconds that a call which is stopped has to end what it began


class AgentServer:
    """The tools of one server, and the calls of all its clients.

    ``protocol`` is the SDK's own server, for a transport. Each call is a run of its own: none
    sees what another asked, and an agent's conversation stays as it is.
    """

    def __init__(self, offers: Mapping[str, Offer], *, name: str) -> None:
        from tframex_nb import __version__

        self.offers = dict(offers)
        self._calls: set[asyncio.Task[wire.CallToolResult]] = set()
        self.protocol: Server[dict[str, Any]] = Server(  # the state of no lifespan
            name,
            version=__version__,
            on_list_tools=self._list,
            on_call_tool=self._call,
        )

    async def aclose(self) -> None:
        """Stop every call, and wait until each has closed what it opened."""
        for task in tuple(self._calls):
            task.cancel()
        if self._calls:
            await asyncio.wait(tuple(self._calls), timeout=PARTING)

    def __repr__(self) -> str:
        return f"<AgentServer {self.protocol.name!r}: {', '.join(self.offers)}>"

    async def _list(
        self, _context: ServerRequestContext, _params: wire.PaginatedRequestParams | None
    ) -> wire.ListToolsResult:
        return wire.ListToolsResult(tools=[offer.listed() for offer in self.offers.values()])

    async def _call(
        self, context: ServerRequestContext, params: wire.CallToolRequestParams
    ) -> wire.CallToolResult:
        offer = self.offers.get(params.name)
        if offer is None:
            known = nearest(params.name, self.offers)
            raise MCPError(wire.INVALID_PARAMS, f"There is no tool {params.name!r}; {known}")
        life = _Life()
        # A task of its own: the SDK's cancellation strikes again at each await, and what a run
        # closes at its end could not be closed under it
        arguments = json.dumps(params.arguments or {})
        task = asyncio.create_task(offer.call(arguments, life.tell))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        try:
            while not (await asyncio.wait({task}, timeout=TICK))[0]:
                if life.due():
                    await context.session.report_progress(life.seconds, None, life.line)
        finally:
            task.cancel()
            with anyio.move_on_after(PARTING, shield=True):
                await asyncio.wait({task})
        if task.cancelled():
            raise MCPError(wire.INTERNAL_ERROR, f"The call of {params.name!r} was stopped.")
        error = task.exception()
        if isinstance(error, Exception):
            raise MCPError(wire.INTERNAL_ERROR, f"{params.name!r} failed: {failure(error)}")
        return task.result()


class _Life:
    """What a call does now; its seconds are the progress, which only ever grows."""

    def __init__(self) -> None:
        self.line = ""
        self._begun = time.monotonic()
        self._told = 0.0
        self._last = ""

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._begun, 2)

    def tell(self, line: str) -> None:
        self.line = line or self.line

    def due(self) -> bool:
        """Whether there is news, or has been none for long."""
        now = time.monotonic()
        if now - self._told < (BEAT if self.line == self._last else NEWS):
            return False
        self._told, self._last = now, self.line
        return True
