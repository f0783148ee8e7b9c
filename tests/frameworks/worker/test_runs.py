"""One run in a worker: the request goes down, events, prints, tool calls and errors come up."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from tframex_nb.errors import CannotTravel, FrameworkFailed, StepLimitReached
from tframex_nb.frameworks.base import AgentSpec
from tframex_nb.messages import Message, MessageFinished, TextDelta, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable


def test_events_come_as_they_were_made(on_workers: Callable[..., Any]) -> None:
    """Increments stay apart, and what is hard to encode stays exact."""

    async def play(bench):
        pool = bench.pool()
        words = [e async for e in bench.stream(pool, "echo one two  three")]
        assert words == [TextDelta("one"), TextDelta("two"), TextDelta(""), TextDelta("three")]
        *_, last = [event async for event in bench.stream(pool, "show")]
        message = Message("assistant", "ünïcode \ud800 \n", reasoning="why")
        assert last == MessageFinished(message, "stop", "m")

    on_workers(play)


def test_the_whole_request_travels(on_workers: Callable[..., Any]) -> None:
    history = (
        Message("user", "before"),
        Message("assistant", "", tool_calls=(ToolCall("c1", "weather", "{}"),)),
        Message("tool", "dry", tool_call_id="c1"),
    )

    async def play(bench):
        request = bench.request(
            "show",
            system="be brief",
            history=history,
            params={"temperature": 0.5},
            max_steps=3,
            schema={"type": "object"},
            run_id="run-7",
        )
        spec = AgentSpec("a1", "Ann", "chat", {"depth": {"x": [1, None]}})
        object.__setattr__(request, "agent", spec)
        [first, _] = [event async for event in bench.pool().stream(request)]
        assert json.loads(first.text) == [
            *("a1", "Ann", "chat", {"depth": {"x": [1, None]}}),
            *("show", "be brief", [m.to_dict() for m in history]),
            *("tiny", "http://127.0.0.1:9/v1", "token-of-the-run"),
            *({"temperature": 0.5}, 3, {"type": "object"}, "run-7"),
        ]

    on_workers(play)


def test_text_arrives_while_the_framework_holds_its_loop(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        async with contextlib.aclosing(bench.stream(bench.pool(), "block 30")) as stream:
            assert await anext(stream) == TextDelta("blocking")

    on_workers(play)


def test_many_runs_go_on_in_one_worker(on_workers: Callable[..., Any]) -> None:
    """They interleave, and each gets its own words."""

    async def play(bench):
        pool = bench.pool(size=1)
        order = []

        async def listen(name):
            async with contextlib.aclosing(bench.stream(pool, "slow 0.001")) as stream:
                for expected in range(50):
                    assert (await anext(stream)).text == f"{expected} "
                    order.append(name)

        await asyncio.gather(*(listen(name) for name in "abcdef"))
        assert len(pool.info()) == 1
        switches = sum(a != b for a, b in itertools.pairwise(order))
        assert switches > 60

    on_workers(play)


def test_a_slow_reader_slows_the_framework(on_workers: Callable[..., Any]) -> None:
    """The worker makes no more than the window allows; a reader beside it is not held up."""

    async def play(bench):
        pool = bench.pool(size=1)
        async with contextlib.aclosing(bench.stream(pool, "many 100000")) as stream:
            await anext(stream)
            await asyncio.sleep(0.5)
            made = int(await bench.ask(pool, "made"))
            assert 100 < made < 5000
            assert len([event async for event in stream]) == 99_999

    on_workers(play)


@pytest.mark.parametrize("trick", ["tool", "tool_in_thread"])
def test_a_tool_is_called_in_the_notebook(on_workers: Callable[..., Any], trick: str) -> None:
    """On the loop and in the context of whoever streams."""

    async def play(bench):
        async def weather(arguments):
            assert asyncio.get_running_loop() is loop
            await asyncio.sleep(0.01)
            return f"{arguments['city']}: dry"

        loop = asyncio.get_running_loop()
        prompt = trick + ' {"city": "Rome"}'
        assert await bench.ask(bench.pool(), prompt, tools=(bench.weather(weather),)) == "Rome: dry"

    on_workers(play)


def test_a_tool_can_be_called_by_code_that_holds_the_loop(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        async def weather(arguments):
            return f"{arguments['city']}: dry"

        tools = (bench.weather(weather),)
        assert await bench.ask(bench.pool(), "tool_on_the_loop Oslo", tools=tools) == "Oslo: dry"

    on_workers(play)


def test_tools_are_called_at_the_same_time(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        together = asyncio.Barrier(3)

        async def weather(arguments):
            await together.wait()
            return arguments["city"]

        tools = (bench.weather(weather),)
        assert await bench.ask(bench.pool(), "tools_at_once a,b,c", tools=tools) == "a|b|c"

    on_workers(play)


def test_a_tool_that_raises_is_told_to_the_framework(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        async def weather(_):
            raise LookupError("no such city")

        with pytest.raises(FrameworkFailed, match="ToolCallFailed: LookupError: no such city"):
            await bench.ask(bench.pool(), "tool {}", tools=(bench.weather(weather),))

    on_workers(play)


def test_a_result_too_long_for_a_line_is_told(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        async def weather(_):
            return "x" * 17 * 2**20

        with pytest.raises(FrameworkFailed, match=r"the tool returned a message of 17,8\d\d,\d+"):
            await bench.ask(bench.pool(), "tool {}", tools=(bench.weather(weather),))

    on_workers(play)


def test_an_event_too_long_for_a_line_fails_its_run_only(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool(size=1)
        async with contextlib.aclosing(bench.stream(pool, "slow")) as other:
            await anext(other)
            with pytest.raises(FrameworkFailed, match="an event of 17,000,031 bytes"):
                await bench.ask(pool, "large 17000000")
            assert len(await bench.ask(pool, "large 16000000")) == 16_000_000
            await anext(other)

    on_workers(play)


def test_what_is_no_json_cannot_travel(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        with pytest.raises(CannotTravel, match="cannot be sent to tricks's worker") as caught:
            await bench.ask(bench.pool(), "echo", params={"stop": {1, 2}})
        assert "must be JSON" in caught.value.hint

    on_workers(play)


def test_prints_are_lines_beside_the_answer(on_workers: Callable[..., Any]) -> None:
    """Whatever is printed, and by whom; all of it came before the run's end."""

    async def play(bench):
        pool = bench.pool()
        assert await bench.ask(pool, "print") == "printed"
        assert bench.printed == [
            "to stdout",
            "to stderr",
            "to descriptor 1",
            "of a child",
            '{"t":"done","run":"r1"}',
            "last, without an end",
        ]
        assert await bench.ask(pool, "read") == "nothing to read"

    on_workers(play)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("fail no such thing", "tricks failed: LookupError: no such thing"),
        ("leave", "tricks failed: SystemExit: 3"),
        ("mute", "tricks failed: Mute: (its text cannot be had)"),
        ("wrong", "tricks failed: TypeError: the adapter yielded a str"),
    ],
)
def test_what_the_framework_raises_is_an_error_of_ours(
    on_workers: Callable[..., Any], prompt: str, message: str
) -> None:
    """With the type, the text, and the traceback of the worker in the notes; the worker lives."""

    async def play(bench):
        pool = bench.pool()
        with pytest.raises(FrameworkFailed) as caught:
            await bench.ask(pool, prompt)
        assert caught.value.message.startswith(message)
        assert caught.value.framework == "tricks"
        assert "workers.py" in caught.value.__notes__[0] or "child.py" in caught.value.__notes__[0]
        [before] = pool.info()
        assert await bench.ask(pool, "echo on") == "on"
        assert pool.info()[0].pid == before.pid

    on_workers(play)


def test_an_error_of_ours_stays_itself(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        with pytest.raises(StepLimitReached, match="too many") as caught:
            await bench.ask(bench.pool(), "ours")
        assert caught.value.hint == "fewer"

    on_workers(play)
