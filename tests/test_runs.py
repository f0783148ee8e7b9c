"""A run holds what happened, whichever way it ended."""

from __future__ import annotations

import asyncio
import sys

import pytest

from tframex_nb.agents import BasicAgent
from tframex_nb.errors import ServerError, TFrameXError
from tframex_nb.messages import (
    Message,
    MessageFinished,
    ReasoningDelta,
    Retrying,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    TextDelta,
    ToolCall,
    ToolCallStarted,
    ToolResult,
    Usage,
)
from tframex_nb.run_log import RunLog, recent_runs
from tframex_nb.runs import Run, collect, observe

CALL = ToolCall("c1", "add", '{"a": 2}')
ASKS = Message("assistant", "Let me see.", tool_calls=(CALL,), reasoning="hm ok")
STEPS = [
    RunStarted("r", "analyst", "demo"),
    Retrying(2, 0.5, "rate-limited"),
    ReasoningDelta("hm "),
    ReasoningDelta("ok"),
    TextDelta("Let me "),
    TextDelta("see."),
    ToolCallStarted("c1", "add", '{"a": 2}'),
    Usage(10, 5),
    MessageFinished(ASKS, "tool_calls"),
    ToolResult("c1", "add", "5", seconds=0.003),
    TextDelta("It is "),
    TextDelta("5."),
    Usage(20, 3),
    MessageFinished(Message("assistant", "It is 5.")),
    RunFinished("It is 5."),
]


def recorded(events, **fields):
    run = Run(**fields)
    for event in events:
        run.record(event)
    return run


async def stream(events, *, error=None, closed=None):
    try:
        for event in events:
            yield event
        if error is not None:
            raise error
    finally:
        if closed is not None:
            closed.append(True)


def test_a_run_is_read_from_its_events():
    run = recorded(STEPS, prompt="2 + 3?")
    assert (run.agent, run.model, run.status) == ("analyst", "demo", "finished")
    assert run.text == str(run) == "It is 5."
    assert run.reasoning == "hm ok"
    assert run.usage == Usage(30, 8)
    assert run.tool_calls == (CALL,)
    assert run.messages == (
        Message("user", "2 + 3?"),
        ASKS,
        Message("tool", "5", tool_call_id="c1", name="add"),
        Message("assistant", "It is 5."),
    )
    assert [part.kind for part in run.parts] == ["retry", "reasoning", "text", "tool", "text"]
    assert [part.text for part in run.parts] == ["", "hm ok", "Let me see.", "", "It is 5."]
    assert run.parts[3].result == STEPS[9]
    assert run.length == len("hm ok" + "Let me see." + "It is 5.")
    assert run.elapsed >= run.first_token_seconds > 0
    assert repr(run).startswith("<Run finished: analyst on demo, 8 characters, ")


@pytest.mark.parametrize("count", range(1, len(STEPS)))
def test_every_prefix_of_a_run_can_be_read(count):
    run = recorded(STEPS[:count], prompt="q")
    assert run.status == "running"
    given = "".join(e.text for e in STEPS[:count] if isinstance(e, TextDelta))
    assert "".join(part.text for part in run.parts if part.kind == "text") == given
    assert run.messages[0].role == "user"
    assert run.summary()["status"] == "running"


def test_text_that_was_not_streamed_is_in_the_parts():
    run = recorded([MessageFinished(Message("assistant", "whole", reasoning="why"))])
    assert [(part.kind, part.text) for part in run.parts] == [
        ("reasoning", "why"),
        ("text", "whole"),
    ]
    assert run.text == "whole"


def test_results_find_their_calls():
    calls = [ToolCallStarted(name, name) for name in "abc"] + [ToolCallStarted("", "d")] * 2
    results = [ToolResult(name, name, name.upper()) for name in "cab"]
    results += [ToolResult("", "d", "first"), ToolResult("", "d", "second")]
    run = recorded([*calls, *results])
    assert [part.result.content for part in run.parts] == ["A", "B", "C", "first", "second"]
    stray = recorded([ToolResult("x", "lost", "1")])
    assert (stray.parts[0].event, stray.parts[0].result.name) == (None, "lost")


def test_a_run_inside_a_run_does_not_end_it():
    inner = [
        RunStarted("r2", "helper", "other"),
        TextDelta("inner"),
        MessageFinished(Message("assistant", "inner"), "length"),
        RunFailed("ServerError", "broke"),
    ]
    run = recorded([*STEPS[:6], *inner, TextDelta(" More.")])
    assert (run.status, run.agent, run.finish_reason) == ("running", "analyst", "")
    assert run.text == "Let me see. More."
    assert [part.kind for part in run.parts][-2:] == ["agent", "text"]
    assert [m.text for m in run.messages] == ["Let me see. More."]
    run.record(RunFinished("x"))
    assert run.status == "finished"


