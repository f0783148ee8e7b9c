"""The same prompt on several frameworks at once, in one display."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from typing import TYPE_CHECKING, Protocol

from IPython.core.error import UsageError

from tframex_nb.agents.running import closing
from tframex_nb.errors import FrameworkError
from tframex_nb.notebook.execution import bind
from tframex_nb.notebook.framework_choice import check_known
from tframex_nb.notebook.front_end import detect
from tframex_nb.notebook.live import WAITING, Paced
from tframex_nb.notebook.output_forms import settle
from tframex_nb.notebook.prompts import shown
from tframex_nb.notebook.sides import Comparison, Side

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from tframex_nb.notebook.background import BackgroundRun
    from tframex_nb.notebook.execution import Question
    from tframex_nb.notebook.front_end import Mode
    from tframex_nb.notebook.session import Session
    from tframex_nb.runs import Run
    from tframex_nb.runtime import Runtime

__all__ = ["CompareJob", "compare", "names_to_compare"]


async def compare(session: Session, question: Question, names: list[str]) -> Comparison:
    """Ask every framework the question at the same time; bind the comparison, whatever happens.

    One that fails is a row of the table; raises FrameworkError where all of them failed.
    """
    made = _empty(question, names)
    display = _open(session.shell, detect(session.shell, question.display), made)
    try:
        await _run_all(session.runtime, question, made.sides, display.touch)
    finally:
        bind(session, made, question.out)
        display.close()
    _check(made)
    return made


class CompareJob:
    """A comparison behind its cell: one of the background's places, however many frameworks."""

    name = "compare"

    def __init__(self, session: Session, question: Question, names: list[str]) -> None:
        self._session = session
        self._question = question
        self._made = _empty(question, names)
        self._mode = detect(session.shell, question.display)
        self._display: _Display
        self._timer: asyncio.TimerHandle | None = None

    def open(self, handle: BackgroundRun) -> None:
        """Show that the question is taken."""
        handle.run = self._made
        self._made.waiting = handle.line if handle.place else ""
        self._display = _open(self._session.shell, self._mode, self._made)
        self._queue(handle)

    async def play(self, _handle: BackgroundRun) -> None:
        """Ask every framework; raises FrameworkError where all of them failed."""
        self._go_on()
        sides = self._made.sides
        await _run_all(self._session.runtime, self._question, sides, self._display.touch)
        _check(self._made)

    def close(self, handle: BackgroundRun) -> None:
        """Leave the comparison behind, and an error below it."""
        self._go_on()
        self._display.close()
        if handle.error is not None:
            self._session.outlet.show_error(handle.error)

    def _queue(self, handle: BackgroundRun) -> None:
        """Show its place in the queue as long as it has one."""
        if handle.place:
            self._made.waiting = handle.line
            self._display.touch()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(WAITING, self._queue, handle)

    def _go_on(self) -> None:
        self._made.waiting = ""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def names_to_compare(session: Session, wanted: str | None) -> tuple[list[str], str]:
    """Return the frameworks that ``-f`` names, and a note about those that ``all`` leaves out.

    Raises UsageError where none is named, UnknownFramework for a name that means nothing.
    """
    if not wanted:
        raise UsageError("name the frameworks: %%compare -f all, or -f native,langgraph")
    if wanted == "all":
        frameworks = session.runtime.frameworks
        await frameworks.start()
        ready = [name for name in frameworks.registry.names() if frameworks.readiness(name).ready]
        rest = [name for name in frameworks.registry.names() if name not in ready]
        return ready, f"not ready: {', '.join(rest)} (%frameworks says why)" if rest else ""
    names = list(dict.fromkeys(name.strip() for name in wanted.split(",") if name.strip()))
    await check_known(session, names)
    return names, ""


def _empty(question: Question, names: list[str]) -> Comparison:
    sides = tuple(Side(name) for name in names)
    return Comparison(shown(question.request.prompt), sides, question.notes)


def _check(made: Comparison) -> None:
    if len(made.errors) == len(made.sides):
        names = ", ".join(side.name for side in made.sides)
        raise FrameworkError(
            f"no framework answered: {names}", hint="the table tells why, for each"
        )


async def _run_all(
    runtime: Runtime, question: Question, sides: tuple[Side, ...], changed: Callable[[], None]
) -> None:
    beat = asyncio.create_task(_beat(sides, changed))
    try:
        async with asyncio.TaskGroup() as group:
            for side in sides:
                group.create_task(_run_one(runtime, question, side, changed))
    finally:
        beat.cancel()


async def _run_one(
    runtime: Runtime, question: Question, side: Side, changed: Callable[[], None]
) -> None:
    agent = copy.copy(question.request.agent)  # each has a ``last`` of its own
    agent.last = None
    request = dataclasses.replace(question.request, agent=agent, framework=side.name)
    try:
        async with closing(runtime.stream(request)) as events:
            async for _ in events:
                _take(side, agent.last, question.form)
                changed()
        if side.run is not None:
            settle(side.run, question.form)
    except Exception as exc:  # noqa: BLE001 - one framework's fault must not end the others
        side.error = exc
    finally:
        _take(side, agent.last, question.form)
        changed()


def _take(side: Side, run: Run | None, form: str) -> None:
    side.run = run
    if run is not None:
        run.form = form


async def _beat(sides: tuple[Side, ...], changed: Callable[[], None]) -> None:
    """Show that someone is still waited for."""
    while any(side.silent for side in sides):
        await asyncio.sleep(WAITING)
        changed()


class _Display(Protocol):
    """What shows a comparison while it lasts."""

    def touch(self) -> None:
        """Take notice of a change."""
        ...

    def close(self) -> None:
        """Show the final state."""
        ...


def _open(shell: InteractiveShell, mode: Mode, made: Comparison) -> _Display:
    if mode == "live":
        return _Live(shell, made)
    return _AtEnd(shell, made, mode)


class _Live:
    """Every answer as it grows."""

    def __init__(self, shell: InteractiveShell, made: Comparison) -> None:
        self._made = made
        self._display = Paced(shell, self._make()[0], self._make)

    def touch(self) -> None:
        """Paint as soon as the interval allows it."""
        self._display.touch()

    def close(self) -> None:
        """Leave plain Markdown behind."""
        self._display.send(self._made._repr_mimebundle_())

    def _make(self) -> tuple[dict[str, str], int]:
        return {"text/markdown": self._made.to_markdown(live=True)}, self._made.length


class _AtEnd:
    """Everything at the end; a terminal, which has no columns, is told who has answered."""

    def __init__(self, shell: InteractiveShell, made: Comparison, mode: Mode) -> None:
        self._publish = shell.display_pub.publish
        self._made = made
        self._mode = mode
        self._told: set[str] = set()

    def touch(self) -> None:
        """Tell in a terminal which frameworks have ended."""
        if self._mode != "terminal":
            return
        for side in self._made.sides:
            ended = side.error or (side.run is not None and side.run.status != "running")
            if ended and side.name not in self._told:
                self._told.add(side.name)
                print(f"{side.name}: {side.row()[-2]}", flush=True)  # noqa: T201  # a terminal

    def close(self) -> None:
        """Show the comparison."""
        if self._mode == "terminal":
            print(self._made, flush=True)  # noqa: T201  # a terminal's display
        else:
            self._publish(self._made._repr_mimebundle_())
