"""What the table magics show: agents, models, runs."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from IPython.core.error import StdinNotImplementedError, UsageError

from tframex_nb.errors import nearest
from tframex_nb.notebook.namespace import agents_in, get_agent
from tframex_nb.notebook.tables import Table

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tframex_nb.agents import BaseAgent
    from tframex_nb.models.endpoints import EndpointStatus
    from tframex_nb.notebook.background import BackgroundRun
    from tframex_nb.notebook.session import Session

__all__ = ["AGENT_VERBS", "agents_view", "models_view", "runs_view"]

T = TypeVar("T")
RUN_COLUMNS = (
    "agent",
    "model",
    "framework",
    "status",
    "seconds",
    "first_token_seconds",
    "prompt_tokens",
    "completion_tokens",
    "price",
    "tool_calls",
    "finish_reason",
    "error",
)
AGENT_VERBS = ("show", "history", "reset", "chat", "edit", "rerun", "drop", "save", "load")


def agents_view(session: Session, words: list[str]) -> object:
    """Answer ``%agents [show|reset NAME]``; the rest is in ``dialogue``."""
    match words:
        case []:
            return _agents(session)
        case ["show", name]:
            return _agent(get_agent(session.shell.user_ns, name))
        case ["reset", name]:
            agent = get_agent(session.shell.user_ns, name)
            agent.conversation.reset()
            return Table.of(("agent", "turns"), [(agent.agent_id, 0)], "the conversation is empty")
        case _:
            raise UsageError(_usage("agents", words, AGENT_VERBS, "NAME"))


def models_view(session: Session, words: list[str]) -> object:
    """Answer ``%models [use NAME|connect NAME|URL]``."""
    endpoints = session.runtime.endpoints
    match words:
        case []:
            return _models(_in_own_loop(endpoints.survey()))
        case ["use", name]:
            endpoints.use(name)
            return Table.of(("model",), [(endpoints.resolve().label,)], "used from now on")
        case ["connect", name]:
            return _connect(session, name)
        case _:
            raise UsageError(_usage("models", words, ("use", "connect"), "NAME"))


def runs_view(session: Session, words: list[str]) -> object:
    """Answer ``%runs [stop ID|all]``."""
    match words:
        case []:
            return _runs(session)
        case ["stop", name]:
            return _stopped(session, name)
        case _:
            raise UsageError(_usage("runs", words, ("stop",), "ID, or all"))


def _runs(session: Session) -> Table:
    from tframex_nb.notebook.budgets import session_line
    from tframex_nb.run_log import recent_runs

    active = session.background.active
    known = {getattr(handle.run, "id", "") for handle in active}
    ended = [[row[c] for c in RUN_COLUMNS] for row in recent_runs() if row["id"] not in known]
    spent = session_line()
    if not active:
        note = spent or ("" if ended else "none yet: %%agent runs one")
        return replace(Table.of(RUN_COLUMNS, ended, note), wraps=True)
    rows = [*(_row_of(handle) for handle in active), *(["", *row] for row in ended)]
    note = "%runs stop ID|all ends those in the background"
    note = f"{spent}; {note}" if spent else note
    return replace(Table.of(("id", *RUN_COLUMNS), rows, note), wraps=True)


def _row_of(handle: BackgroundRun) -> list[object]:
    """Return the row of a run in the background; one that is compared has figures of its own."""
    summary = getattr(handle.run, "summary", dict[str, object])()
    state = f"{handle.status}, place {handle.place}" if handle.place else handle.status
    row = {**dict.fromkeys(RUN_COLUMNS), **summary, "agent": handle.name, "status": state}
    return [handle.id, *(row[column] for column in RUN_COLUMNS)]


def _stopped(session: Session, name: str) -> Table:
    active = {handle.id: handle for handle in session.background.active}
    if name != "all" and name not in active:
        known = ", ".join(active) or "none"
        raise UsageError(f"%runs stop {name}: no such run in the background; known: {known}")
    ended = list(active.values()) if name == "all" else [active[name]]
    for handle in ended:
        handle.stop()
    rows = [(handle.id, handle.name, handle.status) for handle in ended]
    return Table.of(("id", "agent", "status"), rows, "" if rows else "nothing runs")


def _connect(session: Session, name: str) -> Table:
    import getpass

    endpoints = session.runtime.endpoints
    # The URL is shown: a folder's file may have named the endpoint.
    asking = f"API key for {name}, sent to {endpoints.url_of(name)}: "
    try:
        key = getpass.getpass(asking)
    except (StdinNotImplementedError, EOFError, OSError) as exc:
        raise UsageError(
            f"{name}: nobody can be asked for a key here; set it in the environment"
        ) from exc
    known = endpoints.connect(name, key)
    return Table.of(
        ("endpoint", "what is lost there"),
        [(known, endpoints.lost(known))],
        f"connected; next: %models use {known}:MODEL",
    )


def _agents(session: Session) -> Table:
    rows = []
    for variable, agent in agents_in(session.shell.user_ns).items():
        turns = agent.conversation.turns
        stale = sum(turn.stale for turn in turns)
        shown = f"{len(turns)} ({stale} stale)" if stale else str(len(turns))
        last = agent.last.status if agent.last else ""
        tools = ", ".join(_tool_names(agent))
        about = (variable, type(agent).__name__, _model_name(agent), tools, shown, last)
        rows.append((*about, str(agent.budget.spent)))
    note = "" if rows else "none yet: %%agent NAME --define"
    return Table.of(("name", "kind", "model", "tools", "turns", "last run", "spent"), rows, note)


def _agent(agent: BaseAgent) -> Table:
    rows = [
        ("id", agent.agent_id),
        ("kind", type(agent).__name__),
        ("model", _model_name(agent)),
        ("framework", getattr(agent, "framework", "") or "native"),
        ("template", getattr(agent, "template_id", "")),
        ("system", agent.system),
        ("tools", ", ".join(_tool_names(agent))),
        ("turns", len(agent.conversation.turns)),
        ("spent", str(agent.budget.spent)),
    ]
    return Table.of(("field", "value"), rows)


def _models(statuses: list[EndpointStatus]) -> Table:
    ready_first = sorted(statuses, key=lambda s: (not s.selected, s.state != "ready"))
    rows = [(s.name, s.kind, s.url, ", ".join(s.models[:3]), s.state, s.next) for s in ready_first]
    return Table.of(("name", "kind", "url", "models", "state", "next"), rows)


def _usage(magic: str, words: list[str], verbs: tuple[str, ...], rest: str) -> str:
    if words[0] in verbs:
        return f"%{magic} {words[0]} takes one {rest}"
    return f"%{magic} {words[0]}: no such verb; {nearest(words[0], verbs)}"


def _model_name(agent: BaseAgent) -> str:
    model = agent.model
    return model if isinstance(model, str) else getattr(model, "label", "") or ""


def _tool_names(agent: BaseAgent) -> list[str]:
    return [tool.name for tool in getattr(agent, "tools", ())]


def _in_own_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run short work on a thread's own loop: a line magic must not nest the kernel's."""
    results: list[T] = []
    failures: list[BaseException] = []

    def target() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as exc:  # noqa: BLE001  # carried to the caller's thread
            failures.append(exc)

    thread = threading.Thread(target=target, name="tframex-survey")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
