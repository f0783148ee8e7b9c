"""A pool of warm workers of one framework: the runs get into them, and out again.

A worker that is shared takes many runs at once; while runs are under way, one whose event loop
does not turn is left alone, because a framework may well be busy. Only an idle worker that does
not answer is replaced. An exclusive worker has one run at a time, and a run may have to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import CannotTravel, FrameworkFailed, WorkerUnavailable
from tframex_nb.frameworks.worker.faults import unavailable
from tframex_nb.frameworks.worker.memory import tree_mb
from tframex_nb.frameworks.worker.parent import Worker
from tframex_nb.frameworks.worker.protocol import Cell, ProtocolError, Start, encode
from tframex_nb.frameworks.worker.spec import WorkerInfo
from tframex_nb.frameworks.worker.stage import Stage
from tframex_nb.frameworks.worker.travel import pack_request, pack_tools

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from tframex_nb.frameworks.base import AgentExecutionRequest, ToolHandle
    from tframex_nb.frameworks.worker.protocol import Message
    from tframex_nb.frameworks.worker.spec import Subject, WorkerSpec
    from tframex_nb.messages import Event

__all__ = ["WorkerPool"]

CROWD = 8  # runs in a shared worker before another one is started
BREATH = 0.1  # seconds
CRASHES, MINUTE = 3, 60.0  # so many crashes within so many seconds are too many


def _nobody(_: object) -> None:
    """Hear nothing."""


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell as every worker executes it."""

    source: str
    filename: str
    tools: tuple[dict[str, Any], ...]  # JSON


