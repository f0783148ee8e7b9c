"""One server while it runs; everything here happens on the portal's loop."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from mcp import Client, MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    REQUEST_TIMEOUT,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    InputRequiredResult,
    PaginatedRequestParams,
    ToolListChangedNotification,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter, ValidationError

from tframex_nb.errors import McpError, innermost
from tframex_nb.mcp.faults import McpCallFailed, McpConnectionLost, McpStartFailed, McpTimeout
from tframex_nb.mcp.program import ENDED, program_streams
from tframex_nb.mcp.reach import url_streams
from tframex_nb.mcp.tail import Tail

if TYPE_CHECKING:
    from mcp_types import Tool as McpTool

    from tframex_nb.mcp.definition import Definition

__all__ = ["Connection"]

PAGES = 50  # of a list of tools; a list without end is a fault
TOOLS = 1000
SETTLE = 0.5  # seconds in which the cause of a lost connection comes to be known
# Seconds in which a connection closes by itself, and in which it then gives up. A program is
# ended within the guard's bounds; to a server behind a URL we only say good-bye.
CLOSING_PROGRAM = 4.5
CLOSING_URL = 1.5
GIVING_UP = 0.5
REFUSED = (401, 403)

_RESULT: TypeAdapter[CallToolResult | InputRequiredResult] = TypeAdapter(
    CallToolResult | InputRequiredResult
)


class Connection:
    """A connection from ``open`` to ``close``; one that is not ``alive`` is of no more use."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.veil = definition.veil  # of the values that the program was given
        self._tail = Tail(self.veil)
        self._over = asyncio.Event()
        self._ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._reason = ""
        self._status = 0
        self._cause: BaseException | None = None
        self._tools: list[McpTool] | None = None
        self._told_of_changes = False

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return self._task is not None and not self._task.done() and not self._over.is_set()

    async def open(self) -> None:
        """Start or reach the server; raises McpStartFailed."""
        self._task = asyncio.create_task(self._hold())
        either: set[asyncio.Future[Any]] = {self._task, self._ready}  # two kinds of results
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            raise self._start_failed()

    async def tools(self) -> list[McpTool]:
        """Return the tools that the server offers; asks it unless it tells of changes."""
        if self._tools is None or not self._told_of_changes:
            self._tools = await self._listed()
        return self._tools

    async def call(self, name: str, arguments: dict[str, Any]) -> CallToolResult:  # any JSON
        """Call a tool; raises an McpError. Cancelling it tells the server."""
        request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=arguments))
        # Not ``client.call_tool``: it checks results against the server's own schema, whose
        # patterns may take for ever.
        result: CallToolResult | InputRequiredResult = await self._asked(
            self._client.session.send_request(request, _RESULT)
        )
        if isinstance(result, InputRequiredResult):
            raise McpCallFailed(
                f"the MCP server {self.definition.name!r} wants to ask the user, "
                "which is not supported",
                server=self.definition.name,
            )
        return result

    async def close(self) -> None:
        """End the connection, and the program behind it."""
        self._over.set()
        if self._task is None:
            return
        if not self._ready.done():  # it waits for the server, and looks at nothing else
            self._task.cancel()
        bound = CLOSING_PROGRAM if self.definition.command else CLOSING_URL
        await asyncio.wait({self._task}, timeout=bound)
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=GIVING_UP)

    @property
    def _client(self) -> Client:
        if not self.alive:
            raise self._lost()
        return self._ready.result()

    async def _hold(self) -> None:
        """Hold the connection until it is over: its scopes must be left by who entered them."""
        try:
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(self._make_client())
                self._ready.set_result(client)
                listening = asyncio.create_task(self._listen(client))
                try:
                    await self._over.wait()
                finally:
                    listening.cancel()
                    await asyncio.wait({listening})
        except Exception as exc:  # noqa: BLE001 - whatever the package raises becomes our error
            self._cause = innermost(exc)
        finally:
            self._over.set()

    def _make_client(self) -> Client:
        from tframex_nb import __version__

        definition = self.definition
        streams: Any = (  # the package's protocol of a transport
            program_streams(definition, tail=self._tail, ended=self._ended)
            if definition.command
            else url_streams(definition, answered=self._answered)
        )
        return Client(
            streams,
            message_handler=self._heard,
            client_info=Implementation(name="tframex-nb", version=__version__),
            cache=None,
        )

    def _ended(self, reason: str) -> None:
        self._reason = reason
        self._over.set()

    def _answered(self, status: int, _location: str) -> None:
        self._status = status

    async def _heard(self, message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._tools = None

    async def _listen(self, client: Client) -> None:
        """Learn of changes of the list, where the server tells of them."""
        offered = client.server_capabilities.tools
        if offered is None or not offered.list_changed:
            return
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            # Over HTTP nobody says whether the stream that would tell is open.
            self._told_of_changes = bool(self.definition.command)
            return
        try:
            async with client.listen(tools_list_changed=True) as changes:
                self._told_of_changes = True
                self._tools = None
                async for _ in changes:
                    self._tools = None
        except (MCPError, RuntimeError, TimeoutError):  # it does not, after all: we ask each time
            return
        finally:
            self._told_of_changes = False

    async def _listed(self) -> list[McpTool]:
        found: list[McpTool] = []
        cursor: str | None = None
        for _ in range(PAGES):
            params = PaginatedRequestParams(cursor=cursor) if cursor else None
            page = await self._asked(self._client.session.list_tools(params=params))
            found += page.tools
            cursor = page.next_cursor
            if not cursor or len(found) >= TOOLS:
                return found[:TOOLS]
        return found

    async def _asked(self, question: Any) -> Any:  # a coroutine of the package's session
        """Await what was asked; raises our errors in the place of the package's."""
        self._status = 0
        name = self.definition.name
        try:
            return await question
        except MCPError as exc:
            raise await self._translated(exc) from self._without_secrets(exc)
        except ValidationError as exc:
            raise McpCallFailed(
                f"the MCP server {name!r} sent what the protocol does not allow", server=name
            ) from self._without_secrets(exc)

    def _without_secrets(self, exc: Exception) -> Exception | None:
        """Return what is told as an error's cause; nothing where that would tell a secret."""
        said = f"{exc} {exc.args}"
        return exc if self.veil.text(said) == said else None

    async def _translated(self, exc: MCPError) -> McpError:
        name = self.definition.name
        said = self.veil.text(exc.message)
        if exc.code == REQUEST_TIMEOUT:
            return McpTimeout(f"the MCP server {name!r}: {said}", server=name)
        if self._status in REFUSED:
            return self._refused()
        if _is_closed(exc) or self._status >= 400:  # noqa: PLR2004 - HTTP's errors
            # What a server forgets with its sessions is mended by a new one.
            if self.definition.url:
                self._reason = self._reason or said
                self._over.set()
            assert self._task is not None
            await asyncio.wait({self._task}, timeout=SETTLE)
            return self._lost()
        return McpCallFailed(f"the MCP server {name!r} refused the call: {said}", server=name)

    def _lost(self) -> McpError:
        name = self.definition.name
        return McpConnectionLost(
            f"the MCP server {name!r} {self._what_happened() or 'is not connected'}",
            hint=f"the next use starts it anew; %tools start {name} does it now",
            server=name,
            stderr=self._tail.text,
        )

    def _start_failed(self) -> McpError:
        name = self.definition.name
        if isinstance(self._cause, McpError):
            return self._cause
        if self._status in REFUSED:
            return self._refused()
        doing = "be started" if self.definition.command else "be reached"
        where = "command, args, env" if self.definition.command else "url, headers"
        return McpStartFailed(
            f"the MCP server {name!r} cannot {doing}: {self._what_happened() or 'no reason given'}",
            hint=f"it is {self.definition.target}; mend {where} of [mcp.{name}]"
            f"{self.definition.missing_proxy}",
            server=name,
            stderr=self._tail.text,
        )

    def _refused(self) -> McpError:
        name = self.definition.name
        return McpStartFailed(
            f"the MCP server {name!r} refused the credentials ({self._status})",
            hint=f"set headers beside the url of [mcp.{name}], such as authorization",
            server=name,
        )

    def _what_happened(self) -> str:
        """Return the end's cause in a few words: what we saw, the last line of stderr."""
        cause = self._cause
        closed = isinstance(cause, MCPError) and _is_closed(cause)
        told = "" if cause is None or closed else self.veil.text(f"{cause}")
        status = f"HTTP status {self._status}" if self._status >= 400 else ""  # noqa: PLR2004 - HTTP's errors
        reason = self._reason
        if reason == ENDED and not self._ready.done() and self._tail.last:
            reason = ""  # what it wrote says more
        parts = (reason, told or status, self._tail.last)
        return ": ".join(dict.fromkeys(part for part in parts if part))[:500]


def _is_closed(exc: MCPError) -> bool:
    """Whether the package says that the connection ended; servers use its code for much else."""
    return exc.code == CONNECTION_CLOSED and exc.message == "Connection closed"
