"""Budgets: refused before, stopped during, and never more than one request over the line."""

from __future__ import annotations

import asyncio
import copy
import json
import re
import threading
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from scripted_server import Say, ScriptedServer, scripted_server, until

from tframex_nb import Agent, ChainOfAgents, MultiCallSystem, VLLMModel
from tframex_nb.errors import (
    BudgetExceeded,
    InvalidInput,
    ModelTimeout,
    PartialFailure,
    SettingsError,
)
from tframex_nb.http import Timeouts
from tframex_nb.messages import Message, MessageFinished, TextDelta, Usage
from tframex_nb.models import RetryPolicy
from tframex_nb.models.budget import Budget, session_budget
from tframex_nb.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

WORD = "word "  # five bytes: a little more than a token by the rule of thumb
PRICE = {"input": 1_000_000, "output": 2_000_000, "cached": 500_000}  # USD 1, 2 and 0.5 a token


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


@pytest.fixture(autouse=True)
def fresh_session():
    session_budget.cache_clear()
    yield
    session_budget.cache_clear()


@pytest.fixture
def priced(monkeypatch):
    monkeypatch.setenv("TFRAMEX_PRICES", json.dumps({"scripted": PRICE}))


def agent_on(server, name="a", **options) -> Agent:
    retry = options.pop("retry", RetryPolicy(retries=0))
    timeouts = options.pop("timeouts", None)
    model = VLLMModel("scripted", server.url, retry=retry, timeouts=timeouts)
    return Agent(name, model, memory=0, **options)


def play(scene, *agents):
    """Run a scene on a loop of its own, and close what was opened there."""

    async def main():
        try:
            async with asyncio.timeout(60):
                return await scene()
        finally:
            for agent in agents:
                await agent.model.aclose()

    return asyncio.run(main())


def refused(agent, *, prompt="hi", **options):
    """Run what must end in BudgetExceeded; return the error."""

    async def scene():
        with pytest.raises(BudgetExceeded) as caught:
            await agent.run(prompt, **options)
        return caught.value

    return play(scene, agent)


def test_a_run_knows_what_it_spent_and_what_that_cost(server, priced):
    usage = {"prompt_tokens": 10, "completion_tokens": 4}
    usage["prompt_tokens_details"] = {"cached_tokens": 6}
    usage["completion_tokens_details"] = {"reasoning_tokens": 3}
    server.say(Say("well", usage=usage))
    agent = agent_on(server)
    play(lambda: agent.run("hi"), agent)
    assert agent.last.cost == 4 + Decimal("0.5") * 6 + 2 * 4
    assert agent.last.budget.spent.usage == Usage(10, 4, 3, 6)
    assert "$15.00" in str(agent.last._repr_mimebundle_()["text/plain"])
    summary = agent.last.summary()
    assert (summary["cost"], summary["price"]) == (15.0, "$15.00")
    assert agent.budget.spent == session_budget().spent == agent.last.budget.spent


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"completion_tokens_details": {"reasoning_tokens": 90}, "total_tokens": 110}, (10, 100)),
        ({"total_tokens": 110}, (10, 100)),  # Gemini tells only the total of what it thought
        ({"completion_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 20}, (10, 10)),
        ({"total_tokens": 7}, (10, 10)),
    ],
    ids=["xai", "gemini", "openai", "nonsense"],
)
def test_reasoning_that_only_the_total_tells_is_counted(server, usage, counted):
    server.say(Say("x", usage={"prompt_tokens": 10, "completion_tokens": 10, **usage}))
    agent = agent_on(server)
    play(lambda: agent.run("hi"), agent)
    spent = agent.last.usage
    assert (spent.prompt_tokens, spent.completion_tokens) == counted


@pytest.mark.parametrize("name", ["prompt_cache_hit_tokens", "cached_tokens"])
def test_other_names_of_cached_tokens_are_read(server, name):
    server.say(Say("x", usage={"prompt_tokens": 10, "completion_tokens": 1, name: 8}))
    agent = agent_on(server)
    play(lambda: agent.run("hi"), agent)
    assert agent.last.usage.cached_tokens == 8


