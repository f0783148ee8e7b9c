"""From a cell's options and text to one question for one agent."""

from __future__ import annotations

import json
import re
from collections import ChainMap
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from tframex_nb.agents import Agent
from tframex_nb.errors import nearest
from tframex_nb.interrupts import call_tool
from tframex_nb.notebook.describe import describe
from tframex_nb.notebook.execution import Question
from tframex_nb.notebook.namespace import find_agent, is_free, look_up, names_of_tools
from tframex_nb.notebook.prompts import render
from tframex_nb.runtime import RunRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tframex_nb.agents import BaseAgent
    from tframex_nb.notebook.config import TFrameX
    from tframex_nb.notebook.session import Session

__all__ = ["question_of_cell", "question_of_line", "values"]

_NAMED = re.compile(r"([A-Za-z_]\w*)\s*:\s*(.+)$", re.DOTALL)


def question_of_cell(
    session: Session,
    settings: TFrameX,
    options: Any,  # argparse's Namespace
    cell: str,
) -> Question | None:
    """Return the question of an ``%%agent`` cell, or None where it only defines.

    Raises UsageError for options that make no sense, PromptError for a failing expression.
    """
    literal = options.no_interpolate or not settings.interpolate
    agent = _agent_of(session, settings, options, literal=literal)
    if not cell.strip():
        if options.define:
            return None
        raise UsageError("the prompt is empty: write it below the %%agent line, or add --define")
    if options.out and not options.out.isidentifier():
        raise UsageError(f"--out {options.out!r} is not a name that Python allows")
    text, notes = _fill(session, settings, cell.rstrip("\n"), literal=literal)
    context, context_notes = _context(session, settings, options.context or [])
    request = RunRequest(
        agent,
        prompt=context + text,
        model=options.model,
        api_url=options.api_url,
        turn=session.turn(agent.agent_id),
        fresh=options.fresh,
        remember=bool(options.name),
        params=_params(options.param or []),
    )
    return Question(request, (*notes, *context_notes), options.out, _display(settings))


def question_of_line(session: Session, settings: TFrameX, line: str) -> Question:
    """Return the question of an ``%ask`` line; ``NAME:`` in front names a known agent."""
    text, agent = line.strip(), None
    match = _NAMED.match(text)
    if match and (agent := find_agent(session.shell.user_ns, match[1])) is not None:
        text = match[2]
    if not text:
        raise UsageError("nothing asked: %ask what is a monad?")
    prompt, notes = _fill(session, settings, text, literal=not settings.interpolate)
    named = agent is not None
    agent = agent or Agent("agent")
    turn = session.turn(agent.agent_id) if named else None
    request = RunRequest(agent, prompt=prompt, turn=turn, remember=named)
    return Question(request, notes, display=_display(settings))


def values(session: Session) -> Mapping[str, Any]:
    """Return what ``{{ }}`` can name: the user's variables, ``In``, ``Out`` and ``Err``."""
    raw = session.shell.history_manager.input_hist_raw
    inputs = {n: source for n, source in enumerate(raw) if n}
    return ChainMap({"In": inputs, "Err": dict(session.errors)}, session.shell.user_ns)


def _agent_of(session: Session, settings: TFrameX, options: Any, *, literal: bool) -> BaseAgent:
    """Return the agent of a cell: the named one, a new one bound to the name, or a passing one."""
    name, namespace = options.name, session.shell.user_ns
    if options.define and not name:
        raise UsageError("--define needs a name: %%agent analyst --define")
    existing = find_agent(namespace, name) if name else None
    if name and existing is None and not is_free(namespace, name):
        raise UsageError(f"{name!r} is no agent and the name is taken or no name at all")
    agent = existing or Agent(name or "agent", model=options.model if name else None)
    if options.system is not None:
        agent.system = _fill(session, settings, options.system, literal=literal)[0]
    if options.memory is not None:
        agent.memory = options.memory
    if options.define and options.model:
        agent.model = options.model
    _give_tools(session, agent, options)
    if name and existing is None:
        namespace[name] = agent
    return agent


def _give_tools(session: Session, agent: BaseAgent, options: Any) -> None:
    """Bind the tools by name, anew for each run: a cell that redefines one is enough."""
    names = session.tool_names.get(agent) if options.name else None
    if options.tools is not None:
        names = [name.strip() for name in options.tools.split(",") if name.strip()]
    if (names or options.max_steps) and not isinstance(agent, Agent):
        kind = type(agent).__name__
        raise UsageError(f"{agent.agent_id} is a {kind}, which takes no tools: use Agent(...)")
    if options.max_steps is not None:
        agent.max_steps = options.max_steps
    if names is not None:
        agent.tools = [_tool(session.shell.user_ns, name) for name in names]
        if options.name:
            session.tool_names[agent] = names


def _tool(namespace: Mapping[str, Any], name: str) -> Any:  # a function or an agent
    try:
        return look_up(namespace, name)
    except KeyError as exc:
        known = nearest(name, names_of_tools(namespace))
        raise UsageError(f"--tools: {exc.args[0]!r} is not defined; {known}") from None


def _fill(
    session: Session, settings: TFrameX, text: str, *, literal: bool
) -> tuple[str, tuple[str, ...]]:
    """Return the prompt with its expressions evaluated, and what was sent for the big ones."""
    if literal or "{{" not in text:
        return text, ()
    rendered = call_tool(
        render,
        text,
        values(session),
        describe=lambda value: describe(value, cap=settings.context_cap),
    )
    return rendered.text, tuple(rendered.notes)


def _context(session: Session, settings: TFrameX, names: list[str]) -> tuple[str, tuple[str, ...]]:
    parts, notes = [], []
    for name in names:
        try:
            value = look_up(session.shell.user_ns, name)
        except KeyError as exc:
            known = nearest(name, (n for n in session.shell.user_ns if not n.startswith("_")))
            raise UsageError(f"--context: {exc.args[0]!r} is not defined; {known}") from None
        described = call_tool(describe, value, cap=settings.context_cap)
        parts.append(f"{name}:\n{described.text}\n\n")
        size = f"{name}: {len(described.text):,} characters"
        notes.append(f"{name}: {described.note}" if described.note else size)
    return "".join(parts), tuple(f"sent {note}" for note in notes)


def _params(pairs: list[str]) -> dict[str, Any]:
    """Read ``k=v`` pairs; a value is JSON where it can be, else text."""
    params: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"-p {pair!r}: write it as -p temperature=0.2")
        try:
            params[key] = json.loads(value)
        except ValueError:
            params[key] = value
    return params


def _display(settings: TFrameX) -> str:
    return "" if settings.display == "auto" else str(settings.display)
