"""The one bridge between a cell and the event loop: it runs a request and shows it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tframex_nb.errors import NoFrameworkFits
from tframex_nb.interrupts import run_sync
from tframex_nb.notebook.front_end import detect
from tframex_nb.notebook.live import open_display
from tframex_nb.notebook.output_forms import insert_code, settle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from tframex_nb.agents import BaseAgent
    from tframex_nb.messages import Event
    from tframex_nb.notebook.live import LiveRun
    from tframex_nb.notebook.session import Session
    from tframex_nb.runs import Run
    from tframex_nb.runtime import RunRequest
    from tframex_nb.systems.base import BaseSystem

__all__ = ["Question", "bind", "run_blocking", "show", "stale_note", "watch"]

T = TypeVar("T")
NATIVE = "native"


@dataclass(frozen=True, slots=True)
class Question:
    """A request together with what the notebook does about it."""

    request: RunRequest
    notes: tuple[str, ...] = ()
    out: str = ""
    display: str = ""
    explain: bool = False
    form: str = ""  # of the answer, as ``--as`` has it


async def show(session: Session, question: Question) -> Run:
    """Run the request in the current cell; bind its names whatever happens.

    Raises what the run raises, after the display holds the partial answer.
    """
    agent = question.request.agent
    before = agent.last
    display: LiveRun | None = None
    run: Run | None = None
    try:
        async with contextlib.aclosing(watch(session, question)) as events:
            async for event, run in events:
                if display is None:  # a wrong name fails before a display opens
                    display = _open(session, question, run)
                display.feed(event, run)
    finally:
        if run is None and agent.last is not before:
            run = agent.last
        if run is not None:
            run.notes = (*run.notes, *stale_note(agent))
            bind(session, run, question.out)
            (display or _open(session, question, run)).close(run)
    assert run is not None, "a run that ends well has started"
    if question.form == "code":
        insert_code(session, run)
    return run


async def watch(session: Session, question: Question) -> AsyncGenerator[tuple[Event, Run], None]:
    """Yield each event of the request that is to be shown, with its run.

    Raises what the run raises; with ``--explain``, after it has shown why no framework fits.
    """
    from tframex_nb.agents.running import closing

    run: Run | None = None
    try:
        async with closing(session.runtime.stream(question.request)) as events:
            async for event in events:
                if run is None:
                    run = question.request.agent.last
                    assert run is not None, "a stream of run events sets .last"
                    run.notes = (*question.notes, *_unexplained(question, run))
                    run.form = question.form
                if question.explain and event.type == "framework_chosen":
                    run.parts.pop()  # the explanation says it already
                else:
                    yield event, run
        if run is not None:
            settle(run, question.form)
    except NoFrameworkFits as exc:
        if question.explain and exc.resolution is not None:
            session.shell.display_pub.publish(_bundle_of(exc.resolution))
        raise


def run_blocking(session: Session, work: Coroutine[None, None, T]) -> T:
    """Run from synchronous code; the returned run is not displayed a second time."""
    run = run_sync(work)
    if run is not None:
        session.shown.add(id(run))
    return run


def bind(session: Session, run: object, out: str) -> None:
    """Bind a run to ``_``, ``Out[n]`` and ``out``, as an expression's value would be."""
    shell = session.shell
    if out:
        shell.user_ns[out] = run
    hook = shell.displayhook
    hook.check_for_underscore()
    hook.update_user_ns(run)
    hook.fill_exec_result(run)


def stale_note(agent: BaseAgent | BaseSystem) -> tuple[str, ...]:
    """Return the note about the turns that this run has outdated, or nothing."""
    conversation = getattr(agent, "conversation", None)  # a system has none
    stale = sum(turn.stale for turn in conversation.turns) if conversation else 0
    if not stale:
        return ()
    turns = "turn is" if stale == 1 else "turns are"
    return (f"{stale} later {turns} stale: re-run their cells",)


def _unexplained(question: Question, run: Run) -> tuple[str, ...]:
    chosen = not question.explain or run.resolution is not None
    return () if chosen else (f"nothing to explain: {run.framework} was named",)


def _bundle_of(resolution: Any) -> dict[str, str]:  # of a floor that not every run needs
    return dict(resolution._repr_mimebundle_())


def _open(session: Session, question: Question, run: Run) -> LiveRun:
    model = question.request.model or question.request.api_url or "the model"
    on = "" if run.framework == NATIVE else f" on {run.framework}"
    return open_display(
        session.shell,
        detect(session.shell, question.display),
        title=lambda: f"waiting for {model}{on}",
        explain=question.explain,
    )
