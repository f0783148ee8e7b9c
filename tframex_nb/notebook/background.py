"""Runs that go on beside the cells: their handles, and how many go on at a time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tframex_nb.frameworks.slots import Slots
from tframex_nb.interrupts import RunStopped, guarded

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextvars import Context

__all__ = ["Background", "BackgroundRun", "Job", "State", "WaitStopped"]

State = Literal["queued", "running", "stopping", "finished", "failed", "interrupted"]

PATIENCE = 1.0  # seconds that a stopped run has before it is stopped again
TRIES = 5


class Job(Protocol):
    """What a background run does; ``close`` is called once, whichever way it ended."""

    name: str

    def open(self, handle: BackgroundRun, /) -> None:
        """Show that it is there."""
        ...

    async def play(self, handle: BackgroundRun, /) -> None:
        """Do the work, and let the handle have the run as soon as there is one."""
        ...

    def close(self, handle: BackgroundRun, /) -> None:
        """Show how it ended."""
        ...


class WaitStopped(RunStopped):
    """The user stopped a cell that waited for a background run, which goes on."""

    def __init__(self, number: str) -> None:
        super().__init__()
        self.number = number

    def _render_traceback_(self) -> list[str]:
        return [f"Stopped waiting: the run goes on; %runs stop {self.number} ends it."]


class BackgroundRun:
    """The handle of a run in the background: ``await`` it, ``stop()`` it, look at ``run``.

    ``run`` is a Run, of ``%%compare`` a Comparison, and None until it begins; ``error`` is what
    it raised. ``id`` is what ``%runs stop`` takes. It belongs to the event loop of its cell.
    """

    def __init__(self, number: int, name: str, peers: list[BackgroundRun]) -> None:
        self.id = str(number)
        self.name = name
        self.run: Any = None  # a Run or a Comparison
        self.error: Exception | None = None
        self.origin: tuple[str | None, int] = (None, 0)  # the cell's id, and its execution
        self._peers = peers
        self._state: State = "queued"
        self._stopping = False
        self._ended = asyncio.Event()
        self._waiting = 0
        self.loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> State:
        """What it does: ``queued``, ``running``, ``stopping``, or how its run ended."""
        going = self._state in {"queued", "running"}
        return "stopping" if self._stopping and going else self._state

    @property
    def done(self) -> bool:
        """Whether it has ended, and its cell shows how."""
        return self._ended.is_set()

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for it: a cell, as a rule."""
        return self._waiting > 0

    @property
    def place(self) -> int:
        """Its place in the queue, the next is 1; 0 where it does not wait."""
        if self._state != "queued" or self not in self._peers:
            return 0
        before = self._peers[: self._peers.index(self)]
        return 1 + sum(peer._state == "queued" for peer in before)  # noqa: SLF001  # its own class

    @property
    def line(self) -> str:
        """Which run it is, and where it waits for its turn, for the eye."""
        if not self.place:
            return f"background {self.id}"
        busy = sum(peer.status in {"running", "stopping"} for peer in self._peers)
        others = "another runs" if busy == 1 else f"{busy} others run"
        queued = f"in the queue at place {self.place} while {others} (background_limit)"
        return f"background {self.id}, {queued}"

    def stop(self) -> None:
        """End it, from any thread; what was received is kept. An ended one stays as it is."""
        if self._task is not None and not self._task.done():
            self._stopping = True
            self.loop.call_soon_threadsafe(self._task.cancel)

    async def wait(self) -> None:
        """Wait until it has ended, however it does; giving the wait up does not stop it."""
        self._waiting += 1
        try:
            await guarded(self._ended.wait())
        except RunStopped:
            raise WaitStopped(self.id) from None
        finally:
            self._waiting -= 1

    def __await__(self) -> Generator[Any, None, Any]:
        """Return the run once it has ended, also where it was stopped; raise what it raised."""
        return self._result().__await__()

    def __repr__(self) -> str:
        state = f"{self.status}, place {self.place}" if self.place else self.status
        what = f": {self.run!r}" if self.run is not None else f": {self.name}"
        stop = "" if self.done else f"; %runs stop {self.id}"
        return f"<BackgroundRun {self.id} {state}{what}{stop}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:  # IPython's include and exclude
        return {"text/plain": repr(self)}

    async def _result(self) -> Any:  # a Run or a Comparison
        await self.wait()
        if self.error is not None:
            raise self.error
        return self.run

    # What follows is for the Background that owns it.

    def begin(self, task: asyncio.Task[None]) -> None:
        """Learn which task works for it."""
        self._task = task

    def turn(self) -> None:
        """Learn that it has its turn."""
        self._state = "running"

    def settle(self, task: asyncio.Task[None]) -> None:
        """Learn how its task ended."""
        if task.cancelled():
            self._state = "interrupted"
            return
        fault = task.exception()
        self._state = "failed" if fault else "finished"
        self.error = fault if isinstance(fault, Exception) else None

    def end(self) -> None:
        """Let go who waits for it."""
        self._ended.set()


class Background:
    """The background runs of one notebook, at most ``limit`` at a time, first come first served."""

    def __init__(self) -> None:
        self._slots = Slots()
        self._numbers = itertools.count(1)
        self._active: list[BackgroundRun] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def active(self) -> list[BackgroundRun]:
        """Those that run or wait, oldest first."""
        return list(self._active)

    def start(self, job: Job, *, limit: int, context: Context) -> BackgroundRun:
        """Start a job on the running loop, in this context, once a place is free."""
        self._slots.limit = limit
        handle = BackgroundRun(next(self._numbers), job.name, self._active)
        self._active.append(handle)
        if len(self._active) <= limit:
            handle.turn()
        context.run(job.open, handle)
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._go(handle, job), context=context)
        self._tasks[handle.id] = task
        handle.begin(task)
        task.add_done_callback(functools.partial(self._settle, handle, job), context=context)
        return handle

    def stop(self) -> None:
        """End all that run or wait."""
        for handle in self.active:
            handle.stop()

    async def aclose(self) -> None:
        """End all, and wait for it; one that swallows its cancellation is cancelled again."""
        for _ in range(TRIES):
            self.stop()
            if not self._tasks:
                return
            await asyncio.wait(list(self._tasks.values()), timeout=PATIENCE)
            await asyncio.sleep(0)  # their ends are shown

    def finish(self) -> None:
        """End all as the process ends; for when their event loop has stopped for good."""
        loop = self._active[0].loop if self._active else None
        if loop is None or loop.is_running() or loop.is_closed():
            return
        ending = loop.create_task(self.aclose())
        for _ in range(TRIES):
            with contextlib.suppress(RuntimeError):  # an order to stop was left in the loop
                loop.run_until_complete(ending)
            if ending.done():
                return

    async def _go(self, handle: BackgroundRun, job: Job) -> None:
        async with self._slots.take(lambda _: None):
            handle.turn()
            try:
                await job.play(handle)
            except (KeyboardInterrupt, SystemExit):  # leaving a task, they would end the loop
                raise asyncio.CancelledError from None

    def _settle(self, handle: BackgroundRun, job: Job, task: asyncio.Task[None]) -> None:
        self._active.remove(handle)
        del self._tasks[handle.id]
        handle.settle(task)
        try:
            job.close(handle)
        finally:
            handle.end()
