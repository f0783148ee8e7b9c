"""Runs that are stopped at any moment leave nothing, and the next one works."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import threading
from pathlib import Path

import psutil
import pytest
from scripted_server import Say, scripted_server, until
from service_bench import PLACES, Bench, on_bench, valid
from tricks_adapter import Exclusive, Here, Shared

everywhere = pytest.mark.parametrize("place", PLACES)
SLOTS = 3
PROMPTS = ("slow", "tell a story", "call later {}", "never", "deaf 0.2", "many")


async def later() -> str:
    """Take a while."""
    await asyncio.sleep(0.2)
    return "late"


def answer(request):
    """Speak, call a tool, or hold the stream open."""
    last = request.messages[-1]
    if last["role"] == "tool":
        return Say("done")
    choices = {
        "tell a story": Say(["once ", "upon "], hold=True),
        "many": Say(calls=[("later", {})]),
    }
    return choices.get(last["content"], Say(["a ", "b"]))


def owned():
    """What this process has: tasks, threads, children, descriptors."""
    me = psutil.Process()
    return {
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "children": len(me.children(recursive=True)),
        "files": len(list(Path("/proc/self/fd").iterdir())),
    }


async def calm(service):
    """Wait until no run is left in any worker."""

    def still():
        pools = service.placement.pools().values()
        return not any(worker.runs for pool in pools for worker in pool.info())

    await until(still)
    await asyncio.sleep(0.7)  # a replaced worker starts, a deaf run ends
    gc.collect()


async def warm(bench, place):
    """Open whatever is opened once, and as many workers and connections as there may be."""
    for prompt in ("slow 30", "hello"):
        begun = [bench.start(prompt, place) for _ in range(SLOTS)]
        await asyncio.gather(*(task for _, task in begun))
    await calm(bench.frameworks)


@everywhere
def test_two_hundred_stops_at_random_moments_leave_nothing(tmp_path, place):
    """By cancelling the consumer, or by closing the stream; while it waits, works or calls."""
    dice = random.Random(place)

    async def stopped(bench, agent):
        prompt = dice.choice(PROMPTS)
        stream = bench.frameworks.stream(agent, prompt, framework=place)
        seconds = dice.choice((0, 0, 0.001, 0.01, 0.05)) * dice.random() * 4

        async def consume():
            async with contextlib.aclosing(stream):
                async for _ in stream:
                    if dice.random() < 0.02:
                        break  # a consumer that goes away

        task = asyncio.create_task(consume())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()

    async def play(bench):
        bench.server.answer = answer
        await warm(bench, place)
        before = owned()
        left = 200
        while left:
            agents = [
                bench.agent(tools=[later]) for _ in range(min(dice.choice((1, 1, 2, 5)), left))
            ]
            left -= len(agents)
            await asyncio.gather(*(stopped(bench, agent) for agent in agents))
            for agent in agents:
                assert agent.last is None or agent.last.status != "running"
                assert agent.last is None or valid(agent.last.messages)
        assert (await bench.run("echo still here", place)).text == "stillhere"
        await calm(bench.frameworks)
        after = owned()
        slots = bench.frameworks._slots[place]
        assert (slots.running, slots.waiting) == (0, 0)
        assert bench.frameworks.registry.running(place) == 0
        more = {name: (before[name], after[name]) for name in after if after[name] > before[name]}
        assert not more

    limits = {place: {"max_concurrent_executions": SLOTS}}
    on_bench(tmp_path, play, framework_specific=limits)


@everywhere
def test_a_stream_that_is_never_read_costs_nothing(tmp_path, place):
    async def play(bench):
        stream = bench.frameworks.stream(bench.agent(), "echo on", framework=place)
        await stream.aclose()
        del stream
        bench.frameworks.stream(bench.agent(), "echo on", framework=place)
        assert bench.frameworks.placement.pools() == {}
        assert (await bench.run("echo on", place)).text == "on"

    on_bench(tmp_path, play)


@everywhere
def test_a_stopped_run_closes_the_model_at_once(tmp_path, place):
    async def play(bench):
        bench.server.say(Say("once upon", hold=True))
        agent, task = bench.start("tell a story", place)
        await until(lambda: agent.last and agent.last.text)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (agent.last.status, agent.last.text) == ("interrupted", "once upon")
        assert await asyncio.to_thread(bench.server.wait_closed)

    on_bench(tmp_path, play)


@everywhere
def test_one_service_on_one_loop_after_another(tmp_path, place):
    """As scripts do that call ``asyncio.run`` twice: each run works, the last loop ends it all."""
    with scripted_server("one", "two", "three") as server:
        bench = Bench(tmp_path, server, {})

        async def first():
            for each in (Here, Shared, Exclusive):
                await bench.frameworks.load(each)
            assert (await bench.run("hello", place)).text == "one"
            await bench.model.aclose()

        async def second():
            assert (await bench.run("hello", place)).text == "two"
            agent, _ = bench.start("slow", place)
            await until(lambda: agent.last and agent.last.text)
            await bench.model.aclose()  # the loop ends in the middle of a run

        async def third():
            assert (await bench.run("hello", place)).text == "three"
            await bench.aclose()

        for scene in (first, second, third):
            asyncio.run(scene())


@everywhere
def test_a_service_is_closed_on_another_loop_than_it_ran_on(tmp_path, place):
    with scripted_server("one") as server:
        bench = Bench(tmp_path, server, {})

        async def first():
            for each in (Here, Shared, Exclusive):
                await bench.frameworks.load(each)
            assert (await bench.run("hello", place)).text == "one"
            await bench.model.aclose()

        asyncio.run(first())
        asyncio.run(bench.aclose())


def test_a_service_that_never_ran_is_closed(tmp_path):
    with scripted_server() as server:
        asyncio.run(Bench(tmp_path, server, {}).aclose())


@everywhere
def test_a_loop_that_ends_before_the_service_has_started(tmp_path, place):
    """What was begun there is begun again on the next one."""
    with scripted_server("one") as server:
        bench = Bench(tmp_path, server, {"discovery": {"auto_scan": True}})

        async def first():
            task = asyncio.create_task(bench.frameworks.start())
            await asyncio.sleep(0)
            task.cancel()

        async def second():
            for each in (Here, Shared, Exclusive):
                await bench.frameworks.load(each)
            assert (await bench.run("hello", place)).text == "one"
            await bench.aclose()

        asyncio.run(first())
        asyncio.run(second())


@everywhere
def test_debug_mode_has_no_complaint(tmp_path, place, caplog):
    """No callback from a wrong thread, nothing that holds the loop for long."""
    with scripted_server() as server:
        bench = Bench(tmp_path, server, {})

        async def play():
            loop = asyncio.get_running_loop()
            loop.slow_callback_duration = 0.5
            for each in (Here, Shared, Exclusive):
                await bench.frameworks.load(each)
            server.say("warm", Say("I look.", calls=[("later", {})]), "done")
            await bench.run("hello", place)
            caplog.clear()
            run = await bench.run("hello", place, tools=[later])
            assert run.text == "done"
            agent, task = bench.start("slow", place)
            await until(lambda: agent.last and agent.last.text)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await bench.aclose()

        asyncio.run(play(), debug=True)
    assert [r.getMessage() for r in caplog.records if r.name == "asyncio" and r.levelno > 20] == []
