"""What goes wrong in a run is one kind of error, with the text so far; the next run works."""

from __future__ import annotations

import asyncio
import time

import pytest
from scripted_server import Say
from service_bench import PLACES, on_bench
from tricks_adapter import Broken, LateBroken, Lists, Unclosable

from tframex_nb.errors import (
    AuthError,
    FrameworkFailed,
    MemoryLimitExceeded,
    ModelError,
    RateLimited,
    ServerError,
    WorkerCrashed,
    WorkerUnavailable,
)

everywhere = pytest.mark.parametrize("place", PLACES)
WORKERS = ("shared", "exclusive")


async def works(bench, place):
    """The next run of the framework is none the worse."""
    run = await bench.run("echo still here", place)
    assert (run.status, run.text) == ("finished", "stillhere")


@everywhere
@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("fail no luck", "LookupError: no luck"),
        ("group no luck", "LookupError: no luck"),
        ("late", "TimeoutError: the framework's own"),
        ("cancels", "CancelledError"),
        ("leave", "SystemExit: 3"),
        ("wrong", "yielded a dict; events such as TextDelta are wanted"),
    ],
    ids=lambda value: value.split()[0],
)
def test_an_error_of_the_framework_is_ours_and_keeps_the_text(tmp_path, place, prompt, words):
    async def play(bench):
        run = await bench.run(prompt, place)
        assert type(run.error) is FrameworkFailed, repr(run.error)
        assert run.error.message.startswith(f"{place} failed: ")
        assert words in run.error.message
        assert run.error.framework == place
        assert run.error.hint
        assert (run.status, run.text, run.error.received) == ("failed", "before", "before")
        assert [m.role for m in run.messages] == ["user", "assistant"]
        await works(bench, place)

    on_bench(tmp_path, play)


@everywhere
@pytest.mark.parametrize(
    ("say", "kind"),
    [
        (Say(status=401, error="who are you?"), AuthError),
        (Say(status=429, error="later"), RateLimited),
        (Say(status=500, error="oops"), ServerError),
    ],
    ids=["401", "429", "500"],
)
@pytest.mark.parametrize("trick", ["ask", "swallow"])
def test_a_fault_of_the_model_is_the_models_own_error(tmp_path, place, say, kind, trick):
    """Where the framework raises its own error, and where it hides it behind an apology."""

    async def play(bench):
        bench.server.say(say)
        run = await bench.run(f"{trick} x", place)
        assert type(run.error) is kind, repr(run.error)
        assert (run.error.status, run.status) == (say.status, "failed")
        assert run.error.url.startswith(bench.server.url)
        assert say.error in run.error.message
        assert run.error.hint
        assert len(bench.server.requests) == 1
        await works(bench, place)

    on_bench(tmp_path, play)


@everywhere
def test_a_stream_that_is_cut_keeps_what_was_received(tmp_path, place):
    async def play(bench):
        bench.server.say(Say(["once ", "upon"], cut=True))
        run = await bench.run("tell a story", place)
        assert isinstance(run.error, ModelError)
        assert (run.text, run.error.received) == ("once upon", "once upon")
        assert len(bench.server.requests) == 1
        await works(bench, place)

    on_bench(tmp_path, play)


@everywhere
def test_a_framework_that_does_nothing_after_a_fault_is_ended(tmp_path, place):
    async def play(bench):
        bench.server.say(Say(status=500, error="oops"))
        begun = time.monotonic()
        run = await bench.run("hang x", place)
        assert type(run.error) is ServerError
        assert time.monotonic() - begun < 10  # the trick would sleep for a minute
        await works(bench, place)

    on_bench(tmp_path, play)


def test_a_framework_that_is_busy_with_a_tool_after_a_fault_is_not_ended(tmp_path):
    """A fault that the framework overcomes is none: here a slow tool comes first."""

    async def patience() -> str:
        """Wait longer than the grace after a fault."""
        await asyncio.sleep(2.6)
        return "waited"

    async def play(bench):
        bench.server.say(Say(status=500, error="oops"), "and well")
        run = await bench.run("recover x", "here", tools=[patience])
        assert run.error is None
        assert run.messages[-1].text == "waitedand well"

    on_bench(tmp_path, play)


@everywhere
def test_one_that_says_nothing_answers_with_nothing(tmp_path, place):
    async def play(bench):
        run = await bench.run("nothing", place)
        assert (run.status, run.text, run.error) == ("finished", "", None)

    on_bench(tmp_path, play)


