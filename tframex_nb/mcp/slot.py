"""One server's place: its connection is made when first needed, once, and anew where it ended."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tframex_nb.errors import McpError
from tframex_nb.mcp.faults import McpConnectionLost, McpTimeout
from tframex_nb.mcp.offered import as_text, as_tools
from tframex_nb.mcp.veil import Veil

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mcp_types import CallToolResult
    from mcp_types import Tool as McpTool

    from tframex_nb.agents.tools import Tool
    from tframex_nb.mcp.connection import Connection
    from tframex_nb.mcp.definition import Definition
    from tframex_nb.mcp.portal import Portal

__all__ = ["Slot"]

T = TypeVar("T")

ENDING = 5.0  # seconds that a start which nobody waits for has to end: as long as a connection


class Slot:
    """Its public methods may be awaited on any loop; the others run on the portal's."""

    def __init__(self, definition: Definition, portal: Portal) -> None:
        self.definition = definition
        self.known: tuple[Tool, ...] = ()  # the tools that were last seen
        self.error: McpError | None = None  # why the last start failed
        self._portal = portal
        self._veil = Veil()
        self._connection: Connection | None = None
        self._starting: asyncio.Task[Connection] | None = None
        self._waiting = 0
        self._ending: set[asyncio.Task[Connection]] = set()  # starts that nobody waits for

    @property
    def state(self) -> str:
        """``ready``, ``starting``, ``failed`` or ``off``."""
        if self._connection is not None and self._connection.alive:
            return "ready"
        if self._starting is not None and not self._starting.done():
            return "starting"
        return "failed" if self.error is not None else "off"

    async def start(self) -> None:
        """Start or reach the server unless it is there; raises an McpError."""
        await self._within(self.definition.connect_timeout, self._connected, "start")

    async def tools(self) -> list[Tool]:
        """Return what the server offers now; raises an McpError."""
        bound = self.definition.connect_timeout
        offered = await self._within(bound, self._listed, "start and list its tools")
        made = as_tools(self.definition.name, offered, self.call, veil=self._veil)
        self.known = tuple(made)
        return made

    async def call(self, name: str, arguments: dict[str, Any]) -> str:  # any JSON
        """Call a tool and return its text; raises an McpError. It is never called twice."""
        await self.start()
        work = partial(self._called, name, arguments)
        result = await self._within(self.definition.timeout, work, f"answer the call of {name}")
        return as_text(result, veil=self._veil)

    async def close(self) -> None:
        """End the connection; the next use makes another."""
        if self._portal.running:
            await self._portal.call(self._closed)

    async def _within(
        self, seconds: float, work: Callable[[], Coroutine[None, None, T]], doing: str
    ) -> T:
        try:
            async with asyncio.timeout(seconds) as bound:
                return await self._portal.call(work)
        except TimeoutError as exc:
            if not bound.expired():
                raise
            name = self.definition.name
            raise McpTimeout(
                f"the MCP server {name!r} did not {doing} within {seconds:g} s",
                hint=f"wait longer: timeout or connect_timeout of [mcp.{name}]"
                f"{self.definition.missing_proxy if self._connection is None else ''}",
                server=name,
            ) from exc

    async def _connected(self) -> Connection:
        """Return the connection; who waits for it last takes it along when cancelled."""
        if self._connection is not None and self._connection.alive:
            return self._connection
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._made())
            self._starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        starting = self._starting
        self._waiting += 1
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if starting.cancelled() and task is not None and not task.cancelling():
                raise self._stopped() from None
            raise
        finally:
            self._waiting -= 1
            if not self._waiting and not starting.done():
                self._give_up(starting)

    def _give_up(self, starting: asyncio.Task[Connection]) -> None:
        """Cancel a start; who needs the server meanwhile begins another one."""
        self._starting = None
        self._ending.add(starting)
        starting.add_done_callback(self._ending.discard)
        starting.cancel()

    def _stopped(self) -> McpError:
        name = self.definition.name
        return McpError(
            f"the MCP server {name!r} was stopped while it started",
            hint=f"the next use starts it anew; %tools start {name} does it now",
            server=name,
        )

    async def _made(self) -> Connection:
        check_package()  # here, because the package takes half a second to import
        from tframex_nb.mcp.connection import Connection

        await self._dropped()
        self.error = None
        connection = Connection(self.definition)
        self._veil = connection.veil
        try:
            await connection.open()
        except BaseException as exc:  # a stop, too, leaves no connection behind
            self.error = exc if isinstance(exc, McpError) else None
            await connection.close()
            raise
        self._connection = connection
        return connection

    async def _listed(self) -> list[McpTool]:
        connection = await self._connected()
        try:
            return await connection.tools()
        except McpConnectionLost:  # it ended while nobody asked; to list again does no harm
            if connection.alive:
                raise
        return await (await self._connected()).tools()

    async def _called(self, name: str, arguments: dict[str, Any]) -> CallToolResult:  # any JSON
        return await (await self._connected()).call(name, arguments)

    async def _dropped(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _closed(self) -> None:
        if self._starting is not None and not self._starting.done():
            self._give_up(self._starting)
        if self._ending:
            await asyncio.wait(self._ending, timeout=ENDING)
        self.error = None
        await self._dropped()


def check_package() -> None:
    """Raise McpError where the mcp package is not there, or is too old."""
    try:
        from mcp import Client  # noqa: F401 - version 2 has it, version 1 has not
    except ImportError as exc:
        raise McpError(
            "MCP servers need the package mcp, version 2 or newer",
            hint="pip install 'tframex-nb[mcp]'",
        ) from exc
