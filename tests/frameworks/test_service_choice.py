"""Which framework runs: what is named, what the agent names, what is resolved, or none at all."""

from __future__ import annotations

import asyncio

import pytest
from service_bench import on_bench

from tframex_nb.errors import FrameworkNotInstalled, NoFrameworkFits, UnknownFramework
from tframex_nb.frameworks.base import ExecutionRequirements
from tframex_nb.frameworks.events import FrameworkChosen
from tframex_nb.models import shared_endpoints
from tframex_nb.runtime import RunRequest, Runtime

BUILT_IN = {"discovery": {"auto_scan": True}}


def test_without_a_name_the_agent_takes_its_own_steps(tmp_path):
    """No worker, no gateway, no resolution: the model is asked as ever."""

    async def play(bench):
        bench.server.say("hello")
        run = await bench.run("hi")
        assert (run.framework, run.text, run.resolution) == ("native", "hello", None)
        assert bench.frameworks.placement.pools() == {}
        (request,) = bench.server.requests
        assert request.headers["host"] == f"127.0.0.1:{bench.server.port}"

    on_bench(tmp_path, play)


def test_the_runtime_leaves_frameworks_alone_that_nobody_names(tmp_path):
    """A run of an agent's own steps loads no adapter."""

    async def play(bench):
        runtime = Runtime(shared_endpoints())
        bench.server.say("hello")
        agent = bench.agent()
        async for _ in runtime.stream(RunRequest(agent, "hi")):
            pass
        assert agent.last.text == "hello"
        assert runtime._frameworks is None
        await runtime.aclose()

    on_bench(tmp_path, play)


def test_an_agent_names_its_framework_and_a_run_another(tmp_path):
    async def play(bench):
        agent = bench.agent(framework="here")
        assert (await bench.run("echo on", agent=agent)).framework == "here"
        assert (await bench.run("echo on", "exclusive", agent=agent)).framework == "exclusive"
        bench.server.say("by itself")
        assert (await bench.run("echo on", "native", agent=agent)).text == "by itself"
        assert agent.framework == "here"

    on_bench(tmp_path, play)


def test_use_counts_where_nothing_else_is_said(tmp_path):
    async def play(bench):
        await bench.frameworks.use("here")
        assert (await bench.run("echo on")).framework == "here"
        named = bench.agent(framework="exclusive")
        assert (await bench.run("echo on", agent=named)).framework == "exclusive"
        with pytest.raises(UnknownFramework):
            await bench.frameworks.use("hera")
        assert (await bench.run("echo on")).framework == "here"
        await bench.frameworks.use("native")
        bench.server.say("by itself")
        assert (await bench.run("echo on")).framework == "native"
        await bench.frameworks.use("auto")
        run = await bench.run("echo on")
        assert run.resolution.chosen == run.framework

    on_bench(tmp_path, play, **BUILT_IN)


@pytest.mark.parametrize("choice", [{"framework": "auto"}, {"template": "tricky"}], ids=str)
def test_a_template_is_resolved_and_the_run_tells_why(tmp_path, choice):
    """The run holds the resolution, and says in a line what was chosen."""

    async def play(bench):
        agent = bench.agent(template_id="tricky", tools=[len])
        run = await bench.run("echo on", agent=agent, **choice)
        assert run.framework in {"here", "shared", "exclusive"}
        assert run.resolution.chosen == run.framework
        assert {each.name for each in run.resolution.candidates} == {"here", "shared", "exclusive"}
        assert set(run.resolution.requirements) >= {"streaming", "tools", "memory"}
        (chosen,) = [e for e in run.events if isinstance(e, FrameworkChosen)]
        assert chosen.framework == run.framework
        assert chosen.line == f"{run.framework}: {run.resolution.reason}"
        notes = [part.event for part in run.parts if part.kind == "note"]
        assert chosen in notes

    on_bench(tmp_path, play)


