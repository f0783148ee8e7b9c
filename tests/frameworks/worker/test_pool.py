"""Workers come and go: shared or exclusive, waited for, idle, silent, refused after crashes."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tframex_nb.errors import WorkerCrashed, WorkerUnavailable
from tframex_nb.frameworks.worker import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable


async def until(true: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


def test_a_warm_worker_is_used_again(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool(bench.spec("Versioned"))
        assert pool.info() == []
        await asyncio.gather(pool.warm(), pool.warm())
        [idle] = pool.info()
        assert (idle.state, idle.runs) == ("idle", 0)
        assert idle.rss_mb > 5
        stream = bench.stream(pool, "slow")
        await anext(stream)
        [busy] = pool.info()
        assert (busy.pid, busy.state, busy.runs) == (idle.pid, "busy", 1)
        await stream.aclose()

    on_workers(play)


def test_a_crowd_gets_more_workers_up_to_the_size(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool(size=2)
        pids = await asyncio.gather(*(bench.ask(pool, "pid 0.5") for _ in range(20)))
        assert len(set(pids)) == 2
        assert max(pids.count(pid) for pid in set(pids)) < 15

    on_workers(play)


def test_exclusive_workers_are_waited_for_in_order(on_workers: Callable[..., Any]) -> None:
    """One run each; who waits is told how many are ahead, and when it goes on."""

    async def play(bench):
        pool = bench.pool(bench.spec("Exclusive", exclusive=True), size=1)
        told, order = [], []

        async def run(name):
            def waiting(ahead):
                told.append((name, ahead))

            await bench.ask(pool, "pid 0.1", waiting=waiting)
            order.append(name)

        await asyncio.gather(*(run(name) for name in "abcd"))
        assert order == ["a", "b", "c", "d"]
        first = [(name, ahead) for name, ahead in told if ahead >= 0]
        assert first == [("b", 0), ("c", 1), ("d", 2)]
        assert [name for name, ahead in told if ahead == -1] == ["b", "c", "d"]
        assert len(pool.info()) == 1

    on_workers(play)


def test_whoever_gives_up_waiting_loses_no_place(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool(bench.spec(exclusive=True), size=1)
        first = bench.stream(pool, "slow")
        await anext(first)
        waits = [asyncio.create_task(bench.ask(pool, "echo on")) for _ in range(3)]
        await asyncio.sleep(0.05)
        waits[0].cancel()
        await first.aclose()
        waits[1].cancel()
        assert await waits[2] == "on"

    on_workers(play)


def test_exclusive_workers_run_side_by_side(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool(bench.spec(exclusive=True), size=2)
        pids = await asyncio.gather(*(bench.ask(pool, "pid 0.3") for _ in range(2)))
        assert len(set(pids)) == 2

    on_workers(play)


def test_an_idle_worker_ends_by_itself(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool(idle_seconds=0.2)
        pid = int(await bench.ask(pool, "pid"))
        await until(lambda: not psutil.pid_exists(pid))
        assert pool.info() == []
        assert await bench.ask(pool, "echo on") == "on"

    on_workers(play)


def test_an_idle_worker_that_does_not_answer_is_replaced(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool(patience=0.3)
        await bench.ask(pool, "doze")
        [silent] = pool.info()
        await until(lambda: not psutil.pid_exists(silent.pid))
        assert await bench.ask(pool, "echo on") == "on"

    on_workers(play)


def test_a_busy_worker_that_does_not_answer_is_left_alone(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool(patience=0.1)
        assert await bench.ask(pool, "block 1") == "blocking"
        assert len(pool.info()) == 1

    on_workers(play)


def test_three_crashes_in_a_row_are_enough(on_workers: Callable[..., Any]) -> None:
    """No worker is started again, until somebody resets it."""

    async def play(bench):
        pool = bench.pool()
        for _ in range(3):
            with pytest.raises(WorkerCrashed):
                await bench.ask(pool, "exit 1")
        with pytest.raises(WorkerUnavailable, match="it crashed 3 times within a minute") as caught:
            await bench.ask(pool, "echo on")
        assert caught.value.hint == "wait a minute, or: %frameworks reload tricks"
        pool.reset()
        assert await bench.ask(pool, "echo on") == "on"

    on_workers(play)


def test_a_good_run_makes_up_for_crashes(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool()
        for _ in range(4):
            with pytest.raises(WorkerCrashed):
                await bench.ask(pool, "exit 1")
            assert await bench.ask(pool, "echo on") == "on"

    on_workers(play)


@pytest.mark.parametrize(
    ("adapter", "reason", "printed"),
    [
        (
            "CannotImport",
            "it could not be imported: ModuleNotFoundError: No module named 'no_such_framework'",
            "looking for it",
        ),
        ("DiesAtStart", "it ended before it was ready (exit code 7)", "no room"),
        ("NoSuchClass", "it could not be imported: AttributeError", ""),
    ],
)
def test_a_worker_that_cannot_start(
    on_workers: Callable[..., Any], adapter: str, reason: str, printed: str
) -> None:
    """Everybody who waited for it learns why, with what it printed."""

    async def play(bench):
        pool = bench.pool(bench.spec(adapter))
        errors = await asyncio.gather(
            bench.ask(pool, "echo"), bench.ask(pool, "echo"), return_exceptions=True
        )
        for error in errors:
            assert isinstance(error, WorkerUnavailable)
            assert error.message.startswith(f"tricks has no worker: {reason}")
            assert printed in error.message
            assert "%frameworks remove tricks" in error.hint
        assert errors[0] is not errors[1]
        assert pool.info() == []

    on_workers(play)


def test_a_python_that_is_not_there(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool(bench.spec(python=Path("gone") / "bin" / "python"))
        with pytest.raises(WorkerUnavailable, match="gone/bin/python could not be started"):
            await bench.ask(pool, "echo")

    on_workers(play)


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (
            '{"t":"hello","protocol":99,"python":"3.99.1","pid":1}',
            "it speaks protocol 99 (Python 3.99.1), and the kernel 1",
        ),
        ("Traceback (most recent call last):", "it broke the protocol: not a line of protocol 1"),
    ],
    ids=["another version", "no protocol"],
)
def test_a_worker_that_speaks_otherwise(
    on_workers: Callable[..., Any], tmp_path: Path, says: str, reason: str
) -> None:
    async def play(bench):
        script = tmp_path / "python"
        script.write_text(f"#!/bin/sh\necho '{says}'\nexec sleep 60\n")
        script.chmod(0o755)
        with pytest.raises(WorkerUnavailable) as caught:
            await bench.ask(bench.pool(bench.spec(python=script)), "echo")
        assert reason in caught.value.message

    on_workers(play)


def test_a_pool_belongs_to_one_loop(on_workers: Callable[..., Any]) -> None:
    """Another loop beside it is refused; one that comes after a closed one starts anew."""
    kept: list[WorkerPool] = []

    async def first(bench):
        kept.append(WorkerPool(bench.spec()))
        assert await bench.ask(kept[0], "echo on") == "on"

        def elsewhere():
            with pytest.raises(WorkerUnavailable, match="belong to another event loop"):
                asyncio.run(bench.ask(kept[0], "echo"))

        await asyncio.to_thread(elsewhere)

    async def second(bench):
        assert await bench.ask(kept[0], "echo on") == "on"
        await kept[0].aclose()

    on_workers(first)
    on_workers(second)


def test_a_stream_that_nobody_closed_ends_with_its_loop(on_workers: Callable[..., Any]) -> None:
    """Whether its pool was closed before it or not; nothing is said, and nothing is left."""
    kept = []

    async def play(bench):
        for pool in (bench.pool(), WorkerPool(bench.spec())):
            for stream in [bench.stream(pool, "slow") for _ in range(6)]:
                await anext(stream)
                kept.append(stream)

    on_workers(play)
    kept.clear()


def test_thirty_runs_and_stops_leave_one_worker_with_the_threads_it_had(
    on_workers: Callable[..., Any],
) -> None:
    async def play(bench):
        pool = bench.pool(size=1)
        await pool.warm()
        process = psutil.Process(pool.info()[0].pid)
        before = process.num_threads(), process.num_fds(), psutil.Process().num_fds()
        for _ in range(30):
            await bench.ask(pool, "echo on")
            async with contextlib.aclosing(bench.stream(pool, "slow")) as stream:
                await anext(stream)
        await until(lambda: pool.info()[0].state == "idle")
        assert (process.num_threads(), process.num_fds(), psutil.Process().num_fds()) == before
        assert sys.getrefcount(pool._workers[0]) < 20

    on_workers(play)
