"""What a tool gives back reaches the model as text: results, errors, limits, no secrets."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import sys
from datetime import date

import pandas as pd
import pydantic
import pytest
from scripted_server import Say

from tframex_nb.agents import Agent, tool
from tframex_nb.agents._results import MAX_RESULT, failure, render
from tframex_nb.messages import ToolResult


class Place(pydantic.BaseModel):
    name: str


@dataclasses.dataclass
class Point:
    x: int
    on: date


class Colour(enum.Enum):
    RED = "red"


def result_of(server, play, function, arguments=None, name=""):
    """Let the model call a function once; return what went back to it."""
    called = name or function.__name__
    server.say(Say(calls=[(called, arguments if arguments is not None else {})]), "done")

    async def scene(model):
        agent = Agent("a", model, tools=[function])
        await agent.run("go")
        return next(e for e in agent.last.events if isinstance(e, ToolResult))

    result = play(scene)
    assert server.requests[1].messages[-1]["content"] == result.content
    return result


class Opaque:
    def __str__(self) -> str:
        return "as it likes"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is {x}", "as it is {x}"),
        (None, "null"),
        (3, "3"),
        ({"a": [1, Point(1, date(2024, 1, 2))]}, '{"a":[1,{"x":1,"on":"2024-01-02"}]}'),
        (Place(name="Å"), '{"name":"Å"}'),
        ([Place(name="b"), Colour.RED], '[{"name":"b"},"red"]'),
        ({"nan": float("nan"), "o": Opaque()}, '{"nan":NaN,"o":"as it likes"}'),
        (Opaque(), "as it likes"),
        (pd.DataFrame({"a": [1, 2]}), "   a\n0  1\n1  2"),
        (pd.DataFrame({"a": [1]})["a"].iloc[0], "1"),
        ({"b": b"\xff"}, "{'b': b'\\xff'}"),
        ("lone \ud800", "lone ?"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_results_are_rendered(value, text):
    """Text as it is, plain data and models as JSON, everything else by str."""
    assert render(value) == text


def test_a_cycle_is_rendered_all_the_same():
    """What JSON cannot say falls back to Python's own text."""
    loop: list[object] = []
    loop.append(loop)
    assert render(loop) == "[[...]]"


def test_a_long_result_is_cut_and_the_model_is_told():
    """The cap bounds what a tool can spend; the note says how much there was."""
    text = render("x" * (MAX_RESULT + 5))
    assert text.startswith("x" * MAX_RESULT)
    note = "[cut: the first 20,000 of 20,005 characters; ask for less at a time]"
    assert text.endswith("\n" + note)


def test_an_exception_goes_back_as_type_and_message(server, play):
    """No traceback: a model needs what happened, not where."""

    def fail() -> None:
        raise LookupError("no such city")

    result = result_of(server, play, fail)
    assert result.is_error
    assert result.content == "LookupError: no such city"


def test_wrong_arguments_go_back_and_the_next_call_mends_them(server, play):
    """The function is not called; the model reads what to mend."""
    seen = []

    def double(n: int) -> int:
        seen.append(n)
        return 2 * n

    server.say(Say(calls=[("double", {"m": "x"})]), Say(calls=[("double", {"n": 4})]), "8")

    async def scene(model):
        agent = Agent("a", model, tools=[double])
        return await agent.run("go")

    assert play(scene) == "8"
    assert seen == [4]
    told = server.requests[1].messages[-1]["content"]
    assert told == (
        "Invalid arguments for double; call it again with these mended:\n"
        '- n: Field required; expected {"type": "integer"}\n'
        "- m: there is no such argument; expected n"
    )


def test_an_unknown_tool_goes_back_with_the_nearest_name(server, play):
    """The model hears which tool it may have meant."""

    def search() -> None: ...

    result = result_of(server, play, search, name="serach")
    assert result.is_error
    assert result.content == "There is no tool 'serach'; did you mean 'search'?"


@pytest.mark.parametrize("leave", [sys.exit, lambda _: next(iter(()))], ids=["exit", "stop"])
@pytest.mark.parametrize("thread", [False, True], ids=["here", "thread"])
def test_what_would_end_the_loop_is_only_an_error(server, play, leave, thread):
    """SystemExit and StopIteration stay inside the tool, on this thread and on another."""

    @tool(thread=thread)
    def bad() -> None:
        leave("bye")

    result = result_of(server, play, bad)
    assert result.is_error
    assert result.content in {"SystemExit: bye", "RuntimeError: the tool raised StopIteration"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("GET https://u:pa55@host/x failed", "GET https://u:***@host/x failed"),
        ("https://h/?api_key=abc123&q=1", "https://h/?api_key=***&q=1"),
        ("bad key sk-abcdefghijkl given", "bad key *** given"),
        ("{'token': 'abc', 'n': 1}", "{'token': '***', 'n': 1}"),
        ("the token of the day is red", "the token of the day is red"),
    ],
    ids=["header", "url", "query", "prefix", "dict", "prose"],
)
def test_credentials_do_not_go_back_to_the_model(text, shown):
    """An exception of an HTTP client may quote the header or the URL that it used."""
    assert failure(ValueError(text)) == f"ValueError: {shown}"


def test_generators_and_awaitables_are_run_to_their_end(server, play):
    """A tool may yield its result in pieces, or return something to await."""

    def numbers(n: int):
        yield from range(n)

    async def letters():
        for letter in "ab":
            yield letter

    def later() -> object:
        return asyncio.sleep(0, "slept")

    calls = [("numbers", {"n": 3}), ("letters", {}), ("later", {})]
    server.say(Say(calls=calls), "done")

    async def scene(model):
        agent = Agent("a", model, tools=[numbers, letters, later])
        await agent.run("go")
        return [e.content for e in agent.last.events if isinstance(e, ToolResult)]

    assert play(scene) == ["[0,1,2]", '["a","b"]', "slept"]


def test_the_time_of_a_tool_is_known(server, play):
    """The event tells how long the tool took, in seconds."""

    async def wait() -> None:
        await asyncio.sleep(0.01)

    assert result_of(server, play, wait).seconds >= 0.01
