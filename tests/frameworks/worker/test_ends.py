"""How runs and workers end: cancelled, killed, crashed, too large, without their kernel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tframex_nb.errors import MemoryLimitExceeded, WorkerCrashed, WorkerUnavailable
from tframex_nb.messages import TextDelta

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits for somebody who is not ours to reap it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


async def until(true: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("prompt", "cause", "last"),
    [
        ("exit 3", "exit code 3", "these were my last words"),
        ("segfault", "signal SIGSEGV", "the next run gets a new worker"),
    ],
)
def test_a_crash_in_mid_run(
    on_workers: Callable[..., Any], prompt: str, cause: str, last: str
) -> None:
    """The text so far was given; the error names cause and last words; the next run works."""

    async def play(bench):
        pool = bench.pool()
        stream = bench.stream(pool, prompt)
        assert await anext(stream) == TextDelta("before")
        with pytest.raises(WorkerCrashed) as caught:
            await anext(stream)
        assert f"tricks crashed: its worker's process ended ({cause})" in str(caught.value)
        assert last in caught.value.hint
        assert caught.value.framework == "tricks"
        assert (last in caught.value.stderr) == prompt.startswith("exit")
        assert await bench.ask(pool, "echo on") == "on"

    on_workers(play)


def test_a_worker_killed_in_mid_run(on_workers: Callable[..., Any]) -> None:
    """All its runs fail, each with an error of its own."""

    async def play(bench):
        pool = bench.pool(size=1)

        async def run():
            async with contextlib.aclosing(bench.stream(pool, "slow")) as stream:
                async for event in stream:
                    for worker in pool.info() if event.text == "5 " else ():
                        os.kill(worker.pid, signal.SIGKILL)

        errors = await asyncio.gather(run(), run(), return_exceptions=True)
        assert [type(error) for error in errors] == [WorkerCrashed, WorkerCrashed]
        assert errors[0] is not errors[1]
        assert "signal SIGKILL" in errors[0].message
        assert await bench.ask(pool, "echo on") == "on"

    on_workers(play)


def test_an_idle_worker_that_was_killed_is_not_used(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool()
        await pool.warm()
        os.kill(pool.info()[0].pid, signal.SIGKILL)
        end = time.monotonic() + 5
        while pool.info() and time.monotonic() < end:
            time.sleep(0.001)  # the loop does not turn, so nobody told it
        assert await bench.ask(pool, "echo on") == "on"

    on_workers(play)


def test_cancelling_leaves_worker_and_neighbours_alone(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool(size=1)
        async with contextlib.aclosing(bench.stream(pool, "slow")) as other:
            await anext(other)
            [before] = pool.info()
            stopped = bench.stream(pool, "slow")
            await anext(stopped)
            await stopped.aclose()
            await asyncio.sleep(0.7)  # longer than the grace of a cancelled run
            for _ in range(20):
                await anext(other)
            assert await bench.ask(pool, "echo on") == "on"
            assert [w.pid for w in pool.info()] == [before.pid]

    on_workers(play)


@pytest.mark.parametrize("prompt", ["block 60", "deaf"])
def test_a_run_that_ignores_its_cancellation_is_killed(
    on_workers: Callable[..., Any], prompt: str
) -> None:
    """Closing returns at once; the worker is gone after a second; the next run works."""

    async def play(bench):
        pool = bench.pool()
        stream = bench.stream(pool, prompt)
        await anext(stream)
        [worker] = pool.info()
        begun = time.monotonic()
        await stream.aclose()
        assert time.monotonic() - begun < 0.2
        await until(lambda: not psutil.pid_exists(worker.pid), 2)
        assert await bench.ask(pool, "echo on") == "on"

    on_workers(play)


def test_a_worker_that_hangs_is_kept_for_its_other_runs(on_workers: Callable[..., Any]) -> None:
    """It takes no new ones, and is killed when the others have ended."""

    async def play(bench):
        pool = bench.pool(size=1)
        async with contextlib.aclosing(bench.stream(pool, "slow 0.01")) as other:
            await anext(other)
            deaf = bench.stream(pool, "deaf")
            await anext(deaf)
            [old] = pool.info()
            await deaf.aclose()
            fresh = await bench.ask(pool, "pid")
            assert fresh != str(old.pid)
            for _ in range(100):
                await anext(other)
            assert psutil.pid_exists(old.pid)
        await until(lambda: not psutil.pid_exists(old.pid), 2)
        assert [str(w.pid) for w in pool.info()] == [fresh]

    on_workers(play)


def test_an_exclusive_worker_is_killed_with_all_it_started(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool(bench.spec(exclusive=True))
        stream = bench.stream(pool, "family 1")
        child = int((await anext(stream)).text)
        [worker] = pool.info()
        begun = time.monotonic()
        await stream.aclose()
        assert time.monotonic() - begun < 0.2
        assert pool.info() == []
        await until(lambda: ended(child) and not psutil.pid_exists(worker.pid), 1)
        assert await bench.ask(pool, "echo on") == "on"

    on_workers(play)


def test_a_stopped_exclusive_worker_is_replaced_before_the_next_run(
    on_workers: Callable[..., Any],
) -> None:
    """Who stops a run mostly asks again: the framework is imported meanwhile."""

    async def play(bench):
        pool = bench.pool(bench.spec(exclusive=True))
        stream = bench.stream(pool, "slow")
        await anext(stream)
        [killed] = pool.info()
        await stream.aclose()
        await until(lambda: [w.state for w in pool.info()] == ["idle"], 10)
        [fresh] = pool.info()
        assert fresh.pid != killed.pid
        assert await bench.ask(pool, "echo on") == "on"
        assert [w.pid for w in pool.info()] == [fresh.pid]

    on_workers(play)


def test_cancelling_the_task_stops_the_run_and_its_tools(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        called, dropped = asyncio.Event(), asyncio.Event()

        async def weather(_):
            called.set()
            try:
                await asyncio.sleep(60)
            finally:
                dropped.set()

        pool = bench.pool()
        tools = (bench.weather(weather),)
        task = asyncio.create_task(bench.ask(pool, "tool {}", tools=tools))
        await called.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(dropped.wait(), 1)
        assert await bench.ask(pool, "echo on") == "on"

    on_workers(play)


def test_a_thread_that_waits_for_a_tool_is_let_go(on_workers: Callable[..., Any]) -> None:
    """A stopped run leaves no thread waiting in a worker that lives on."""

    async def play(bench):
        called = asyncio.Event()

        async def weather(_):
            called.set()
            await asyncio.sleep(60)

        pool = bench.pool(size=1)
        stream = bench.stream(pool, "thread", tools=(bench.weather(weather),))
        await anext(stream)
        await called.wait()
        await stream.aclose()
        async with asyncio.timeout(5):
            while "waits" in await bench.ask(pool, "threads"):
                await asyncio.sleep(0.01)

    on_workers(play)


@pytest.mark.parametrize("prompt", ["hog", "family 200"])
def test_a_worker_over_its_memory_limit_is_killed(
    on_workers: Callable[..., Any], prompt: str
) -> None:
    """Whether the worker grows or a process that it started."""

    async def play(bench):
        pool = bench.pool(memory_limit_mb=120)
        assert await bench.ask(pool, "echo small") == "small"
        with pytest.raises(MemoryLimitExceeded) as caught:
            await bench.ask(pool, prompt)
        assert "over its limit of 120 MB, and was killed" in caught.value.message
        assert caught.value.message.startswith("tricks grew to ")
        assert caught.value.hint == "raise memory_limit_mb of tricks in runtime-config.yaml"
        assert await bench.ask(pool, "echo on") == "on"

    on_workers(play)


def test_memory_is_watched_while_the_kernel_is_busy(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool(memory_limit_mb=120)
        stream = bench.stream(pool, "hog")
        await anext(stream)
        [worker] = pool.info()
        end = time.monotonic() + 5
        while not ended(worker.pid) and time.monotonic() < end:
            time.sleep(0.01)  # the loop does not turn
        assert ended(worker.pid)
        with pytest.raises(MemoryLimitExceeded):
            await anext(stream)

    on_workers(play)


def test_closing_the_pool_ends_its_runs(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool()
        stream = bench.stream(pool, "slow")
        await anext(stream)
        [worker] = pool.info()
        await pool.aclose()
        assert not psutil.pid_exists(worker.pid)
        with pytest.raises(WorkerUnavailable, match="tricks has no worker: it was closed"):
            async for _ in stream:
                pass
        with pytest.raises(WorkerUnavailable, match="its workers were closed"):
            await bench.ask(pool, "echo")

    on_workers(play)


KERNEL = """
import asyncio, os, sys, time
from pathlib import Path
from tframex_nb.frameworks.base import AgentExecutionRequest, AgentSpec, ModelAccess
from tframex_nb.frameworks.worker import AdapterSource, WorkerPool, WorkerSpec

