"""``%%framework`` cells in a worker: a namespace, the notebook's tools, subjects built there."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tframex_nb.errors import FrameworkFailed
from tframex_nb.frameworks.worker import Subject

if TYPE_CHECKING:
    from collections.abc import Callable


def test_cells_share_a_namespace(on_workers: Callable[..., Any]) -> None:
    """Prints are shown as they come; ``await`` is allowed at the top."""

    async def play(bench):
        pool = bench.pool()
        printed = []

        def log(line):
            printed.append((line, done))

        done = False
        await pool.run_cell("import asyncio\nx = 20", log=log)
        source = "print('one', flush=True)\nawait asyncio.sleep(0.2)\nx += 1\nprint('two', x)"
        cell = asyncio.create_task(pool.run_cell(source, log=log))
        await asyncio.sleep(0.1)
        assert printed == [("one", False)]
        await cell
        assert [line for line, _ in printed] == ["one", "two 21"]
        assert await bench.ask(pool, "subject", subject=Subject("x")) == "21"

    on_workers(play)


def test_a_cell_calls_the_notebooks_tools(on_workers: Callable[..., Any]) -> None:
    """From sync code, from async code, from threads; by position, by name, or all in a dict."""
    source = """
from notebook import weather
import asyncio, inspect, threading
print(weather("Rome"))
print(weather("Rome", 3))
print(weather(days=2, city="Oslo"))
print(weather({"city": "Bonn"}))
print(await weather.acall("Kiev"))
print(await asyncio.to_thread(weather, "Nice"))
print(inspect.signature(weather), weather.__name__, inspect.isfunction(weather))
print(inspect.getdoc(weather))
"""

    async def play(bench):
        async def weather(arguments):
            return str(sorted(arguments.items()))

        pool = bench.pool()
        await pool.run_cell(source, tools=[bench.weather(weather)], log=bench.printed.append)
        assert bench.printed == [
            "[('city', 'Rome')]",
            "[('city', 'Rome'), ('days', 3)]",
            "[('city', 'Oslo'), ('days', 2)]",
            "[('city', 'Bonn')]",
            "[('city', 'Kiev')]",
            "[('city', 'Nice')]",
            "(city: str, days: int = 1) -> str weather True",
            *("The weather somewhere.", "", "Args:", "    city: Where", "    days: "),
        ]

    on_workers(play)


def test_a_tool_that_is_not_there(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        async def weather(_):
            return ""

        with pytest.raises(FrameworkFailed, match="cannot import name 'wether' from 'notebook'"):
            await bench.pool().run_cell(
                "from notebook import wether", tools=[bench.weather(weather)]
            )

    on_workers(play)


def test_a_tool_taken_in_a_cell_works_in_a_later_run(on_workers: Callable[..., Any]) -> None:
    """What a cell built with a tool calls it in the run that uses what it built."""

    async def play(bench):
        calls = []

        async def weather(arguments):
            calls.append(arguments)
            return "dry"

        pool = bench.pool()
        source = "from notebook import weather\ndef build():\n    return lambda: weather('Rome')"
        await pool.run_cell(source, tools=[bench.weather(weather)])
        assert await bench.ask(pool, "subject call", subject=Subject("build")) == "dry"
        assert calls == [{"city": "Rome"}]

    on_workers(play)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n\ny = x / 0\n", "ZeroDivisionError: division by zero (tricks cell 1, line 3: y"),
        ("def f():\n    1 + 'a'\nf()", "(tricks cell 1, line 2: 1 + 'a')"),
        ("if True\n    pass", "SyntaxError: expected ':' (<tricks cell 1>, line 1)"),
        ("import sys\nsys.exit(4)", "SystemExit: 4"),
    ],
    ids=["raises", "raises deeper", "no Python", "exits"],
)
def test_an_error_in_a_cell_names_its_line(
    on_workers: Callable[..., Any], source: str, message: str
) -> None:
    """The traceback shows the cell's own lines; the cell is not kept."""

    async def play(bench):
        pool = bench.pool()
        with pytest.raises(FrameworkFailed) as caught:
            await pool.run_cell(source)
        assert message in caught.value.message
        assert '"<tricks cell 1>", line' in caught.value.__notes__[0]
        await pool.run_cell("print('fine')", log=bench.printed.append)
        assert bench.printed == ["fine"]

    on_workers(play)


