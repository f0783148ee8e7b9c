"""What the configuration bounds: runs at once, seconds, memory; and its changes at run time."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from scripted_server import Say, until
from service_bench import PLACES, on_bench

from tframex_nb.errors import RunTimeout, SettingsError
from tframex_nb.frameworks.events import Waiting
from tframex_nb.models import shared_endpoints
from tframex_nb.runtime import RunRequest, Runtime

everywhere = pytest.mark.parametrize("place", PLACES)
ONE = {"framework_specific": {name: {"max_concurrent_executions": 1} for name in PLACES}}


def lines(run):
    """What people read of a run beside its answer."""
    return [part.event.line for part in run.parts if part.kind == "note"]


def begun(agent):
    return agent.last is not None and bool(agent.last.text)


def waits(agent):
    return agent.last is not None and any("waiting until" in line for line in lines(agent.last))


async def stop(task):
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@everywhere
def test_runs_beyond_the_bound_wait_in_order_and_say_so(tmp_path, place):
    async def play(bench):
        first, task = bench.start("slow", place)
        await until(lambda: begun(first))
        others = []
        for _ in range(3):
            others.append(bench.start("slow 3", place))
            await until(lambda: waits(others[-1][0]))
        ahead = ["", ", 1 ahead", ", 2 ahead"]
        wanted = [[f"waiting until {place} is free{each}"] for each in ahead]
        assert [lines(agent.last) for agent, _ in others] == wanted
        assert not any(begun(agent) for agent, _ in others)
        await stop(task)
        ended = []
        for agent, each in others:
            each.add_done_callback(lambda _, agent=agent: ended.append(agent))
        runs = await asyncio.gather(*(each for _, each in others))
        assert ended == [agent for agent, _ in others]
        assert [run.text for run in runs] == ["0 1 2 "] * 3
        assert [lines(run) for run in runs] == [[]] * 3

    on_bench(tmp_path, play, **ONE)


@everywhere
def test_who_is_stopped_while_waiting_frees_nothing_it_does_not_hold(tmp_path, place):
    async def play(bench):
        first, task = bench.start("slow", place)
        await until(lambda: begun(first))
        second, gone = bench.start("slow 3", place)
        third, last = bench.start("slow 3", place)
        await until(lambda: waits(second) and waits(third))
        await stop(gone)
        assert second.last.status == "interrupted"
        await asyncio.sleep(0.2)
        assert waits(third)
        assert not begun(third)
        await stop(task)
        assert (await last).text == "0 1 2 "
        assert (await bench.run("echo on", place)).text == "on"

    on_bench(tmp_path, play, **ONE)


@everywhere
def test_a_run_that_fails_or_is_late_frees_its_slot(tmp_path, place):
    async def play(bench):
        for prompt in ("fail x", "never", "wrong"):
            assert (await bench.run(prompt, place)).status == "failed"
        assert (await bench.run("echo on", place)).text == "on"

    limits = {name: {"max_concurrent_executions": 1, "timeout_seconds": 1} for name in PLACES}
    on_bench(tmp_path, play, framework_specific=limits)


@everywhere
def test_a_raised_bound_admits_those_who_wait_at_once(tmp_path, place):
    async def play(bench):
        started = [bench.start("slow", place)]
        await until(lambda: begun(started[0][0]))
        started += [bench.start("slow", place) for _ in range(2)]
        await until(lambda: all(waits(agent) for agent, _ in started[1:]))
        specific = {place: {"max_concurrent_executions": 3}}
        bench.configure({"framework_specific": specific})
        changes = await bench.frameworks.reconfigure()
        assert f"framework_specific.{place}.max_concurrent_executions: 1 -> 3" in changes
        await until(lambda: all(begun(agent) for agent, _ in started))
        assert begun(started[0][0])
        for _, task in started:
            await stop(task)

    on_bench(tmp_path, play, framework_specific={place: {"max_concurrent_executions": 1}})


@everywhere
def test_a_lowered_bound_lets_those_that_run_go_on(tmp_path, place):
    async def play(bench):
        started = [bench.start("slow 50", place) for _ in range(3)]
        await until(lambda: all(begun(agent) for agent, _ in started))
        bench.configure(ONE)
        await bench.frameworks.reconfigure()
        last, task = bench.start("echo on", place)
        await until(lambda: waits(last))
        runs = await asyncio.gather(*(each for _, each in started), task)
        assert {run.status for run in runs} == {"finished"}

    on_bench(tmp_path, play)


@everywhere
def test_a_run_that_takes_too_long_is_ended_and_keeps_its_text(tmp_path, place):
    """The model's stream is closed with it, and so is the run in the worker."""

    async def play(bench):
        assert (await bench.run("pid", place)).status == "finished"  # a warm worker
        bench.server.say(Say(["once ", "upon"], hold=True))
        run = await bench.run("tell a story", place)
        assert type(run.error) is RunTimeout
        assert run.error.message == f"{place} took longer than its 1 s"
        assert run.error.hint == f"raise timeout_seconds of {place} in runtime-config.yaml"
        assert (run.status, run.text, run.error.received) == ("failed", "once upon", "once upon")
        assert 1 <= run.seconds < 4
        assert await asyncio.to_thread(bench.server.wait_closed)
        assert (await bench.run("echo on", place)).text == "on"
        pools = bench.frameworks.placement.pools()
        assert all(worker.runs == 0 for pool in pools.values() for worker in pool.info())

    limits = {name: {"timeout_seconds": 1} for name in PLACES}
    on_bench(tmp_path, play, framework_specific=limits)