@pytest.mark.parametrize("usage", [None, (0, 0), (0, 5), {"prompt_tokens": "many"}])
def test_without_counts_the_cost_is_unknown_and_beside_a_known_one_partial(server, priced, usage):
    server.say(Say("well then", usage=usage), Say("well", usage=(10, 1)))
    agent = agent_on(server)

    async def scene():
        await agent.run("hi")
        assert agent.last.cost is None
        assert agent.last.budget.spent.price == "cost unknown: no token counts"
        await agent.run("hi")

    play(scene, agent)
    assert agent.last.budget.spent.price == "$12.00"
    assert agent.budget.spent.price == "$12.00 (partial)"
    assert agent.budget.spent.uncounted == 1


def test_what_is_on_this_host_has_no_known_price(server):
    server.say("well")
    agent = agent_on(server)
    play(lambda: agent.run("hi"), agent)
    assert agent.last.cost is None
    assert agent.last.summary()["price"] == "no price known"
    assert "no price known" in agent.last._repr_mimebundle_()["text/markdown"]


def test_a_call_that_was_refused_costs_nothing(server, priced):
    server.say(Say(status=401, error="who?"), Say("well", usage=(1, 1)))
    agent = agent_on(server)

    async def scene():
        with pytest.raises(Exception, match="refused"):
            await agent.run("hi")
        assert agent.last.budget.spent.calls == 0
        await agent.run("hi")

    play(scene, agent)
    assert agent.budget.spent.price == "$3.00"


def test_an_answer_that_was_cut_makes_the_cost_partial(server, priced):
    server.say(Say([WORD] * 40, hold=True), Say("well", usage=(1, 1)))
    agent = agent_on(server)

    async def scene():
        async for event in agent.stream("hi"):
            if isinstance(event, TextDelta):
                break
        await until(lambda: agent.last.status != "running")
        await agent.run("hi")

    play(scene, agent)
    assert agent.budget.spent.price == "$3.00 (partial)"
    assert agent.budget.ledger.used.tokens > 2  # the caps count the cut one by a rule of thumb


@pytest.mark.parametrize("cap", [1, 2, 3])
def test_a_prompt_that_does_not_fit_is_refused_before_it_is_sent(server, cap):
    error = refused(agent_on(server), prompt="x" * 16, budget=Budget(max_tokens_total=cap))
    assert server.requests == []
    assert (error.spent, error.cap) == (0, cap)
    needed = f"the run has spent 0 of its {cap} tokens, and the next call needs about 4 tokens more"
    assert error.message == needed
    assert error.hint == "raise max_tokens_total, or ask for less at a time"


def test_a_prompt_that_just_fits_is_sent(server):
    server.say(Say("well", usage=(4, 1)))
    agent, budget = agent_on(server), Budget(max_tokens_total=4)
    play(lambda: agent.run("x" * 16, budget=budget), agent)
    assert agent.last.status == "finished"
    assert "5 of 4 tokens" in str(agent.last._repr_mimebundle_()["text/plain"])


def test_tools_and_images_are_part_of_what_a_prompt_needs(server):
    def lookup(word: str) -> str:
        """Look a word up in a dictionary that has very many of them."""
        return word

    error = refused(agent_on(server, tools=[lookup]), budget=Budget(max_tokens_total=10))
    assert "needs about" in error.message
    assert server.requests == []


@pytest.mark.parametrize("pieces", [[WORD] * 400, [WORD * 400]], ids=["streamed", "at once"])
@pytest.mark.parametrize("usage", [None, (2, 500), (1, 1)], ids=["never", "late", "wrong"])
def test_an_answer_is_stopped_where_it_passes_the_line_and_kept(server, pieces, usage):
    server.say(Say(pieces, hold=True, usage=usage))
    agent = agent_on(server)
    budget = Budget(max_tokens_total=100)
    error = refused(agent, budget=budget)
    assert error.message.startswith("the run has spent ")
    assert error.message.endswith(" of its 100 tokens: it was stopped")
    assert error.spent > 100
    run = agent.last
    assert run.status == "failed"
    assert run.text == error.received
    assert run.text.startswith(WORD * 60)
    if len(pieces) > 1:
        assert 80 <= len(run.text) / 5 <= 100  # a token is four bytes by the rule
    assert server.wait_closed()