async def main():
    async with asyncio.timeout(60):
        await run()

async def run():
    source = AdapterSource("Tricks", Path(sys.argv[1]).read_text(), "workers.py")
    pool = WorkerPool(WorkerSpec("tricks", Path(sys.executable), source))
    request = AgentExecutionRequest(AgentSpec("a"), sys.argv[2], ModelAccess("m", "", ""))
    if sys.argv[2] == "idle":
        await pool.warm()
        print(pool.info()[0].pid, flush=True)
        await asyncio.sleep(float(sys.argv[3]))
        return
    async for event in pool.stream(request):
        if sys.argv[2] == "slow" and event.text == "0 " and not os.fork():
            time.sleep(3)  # holds every pipe of the kernel meanwhile
            os._exit(0)
        print(pool.info()[0].pid, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """A process with a worker; it prints the worker's pid."""

    def start(prompt: str, seconds: float = 60) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
        source = str(Path(__file__).with_name("workers.py"))
        return subprocess.Popen(
            [sys.executable, "-c", KERNEL, source, prompt, str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    return start


@pytest.mark.parametrize("prompt", ["idle", "block 60", "deaf"])
def test_no_worker_outlives_a_killed_kernel(
    kernel: Callable[..., subprocess.Popen[str]], prompt: str
) -> None:
    """A second after the kernel was killed with SIGKILL, whatever the framework does."""
    with kernel(prompt) as process:
        worker = int(process.stdout.readline())
        time.sleep(0.2)  # let it block
        process.kill()
        process.wait()
        asyncio.run(until(lambda: ended(worker), 1))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's death")
def test_no_worker_outlives_a_kernel_whose_fork_holds_the_pipe(
    kernel: Callable[..., subprocess.Popen[str]],
) -> None:
    """As ``multiprocessing`` leaves them: the pipe has no end, and the system steps in."""
    with kernel("slow") as process:
        worker = int(process.stdout.readline())
        process.kill()
        process.wait()
        asyncio.run(until(lambda: ended(worker), 1))


def test_a_worker_sees_the_end_of_its_pipe_while_it_blocks(on_workers: Callable[..., Any]) -> None:
    """Without the help of the system, which kills it for its parent's death on Linux only."""

    async def play(bench):
        pool = bench.pool()
        stream = bench.stream(pool, "block 60")
        await anext(stream)
        [worker] = pool._workers
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), worker._process._stdin)
        await until(lambda: ended(worker.pid), 1)
        with pytest.raises(WorkerCrashed):
            await anext(stream)

    on_workers(play)


def test_a_kernel_that_forgets_its_workers_leaves_none(
    kernel: Callable[..., subprocess.Popen[str]],
) -> None:
    """The end of the interpreter ends them, in silence."""
    with kernel("idle", 0) as process:
        worker = int(process.stdout.readline())
        assert process.wait(10) == 0
        assert not psutil.pid_exists(worker)
