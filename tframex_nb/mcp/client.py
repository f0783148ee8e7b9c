"""One MCP server in plain Python, without settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tframex_nb.agents.tools import tool_name
from tframex_nb.errors import McpError, nearest
from tframex_nb.mcp.definition import CALL, CONNECT, Definition
from tframex_nb.mcp.portal import Portal
from tframex_nb.mcp.slot import Slot
from tframex_nb.settings.mcp import McpSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from tframex_nb.agents.tools import Tool

__all__ = ["McpServer"]


class McpServer:
    """A server from ``async with`` to its end: a program with its arguments, or a URL.

    ``env`` is added to what a program gets, ``env_from`` names variables of this process that it
    gets too; ``timeout`` bounds one call and ``connect_timeout`` the start, in seconds. Raises
    McpError where neither or both of ``command`` and ``url`` are given.
    """

    def __init__(
        self,
        command: str = "",
        args: Sequence[str] = (),
        *,
        url: str = "",
        name: str = "",
        env: Mapping[str, str] | None = None,
        env_from: Sequence[str] = (),
        cwd: str = "",
        headers: Mapping[str, str] | None = None,
        timeout: float = CALL,
        connect_timeout: float = CONNECT,
    ) -> None:
        given = {"env": env or {}, "headers": headers or {}, "url": url or None}
        checked = McpSettings.model_validate(given)
        self._portal = Portal()
        self._slot = Slot(
            Definition(
                name=name or Path(command).name or urlsplit(url).hostname or "server",
                command=command,
                args=tuple(args),
                env=dict(env or {}),
                env_from=tuple(env_from),
                cwd=cwd,
                url=checked.url or "",
                headers=dict(headers or {}),
                timeout=timeout,
                connect_timeout=connect_timeout,
            ),
            self._portal,
        )

    @property
    def name(self) -> str:
        """What its tools' origin says."""
        return self._slot.definition.name

    async def tools(self, *names: str, prefix: str = "") -> list[Tool]:
        """Return its tools, or those that are named; ``prefix`` tells them from others' tools.

        Raises McpError where it has none of a name.
        """
        every = {each.name: each for each in await self._slot.tools()}
        missing = next((each for each in names if each not in every), None)
        if missing is not None:
            raise McpError(
                f"the MCP server {self.name!r} has no tool {missing!r}",
                hint=nearest(missing, every),
                server=self.name,
            )
        chosen = [every[each] for each in names] if names else list(every.values())
        if not prefix:
            return chosen
        return [replace(each, name=tool_name(prefix + each.name)) for each in chosen]

    async def aclose(self) -> None:
        """End the server."""
        await self._slot.close()
        await self._portal.aclose()

    async def __aenter__(self) -> Self:
        try:
            await self._slot.start()
        except BaseException:  # a stop, too, leaves no server behind
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<McpServer {self.name}: {self._slot.state}>"