def test_an_answer_is_stopped_by_what_it_costs(server, priced):
    server.say(Say([WORD] * 400, hold=True))
    agent = agent_on(server)
    error = refused(agent, budget=Budget(max_cost=100))
    assert error.cap == 100
    assert 100 < error.spent < 150
    assert "of its $100.00: it was stopped" in error.message
    assert error.hint == "raise max_cost, or ask for less at a time"


def test_a_cost_cannot_be_capped_where_the_price_is_unknown(server):
    agent = agent_on(server)

    async def scene():
        with pytest.raises(SettingsError) as caught:
            await agent.run("hi", budget=Budget(max_cost=1))
        return caught.value

    error = play(scene, agent)
    assert error.message.startswith("no price is known for scripted")
    assert '[prices."scripted"]' in error.hint
    assert "max_tokens_total" in error.hint
    assert server.requests == []


@pytest.mark.parametrize("cap", [0, -1, "nan", "inf"])
def test_a_cap_that_nothing_is_under_is_refused(cap):
    with pytest.raises(InvalidInput, match="no call could be made"):
        Budget(max_cost=cap)
    if isinstance(cap, int):
        with pytest.raises(InvalidInput, match="no call could be made"):
            Budget(max_tokens_total=cap)


def test_a_cap_that_is_no_amount_is_refused():
    with pytest.raises(InvalidInput, match="'much' is no amount"):
        Budget(max_cost="much")


def spending(tokens: int, **options):
    """What each request of a server spends, whatever it says."""
    return lambda _: Say("ok", usage=(1, tokens - 1), **options)


@pytest.mark.parametrize("cap", [99, 100, 101, 250, 300, 301])
def test_steps_of_one_run_end_at_most_one_request_over_the_line(server, cap):
    """Every answer wants a tool; each costs 100 tokens."""

    def more() -> str:
        """Go on."""
        return "on"

    server.answer = lambda _: Say(calls=[("more", {})], usage=(1, 99))
    agent = agent_on(server, tools=[more], max_steps=50)
    refused(agent, budget=Budget(max_tokens_total=cap))
    assert cap - 250 < 100 * len(server.requests) < cap + 100


@pytest.mark.parametrize("bound", [None, 99], ids=["unbounded", "max_tokens"])
@pytest.mark.parametrize("cap", [50, 100, 250, 1_000])
def test_twenty_runs_at_once_pass_the_sessions_cap_by_one_request_at_most(
    server, monkeypatch, cap, bound
):
    """Nothing is seen of what they spend before their ends: the endpoint thinks in secret."""
    monkeypatch.setenv("TFRAMEX_SESSION_MAX_TOKENS", str(cap))
    server.answer = spending(100)
    agents = [agent_on(server, f"a{n}") for n in range(20)]
    params = {"max_tokens": bound} if bound else {}

    async def scene():
        runs = [agent.run("hi", **params) for agent in agents]
        return await asyncio.gather(*runs, return_exceptions=True)

    results = play(scene, *agents)
    done = [result for result in results if result == "ok"]
    errors = [result for result in results if result != "ok"]
    assert all(type(error) is BudgetExceeded for error in errors), errors
    assert len(done) == len(server.requests)
    assert cap - 100 < 100 * len(done) < cap + 100
    assert session_budget().spent.usage.total_tokens == 100 * len(done)
    assert "raise session_max_tokens" in errors[0].hint
    assert server.busiest == 1 or bound


def test_bounded_calls_go_side_by_side_as_long_as_all_of_them_fit(server, monkeypatch):
    monkeypatch.setenv("TFRAMEX_SESSION_MAX_TOKENS", "100000")
    gate = threading.Event()
    server.answer = spending(100, gate=gate)
    agents = [agent_on(server, f"a{n}") for n in range(8)]

    async def scene():
        runs = [asyncio.create_task(agent.run("hi", max_tokens=99)) for agent in agents]
        await until(lambda: server.busy == 8)
        gate.set()
        return await asyncio.gather(*runs)

    assert play(scene, *agents) == ["ok"] * 8


