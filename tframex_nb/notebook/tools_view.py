"""What ``%tools`` answers: every tool that an agent can be given, from wherever it comes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from tframex_nb.agents.tools import Tool, ToolMarks, marks_of
from tframex_nb.errors import ToolError, nearest
from tframex_nb.notebook.namespace import agents_in
from tframex_nb.notebook.served import PREFIX, starting
from tframex_nb.notebook.tables import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tframex_nb.mcp.definition import Definition
    from tframex_nb.mcp.servers import ServerState
    from tframex_nb.notebook.config import TFrameX
    from tframex_nb.notebook.session import Session

__all__ = ["SOURCES", "VERBS", "Listed", "tools_view"]

VERBS = ("show", "start", "stop", "trust")
COLUMNS = ("name", "arguments", "origin", "writes", "used by", "state", "description")
SHORT = 80  # characters of a text in a table's cell


@dataclass(frozen=True, slots=True)
class Listed:
    """One row: a tool under the word that ``--tools`` takes, or a server that has none yet."""

    word: str
    tool: Tool | None
    origin: str
    state: str = ""
    also: tuple[str, ...] = field(default=())  # other words that mean it


async def tools_view(session: Session, wishes: TFrameX, words: list[str]) -> Table:
    """Answer ``%tools [show|start|stop|trust NAME]``; raises UsageError for anything else."""
    match words:
        case []:
            return _table(session)
        case ["show", name]:
            return _show(session, name)
        case ["start", name]:
            server = name.removeprefix(PREFIX)
            servers = session.runtime.mcp
            with starting(session, [] if servers.runs(server) else [server], wishes):
                await servers.start(server)
            return _table(session, only=server.lower())
        case ["stop", name]:
            await session.runtime.mcp.stop(name.removeprefix(PREFIX))
            return Table.of(("server", "state"), [(name, "off")], "the next use starts it anew")
        case ["trust", name]:
            definition = session.runtime.mcp.trust(name.removeprefix(PREFIX))
            note = f"trusted in this kernel, as it is now; next: %tools start {definition.name}"
            return Table.of(("field", "value"), _facts(definition), note)
        case [verb, *_] if verb in VERBS:
            raise UsageError(f"%tools {verb} takes one NAME")
        case _:
            raise UsageError(f"%tools {words[0]}: no such verb; {nearest(words[0], VERBS)}")


def _functions(session: Session) -> Iterator[Listed]:
    """Yield the notebook's functions that are marked as tools, or that an agent has."""
    namespace = session.shell.user_ns
    given = {name for words in session.tool_names.values() for name in words}
    used = {id(tool.function) for tool, _ in _tools_of_agents(session)}
    agents = agents_in(namespace)
    for name, value in list(namespace.items()):
        if name.startswith("_") or not callable(value) or name in agents:
            continue
        marked = not isinstance(value, type) and marks_of(value) != ToolMarks()
        if not (marked or name in given or id(value) in used):
            continue
        try:
            yield Listed(name, Tool.of(value), "notebook")
        except ToolError as exc:
            yield Listed(name, None, "notebook", state=exc.message)


def _agents(session: Session) -> Iterator[Listed]:
    for name, agent in agents_in(session.shell.user_ns).items():
        if hasattr(agent, "as_tool"):
            yield Listed(name, agent.as_tool(), "agent")


def _servers(session: Session) -> Iterator[Listed]:
    from tframex_nb.settings import load_settings

    if not load_settings().mcp:
        return
    for each in session.runtime.mcp.states():
        word = f"{PREFIX}{each.name}"
        if not each.tools:
            yield Listed(word, None, word, _state(each), (each.name,))
        for tool in each.tools:
            own = f"{word}/{tool.name}"
            also = (f"{each.name}/{tool.name}", tool.name)
            yield Listed(own, tool, tool.origin, _state(each), also)


# Where tools come from; another kind is one more function here.
SOURCES: tuple[Callable[[Session], Iterator[Listed]], ...] = (_functions, _agents, _servers)


def _every(session: Session) -> list[Listed]:
    """Return the rows of all sources, and what agents have from elsewhere."""
    rows = [each for source in SOURCES for each in source(session)]
    known = {_key(each.tool) for each in rows if each.tool is not None}
    others = {_key(tool): tool for tool, _ in _tools_of_agents(session)}
    rest = (tool for key, tool in others.items() if key not in known)
    return [*rows, *(Listed(tool.name, tool, tool.origin) for tool in rest)]


def _table(session: Session, *, only: str = "") -> Table:
    users = _users(session)
    rows = [_row(each, users) for each in _every(session) if _is_wanted(each, only)]
    note = "give them to an agent: %%agent NAME --tools a,b,mcp:SERVER; %tools show NAME tells all"
    if not rows:
        note = "none yet: mark a function with @tool, or set an MCP server as [mcp.NAME]"
    return Table.of(COLUMNS, rows, note)