def test_a_stop_ends_the_run_and_those_inside():
    run = recorded([*STEPS[:6], RunStarted("r2", "helper")])
    run.finish(RunInterrupted())
    assert (run.status, run.text) == ("interrupted", "Let me see.")


def test_truncation_is_known():
    run = recorded(
        [MessageFinished(Message("assistant", "a"), "length"), RunFinished("a", "length")]
    )
    assert run.truncated


def test_collect_drains_a_stream():
    run = asyncio.run(collect(stream(STEPS)))
    assert (run.text, run.status) == ("It is 5.", "finished")


def test_an_agents_stream_that_is_collected_is_one_run():
    """It is logged once, under one id, with one terminal event."""

    async def play():
        return await collect(agent.stream("hi"))

    agent, before = BasicAgent("a", model="demo:fast"), [row["id"] for row in recent_runs()]
    run = asyncio.run(play())
    ids = [row["id"] for row in recent_runs() if row["id"] not in before]
    assert ids == [run.id] == [agent.last.id]
    assert run.events == agent.last.events


def test_an_error_keeps_the_partial_text_and_passes_on():
    run, seen = Run(), []
    error = ServerError("it broke", hint="try again")

    async def watch():
        async for event in observe(stream(STEPS[:6], error=error), run):
            seen[:] = [event]

    with pytest.raises(ServerError):
        asyncio.run(watch())
    assert seen == [RunFailed("ServerError", "it broke", "try again")]
    assert (run.status, run.error, run.text) == ("failed", error, "Let me see.")
    assert run.summary()["error"] == "ServerError"


def test_a_consumer_that_goes_away_interrupts_and_closes_the_source():
    run, closed = Run(), []

    async def watch():
        events = observe(stream(STEPS, closed=closed), run)
        async for event in events:
            if isinstance(event, TextDelta):
                break
        await events.aclose()

    asyncio.run(watch())
    assert (run.status, run.text, closed) == ("interrupted", "Let me ", [True])


def test_a_cancellation_is_recorded_and_passes_through():
    run = Run()

    async def endless():
        yield TextDelta("so far")
        await asyncio.Event().wait()

    async def watch():
        started = asyncio.Event()

        async def consume():
            async for _ in observe(endless(), run):
                started.set()

        task = asyncio.create_task(consume())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(watch())
    assert (run.status, run.text) == ("interrupted", "so far")


def test_text_is_joined_once():
    run = recorded(TextDelta("x") for _ in range(1000))
    assert run.text is run.text
    assert len(run.text) == 1000


def test_a_run_becomes_a_table():
    frame = recorded(STEPS).to_pandas()
    assert list(frame["type"][:3]) == ["run_started", "retrying", "reasoning_delta"]


def test_the_log_is_bounded_and_holds_rows():
    log = RunLog(limit=3)
    assert (repr(log), log._repr_markdown_()) == ("no runs yet", "*no runs yet*")
    for name in "abcde":
        log.add(Run(agent=name).summary())
    assert [row["agent"] for row in log] == ["c", "d", "e"]
    assert len(log) == len(log.to_pandas()) == 3
    assert log._repr_markdown_().split("\n")[2].split(" | ")[1] == "e"


def test_runs_that_end_are_logged():
    recent_runs.cache_clear()  # it may be full: then each new run puts an old one out
    run = Run()
    asyncio.run(collect(observe(stream(STEPS), run)))
    assert [row["id"] for row in recent_runs()] == [run.id]


def test_a_run_shows_itself_as_markdown_and_text():
    bundle = recorded(STEPS)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/markdown"}
    assert "It is 5." in bundle["text/plain"]


def test_a_text_that_came_at_once_has_no_first_token_and_no_rate():
    """An endpoint that does not stream, or a system's summary, would show millions a second."""
    answer = MessageFinished(Message("assistant", "all at once"), "stop")
    run = recorded([RunStarted("r"), Usage(10, 500), answer, RunFinished("all at once", "stop")])
    assert run.first_token_seconds is None
    assert run.tokens_per_second is None


def test_without_pandas_the_error_tells_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # as Python marks a module that is not there
    with pytest.raises(TFrameXError, match="a DataFrame needs pandas") as told:
        Run().to_pandas()
    assert told.value.hint == f"{sys.executable} -m pip install pandas"
