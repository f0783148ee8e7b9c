"""The contract of an adapter, as pytest tests: the real framework against a real model server.

The server is the demo model's: real HTTP, scripted words. Every run goes the way that a cell's
run goes: gateway, worker where there is one, tools in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

from tframex_nb.agents import Agent
from tframex_nb.errors import (
    AuthError,
    ConnectionFailed,
    ModelError,
    RateLimited,
    ServerError,
    StepLimitReached,
)
from tframex_nb.frameworks.service import Frameworks
from tframex_nb.messages import TextDelta, ToolResult
from tframex_nb.models import RetryPolicy, VLLMModel
from tframex_nb.models.demo import DemoServer
from tframex_nb.testing.approvals import ApprovalsContract
from tframex_nb.testing.images import ImagesContract
from tframex_nb.testing.promises import PromisesContract
from tframex_nb.testing.witness import Witness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tframex_nb.frameworks.base import FrameworkIntegration
    from tframex_nb.runs import Run

__all__ = ["Bench", "FrameworkContract"]

SOON = 1.0  # seconds in which everything of a stopped run must be gone
PIECES = 3  # text deltas that a streamed answer has at least
SPREAD = 0.1  # seconds between its first and its last piece; the demo writes for two seconds
RUNS = 20


class Bench:
    """One framework with a demo model: what a contract test works with."""

    def __init__(self, frameworks: Frameworks, name: str, server: DemoServer) -> None:
        self.frameworks = frameworks
        self.name = name
        self.server = server
        self.models: list[Witness] = []

    @property
    def integration(self) -> FrameworkIntegration:
        """The adapter."""
        return self.frameworks.registry.get_framework(self.name)

    def model(self, name: str = "demo:fast", *, url: str = "") -> Witness:
        """Return a model of the demo server that keeps what goes through it; nothing retries."""
        retry = RetryPolicy(retries=0)
        made = VLLMModel(name, url or self.server.url, self.server.token, retry=retry)
        self.models.append(Witness(made))
        return self.models[-1]

    async def run(self, agent: Agent, prompt: str | list[Any], **options: Any) -> Run:  # stream's
        """Run the agent on the framework, and return the run whichever way it ends."""
        with contextlib.suppress(Exception):
            async for _ in self.frameworks.stream(agent, prompt, framework=self.name, **options):
                pass
        assert agent.last is not None, "the run never began"
        return agent.last

    async def works(self, agent: Agent, prompt: str | list[Any], **options: Any) -> Run:  # stream's
        """Run the agent; the run must end well."""
        run = await self.run(agent, prompt, **options)
        if run.error is not None:
            raise run.error
        return run

    def has(self, capability: str) -> bool:
        """Whether the adapter says that it can do this."""
        found = self.integration.describe_capabilities().get(capability)
        return found is not None and found.met

    def needs(self, capability: str) -> None:
        """Skip the test where the adapter says that it cannot do this."""
        import pytest

        if not self.has(capability):
            found = self.integration.describe_capabilities().get(capability)
            why = found.reason if found else "it does not say"
            pytest.skip(f"{self.name} has no {capability}: {why}")


class FrameworkContract(PromisesContract, ImagesContract, ApprovalsContract):
    """Subclass it in a test module and set ``framework``: a class, or a registered name.

    ``options`` are sampling parameters for every run.
    """

    framework: ClassVar[str | type[FrameworkIntegration]]

    def check(self, test: Callable[[Bench], Awaitable[None]]) -> None:
        """Run one test on a loop of its own, and close everything after it."""
        asyncio.run(self._check(test))

    def test_answers_with_the_models_text_in_increments(self) -> None:
        """The text is the model's, exact; it comes in pieces, over time; the run tells of it."""

        async def test(bench: Bench) -> None:
            model = bench.model("demo")
            agent = Agent("greeter", model, system="You greet.")
            events = bench.frameworks.stream(agent, "Say hello", framework=bench.name)
            times = [time.perf_counter() async for e in events if isinstance(e, TextDelta)]
            run = agent.last
            assert run is not None
            assert run.status == "finished"
            assert run.framework == bench.name
            assert run.text.strip()
            assert run.text.strip() == model.calls[-1].text.strip() or _inside(run, model)
            assert run.usage.completion_tokens > 0
            assert [m.role for m in run.messages] == ["user", "assistant"]
            if bench.integration.describe_capabilities()["streaming"].met:
                assert len(times) >= PIECES, "the answer came in fewer than three pieces"
                assert times[-1] - times[0] > SPREAD, "the pieces came all at once"
            asked = json.dumps(model.calls[0].messages)
            assert "You greet." in asked, "the system message did not reach the model"
            assert "Say hello" in asked, "the prompt did not reach the model"

        self.check(test)

    def test_calls_a_tool_of_the_notebook_with_its_arguments(self) -> None:
        """The tool runs in this process; its result goes to the model and into the run."""
        got: list[tuple[int, int]] = []

        def add(a: int, b: int) -> int:
            """Add two numbers.

            Args:
                a: the first
                b: the second
            """
            got.append((a, b))
            return a + b

        async def test(bench: Bench) -> None:
            bench.needs("tools")
            model = bench.model()
            agent = Agent("calculator", model, tools=[add], system="Use add to add.")
            run = await bench.works(agent, "add 19 and 23")
            assert got == [(19, 23)]
            results = [e for e in run.events if isinstance(e, ToolResult) and e.name == "add"]
            assert [r.content for r in results] == ["42"]
            assert "42" in json.dumps(model.calls[-1].messages), "the model never saw the result"
            assert run.status == "finished"

        self.check(test)

    def test_tells_the_model_of_a_tool_that_fails(self) -> None:
        """An exception in a tool is a result that the model sees; the run goes on."""

        def weather(city: str) -> str:
            """Tell the weather.

            Args:
                city: a city
            """
            raise LookupError(f"no weather for {city}")

        async def test(bench: Bench) -> None:
            bench.needs("tools")
            model = bench.model()
            run = await bench.works(
                Agent("w", model, tools=[weather]), "What is the weather in Berlin?"
            )
            assert "no weather for Berlin" in json.dumps(model.calls[-1].messages)
            assert run.status == "finished"

        self.check(test)

    def test_a_second_turn_remembers_the_first(self) -> None:
        """The model is sent the earlier question and its own answer."""

        async def test(bench: Bench) -> None:
            bench.needs("memory")
            model = bench.model()
            agent = Agent("keeper", model)
            first = await bench.works(agent, "My name is Ada-Lovelace-1815")
            before = len(model.calls)
            await bench.works(agent, "What is my name?")
            asked = json.dumps(model.calls[before].messages, ensure_ascii=False)
            assert "Ada-Lovelace-1815" in asked
            answer = first.text.strip().splitlines()[0][:40]
            assert json.dumps(answer, ensure_ascii=False)[1:-1] in asked

        self.check(test)

    def test_a_fault_of_the_model_is_our_error_after_one_request(self) -> None:
        """401, 429, 500, a refused connection and a cut stream, each as the model raised it."""
        cases: list[tuple[str, type[ModelError]]] = [
            ("demo:401", AuthError),
            ("demo:429", RateLimited),
            ("demo:500", ServerError),
        ]

        async def test(bench: Bench) -> None:
            for name, kind in cases:
                model = bench.model(name)
                run = await bench.run(Agent("a", model), "hello")
                assert type(run.error) is kind, f"{name} became {run.error!r}"
                assert len(model.calls) == 1, f"{name} was asked {len(model.calls)} times"
                assert run.status == "failed"
            closed = bench.model(url="http://127.0.0.1:9/v1")
            run = await bench.run(Agent("a", closed), "hello")
            assert type(run.error) is ConnectionFailed
            assert len(closed.calls) == 1
            cut = bench.model("demo:cut")
            run = await bench.run(Agent("a", cut), "hello")
            assert isinstance(run.error, ModelError), f"a cut stream became {run.error!r}"
            assert len(cut.calls) == 1
            run = await bench.works(Agent("a", bench.model()), "and again")
            assert run.text

        self.check(test)

    def test_a_stop_closes_the_model_and_leaves_the_other_runs_alone(self) -> None:
        """The upstream stream closes at once, the partial text stays, other runs go on."""

        async def test(bench: Bench) -> None:
            stopped, other = bench.model("demo:slow"), bench.model("demo")
            agent, second = Agent("stopped", stopped), Agent("other", other)
            beside = asyncio.create_task(bench.works(second, "go on"))
            task = asyncio.create_task(bench.run(agent, "tell me a long story"))
            await _until(lambda: agent.last is not None and bool(agent.last.text))
            begun = time.perf_counter()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            left = time.perf_counter() - begun
            await _until(lambda: not stopped.active)
            closed = stopped.calls[-1].closed_at - begun
            run = agent.last
            assert run is not None
            assert run.status == "interrupted"
            assert run.text, "the partial text is gone"
            assert closed < SOON, f"the model's stream was closed only after {closed:.2f} s"
            assert left < SOON, f"the run ended only after {left:.2f} s"
            finished = await beside
            assert finished.status == "finished"

        self.check(test)

    def test_an_answer_follows_a_schema(self) -> None:
        """With a JSON schema the text is a JSON document that has the schema's keys."""
        schema = {
            "type": "object",
            "properties": {"city": {"type": "string"}, "population": {"type": "integer"}},
            "required": ["city", "population"],
            "additionalProperties": False,
        }

        async def test(bench: Bench) -> None:
            bench.needs("structured_output")
            wish = {"type": "json_schema", "json_schema": {"name": "City", "schema": schema}}
            agent = Agent("cities", bench.model())
            run = await bench.works(agent, "Tell me about Paris", response_format=wish)
            document = json.loads(run.text)
            assert set(document) == {"city", "population"}
            assert isinstance(document["population"], int)

        self.check(test)

    def test_reasoning_is_kept_apart(self) -> None:
        """What the model thinks is reasoning of the run, and no part of its text."""

        async def test(bench: Bench) -> None:
            model = bench.model("demo:think")
            run = await bench.works(Agent("thinker", model), "Think about snow")
            answer = model.calls[-1].answer
            assert answer is not None
            assert answer.reasoning, "the model did not think"
            assert answer.reasoning in run.reasoning
            assert answer.reasoning[:40] not in run.text

        self.check(test)

    def test_a_loop_of_tool_calls_ends_at_max_steps(self) -> None:
        """A model that wants tools for ever is asked ``max_steps`` times, then told off."""

        def look(place: str = "here") -> str:
            """Look around.

            Args:
                place: where
            """
            return f"nothing at {place}"

        async def test(bench: Bench) -> None:
            bench.needs("tools")
            model = bench.model("demo:loop")
            run = await bench.run(Agent("looper", model, tools=[look], max_steps=4), "look")
            assert type(run.error) is StepLimitReached, f"it became {run.error!r}"
            assert len(model.calls) in {4, 5}, f"{len(model.calls)} model calls for 4 steps"

        self.check(test)

    def test_many_runs_leave_nothing_behind(self) -> None:
        """Twenty runs, one after the other: no process, thread or file more than after ten."""

        async def test(bench: Bench) -> None:
            import psutil

            agent = Agent("busy", bench.model(), memory=0)
            early: dict[str, int] = {}
            for number in range(RUNS):
                await bench.works(agent, f"run {number}")
                if number == RUNS // 2:
                    await asyncio.sleep(0.2)
                    early = _counts(psutil.Process())
            grown: dict[str, tuple[int, int]] = {}
            for _ in range(50):  # a thread that is ending gets five seconds
                late = _counts(psutil.Process())
                grown = {k: (early[k], late[k]) for k in late if late[k] > early[k]}
                if not grown:
                    break
                await asyncio.sleep(0.1)
            assert not grown, f"20 runs left something behind (before, after): {grown}"

        self.check(test)

    async def _check(self, test: Callable[[Bench], Awaitable[None]]) -> None:
        async with self._bench() as bench:
            await test(bench)

    @contextlib.asynccontextmanager
    async def _bench(self) -> AsyncIterator[Bench]:
        frameworks, server = Frameworks(), DemoServer()
        try:
            await frameworks.start()
            name = self.framework
            if not isinstance(name, str):
                name = (await frameworks.load(name)).name
            bench = Bench(frameworks, name, server)
            yield bench
            for model in bench.models:
                await model.aclose()
        finally:
            await frameworks.aclose()
            server.stop()


def _inside(run: Run, model: Witness) -> bool:
    """Whether the text came to the model's reader as arguments of a tool, such as an answer's."""
    answer = model.calls[-1].answer
    calls = answer.tool_calls if answer else ()
    return any(run.text.strip() == str(v).strip() for c in calls for v in _values(c.arguments))


def _values(arguments: str) -> list[Any]:  # any JSON values
    found = json.loads(arguments)
    return list(found.values()) if isinstance(found, dict) else [found]


def _counts(process: Any) -> dict[str, int]:  # a psutil.Process
    children = process.children(recursive=True)
    # asyncio's own threads come as calls happen to overlap, and stay: they belong to the loop
    pooled = sum(thread.name.startswith("asyncio_") for thread in threading.enumerate())
    counts = {
        "processes": len(children),
        "threads": process.num_threads() - pooled,
        "files": process.num_fds(),
    }
    for number, child in enumerate(children):
        with contextlib.suppress(Exception):  # it has just ended
            counts[f"threads of child {number}"] = child.num_threads()
            counts[f"files of child {number}"] = child.num_fds()
    return counts


async def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"did not happen within {seconds:g} s")
        await asyncio.sleep(0.005)