class WorkerPool:
    """At most ``size`` workers of one framework; those idle for ``idle_seconds`` end.

    A worker whose processes hold more than ``memory_limit_mb`` is killed, and all runs in it. An
    idle one that leaves a ping unanswered for ``patience`` seconds is replaced. A pool belongs to
    the event loop on which it is used.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        size: int = 2,
        idle_seconds: float = 300,
        memory_limit_mb: int | None = None,
        patience: float = 15,
    ) -> None:
        self.spec = spec
        self._size = size
        self._idle_seconds = idle_seconds
        self._limit = memory_limit_mb
        self._patience = patience
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stage: Stage | None = None
        self._workers: list[Worker] = []
        self._queue: deque[asyncio.Future[None]] = deque()
        self._cells: dict[str, _Cell] = {}
        self._cell_tools: dict[str, ToolHandle] = {}
        self._crashes: deque[float] = deque(maxlen=CRASHES)
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = itertools.count(1)
        self._closed = False

    async def stream(
        self,
        request: AgentExecutionRequest,
        *,
        subject: Subject | None = None,
        log: Callable[[str], None] = _nobody,
        waiting: Callable[[int], None] = _nobody,
        nested: bool = False,
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of one answer; ``request.tools`` are called on this loop.

        ``log`` gets what is printed in the worker, line by line; ``waiting`` how many runs are
        ahead where this one has to wait, and -1 when it goes on. A ``nested`` run gets a worker
        at once: another run waits for it, and may hold the last one. Closing the generator
        cancels the run, kills it where it cannot be, and waits for neither. Raises WorkerCrashed,
        WorkerUnavailable, MemoryLimitExceeded, CannotTravel, FrameworkFailed, and our own errors
        that the adapter raised.
        """
        run = f"r{next(self._numbers)}"
        wanted = None if subject is None else [subject.name, subject.source]
        line = self._encode(Start(run, pack_request(request), wanted))
        tools = {tool.name: tool for tool in request.tools}
        worker = await self._enter(waiting, log, nested=nested)
        link = worker.begin(run, line, tools=self._cell_tools | tools, log=log)
        try:
            async for batch in link:
                for event in batch:
                    yield event
        finally:  # waits for nothing: a loop that ends closes its generators in any order
            worker.leave(link)
            self._release(worker)
            if not worker.usable and self._loop is not None:
                self._loop.call_later(BREATH, self._replace)
        self._crashes.clear()

    async def run_cell(
        self,
        source: str,
        *,
        tools: Sequence[ToolHandle] = (),
        log: Callable[[str], None] = _nobody,
        waiting: Callable[[int], None] = _nobody,
        cell_id: str = "",
    ) -> None:
        """Run a cell in the workers' namespace: in one now, in the others before their next run.

        A cell of the same ``cell_id`` (without one: of the same source) takes the old one's
        place. Raises FrameworkFailed with the traceback's tail in its notes.
        """
        number = next(self._numbers)
        filename = f"<{self.spec.framework} cell {number}>"
        cell = _Cell(source, filename, tuple(pack_tools(tools)))
        offered = self._cell_tools | {tool.name: tool for tool in tools}
        worker = await self._enter(waiting, log)
        try:
            await self._execute(worker, cell, offered, log)
            worker.cells[cell_id or source] = cell
        finally:
            self._release(worker)
        self._cells[cell_id or source] = cell
        self._cell_tools = offered

    async def warm(self) -> None:
        """See to it that a worker is ready, or busy with other runs; raises WorkerUnavailable."""
        self._bind()
        full = self.spec.exclusive and len(self._alive()) >= self._size
        if full and all(worker.holds for worker in self._alive()):
            return
        self._release(await self._enter(_nobody, _nobody))

    def info(self) -> list[WorkerInfo]:
        """Return what there is to know of each worker."""
        return [
            WorkerInfo(w.pid, w.state, w.runs, tree_mb(w.pid), w.started, w.version)
            for w in self._alive()
        ]

    def resize(self, size: int, *, idle_seconds: float) -> None:
        """Set other bounds; who waits for a worker may get one now, and none is ended for it."""
        more, self._size = size - self._size, size
        self._idle_seconds = idle_seconds
        for _ in range(more):
            self._wake()

    def adopt(self, other: WorkerPool) -> None:
        """Run the cells of another pool in the workers of this one, too: it takes its place."""
        self._cells = dict(other._cells)
        self._cell_tools = dict(other._cell_tools)

    def reset(self) -> None:
        """Forget the crashes, so that a worker may be started again at once."""
        self._crashes.clear()

    async def aclose(self) -> None:
        """End every worker, whatever it does, and wait until nothing of them is left."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._queue:
            self._wake()
        if self._loop is not None and not self._loop.is_closed():
            workers = list(self._workers)
            for worker in workers:
                worker.close()
            await asyncio.gather(*(worker.gone for worker in workers))
        self._workers.clear()

    async def _enter(
        self, waiting: Callable[[int], None], log: Callable[[str], None], *, nested: bool = False
    ) -> Worker:
        """Return a worker that is ready and has run all cells; it is held until released."""
        worker = await self._acquire(waiting, nested=nested)
        try:
            await self._catch_up(worker, log)
        except BaseException:  # a stop, too, gives the worker back
            self._release(worker)
            raise
        return worker

    def _release(self, worker: Worker) -> None:
        worker.holds -= 1
        worker.idle_since = time.monotonic()
        self._wake()

    async def _acquire(self, waiting: Callable[[int], None], *, nested: bool) -> Worker:
        told = False
        while True:
            self._bind()
            behind = self._queue and not (told or nested)
            worker = None if behind else self._choose(beyond=nested)
            if worker is None:
                waiting(len(self._queue))
                await self._turn(first=told)
                told = True
                continue
            worker.holds += 1
            try:
                await worker.ready()
            except BaseException:  # a stop, too, lets go of the worker
                worker.holds -= 1
                self._wake()
                raise
            if worker.usable:
                break
            worker.holds -= 1  # it went meanwhile
        if told:
            waiting(-1)
        return worker

    def _bind(self) -> None:
        """Belong to the running loop; raises WorkerUnavailable where that cannot be."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise self._unavailable("its workers were closed")
        if self._loop is loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise self._unavailable("its workers belong to another event loop")
        for worker in self._workers:
            worker.discard()  # their loop is gone
        self._workers.clear()
        self._queue.clear()
        self._timer = None
        self._loop = loop

    def _alive(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.usable]

    def _choose(self, *, beyond: bool) -> Worker | None:
        """Return a worker for one more run, or None where the run has to wait."""
        alive = self._alive()
        best = min(alive, key=lambda worker: worker.holds, default=None)
        crowd = 1 if self.spec.exclusive else CROWD
        if best is not None and best.holds < crowd:
            return best
        if len(alive) < self._size or (beyond and self.spec.exclusive):
            return self._start()
        return None if self.spec.exclusive else best

    def _start(self) -> Worker:
        if os.name != "posix":
            raise self._unavailable(f"workers need a POSIX system, and this is {os.name}")
        recent = [moment for moment in self._crashes if time.monotonic() - moment < MINUTE]
        if len(recent) >= CRASHES:
            raise self._unavailable(f"it crashed {CRASHES} times within a minute")
        try:
            self._stage = Stage.of(self.spec.adapter)
        except OSError as exc:
            raise self._unavailable(f"its files could not be written: {exc}") from exc
        worker = Worker(self.spec, memory_limit_mb=self._limit, ended=self._ended)
        worker.open(self._stage)
        self._workers.append(worker)
        self._tick()
        return worker

    def _replace(self) -> None:
        """Start a worker in place of one that a stop has killed: the next run need not wait.

        Called a breath after the stop: a loop that is ending does not get so far.
        """
        if not self._closed and not self._alive():
            with contextlib.suppress(WorkerUnavailable):  # the next run is told
                self._start()

    def _ended(self, worker: Worker, crashed: bool) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
        if crashed:
            self._crashes.append(time.monotonic())
        self._wake()

    async def _turn(self, *, first: bool) -> None:
        """Wait for a worker to be free; who has waited before goes first."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._queue.appendleft if first else self._queue.append)(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._queue:
                self._queue.remove(turn)
            else:
                self._wake()
            raise
        if self._closed:
            raise self._unavailable("its workers were closed")

    def _wake(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _catch_up(self, worker: Worker, log: Callable[[str], None]) -> None:
        """Run the cells that the worker has not seen; one that fails is told, and left."""
        async with worker.lock:
            for cell_id, cell in list(self._cells.items()):
                if worker.cells.get(cell_id) is cell:
                    continue
                try:
                    await self._execute(worker, cell, self._cell_tools, log)
                except FrameworkFailed as exc:
                    log(f"{cell.filename.strip('<>')} failed in a new worker: {exc.message}")
                worker.cells[cell_id] = cell

    async def _execute(
        self,
        worker: Worker,
        cell: _Cell,
        tools: dict[str, ToolHandle],
        log: Callable[[str], None],
    ) -> None:
        run = f"c{next(self._numbers)}"
        line = self._encode(Cell(run, cell.source, cell.filename, list(cell.tools)))
        link = worker.begin(run, line, tools=tools, log=log)
        try:
            async for _ in link:
                pass
        finally:
            worker.leave(link)

    def _encode(self, message: Message) -> bytes:
        try:
            return encode(message)
        except (TypeError, ValueError, ProtocolError) as exc:
            raise CannotTravel(
                f"the request cannot be sent to {self.spec.framework}'s worker: {exc}",
                hint="configuration and parameters must be JSON",
                framework=self.spec.framework,
            ) from exc

    def _tick(self) -> None:
        """Look after the idle workers, as long as there are workers."""
        if self._timer is not None:
            self._timer.cancel()
        for worker in self._workers:
            if worker.stopping or not worker.quiet:
                continue
            if time.monotonic() - worker.idle_since > self._idle_seconds:
                worker.close()
            else:
                worker.ping(self._patience)
        if self._workers and self._loop is not None:
            pause = max(0.01, min(self._patience / 5, self._idle_seconds / 2))
            self._timer = self._loop.call_later(pause, self._tick)

    def _unavailable(self, reason: str) -> WorkerUnavailable:
        name = self.spec.framework
        return unavailable(name, reason, hint=f"wait a minute, or: %frameworks reload {name}")