def test_a_call_that_waits_for_room_says_so_until_it_goes(server, monkeypatch):
    monkeypatch.setenv("TFRAMEX_SESSION_MAX_TOKENS", "100000")
    gate = threading.Event()
    server.answer = spending(100, gate=gate)
    first, second = agent_on(server, "first"), agent_on(server, "second")

    def notes():
        return [part.event.line for part in second.last.parts if part.kind == "note"]

    async def scene():
        begun = asyncio.create_task(first.run("hi"))
        await until(lambda: server.busy == 1)
        waits = asyncio.create_task(second.run("hi"))
        await until(lambda: second.last is not None and notes())
        said = notes()
        gate.set()
        await asyncio.gather(begun, waits)
        return said

    assert play(scene, first, second) == [
        "waiting: a call under way may spend all that this session has left; "
        "with max_tokens they go side by side"
    ]
    assert notes() == []
    waits = [event for event in second.last.events if event.type == "room_awaited"]
    assert [event.over for event in waits] == [False, True]
    assert not any(event.type == "room_awaited" for event in first.last.events)


def test_a_wait_for_room_that_is_given_up_leaves_nothing_claimed(server, monkeypatch):
    monkeypatch.setenv("TFRAMEX_SESSION_MAX_TOKENS", "100000")
    gate = threading.Event()
    server.answer = spending(100, gate=gate)
    first, second = agent_on(server, "first"), agent_on(server, "second")

    async def scene():
        begun = asyncio.create_task(first.run("hi"))
        await until(lambda: server.busy == 1)
        waits = asyncio.create_task(second.run("hi"))
        await until(lambda: second.last is not None and second.last.parts)
        waits.cancel()
        await asyncio.wait([waits])
        gate.set()
        await begun
        return len(session_budget().ledger.claims)

    assert play(scene, first, second) == 0
    assert second.last.status == "interrupted"
    assert len(server.requests) == 1


def test_threads_share_the_sessions_cap(monkeypatch):
    monkeypatch.setenv("TFRAMEX_SESSION_MAX_TOKENS", "450")
    with scripted_server() as server:
        server.answer = spending(100)
        agents = [agent_on(server, f"a{n}") for n in range(6)]

        def work(agent):
            play(lambda: asyncio.gather(agent.run("hi"), return_exceptions=True), agent)

        threads = [threading.Thread(target=work, args=(agent,)) for agent in agents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.requests) == 5
    assert session_budget().spent.usage.total_tokens == 500


def test_a_retry_is_not_sent_where_others_have_spent_the_budget_meanwhile(server):
    """The bounded calls fitted together; then one says that it spent far more than its bound."""
    server.answer = lambda request: (
        Say(status=503, error="busy")
        if request.texts[-1] == "retry"
        else Say("ok", usage=(10, 5_000))
    )
    retry = RetryPolicy(retries=5, backoff=0.3, jitter=0)
    one, other = agent_on(server, "one", retry=retry), agent_on(server, "other")
    budget = Budget(max_tokens_total=1_000)

    async def scene():
        retrying = asyncio.create_task(one.run("retry", budget=budget, max_tokens=50))
        await until(lambda: one.last and any(part.kind == "retry" for part in one.last.parts))
        await other.run("hi", budget=budget, max_tokens=50)
        with pytest.raises(BudgetExceeded):
            await retrying

    play(scene, one, other)
    assert [request.texts[-1] for request in server.requests].count("retry") <= 2


def test_what_timed_out_counts_by_its_prompt(server):
    """The endpoint may well have worked on it, and will say so on its bill."""
    gate = threading.Event()
    server.answer = lambda _: Say("ok", gate=gate)
    agent = agent_on(server, timeouts=Timeouts(first_byte=0.05))
    budget = Budget(max_tokens_total=350)

    async def scene():
        for _ in range(3):
            with pytest.raises(ModelTimeout):
                await agent.run("x" * 400, budget=budget)
        with pytest.raises(BudgetExceeded):
            await agent.run("x" * 400, budget=budget)

    try:
        play(scene, agent)
    finally:
        gate.set()
    assert len(server.requests) == 3
    assert budget.spent.price == "no price known"