def test_cells_are_run_again_in_later_workers(on_workers: Callable[..., Any]) -> None:
    """In their order; one that was run twice under its name counts once, as it is now."""

    async def play(bench):
        pool = bench.pool()
        await pool.run_cell("x = 1", cell_id="a")
        await pool.run_cell("y = x + 1", cell_id="b")
        await pool.run_cell("x = 10; print('again')", cell_id="a")
        assert await bench.ask(pool, "subject", subject=Subject("y")) == "2"
        os.kill(pool.info()[0].pid, signal.SIGKILL)
        await asyncio.sleep(0.1)
        assert await bench.ask(pool, "subject", subject=Subject("y")) == "11"
        assert bench.printed == ["again"]

    on_workers(play)


def test_a_second_worker_sees_the_cells_of_the_first(on_workers: Callable[..., Any]) -> None:
    """A cell that cannot be run again is told in the run's log, and stops nothing."""

    async def play(bench):
        pool = bench.pool(bench.spec(exclusive=True), size=2)
        await pool.run_cell("import os\nfirst = os.getpid()")
        await pool.run_cell(f"assert os.getpid() == {pool.info()[0].pid}")
        stream = bench.stream(pool, "slow")
        await anext(stream)
        second = await bench.ask(pool, "subject", subject=Subject("first"))
        assert int(second) in {worker.pid for worker in pool.info()}
        [told] = bench.printed
        assert told.startswith(
            "tricks cell 3 failed in a new worker: tricks failed: AssertionError"
        )
        await stream.aclose()

    on_workers(play)


def test_a_cell_that_is_stopped(on_workers: Callable[..., Any]) -> None:
    """One that awaits is cancelled, one that holds the loop is killed with its worker."""

    async def play(bench):
        pool = bench.pool()
        for source in ("import asyncio\nawait asyncio.sleep(60)", "while True: pass"):
            cell = asyncio.create_task(pool.run_cell(source))
            await asyncio.sleep(0.3)
            cell.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cell
            assert await bench.ask(pool, "echo on") == "on"

    on_workers(play)


@pytest.mark.parametrize(
    ("cell", "subject", "answer"),
    [
        ("graph = 'a graph'", Subject("graph"), "a graph"),
        ("def build(): return 'built'", Subject("build"), "built"),
        (
            "async def build(model): return model.base_url",
            Subject("build"),
            "http://127.0.0.1:9/v1",
        ),
        ("class Crew:\n    def __str__(self): return 'crew'", Subject("Crew"), "crew"),
        (
            "import functools\nbuild = functools.partial(lambda a, model: a + model.name, 'x ')",
            Subject("build"),
            "x tiny",
        ),
        (
            "word = 'cell'",
            Subject("make", "def make(tools, model):\n    return word, len(tools), model.name"),
            "('cell', 0, 'tiny')",
        ),
    ],
    ids=["object", "builder", "async builder", "class", "partial", "source"],
)
def test_a_subject_is_found_or_built(
    on_workers: Callable[..., Any], cell: str, subject: Subject, answer: str
) -> None:
    async def play(bench):
        pool = bench.pool()
        await pool.run_cell(cell)
        assert await bench.ask(pool, "subject", subject=subject) == answer

    on_workers(play)


def test_a_builders_source_leaves_the_namespace_as_it_was(on_workers: Callable[..., Any]) -> None:
    async def play(bench):
        pool = bench.pool()
        await pool.run_cell("graph = 1")
        builder = Subject("make", "graph = 2\ndef make():\n    return graph")
        assert await bench.ask(pool, "subject", subject=builder) == "2"
        with pytest.raises(
            FrameworkFailed, match="no cell of this framework has defined 'grap'"
        ) as e:
            await bench.ask(pool, "subject", subject=Subject("grap"))
        assert e.value.hint == "did you mean 'graph'?"
        assert e.value.framework == "tricks"

    on_workers(play)
