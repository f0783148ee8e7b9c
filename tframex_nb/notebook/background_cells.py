"""``--background``: a cell's request goes on behind it, and the cell is worth a handle."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from typing import TYPE_CHECKING, Any

from tframex_nb.messages import RunInterrupted
from tframex_nb.notebook.execution import bind, stale_note, watch
from tframex_nb.notebook.front_end import detect
from tframex_nb.notebook.live import open_display
from tframex_nb.notebook.prompts import shown
from tframex_nb.runs import Run
from tframex_nb.settings import load_settings
from tframex_nb.transcript import to_text

if TYPE_CHECKING:
    from tframex_nb.messages import Event
    from tframex_nb.notebook.background import BackgroundRun, Job
    from tframex_nb.notebook.execution import Question
    from tframex_nb.notebook.live import LiveRun
    from tframex_nb.notebook.session import Session

__all__ = ["AgentJob", "start"]


async def start(session: Session, job: Job, question: Question) -> BackgroundRun:
    """Start a job beside the cells; bind its handle as the question wants it, and return it.

    A headless client keeps only what a cell shows while it runs, so there the cell waits. What
    an earlier execution of the same cell left going is stopped.
    """
    context = session.outlet.context()
    origin = (session.cell, session.shell.execution_count)
    for earlier in session.background.active:
        if origin[0] and earlier.origin[0] == origin[0] and earlier.origin != origin:
            earlier.stop()
    handle = session.background.start(job, limit=load_settings().background_limit, context=context)
    handle.origin = origin
    bind(session, handle, question.out)
    if detect(session.shell) == "final" == detect(session.shell, question.display):
        try:
            await handle.wait()
        except BaseException:  # a stop of the cell stops the run
            handle.stop()
            raise
    return handle


class AgentJob:
    """The question of a cell, to one agent or system, that is answered behind the cell.

    The agent is taken as it is now: a later cell may give it other tools before this has its
    turn. Its conversation stays the one that it is.
    """

    def __init__(self, session: Session, question: Question) -> None:
        self.name = question.request.agent.name
        self._session = session
        self._agent: Any = question.request.agent  # an agent or a system
        self._mode = detect(session.shell, question.display)
        agent = copy.copy(self._agent)
        agent.last = None
        request = dataclasses.replace(question.request, agent=agent)
        self._question = dataclasses.replace(question, request=request)
        self._display: LiveRun

    def open(self, handle: BackgroundRun) -> None:
        """Show that the question is taken."""
        self._display = self._shown(handle)
        if self._mode == "terminal":
            print(handle, flush=True)  # noqa: T201  # a terminal's display

    async def play(self, handle: BackgroundRun) -> None:
        """Run the request, and let the agent have the run as its last one."""
        mark = f"background {handle.id}"
        async with contextlib.aclosing(watch(self._session, self._question)) as events:
            async for event, run in events:
                if handle.run is None:
                    handle.run = self._agent.last = run
                    run.notes = (*run.notes, mark)
                self._display.feed(event, run)

    def close(self, handle: BackgroundRun) -> None:
        """Leave the answer behind, as a cell that waits does, and an error below it."""
        run = handle.run or self._question.request.agent.last
        if run is None and handle.error is None:  # stopped before it had its turn
            run = Run(agent=self.name, prompt=shown(self._question.request.prompt))
            run.finish(RunInterrupted())
        if run is not None:
            notes = (note for note in run.notes if note != f"background {handle.id}")
            run.notes = (*notes, *stale_note(self._agent))
        handle.run = run
        self._display.close(run)
        if handle.error is not None:
            self._session.outlet.show_error(handle.error)

    def _shown(self, handle: BackgroundRun) -> LiveRun:
        if self._mode == "terminal":
            return _AtEnd(handle)
        request = self._question.request
        model = request.model or request.api_url or "the model"

        def title() -> str:
            return handle.line if handle.place else f"{handle.line}, waiting for {model}"

        explain = self._question.explain
        return open_display(self._session.shell, self._mode, title=title, explain=explain)


class _AtEnd:
    """A terminal's display: all of it at the end, since a person may be typing meanwhile."""

    def __init__(self, handle: BackgroundRun) -> None:
        self._handle = handle

    def feed(self, _event: Event, _run: Run) -> None:
        """Wait for the end."""

    def close(self, run: Run | None) -> None:
        """Print the answer below a line that says whose it is."""
        handle = self._handle
        told = "" if run is None else f"\n{to_text(run)}"
        print(f"[background {handle.id}: {handle.name}]{told}", flush=True)  # noqa: T201  # a terminal
