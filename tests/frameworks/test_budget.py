"""Budgets hold for every framework, in this process and in workers, and for several at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading

import pytest
from scripted_server import Say, scripted_server, until

from tframex_nb import Agent, VLLMModel
from tframex_nb.errors import BudgetExceeded, SettingsError
from tframex_nb.frameworks.service import Frameworks
from tframex_nb.models import RetryPolicy
from tframex_nb.models.budget import Budget, session_budget
from tframex_nb.models.gateway import Gateway

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(240)]

NAMES = ("native", "langgraph", "crewai")
WORD = "word "


@pytest.fixture(autouse=True)
def fresh_session():
    session_budget.cache_clear()
    yield
    session_budget.cache_clear()


@pytest.fixture(params=NAMES)
def framework(request, installed):
    if request.param != "native":
        installed(request.param)
    return request.param


class Bench:
    """Frameworks on a scripted server."""

    def __init__(self, server) -> None:
        self.server = server
        self.frameworks = Frameworks()
        self._agents: list[Agent] = []

    def agent(self, name: str = "a", **options) -> Agent:
        model = VLLMModel("scripted", self.server.url, retry=RetryPolicy(retries=0))
        self._agents.append(Agent(name, model, memory=0, **options))
        return self._agents[-1]

    async def run(self, agent: Agent, framework: str, prompt: str = "hi", **options):
        """Return the run, whichever way it ended."""
        events = self.frameworks.stream(agent, prompt, framework=framework, **options)
        with contextlib.suppress(Exception):
            async for _ in events:
                pass
        return agent.last

    async def aclose(self) -> None:
        await self.frameworks.aclose()
        for agent in self._agents:
            if agent.model is not None:
                await agent.model.aclose()


def play(scene):
    async def main(server):
        async with contextlib.aclosing(Bench(server)) as bench, asyncio.timeout(200):
            return await scene(bench)

    with scripted_server() as server:
        return asyncio.run(main(server))


def test_a_run_is_priced_by_what_its_model_spent(framework, monkeypatch):
    prices = {"scripted": {"input": 1_000_000, "output": 2_000_000}}
    monkeypatch.setenv("TFRAMEX_PRICES", json.dumps(prices))

    async def scene(bench):
        bench.server.say(Say("well", usage=(10, 4)))
        run = await bench.run(bench.agent(), framework)
        assert run.status == "finished", run.error
        assert (run.framework, run.cost) == (framework, 18)
        assert run.budget.spent.calls == 1

    play(scene)


def test_a_prompt_that_does_not_fit_is_refused_before(framework):
    async def scene(bench):
        run = await bench.run(bench.agent(), framework, "x" * 400, budget=capped(20))
        assert type(run.error) is BudgetExceeded, repr(run.error)
        assert "and the next call needs about" in run.error.message
        assert not bench.server.requests

    play(scene)


def test_an_answer_is_stopped_at_the_line_and_kept(framework):
    async def scene(bench):
        bench.server.say(Say([WORD] * 4_000, hold=True))
        run = await bench.run(bench.agent(), framework, budget=capped(800))
        assert type(run.error) is BudgetExceeded, repr(run.error)
        assert run.error.message.endswith("of its 800 tokens: it was stopped")
        assert run.status == "failed"
        assert run.text.strip().startswith(WORD * 20)
        assert len(run.text) < 800 * 5
        assert bench.server.wait_closed()
        assert len(bench.server.requests) == 1

    play(scene)


def test_steps_end_at_most_one_request_over_the_line(framework):
    def more(word: str) -> str:
        """Go on.

        Args:
            word: any
        """
        return "on " + word

    async def scene(bench):
        bench.server.answer = lambda _: Say(
            calls=[("more", {"word": str(len(bench.server.requests))})], usage=(1, 999)
        )
        agent = bench.agent(tools=[more], max_steps=30)
        run = await bench.run(agent, framework, budget=capped(3_500))
        assert type(run.error) is BudgetExceeded, repr(run.error)
        assert 3 <= len(bench.server.requests) <= 4

    play(scene)


def test_a_cost_without_a_price_is_refused(framework):
    async def scene(bench):
        run = await bench.run(bench.agent(), framework, budget=Budget(max_cost=1))
        assert type(run.error) is SettingsError, repr(run.error)
        assert "no price is known for scripted" in run.error.message
        assert not bench.server.requests

    play(scene)


def test_an_agent_that_is_asked_on_a_framework_spends_its_callers_budget(framework):
    async def scene(bench):
        helper = bench.agent("helper", description="helps with all things")
        outer = bench.agent("outer", tools=[helper])
        bench.server.say(
            Say(calls=[("helper", {"prompt": "help"})], usage=(1, 999)),
            Say("helped", usage=(1, 2_999)),
            Say("never asked"),
        )
        run = await bench.run(outer, framework, budget=capped(3_500))
        assert type(run.error) is BudgetExceeded, repr(run.error)
        assert run.budget.spent.usage.total_tokens == 4_000
        assert len(bench.server.requests) == 2

    play(scene)


@pytest.mark.parametrize("bound", [None, 900], ids=["unbounded", "max_tokens"])
def test_several_frameworks_at_once_are_under_one_cap_of_the_session(installed, monkeypatch, bound):
    """Twenty runs on three frameworks; each request spends 1,000 tokens, seen only at its end."""
    for name in NAMES[1:]:
        installed(name)
    monkeypatch.setenv("TFRAMEX_SESSION_MAX_TOKENS", "5500")
    params = {"max_tokens": bound} if bound else {}

    async def scene(bench):
        bench.server.answer = lambda _: Say("ok", usage=(100, 900))
        runs = [bench.run(bench.agent(f"a{n}"), NAMES[n % len(NAMES)], **params) for n in range(20)]
        ended = await asyncio.gather(*runs)
        done = [run for run in ended if run.status == "finished"]
        errors = {type(run.error) for run in ended if run.status != "finished"}
        assert errors == {BudgetExceeded}, [repr(run.error) for run in ended]
        assert 4 <= len(bench.server.requests) <= 6
        assert len(done) == len(bench.server.requests)
        assert session_budget().spent.usage.total_tokens == 1_000 * len(done)

    play(scene)


def test_runs_of_one_model_share_its_warm_connection():
    """A budget stands around the model of each run, and the pool beneath stays the model's own."""

    async def scene(bench):
        bench.server.answer = lambda _: Say("ok")
        agent = bench.agent()
        gateway = Gateway()
        seen = []
        bench.frameworks._gateway = gateway
        for _ in range(3):
            run = await bench.run(agent, "native", subject=object())  # by way of the gateway
            assert run.status == "finished", run.error
            seen.append(len(gateway._siblings))
        assert seen == [1, 1, 1]

    play(scene)


def test_a_run_says_that_its_model_waits_for_room(framework, monkeypatch):
    monkeypatch.setenv("TFRAMEX_SESSION_MAX_TOKENS", "100000")
    gate = threading.Event()

    async def scene(bench):
        bench.server.answer = lambda _: Say("ok", gate=gate)
        agents = [bench.agent("first"), bench.agent("second")]
        first = asyncio.create_task(bench.run(agents[0], framework))
        await until(lambda: bench.server.busy == 1)
        second = asyncio.create_task(bench.run(agents[1], framework))
        await until(lambda: "room_awaited" in types(agents[1].last))
        assert "this session has left" in agents[1].last.parts[-1].event.line
        gate.set()
        runs = await asyncio.gather(first, second)
        assert [run.status for run in runs] == ["finished"] * 2
        assert types(runs[1]).count("room_awaited") == 2
        assert not any(part.kind == "note" for part in runs[1].parts)

    play(scene)


def types(run) -> list[str]:
    return [event.type for event in run.events] if run is not None else []


def capped(tokens: int) -> Budget:
    return Budget(max_tokens_total=tokens)