def _is_wanted(each: Listed, only: str) -> bool:
    return not only or each.origin == f"{PREFIX}{only}"


def _row(each: Listed, users: dict[tuple[str, str], list[str]]) -> tuple[object, ...]:
    tool = each.tool
    if tool is None:
        return (each.word, "", each.origin, "", "", each.state, "")
    by = ", ".join(users.get(_key(tool), ()))
    writes = "yes" if tool.writes else ""
    about = _short(tool.description)
    return (each.word, _arguments(tool), each.origin, writes, by, each.state, about)


def _show(session: Session, name: str) -> Table:
    every = _every(session)
    found = [each for each in every if name == each.word]
    found = found or [each for each in every if name in each.also]
    server = name.removeprefix(PREFIX).lower()
    states = {state.name: state for state in _states(session)}
    if not found and server in states:
        return Table.of(("field", "value"), _facts_of(states[server]))
    if not found:
        known = [*(each.word for each in every), *states]
        raise UsageError(f"%tools show {name}: no such tool; {nearest(name, known)}")
    if len(found) > 1:
        raise UsageError(f"%tools show {name}: which? {', '.join(each.word for each in found)}")
    each = found[0]
    if each.tool is None:
        if server in states:
            return Table.of(("field", "value"), _facts_of(states[server]))
        return Table.of(("field", "value"), [("name", each.word), ("problem", each.state)])
    return Table.of(("field", "value"), _fields(session, each, each.tool))


def _fields(session: Session, each: Listed, tool: Tool) -> list[tuple[str, object]]:
    return [
        ("name", each.word),
        ("as the model knows it", tool.name),
        ("origin", each.origin if each.origin.startswith(PREFIX) else tool.origin),
        ("writes", "yes" if tool.writes else "no"),
        ("used by", ", ".join(_users(session).get(_key(tool), ()))),
        ("description", tool.description),
        ("schema", json.dumps(tool.parameters, ensure_ascii=False)),
    ]


def _facts_of(state: ServerState) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("server", state.name), ("state", state.state)]
    rows += [("problem", state.problem)] if state.problem else []
    rows += _facts(state.definition) if state.definition is not None else []
    return [*rows, ("tools", ", ".join(tool.name for tool in state.tools))]


def _facts(definition: Definition) -> list[tuple[str, object]]:
    """Return what would be started or reached; of secrets, the names."""
    facts = [
        ("starts", definition.target if definition.command else ""),
        ("reaches", definition.target if definition.url else ""),
        ("in", definition.cwd),
        ("sets", definition.sets),
        ("hands on", ", ".join(definition.env_from)),
        ("headers", ", ".join(definition.headers)),
        ("defined by", definition.place),
    ]
    return [(name, value) for name, value in facts if value]


def _states(session: Session) -> list[ServerState]:
    from tframex_nb.settings import load_settings

    return session.runtime.mcp.states() if load_settings().mcp else []


def _state(each: ServerState) -> str:
    match each.state:
        case "off":
            return f"off: %tools start {each.name}"
        case "not trusted":
            return f"not trusted: %tools show {each.name}, then trust {each.name}"
        case "failed" | "unusable":
            return f"{each.state}: {each.problem}"
        case state:
            return state


def _users(session: Session) -> dict[tuple[str, str], list[str]]:
    """Return the agents that have a tool, by its origin and name."""
    users: dict[tuple[str, str], list[str]] = {}
    for tool, agent in _tools_of_agents(session):
        users.setdefault(_key(tool), []).append(agent)
    return users


def _tools_of_agents(session: Session) -> Iterator[tuple[Tool, str]]:
    for name, agent in agents_in(session.shell.user_ns).items():
        for tool in getattr(agent, "tools", ()):
            yield tool, name


def _key(tool: Tool) -> tuple[str, str]:
    return tool.origin, tool.name


def _arguments(tool: Tool) -> str:
    """Return the names and types of the arguments; a question mark for what may be left out."""
    schema = tool.parameters
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return ""
    must = required if isinstance(required, list) else ()
    each = (
        f"{name}{'' if name in must else '?'}: {_type(about)}" for name, about in properties.items()
    )
    return _short(", ".join(each))


def _type(about: Any) -> str:  # JSON schema, or what a server sends for it
    kind = about.get("type") if isinstance(about, dict) else None
    if isinstance(kind, list):
        return " or ".join(str(each) for each in kind)
    return str(kind or "any")


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHORT else flat[: SHORT - 1] + "…"
