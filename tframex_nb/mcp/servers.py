"""The servers of the settings: found by name, started when needed, closed together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tframex_nb.errors import McpError, SettingsError, nearest
from tframex_nb.mcp.definition import Definition, defined, find
from tframex_nb.mcp.faults import McpUntrusted
from tframex_nb.mcp.offered import ORIGIN
from tframex_nb.mcp.portal import Portal
from tframex_nb.mcp.slot import Slot
from tframex_nb.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tframex_nb.agents.tools import Tool
    from tframex_nb.settings import Settings

__all__ = ["McpServers", "ServerState", "split"]


@dataclass(frozen=True, slots=True)
class ServerState:
    """What is known of one server now, without asking it."""

    name: str
    state: str
    tools: tuple[Tool, ...] = ()
    definition: Definition | None = None
    problem: str = ""


class McpServers:
    """Servers by their names in the settings, which are read anew at each use.

    Connections live on a thread of their own, from the first use to ``aclose``.
    """

    def __init__(self, settings: Callable[[], Settings] = load_settings) -> None:
        self._settings = settings
        self._portal = Portal()
        self._slots: dict[str, Slot] = {}
        self._trusted: set[str] = set()

    async def tools(self, word: str) -> list[Tool]:
        """Return the tools of ``NAME``, or the one that ``NAME/tool`` names.

        The server is started where it does not run. Raises an McpError.
        """
        name, wanted = split(word)
        every = await (await self._slot(name)).tools()
        if not wanted:
            return every
        found = [each for each in every if each.name == wanted]
        if not found:
            raise McpError(
                f"the MCP server {name!r} has no tool {wanted!r}",
                hint=nearest(wanted, (each.name for each in every)),
                server=name,
            )
        return found

    async def start(self, name: str) -> list[Tool]:
        """Start a server, or find it running; return its tools."""
        return await self.tools(name)

    async def stop(self, name: str) -> None:
        """End a server; the next use starts it anew. Raises McpError for one that is not set."""
        slot = self._slots.get(name.lower())
        if slot is None:
            find(self._settings(), name)
        else:
            await slot.close()

    def trust(self, name: str) -> Definition:
        """Let a server be started though a folder's file defines it, as it is defined now."""
        definition = find(self._settings(), name)
        self._trusted.add(definition.fingerprint)
        return definition

    def runs(self, word: str) -> bool:
        """Whether the server of a word is there, so that nobody waits for its start."""
        slot = self._slots.get(split(word)[0])
        return slot is not None and slot.state == "ready"

    def states(self) -> list[ServerState]:
        """Return what is known of each server that is set; nothing is started."""
        return [self._state(name, each) for name, each in defined(self._settings()).items()]

    def names(self) -> list[str]:
        """Return words that name servers, and the tools of those that were seen."""
        found: list[str] = []
        for each in self.states():
            found.append(f"{ORIGIN}{each.name}")
            found += [f"{ORIGIN}{each.name}/{tool.name}" for tool in each.tools]
        return found

    async def aclose(self) -> None:
        """End every server and the thread; a later use starts both again."""
        slots, self._slots = list(self._slots.values()), {}
        portal, self._portal = self._portal, Portal()
        await asyncio.gather(*(slot.close() for slot in slots))
        await portal.aclose()

    async def _slot(self, name: str) -> Slot:
        definition = find(self._settings(), name)
        if not self._may_start(definition):
            raise McpUntrusted(
                f"the MCP server {name!r} is not started: {definition.place} defines it, "
                "and that file may have come with the folder",
                hint=f"it is {definition.target!r}{_with(definition.sets)}; "
                f"if you want that: %tools trust {name}",
                server=name,
            )
        slot = self._slots.get(definition.name)
        if slot is not None and slot.definition != definition:
            del self._slots[definition.name]
            await slot.close()
            slot = None
        return slot or self._slots.setdefault(definition.name, Slot(definition, self._portal))

    def _may_start(self, definition: Definition) -> bool:
        return definition.trusted or definition.fingerprint in self._trusted

    def _state(self, name: str, found: Definition | SettingsError | McpError) -> ServerState:
        if isinstance(found, Exception):
            return ServerState(name, "unusable", problem=found.message)
        slot = self._slots.get(name)
        if slot is None or slot.definition != found:
            state = "off" if self._may_start(found) else "not trusted"
            return ServerState(name, state, definition=found)
        problem = slot.error.message if slot.error is not None else ""
        return ServerState(name, slot.state, slot.known, found, problem)


def _with(sets: str) -> str:
    return f" with {sets!r}" if sets else ""


def split(word: str) -> tuple[str, str]:
    """Return the server and the tool that ``mcp:NAME/tool`` names; the tool may be empty."""
    name, _, wanted = word.removeprefix(ORIGIN).partition("/")
    return name.lower(), wanted