def test_a_late_run_in_a_worker_of_its_own_is_killed(tmp_path):
    async def play(bench):
        pid = int((await bench.run("pid", "exclusive")).text)
        run = await bench.run("deaf 60", "exclusive")
        assert type(run.error) is RunTimeout
        assert run.text == "deaf"
        await until(lambda: not os.path.exists(f"/proc/{pid}"))  # noqa: PTH110 - no blocking path
        assert (await bench.run("pid", "exclusive")).text != str(pid)

    on_bench(tmp_path, play, framework_specific={"exclusive": {"timeout_seconds": 1}})


def test_waiting_for_a_slot_is_no_part_of_the_seconds(tmp_path):
    async def play(bench):
        started = [bench.start("slow 60", "here") for _ in range(3)]
        runs = await asyncio.gather(*(task for _, task in started))
        assert [run.error for run in runs] == [None] * 3
        assert max(run.seconds for run in runs) > 1

    both = {"max_concurrent_executions": 1, "timeout_seconds": 1}
    on_bench(tmp_path, play, framework_specific={"here": both})


def test_a_run_that_does_not_react_is_left_behind_in_time(tmp_path):
    """In this process nothing can be killed: the run ends, and its slot is free."""

    async def play(bench):
        clock = time.monotonic()
        run = await bench.run("deaf 3", "here")
        assert type(run.error) is RunTimeout
        assert time.monotonic() - clock < 2.5
        assert (await bench.run("echo on", "here")).text == "on"
        await asyncio.sleep(3)  # let it end

    both = {"max_concurrent_executions": 1, "timeout_seconds": 0.5}
    on_bench(tmp_path, play, framework_specific={"here": both})


def test_a_limit_of_memory_moves_a_framework_into_a_worker(tmp_path):
    """At run time: a run under way ends where it began."""

    async def play(bench):
        assert bench.frameworks.readiness("here").mode == "in-process"
        agent, task = bench.start("slow 30", "here")
        await until(lambda: begun(agent))
        bench.configure({"framework_specific": {"here": {"memory_limit_mb": 4000}}})
        await bench.frameworks.reconfigure()
        assert bench.frameworks.readiness("here").mode == "worker"
        assert (await bench.run("pid", "here")).text != str(os.getpid())
        assert (await task).status == "finished"
        bench.configure({})
        await bench.frameworks.reconfigure()
        assert (await bench.run("pid", "here")).text == str(os.getpid())

    on_bench(tmp_path, play)


def test_a_configuration_with_a_fault_changes_nothing(tmp_path):
    """The error names line and column; a run under way, and who waits, see nothing of it."""

    async def play(bench):
        service = bench.frameworks
        first, task = bench.start("slow", "here")
        await until(lambda: begun(first))
        before = service.config
        bench.config.write_text(
            "frameworks:\n  default_framework: exclusive\n  framework_specific:\n"
            "    here:\n      max_concurrent_executions: none\n",
            encoding="utf-8",
        )
        with pytest.raises(SettingsError) as caught:
            await service.reconfigure()
        assert "(line 5, column " in caught.value.message
        assert "max_concurrent_executions" in caught.value.message
        assert service.config is before
        assert service.config.default_framework == "langgraph"
        assert service.resolver.config is before
        assert service.loader.config is before
        assert begun(first)
        await stop(task)
        assert (await bench.run("echo on", "here")).text == "on"

    on_bench(tmp_path, play)


