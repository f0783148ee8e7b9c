"""``%agents save|load``: a conversation goes into a file, and comes back with what differs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from tframex_nb.agents import Agent
from tframex_nb.agents.running import label_of
from tframex_nb.agents.transcript_files import read, write
from tframex_nb.agents.transcripts import SavedAgent, encode
from tframex_nb.errors import InvalidInput, TFrameXError
from tframex_nb.notebook.framework_choice import check_known
from tframex_nb.notebook.namespace import find_agent, get_agent, names_of_tools, taken_by
from tframex_nb.notebook.tables import Table
from tframex_nb.notebook.turns import short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tframex_nb.agents import BaseAgent
    from tframex_nb.agents.conversation import Turn
    from tframex_nb.notebook.session import Session

__all__ = ["load", "save"]

NATIVE = "native"
_UNSAFE = re.compile(r"[^\w.-]+")  # in the name of a file


async def save(session: Session, force: bool, name: str, file: str = "") -> Table:
    """Write an agent's conversation to a file."""
    agent = get_agent(session.shell.user_ns, name)
    path = _expanded(session, file) or f"{_UNSAFE.sub('_', agent.agent_id)}.conversation.json"
    write(path, encode(agent.conversation, agent), force=force)
    row = (agent.agent_id, len(agent.conversation), path)
    return Table.of(("agent", "turns", "file"), [row], f"back with: %agents load {path}")


async def load(session: Session, force: bool, file: str, name: str = "") -> Table:
    """Take a conversation from a file: by an agent that is there, or by a new one.

    Raises InvalidInput where turns would be lost, or for a file that is no conversation.
    """
    file = _expanded(session, file)
    saved = read(file)
    namespace = session.shell.user_ns
    name = name or (saved.agent.name if saved.agent else "")
    if not name:
        raise UsageError(f"{file} names no agent: %agents load FILE NAME")
    about = saved.agent or SavedAgent(name=name)
    turns = saved.to_turns()
    agent = find_agent(namespace, name)
    if agent is None:
        agent, told = await _made(session, name, about)
    else:
        told = [*_replaced(agent, turns, force=force), *_differs(agent, about)]
    agent.conversation.take(turns)
    namespace.setdefault(name, agent)
    stale = sum(turn.stale for turn in turns)
    rows = [("turns", f"{len(turns)}, {stale} stale" if stale else str(len(turns))), *told]
    return Table.of((name, ""), rows, f"go on: %%agent {name}, or %agents history {name}")


def _expanded(session: Session, file: str) -> str:
    """Return a file's name with ``{path}`` and ``$path`` put in, as in any line magic."""
    return str(session.shell.var_expand(file))


async def _made(
    session: Session, name: str, about: SavedAgent
) -> tuple[BaseAgent, list[tuple[str, str]]]:
    """Return a new agent as the file describes it, and what of it cannot be had here."""
    taken = taken_by(session.shell.user_ns, name)
    if taken:
        raise UsageError(
            f"no agent can be called {name!r}: {taken}; give a name: %agents load FILE NAME"
        )
    told: list[tuple[str, str]] = [("agent", "new, as the file describes it")]
    tools, missing = _tools(session, about)
    if missing:
        words = ", ".join(missing)
        told.append(("tools that it has not", f"{words}: %%agent {name} --define --tools …"))
    framework, problem = await _framework(session, about.framework)
    model, fault = _model(session, about.model)
    told += [("framework", problem)] if problem else []
    told += [("model", fault or about.model)] if about.model else []
    told += [("system", short(about.system))] if about.system else []
    if about.kind != Agent.__name__:
        told.append(("kind", f"{about.kind} in the file, Agent here"))
    steps: dict[str, Any] = {} if about.max_steps is None else {"max_steps": about.max_steps}
    agent = Agent(
        name,
        model,
        tools=[session.shell.user_ns[each] for each in tools],
        system=about.system,
        description=about.description,
        memory=about.memory,
        framework=framework,
        template_id=about.template if framework else "",
        **steps,
    )
    if tools:
        session.tool_names[agent] = tools
        told.append(("tools", ", ".join(tools)))
    return agent, told


def _tools(session: Session, about: SavedAgent) -> tuple[list[str], list[str]]:
    """Return the tools that the user defined here by these names, and the names of the rest.

    A file may name anything: what only was imported, or would start a server, is not taken.
    """
    known = set(names_of_tools(session.shell.user_ns))
    names = list(dict.fromkeys(about.tools))
    return [n for n in names if n in known], [n for n in names if n not in known]


async def _framework(session: Session, name: str) -> tuple[str, str]:
    """Return the framework, and nothing of it but why where it is not known here."""
    if not name or name == NATIVE:
        return "", ""
    try:
        await check_known(session, [name])
    except (TFrameXError, UsageError):
        return "", f"{name} in the file is not known here: it runs on its own"
    return name, ""


def _model(session: Session, name: str) -> tuple[str | None, str]:
    """Return the model, and nothing of it but why where it means nothing here."""
    if not name:
        return None, ""
    try:
        session.runtime.endpoints.resolve(name)
    except TFrameXError:
        return None, f"{name} in the file cannot be used here: the one of the settings answers"
    return name, ""


def _replaced(agent: BaseAgent, turns: list[Turn], *, force: bool) -> Iterator[tuple[str, str]]:
    """Tell what is replaced; refuse it where turns that the file does not have would be lost."""
    kept = {(turn.run_id, turn.messages) for turn in turns}
    there = agent.conversation.turns
    lost = sum((turn.run_id, turn.messages) not in kept for turn in there)
    if lost and not force:
        raise InvalidInput(
            f"{agent.agent_id} has {lost} turn{'' if lost == 1 else 's'} that the file does not",
            hint=f"--force replaces them; to keep them: %agents save {agent.agent_id} FILE, "
            "or load under another name",
        )
    yield ("agent", "was there: its definition stays as it is")
    if there:
        turns_there = f"{len(there)} turn{'' if len(there) == 1 else 's'}"
        yield ("replaced", f"{turns_there}, {lost} of them not in the file")


def _differs(agent: BaseAgent, about: SavedAgent) -> Iterator[tuple[str, str]]:
    """Tell what the agent is that the file's was not."""
    here = SavedAgent.of(agent)
    pairs = (
        ("system", about.system, here.system),
        ("model", about.model, label_of(agent.model)),
        ("framework", about.framework or NATIVE, here.framework or NATIVE),
        ("tools", ", ".join(sorted(about.tools)), ", ".join(sorted(here.tools))),
    )
    for what, there, now in pairs:
        if there != now:
            yield (f"{what} differs", f"{there or 'none'} in the file, {now or 'none'} here")
