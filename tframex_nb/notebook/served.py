"""The words ``mcp:NAME`` of ``--tools``: servers are started before a question is made."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from tframex_nb.agents.tools import Tool
from tframex_nb.errors import TFrameXError
from tframex_nb.notebook.front_end import detect
from tframex_nb.notebook.namespace import find_agent
from tframex_nb.notebook.progress import ProgressLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tframex_nb.agents import BaseAgent
    from tframex_nb.notebook.config import TFrameX
    from tframex_nb.notebook.session import Session

__all__ = ["named_tools", "served_tools", "starting"]

PREFIX = "mcp:"


async def served_tools(
    session: Session, wishes: TFrameX, options: Any
) -> dict[str, list[Tool]]:  # argparse's Namespace
    """Return the tools of each server that a cell or its agent names, by the word that names it.

    A server that does not run is started, in sight. Raises an McpError.
    """
    words = [word for word in _words(session, options) if word.startswith(PREFIX)]
    if not words:
        return {}
    servers = session.runtime.mcp
    with starting(session, [word for word in words if not servers.runs(word)], wishes):
        error: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {word: group.create_task(servers.tools(word)) for word in words}
        except ExceptionGroup as errors:
            error = errors.exceptions[0]
        if error is not None:  # raised here, since IPython prints all that belongs to a group
            raise error
    return {word: task.result() for word, task in tasks.items()}


def named_tools(
    names: list[str],
    look_up: Callable[[str, str], Any],
    served: Mapping[str, list[Tool]],
    existing: BaseAgent | None,
) -> list[Any]:  # functions, agents and tools
    """Return what ``--tools`` names; a server's tool whose name another has gets its server's.

    A server that was not asked now leaves an agent the tools that it has from there.
    """
    if not any(name.startswith(PREFIX) for name in names):
        return [look_up("--tools", name) for name in names]
    from tframex_nb.mcp.offered import apart

    found: list[Any] = []
    for name in names:
        if not name.startswith(PREFIX):
            found.append(look_up("--tools", name))
        else:
            found += served[name] if name in served else _kept(name, existing)
    unique = {id(each): each for each in found}
    return apart(unique.values())


@contextmanager
def starting(session: Session, words: list[str], wishes: TFrameX) -> Iterator[None]:
    """Show that servers are being started, where any is."""
    names = list(dict.fromkeys(word.removeprefix(PREFIX).partition("/")[0] for word in words))
    if not names:
        yield
        return
    which = f"MCP server{'s' if names[1:] else ''} {', '.join(names)}"
    mode = detect(session.shell, "" if wishes.display == "auto" else str(wishes.display))
    line = ProgressLine(session.shell, mode, head=f"starting {which} …")
    try:
        yield
    except TFrameXError:
        line.close("")  # the error says which one, and why
        raise
    except BaseException:  # the line ends with the start, however that ends
        line.close(f"not started: {which}")
        raise
    line.close(f"started {which}")


def _words(session: Session, options: Any) -> list[str]:  # argparse's Namespace
    if options.tools is not None:
        return [word.strip() for word in options.tools.split(",") if word.strip()]
    agent = find_agent(session.shell.user_ns, options.name) if options.name else None
    return (session.tool_names.get(agent) or []) if agent is not None else []


def _kept(word: str, existing: BaseAgent | None) -> list[Tool]:
    name, _, wanted = word.partition("/")
    tools = [t for t in getattr(existing, "tools", ()) if isinstance(t, Tool) and t.origin == name]
    found = [tool for tool in tools if tool.name == wanted or not wanted]
    if not found:
        raise UsageError(
            f"--tools: {word} is not started; %tools start {name.removeprefix(PREFIX)}"
        )
    return found
