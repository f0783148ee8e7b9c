"""The queue of background runs, apart from any notebook: places, order, stops, ends."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading

import pytest

from tframex_nb.notebook.background import Background, BackgroundRun


class Work:
    """A job that ends when it is told, and notes what happens to it."""

    def __init__(self, name: str, log: list[str], *, stubborn: int = 0) -> None:
        self.name = name
        self.log = log
        self.go_on = asyncio.Event()
        self.fault: BaseException | None = None
        self.stubborn = stubborn  # cancellations that it swallows

    def open(self, handle: BackgroundRun) -> None:
        self.log.append(f"{self.name} open {handle.place}")

    async def play(self, handle: BackgroundRun) -> None:
        self.log.append(f"{self.name} begins")
        handle.run = self.name
        while not self.go_on.is_set():
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.stubborn -= 1
                if self.stubborn < 0:
                    raise
        if self.fault is not None:
            raise self.fault

    def close(self, handle: BackgroundRun) -> None:
        self.log.append(f"{self.name} {handle.status}")


def on_a_loop(test):
    """Run a test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return run


@pytest.fixture
def log() -> list[str]:
    return []


def start(board: Background, *jobs: Work, limit: int = 2) -> list[BackgroundRun]:
    return [board.start(j, limit=limit, context=contextvars.copy_context()) for j in jobs]


async def steps(count: int = 5) -> None:
    """Let the loop turn: everything here is ready at once."""
    for _ in range(count):
        await asyncio.sleep(0)


@on_a_loop
async def test_first_come_first_served(log):
    """Those that wait keep their order, and move up when one before them goes."""
    board = Background()
    jobs = [Work(name, log) for name in "abcde"]
    handles = start(board, *jobs)
    assert [h.place for h in handles] == [0, 0, 1, 2, 3]
    assert log[2] == "c open 1"
    await steps()
    assert [line for line in log if "begins" in line] == ["a begins", "b begins"]
    handles[3].stop()
    await steps()
    assert [h.status for h in handles] == [
        "running",
        "running",
        "queued",
        "interrupted",
        "queued",
    ]
    assert [h.place for h in handles] == [0, 0, 1, 0, 2]
    jobs[1].go_on.set()
    await steps()
    assert log[-2:] == ["c begins", "b finished"]
    assert handles[4].place == 1
    assert handles[3].run is None
    await board.aclose()
    assert board.active == []
    assert [line.split()[1] for line in log[-3:]] == ["interrupted"] * 3


@on_a_loop
async def test_the_limit_may_grow(log):
    board = Background()
    handles = start(board, *(Work(name, log) for name in "abc"), limit=1)
    await steps()
    assert [h.status for h in handles] == ["running", "queued", "queued"]
    handles += start(board, Work("d", log), limit=3)
    await steps()
    assert [h.status for h in handles] == ["running", "running", "running", "queued"]
    await board.aclose()


@on_a_loop
async def test_a_handle_can_be_awaited_by_many_and_again(log):
    board = Background()
    job = Work("a", log)
    (handle,) = start(board, job)
    waiting = asyncio.gather(handle, handle, handle.wait())
    await steps()
    job.go_on.set()
    assert await waiting == ["a", "a", None]
    assert await handle == "a"
    assert handle.status == "finished"
    assert log[-1] == "a finished"  # its cell shows the end before anyone goes on


@on_a_loop
async def test_who_gives_up_waiting_does_not_stop_it(log):
    board = Background()
    job = Work("a", log)
    (handle,) = start(board, job)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await handle
    assert handle.status == "running"
    job.go_on.set()
    assert await handle == "a"


@on_a_loop
async def test_what_it_raised_is_raised_for_each_who_waits(log):
    board = Background()
    job = Work("a", log)
    job.fault = ValueError("no")
    job.go_on.set()
    (handle,) = start(board, job)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await handle
    assert (handle.status, handle.error) == ("failed", job.fault)


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit])
@on_a_loop
async def test_what_would_end_the_loop_ends_only_the_run(log, fault):
    board = Background()
    job = Work("a", log)
    job.fault = fault()
    job.go_on.set()
    (handle,) = start(board, job)
    assert await handle == "a"
    assert handle.status == "interrupted"


@on_a_loop
async def test_a_stop_before_its_first_step_is_an_end_like_any_other(log):
    board = Background()
    (handle,) = start(board, Work("a", log))
    handle.stop()
    assert handle.status == "stopping"
    await handle.wait()
    assert handle.status == "interrupted"
    assert log[-1] == "a interrupted"
    assert board.active == []


@on_a_loop
async def test_a_stop_from_another_thread(log):
    board = Background()
    (handle,) = start(board, Work("a", log))
    await steps()
    thread = threading.Thread(target=handle.stop)
    thread.start()
    assert await handle == "a"
    thread.join()
    assert handle.status == "interrupted"


@on_a_loop
async def test_one_that_swallows_its_cancellation_is_cancelled_again(log, monkeypatch):
    monkeypatch.setattr("tframex_nb.notebook.background.PATIENCE", 0.01)
    board = Background()
    (handle,) = start(board, Work("a", log, stubborn=3))
    await steps()
    handle.stop()
    await steps()
    assert handle.status == "stopping"
    await board.aclose()
    assert handle.status == "interrupted"


@on_a_loop
async def test_each_begins_in_the_context_that_it_was_given(log):
    """Also one that waited, which another's end lets go on."""
    mark = contextvars.ContextVar("mark", default="")
    seen = []

    class Looks(Work):
        async def play(self, handle):
            seen.append((self.name, mark.get()))
            await super().play(handle)

        def close(self, handle):
            seen.append((self.name, mark.get()))

    board = Background()
    jobs = [Looks(name, log) for name in "ab"]
    for job in jobs:
        context = contextvars.copy_context()
        context.run(mark.set, job.name)
        board.start(job, limit=1, context=context)
        job.go_on.set()
    while board.active:
        await asyncio.sleep(0)
    assert sorted(seen) == [("a", "a"), ("a", "a"), ("b", "b"), ("b", "b")]


def test_what_still_runs_when_the_loop_has_stopped_is_ended(log):
    """As a process ends: nothing is destroyed while it is pending."""
    loop = asyncio.new_event_loop()
    board = Background()

    async def begin() -> None:
        start(board, Work("a", log), Work("b", log), limit=1)

    loop.run_until_complete(begin())
    board.finish()
    board.finish()
    assert sorted(log[-2:]) == ["a interrupted", "b interrupted"]
    assert not asyncio.all_tasks(loop)
    loop.close()