def test_a_configuration_with_a_fault_at_the_start_may_be_mended(tmp_path):
    """Each use says what is wrong with it, until it is right; no restart is needed."""

    async def play(bench):
        good = bench.config.read_text(encoding="utf-8")
        bench.config.write_text("frameworks: [", encoding="utf-8")
        for _ in range(2):
            with pytest.raises(SettingsError):
                await bench.run("echo on", "here")
        with pytest.raises(SettingsError):
            await bench.frameworks.reconfigure()
        bench.config.write_text(good, encoding="utf-8")
        await bench.frameworks.reconfigure()
        assert (await bench.run("hello", "native")).framework == "native"

    on_bench(tmp_path, play, load=False)


def test_another_file_may_be_named_where_the_first_cannot_be_read(tmp_path):
    async def play(bench):
        other = tmp_path / "other.yaml"
        other.write_text("frameworks:\n  default_framework: here\n", encoding="utf-8")
        bench.config.write_text("frameworks: [", encoding="utf-8")
        await bench.frameworks.reconfigure(other)
        assert bench.frameworks.config.default_framework == "here"
        assert (await bench.run("hello", "native")).framework == "native"
        assert bench.frameworks.config.default_framework == "here"

    on_bench(tmp_path, play, load=False)


def test_a_watched_file_counts_from_the_next_run_on(tmp_path):
    """Where it cannot be read, the old one stays in force, and runs are not stopped by it."""

    async def play(bench):
        watch = {"auto_scan": False, "watch": True}
        assert (await bench.run("slow 3", "here")).status == "finished"
        limits = {"framework_specific": {"here": {"timeout_seconds": 0.3}}}
        bench.configure({"discovery": watch, **limits})
        assert type((await bench.run("slow 300", "here")).error) is RunTimeout
        bench.config.write_text("frameworks: [", encoding="utf-8")
        run = await bench.run("slow 3", "here")
        assert run.status == "finished"
        (line,) = lines(run)
        assert f"{bench.config} (line 1, column 14) is not valid YAML" in line
        assert line.endswith("; the configuration stays as it was")
        assert "is not valid YAML" in (await bench.frameworks.rows())[-1]["why_not"]
        assert type((await bench.run("slow 300", "here")).error) is RunTimeout
        bench.configure({"discovery": watch})
        run = await bench.run("slow 50", "here")
        assert (run.status, lines(run)) == ("finished", [])
        assert [row["state"] for row in await bench.frameworks.rows()] == ["ready"] * 3

    on_bench(tmp_path, play, discovery={"auto_scan": False, "watch": True})


@everywhere
def test_a_tool_may_run_the_framework_that_called_it(tmp_path, place):
    """With one slot and one worker: a run that waited for itself would never end."""

    async def play(bench):
        async def inner() -> str:
            """Ask another agent."""
            return (await bench.run("echo from within", place)).text

        async def outer() -> str:
            """Ask an agent that asks another."""
            return (await bench.run("call inner", place, tools=[inner])).text

        run = await bench.run("call outer", place, tools=[outer])
        assert (run.status, run.text) == ("finished", "fromwithin")
        assert (await bench.run("echo on", place)).text == "on"

    on_bench(tmp_path, play, **ONE)


def test_the_agents_own_steps_have_their_bounds_too(tmp_path):
    async def play(bench):
        bench.server.say(Say("one", hold=True), "two")
        first, task = bench.start("hello", "native")
        second, other = bench.start("hello", "native")
        await until(lambda: begun(first))
        await until(lambda: waits(second))
        assert len(bench.server.requests) == 1
        run = await task
        assert type(run.error) is RunTimeout
        assert run.text == "one"
        assert (await other).text == "two"
        assert any(isinstance(event, Waiting) for event in second.last.events)

    both = {"max_concurrent_executions": 1, "timeout_seconds": 1}
    on_bench(tmp_path, play, load=False, framework_specific={"native": both})


def test_bounds_of_native_hold_for_cells_that_name_no_framework(tmp_path):
    """Once the configuration is read, the runtime gives such runs to the service."""

    async def play(bench):
        runtime = Runtime(shared_endpoints())
        runtime._frameworks = bench.frameworks
        await bench.frameworks.start()
        bench.server.say(Say("never ends", hold=True))
        agent = bench.agent()
        with pytest.raises(RunTimeout, match=r"native took longer than its 0\.3 s"):
            async for _ in runtime.stream(RunRequest(agent, "hello")):
                pass
        assert agent.last.text == "never ends"
        assert await asyncio.to_thread(bench.server.wait_closed)

    on_bench(tmp_path, play, load=False, framework_specific={"native": {"timeout_seconds": 0.3}})