def test_attempts_that_broke_off_count_by_their_prompts(server):
    server.answer = lambda _: Say(cut=True)
    agent = agent_on(server, retry=RetryPolicy(retries=50, backoff=0, jitter=0))
    error = refused(agent, prompt="x" * 400, budget=Budget(max_tokens_total=350))
    assert error.spent > 350
    assert len(server.requests) == 3


def test_an_agent_that_asks_another_pays_for_it(server, priced):
    """Nested runs count on the outer run's budget, once; each has its own figure."""
    server.say(
        Say(calls=[("helper", {"prompt": "help"})], usage=(1, 1)),
        Say("helped", usage=(10, 10)),
        Say("done", usage=(1, 1)),
    )
    helper = agent_on(server, "helper")
    outer = agent_on(server, "outer", tools=[helper])
    play(lambda: outer.run("hi"), outer, helper)
    assert helper.last.cost == 30
    assert outer.last.cost == 36
    assert session_budget().spent.cost == 36
    assert session_budget().spent.calls == 3


@pytest.mark.parametrize("own", [True, False], ids=["own model", "its caller's"])
def test_an_agent_that_is_asked_spends_its_callers_budget(server, own):
    server.say(
        Say(calls=[("helper", {"prompt": "help"})], usage=(1, 89)),
        Say([WORD] * 400, hold=True),
        Say("never asked"),
    )
    helper = agent_on(server, "helper")
    model = helper.model
    if not own:
        helper.model = None
    outer = agent_on(server, "outer", tools=[helper])

    async def scene():
        try:
            with pytest.raises(BudgetExceeded):
                await outer.run("hi", budget=Budget(max_tokens_total=200))
        finally:
            await model.aclose()

    play(scene, outer)
    assert type(helper.last.error) is BudgetExceeded
    assert len(server.requests) == 2


def test_a_tool_that_asks_an_agent_in_its_own_way_pays_for_it_too(server):
    server.say(Say(calls=[("ask", {})], usage=(1, 9)), Say("hm", usage=(1, 99)), "never asked")
    helper = agent_on(server, "helper")

    async def ask() -> str:
        """Ask."""
        with Budget(max_tokens_total=1_000):
            return await helper.run("hi")

    outer = agent_on(server, "outer", tools=[ask])

    async def scene():
        with pytest.raises(BudgetExceeded):
            await outer.run("hi", budget=Budget(max_tokens_total=50))

    play(scene, outer, helper)
    assert len(server.requests) == 2


def test_an_agents_own_cap_holds_for_all_its_runs(server):
    server.answer = spending(100)
    agent = agent_on(server)
    agent.budget.max_tokens_total = 150

    async def scene():
        await agent.run("hi")
        await agent.run("hi")
        with pytest.raises(BudgetExceeded) as caught:
            await agent.run("hi")
        assert caught.value.message.startswith("the agent 'a' has spent 200 of its 150 tokens")
        agent.budget.max_tokens_total = None
        await agent.run("hi")

    play(scene, agent)


def test_many_calls_end_at_most_one_request_over_the_line_and_keep_the_whole(server, tmp_path):
    server.answer = spending(100)
    system = MultiCallSystem("many", VLLMModel("scripted", server.url))

    async def scene():
        with Budget(max_tokens_total=450) as budget, pytest.raises(PartialFailure) as caught:
            await system.run("hi", 20, tmp_path)
        assert budget.spent.usage.total_tokens == 500
        return caught.value

    error = play(scene, system)
    assert (len(error.completed), len(error.failures)) == (5, 15)
    assert all(type(each) is BudgetExceeded for each in error.failures.values())
    assert "raise max_tokens_total" in error.hint
    assert len(server.requests) == 5


def test_a_chain_stops_at_the_line(server):
    server.answer = spending(100)
    chain = ChainOfAgents("chain", VLLMModel("scripted", server.url), chunk_size=100)

    async def scene():
        with Budget(max_tokens_total=450), pytest.raises(BudgetExceeded):
            await chain.run("what?", "A long story. " * 200)

    play(scene, chain)
    assert 3 <= len(server.requests) <= 5
    assert chain.last.text == "ok"