@pytest.mark.parametrize("place", WORKERS)
def test_a_worker_that_crashes_is_told_and_replaced(tmp_path, place):
    async def play(bench):
        run = await bench.run("crash", place)
        assert type(run.error) is WorkerCrashed
        assert "signal SIGKILL" in run.error.message
        assert (run.status, run.text, run.error.received) == ("failed", "before", "before")
        await works(bench, place)

    on_bench(tmp_path, play)


@pytest.mark.parametrize("place", WORKERS)
def test_what_a_run_sees_when_the_one_beside_it_crashes(tmp_path, place):
    """In a shared worker it crashes, too, and is told so; alone in one it goes on."""

    async def play(bench):
        beside, task = bench.start("slow 30", place)
        while not (beside.last and beside.last.text):
            await asyncio.sleep(0.01)
        crashed = await bench.run("crash", place)
        assert type(crashed.error) is WorkerCrashed
        other = await task
        if place == "shared":
            assert type(other.error) is WorkerCrashed
            assert other.text.startswith("0 1 ")
            assert other.error.received == other.text
        else:
            assert (other.status, other.text.split()[-1]) == ("finished", "29")
        await works(bench, place)

    on_bench(tmp_path, play)


def test_a_hog_is_killed_and_the_next_run_works(tmp_path):
    async def play(bench):
        run = await bench.run("hog", "shared")
        assert type(run.error) is MemoryLimitExceeded
        assert "over its limit of 200 MB" in run.error.message
        assert run.error.hint == "raise memory_limit_mb of shared in runtime-config.yaml"
        assert (run.text, run.error.received) == ("before", "before")
        await works(bench, "shared")

    on_bench(tmp_path, play, framework_specific={"shared": {"memory_limit_mb": 200}})


@pytest.mark.parametrize(
    ("adapter", "words"),
    [(Broken, "OSError: no disk"), (LateBroken, "TimeoutError: no answer")],
    ids=["error", "its own time-out"],
)
def test_an_adapter_that_cannot_begin_fails_the_run(tmp_path, adapter, words):
    async def play(bench):
        await bench.frameworks.load(adapter)
        run = await bench.run("hello", adapter.name)
        assert type(run.error) is FrameworkFailed
        assert run.error.message == f"{adapter.name} cannot be initialized: {words}"
        assert run.error.hint
        assert bench.server.requests == []

    on_bench(tmp_path, play)


@pytest.mark.parametrize("limit", [{}, {"memory_limit_mb": 4000}], ids=["here", "in a worker"])
def test_an_adapter_that_returns_a_list_is_told_what_is_wanted(tmp_path, limit):
    async def play(bench):
        await bench.frameworks.load(Lists)
        run = await bench.run("hello", "lists")
        assert type(run.error) is FrameworkFailed, repr(run.error)
        assert "execute_agent_streaming returned a list; an async generator" in run.error.message

    on_bench(tmp_path, play, framework_specific={"lists": limit})


def test_an_adapter_that_cannot_begin_in_a_worker_fails_the_run(tmp_path):
    async def play(bench):
        await bench.frameworks.load(Broken)
        run = await bench.run("hello", "broken")
        assert type(run.error) is WorkerUnavailable
        assert "OSError: no disk" in run.error.message

    on_bench(tmp_path, play, framework_specific={"broken": {"memory_limit_mb": 4000}})


def test_an_adapter_that_cannot_end_stops_nobody(tmp_path):
    async def play(bench):
        service = bench.frameworks
        await service.load(Unclosable)
        closed = []
        service.registry.subscribe(closed.append)
        assert (await bench.run("echo on", "unclosable")).status == "finished"
        await service.unload("unclosable")
        await asyncio.sleep(0.05)
        assert closed[-1].error == "OSError: no disk"
        await works(bench, "here")

    on_bench(tmp_path, play)


@everywhere
@pytest.mark.parametrize(
    "form", [{"type": "json_schema"}, {"type": "json_schema", "json_schema": {}}, "json"], ids=str
)
def test_a_response_format_that_is_none_is_for_the_endpoint_to_refuse(tmp_path, place, form):
    async def play(bench):
        bench.server.say(Say(status=400, error="bad response_format"))
        run = await bench.run("hello", place, response_format=form)
        assert isinstance(run.error, ModelError)
        assert bench.server.requests[0].body["response_format"] == form

    on_bench(tmp_path, play)


@pytest.mark.parametrize("place", WORKERS)
def test_a_request_that_is_no_json_is_refused_before_anything_is_sent(tmp_path, place):
    async def play(bench):
        agent = bench.agent(configuration={"when": {1, 2}})
        run = await bench.run("echo on", place, agent=agent)
        assert type(run.error).__name__ == "CannotTravel"
        assert run.error.hint == "configuration and parameters must be JSON"
        await works(bench, place)

    on_bench(tmp_path, play)