def test_a_template_counts_although_another_framework_is_in_use(tmp_path):
    async def play(bench):
        bench.frameworks.mapping.add("mine", preferred_frameworks=["exclusive"])
        await bench.frameworks.use("here")
        run = await bench.run("echo on", template="mine")
        assert run.framework == "exclusive"
        named = await bench.run("echo on", "here", template="mine")
        assert (named.framework, named.resolution) == ("here", None)

    on_bench(tmp_path, play)


def test_an_unknown_name_names_the_nearest_and_asks_nobody(tmp_path):
    async def play(bench):
        with pytest.raises(UnknownFramework, match="no framework 'exclusiv' is registered") as e:
            await bench.run("echo on", "exclusiv")
        assert e.value.hint == "%frameworks lists them; did you mean 'exclusive'?"
        with pytest.raises(UnknownFramework):
            await bench.run("echo on", agent=bench.agent(framework="her"))
        assert bench.server.requests == []

    on_bench(tmp_path, play)


@pytest.mark.parametrize("name", ["crewai", "smolagents"])
def test_one_that_is_not_installed_says_the_command_that_installs_it(tmp_path, name):
    async def play(bench):
        with pytest.raises(FrameworkNotInstalled) as caught:
            await bench.run("hello", name)
        assert caught.value.message == f"{name} cannot run here: not installed"
        assert caught.value.hint == f"%frameworks install {name}"
        assert caught.value.framework == name
        assert bench.server.requests == []
        rows = {row["name"]: row for row in await bench.frameworks.rows()}
        assert rows[name]["state"] == "not installed"
        assert rows[name]["why_not"] == f"not installed; %frameworks install {name}"

    on_bench(tmp_path, play, **BUILT_IN)


def test_auto_runs_only_what_is_ready_and_names_the_better_one(tmp_path):
    """LangGraph has the most points and is not here: nothing is fetched, and it is told."""

    async def play(bench):
        bench.server.say("native answers")
        run = await bench.run("hello", template="customer-service-bot")
        assert (run.status, run.framework, run.text) == ("finished", "native", "native answers")
        assert run.resolution.better == "langgraph"
        (chosen,) = [e for e in run.events if isinstance(e, FrameworkChosen)]
        assert "langgraph has" in chosen.better
        assert chosen.better.endswith("is not ready: %frameworks install langgraph")
        assert not bench.environments.root.exists()

    on_bench(tmp_path, play, load=False, **BUILT_IN)


def test_where_nothing_that_fits_is_ready_the_error_says_what_to_install(tmp_path):
    async def play(bench):
        bench.frameworks.mapping.add("mine", preferred_frameworks=["crewai"], fallback_type=None)
        with pytest.raises(NoFrameworkFits) as caught:
            await bench.run("hello", template="mine")
        assert caught.value.resolution.chosen == ""
        assert "%frameworks install crewai" in caught.value.hint
        assert caught.value.message == "what fits this agent cannot run here: crewai"
        assert not bench.environments.root.exists()
        assert bench.server.requests == []

    on_bench(tmp_path, play, load=False, **BUILT_IN)


def test_why_tells_of_every_candidate_and_runs_nothing(tmp_path):
    async def play(bench):
        needs = ExecutionRequirements(streaming=True, memory=True)
        found = await bench.frameworks.why("customer-service-bot", needs)
        totals = {each.name: each.total for each in found.candidates}
        assert (totals["langgraph"], totals["crewai"]) == (150, 148)
        odd = bench.agent(configuration={"required_capabilities": ["flying"]})
        assert (await bench.frameworks.why("tricky", needs, odd)).candidates
        assert bench.server.requests == []

    on_bench(tmp_path, play, load=False, **BUILT_IN)


def test_starting_twice_at_once_discovers_once(tmp_path):
    """A stopped caller stops no other: discovery belongs to all of them."""

    async def play(bench):
        service = bench.frameworks
        first = asyncio.create_task(service.start())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, service.start(), service.start(), return_exceptions=True)
        assert "native" in service.registry.names()
        generation = service.registry.generation
        await service.start()
        assert service.registry.generation == generation

    on_bench(tmp_path, play, load=False, **BUILT_IN)