def test_a_call_that_nobody_reads_on_does_not_hold_up_others_for_ever(server, monkeypatch):
    monkeypatch.setattr("tframex_nb.models._ledger.UNREAD", 0.2)
    server.say(Say([WORD] * 4, hold=True), "never asked")
    one, other = agent_on(server, "one"), agent_on(server, "other")

    async def scene():
        with Budget(max_tokens_total=10_000):
            events = one.stream("hi")
            async for event in events:
                if isinstance(event, TextDelta):
                    break
            with pytest.raises(BudgetExceeded, match="nobody reads on") as caught:
                await other.run("hi")
            await events.aclose()
        return caught.value

    assert "max_tokens" in play(scene, one, other).hint


def test_budgets_add_up_over_runs_and_nest(server):
    server.answer = spending(100)
    agent = agent_on(server)

    async def scene():
        with Budget(max_tokens_total=1_000, name="all") as outer:
            await agent.run("hi")
            with Budget(max_tokens_total=1_000, name="part") as inner:
                await agent.run("hi")
            await agent.run("hi")
        await agent.run("hi")
        return outer, inner

    outer, inner = play(scene, agent)
    assert outer.line == "300 of 1,000 tokens"
    assert inner.line == "100 of 1,000 tokens"
    assert repr(outer) == "<Budget of all: 300 of 1,000 tokens>"
    assert session_budget().spent.usage.total_tokens == 400


class Plain:
    """A model of somebody's own, with nothing but a stream."""

    model_name = label = "plain"

    def __init__(self, tokens):
        self.tokens = tokens
        self.asked = 0

    async def stream(self, messages, **params):
        self.asked += 1
        yield TextDelta("ok")
        yield Usage(1, self.tokens - 1)
        yield MessageFinished(Message("assistant", "ok"))

    async def aclose(self):
        pass


def test_a_model_of_ones_own_is_counted_as_well():
    model = Plain(100)
    agent = Agent("a", model, memory=0)

    async def scene():
        with Budget(max_tokens_total=250):
            for _ in range(3):
                await agent.run("hi")
            with pytest.raises(BudgetExceeded):
                await agent.run("hi")

    play(scene, agent)
    assert model.asked == 3
    assert agent.budget.spent.usage.total_tokens == 300


def test_a_counted_model_is_still_the_model_that_was_given(server):
    """What else a model has stays in reach of an agent's own steps."""
    seen = []

    class Curious(Agent):
        async def steps(self, messages, *, model, **params):
            seen.append((model.model_name, model.label, model.api_url, repr(copy.copy(model))))
            async for event in super().steps(messages, model=model, **params):
                yield event

    server.say("ok")
    model = VLLMModel("scripted", server.url, label="mine")
    agent = Curious("a", model)
    play(lambda: agent.run("hi"), agent)
    assert seen == [("scripted", "mine", server.url, repr(model))]


def test_a_cap_of_the_session_for_cost_lets_the_demo_pass(monkeypatch):
    """Its words are our own; anything else needs a price."""
    monkeypatch.setenv("TFRAMEX_SESSION_MAX_COST", "0.5")
    agent = Agent("a", "demo:fast")
    assert agent.run_sync("hello")
    with pytest.raises(SettingsError, match="no price is known for demo"):
        agent.run_sync("hello", budget=Budget(max_cost=1))


def test_the_page_on_cost_runs_and_prints_what_it_says(root, capsys, tmp_path):
    page = (root / "docs" / "cost.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    exec(compile(blocks["python"], "cost.md", "exec"), {})
    assert capsys.readouterr().out == blocks["text"]
    (tmp_path / "tframex.toml").write_text(blocks["toml"])
    price = load_settings(tmp_path, {}).prices["team:qwen3-8b"]
    assert (price.input, price.output, price.cached) == (
        Decimal("0.5"),
        Decimal("1.5"),
        Decimal("0.05"),
    )
