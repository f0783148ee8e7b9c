"""The resolver: the order, the points, the exclusions, and the one that is chosen."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import threading

import pytest

from tframex_nb.errors import FrameworkFailed, NoFrameworkFits, SettingsError
from tframex_nb.frameworks.base import (
    ABSENT,
    CAPABILITIES,
    NATIVE,
    PARTIAL,
    AgentSpec,
    ExecutionRequirements,
    Finding,
    FrameworkIntegration,
    ValidationResult,
)
from tframex_nb.frameworks.config import RuntimeConfig
from tframex_nb.frameworks.measured import figures
from tframex_nb.frameworks.policies import Point, Standard
from tframex_nb.frameworks.registry import FrameworkRegistry
from tframex_nb.frameworks.resolution import Readiness
from tframex_nb.frameworks.resolver import FrameworkResolverService
from tframex_nb.frameworks.templates import TemplateFrameworkMapping

SERVICE = "customer-service-bot"
BOTH = {"streaming": NATIVE, "memory": NATIVE}
NEEDS = ExecutionRequirements(streaming=True, memory=True)
NOTHING = ExecutionRequirements()


class Adapter(FrameworkIntegration):
    """An adapter that says what a test wants, and counts what it was asked."""

    def __init__(self, name, templates=(SERVICE,), capabilities=BOTH, errors=(), **fields):
        super().__init__()
        self.asked = self.initialized = 0
        vars(self).update(name=name, templates=templates, capabilities=capabilities, **fields)
        self.errors = errors

    async def execute_agent_streaming(self, request):
        yield request

    async def validate_configuration(self, agent):
        self.asked += 1
        return ValidationResult(tuple(self.errors))

    async def initialize(self):
        self.initialized += 1


class World:
    """A registry with a resolver on it."""

    def __init__(self, *adapters, config=None, missing=(), **options):
        self.registry = FrameworkRegistry()
        self.mapping = TemplateFrameworkMapping()
        self.missing = set(missing)
        self.adapters = {each.name: each for each in adapters}
        for each in adapters:
            self.registry.register_framework(each)
        config = RuntimeConfig.model_validate(config or {})
        options.setdefault("readiness", self.readiness)
        self.resolver = FrameworkResolverService(self.registry, self.mapping, config, **options)

    def readiness(self, name):
        if name in self.missing:
            hint = f"%frameworks install {name}"
            return Readiness(ready=False, reason=f"{name} is not installed", hint=hint)
        return Readiness(ready=True, mode="worker", version="1.5")

    def resolve(self, template=SERVICE, needs=NEEDS, **agent):
        spec = AgentSpec("a", "a", template, **agent)
        return asyncio.run(self.resolver.resolve(spec, needs))

    def refused(self, template=SERVICE, needs=NEEDS, **agent):
        with pytest.raises(NoFrameworkFits) as caught:
            self.resolve(template, needs, **agent)
        return caught.value


def totals(resolution):
    return {each.name: each.total for each in resolution.candidates}


def wrong(count):
    return tuple(Finding(f"configuration.k{n}", "is wrong") for n in range(count))


def needs(*names):
    return ExecutionRequirements(capabilities=frozenset(names))


# ---- the points


def test_the_golden_figure():
    """customer-service-bot with streaming and memory, both valid: langgraph 150, crewai 148."""
    crewai = Adapter("crewai", capabilities={"streaming": NATIVE, "memory": PARTIAL("short")})
    resolution = World(crewai, Adapter("langgraph")).resolve()
    assert totals(resolution) == {"langgraph": 150, "crewai": 148}
    assert resolution.chosen == "langgraph"
    assert resolution.reason == "150 points, 2 more than crewai"
    best, second = resolution.candidates
    assert [str(point) for point in best.points] == [
        "+100 valid",
        "+20 streaming",
        "+20 memory",
        "+10 weight",
    ]
    assert "+20 memory (partial)" in [str(point) for point in second.points]
    assert second.levels["memory"].level == "partial"


def test_each_error_takes_ten_and_an_invalid_one_is_never_chosen():
    """Invalid with six capabilities would have 115, a valid one with none 105."""
    six = dict.fromkeys(CAPABILITIES[:6], NATIVE)
    invalid = Adapter("invalid", ("t",), six, wrong(1))
    world = World(invalid, Adapter("valid", ("t",), {}))
    # Nothing is said of "t", so generic-conversation's requirement of streaming counts.
    assert "valid: streaming is absent" in world.refused("t", NOTHING).message
    world.mapping.add("t")
    resolution = world.resolve("t", NOTHING)
    assert totals(resolution) == {"valid": 105, "invalid": -5}
    assert resolution.chosen == "valid"
    assert resolution.candidate("invalid").excluded == (
        "its configuration is not valid: configuration.k0: is wrong"
    )


def test_weights_come_from_the_configuration():
    config = {"weights": {"a": 7.5}, "framework_specific": {"b": {"weight": 30}}}
    world = World(Adapter("a"), Adapter("b"), Adapter("c"), config=config)
    assert totals(world.resolve()) == {"b": 170, "a": 147.5, "c": 145}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_an_invalid_one_never_wins_and_totals_are_sums(seed):
    """A search over random registries; the rules are told here once more, in their own words."""
    chance = random.Random(seed)
    levels = (NATIVE, PARTIAL("some"), ABSENT("none"))
    for _ in range(60):
        adapters = [
            Adapter(
                name,
                capabilities={c: chance.choice(levels) for c in CAPABILITIES},
                errors=wrong(chance.choice((0, 0, 1, 3))),
            )
            for name in chance.sample(["langgraph", "crewai", "autogen", "x", "y"], 4)
        ]
        missing = [each.name for each in adapters if chance.random() < 0.3]
        asked = needs(*chance.sample(CAPABILITIES, chance.randrange(4)))
        world = World(*adapters, missing=missing)
        explained = asyncio.run(world.resolver.explain(AgentSpec("a", "a", SERVICE), asked))
        required = {"streaming", "memory", *asked.capabilities}
        fit = set()
        for each in explained.candidates:
            adapter = world.adapters[each.name]
            assert each.total == math.fsum(point.value for point in each.points)
            able = all(adapter.capabilities[c].level != "absent" for c in required)
            if able and not adapter.errors:
                fit.add(each.name)
                weight = {"langgraph": 10, "crewai": 8, "autogen": 6}.get(each.name, 5)
                assert each.total == 100 + 20 * len(required) + weight
            assert bool(each.excluded) == (each.name not in fit)
        ready = [(-explained.candidate(n).total, n) for n in fit - set(missing)]
        assert bool(explained.chosen) == bool(ready)
        if ready:
            assert explained.candidate(explained.chosen).total == -min(ready)[0]


# ---- the candidates


def test_the_templates_own_come_first():
    world = World(Adapter("own", ("t",)), Adapter("generic", ("generic-conversation",)))
    resolution = world.resolve("t")
    assert [each.name for each in resolution.candidates] == ["own"]
    assert resolution.step == "template"


def test_then_those_of_its_generic_template():
    generic = [Adapter(kind, (f"generic-{kind}",)) for kind in ("conversation", "task", "custom")]
    world = World(*generic)
    world.mapping.add("mine", fallback_type="custom")
    assert world.resolve(SERVICE).chosen == "conversation"
    assert world.resolve("mine").chosen == "custom"
    resolution = world.resolve("unheard")
    assert (resolution.chosen, resolution.step) == ("conversation", "fallback")
    assert "'unheard' is not known" in resolution.notes[0]


def test_then_the_default_framework():
    world = World(Adapter("other", ()), config={"default_framework": "other"})
    resolution = world.resolve()
    assert (resolution.chosen, resolution.step) == ("other", "default")
    assert resolution.candidates[0].origin == "the default framework"
    assert "tools is absent" in world.refused("generic-task").message  # it wants tools, also here


def test_a_default_that_is_not_registered_is_told():
    error = World(Adapter("langgraf", ("generic-task",))).refused()
    assert "the default framework 'langgraph' is not registered" in error.message
    assert "did you mean 'langgraf'?" in error.message
    assert "default_framework" in error.hint
    assert error.resolution.candidates == ()


def test_preferred_frameworks_are_candidates_and_go_first_among_equals():
    """Preference adds no points, so that the golden figure holds."""
    world = World(Adapter("a"), Adapter("b"), Adapter("c", ()), Adapter("d", ()))
    world.mapping.add(SERVICE, preferred_frameworks=["c", "b", "gone"])
    resolution = world.resolve()
    assert [each.name for each in resolution.candidates] == ["c", "b", "a"]
    assert len(set(totals(resolution).values())) == 1
    assert resolution.reason == "145 points as b, and preferred"
    origins = {each.name: each.origin for each in resolution.candidates}
    assert origins == {
        "a": f"it supports {SERVICE}",
        "b": f"it supports {SERVICE}; preferred for {SERVICE} (added here)",
        "c": f"preferred for {SERVICE} (added here)",
    }
    assert f"'gone', preferred for {SERVICE}, is not registered" in resolution.notes


def test_the_templates_own_requirements_count():
    world = World(Adapter("a", capabilities={"streaming": NATIVE}), Adapter("b"))
    resolution = world.resolve(needs=ExecutionRequirements(streaming=True))
    assert resolution.requirements == {"streaming": "both", "memory": "the template"}
    assert resolution.chosen == "b"
    assert resolution.candidate("a").excluded == (
        "memory is absent: it does not say that it has it"
    )
    assert resolution.candidate("a").points == ()
    assert world.adapters["a"].asked == 0


def test_without_a_template_the_generic_one_counts():
    world = World(Adapter("a", ("generic-conversation",)), Adapter("b", ("x",)))
    assert world.resolve("").chosen == "a"


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
def test_ties_are_broken_the_same_way_in_any_order(order):
    world = World(*(Adapter(name) for name in order))
    assert [each.name for each in world.resolve().candidates] == ["a", "b", "c"]


# ---- nothing fits


def test_nothing_left_says_why_and_what_would_help():
    weak = Adapter("weak", capabilities={"streaming": NATIVE, "memory": ABSENT("no store")})
    error = World(weak, Adapter("able", ("other",))).refused()
    assert error.message == (
        f"no framework fits the template {SERVICE!r}: weak: memory is absent: no store"
    )
    assert error.hint == "able can do streaming, memory: choose it with -f able"
    assert error.resolution.chosen == ""


def test_a_capability_that_nobody_has_is_told_with_the_nearest():
    error = World(Adapter("a")).refused(needs=needs("structred_output"))
    assert error.hint == ("no framework has 'structred_output': did you mean 'structured_output'?")


def test_an_invalid_configuration_is_told_with_its_field():
    error = World(Adapter("a", errors=wrong(2))).refused()
    assert "configuration.k0: is wrong; configuration.k1: is wrong" in error.hint
    assert error.resolution.candidate("a").total == -20 + 40 + 5


# ---- ready or not


def test_what_is_installed_changes_no_points():
    adapters = [Adapter("langgraph"), Adapter("crewai"), Adapter("autogen")]
    ready = World(*adapters).resolve()
    world = World(*adapters, missing=["langgraph"])
    resolution = world.resolve()
    assert totals(resolution) == totals(ready)
    assert (resolution.chosen, resolution.better) == ("crewai", "langgraph")
    assert resolution.better_hint == (
        "langgraph has 2 more points and is not ready: %frameworks install langgraph"
    )
    assert resolution.reason == "148 points, 2 more than autogen"


def test_one_that_is_no_better_is_not_offered():
    resolution = World(Adapter("a"), Adapter("b"), missing=["a"]).resolve()
    assert (resolution.chosen, resolution.better, resolution.better_hint) == ("b", "", "")


def test_where_none_is_ready_nothing_is_chosen_and_the_best_is_offered():
    world = World(Adapter("langgraph"), Adapter("crewai"), missing=["langgraph", "crewai"])
    resolution = world.resolve()
    assert (resolution.chosen, resolution.better) == ("", "langgraph")
    assert "%frameworks install langgraph" in resolution.better_hint
    spec = AgentSpec("a", "a", SERVICE)
    with pytest.raises(NoFrameworkFits, match="langgraph is not installed") as caught:
        asyncio.run(world.resolver.resolve_framework(spec, NEEDS))
    assert "%frameworks install langgraph" in caught.value.hint


def test_a_framework_of_this_process_is_initialized_and_a_workers_is_not():
    """In worker mode the framework is not importable here; the worker gets it ready."""
    spec = AgentSpec("a", "a", SERVICE)
    here, there = Adapter("here"), Adapter("there")
    local = World(here, readiness=lambda _: Readiness(ready=True, mode="in-process"))
    assert asyncio.run(local.resolver.resolve_framework(spec, NEEDS)) is here
    assert asyncio.run(World(there).resolver.resolve_framework(spec, NEEDS)) is there
    assert (here.initialized, there.initialized) == (1, 0)


def test_what_cannot_be_initialized_is_told():
    class Broken(Adapter):
        async def initialize(self):
            raise OSError("no key")

    world = World(Broken("b"), readiness=None)
    with pytest.raises(FrameworkFailed, match="b cannot be initialized: OSError: no key"):
        asyncio.run(world.resolver.resolve_framework(AgentSpec("a", "a", SERVICE), NEEDS))


def test_without_a_readiness_what_can_be_imported_is_ready():
    world = World(
        Adapter("a", module="json"), Adapter("b", module="nothing_at_all"), readiness=None
    )
    resolution = world.resolve()
    assert [each.readiness.ready for each in resolution.candidates] == [True, False]
    assert resolution.candidate("b").readiness.hint == "%frameworks install b"


# ---- versions


@pytest.mark.parametrize(
    ("allowed", "excluded"),
    [(">=1,<2", ""), (">=2", "its version here is 1.5, the template allows >=2"), ("", "")],
)
def test_a_framework_out_of_the_templates_range_is_excluded(allowed, excluded):
    world = World(Adapter("a"), Adapter("b"))
    world.mapping.add(SERVICE, framework_versions={"a": allowed})
    assert world.resolve().candidate("a").excluded == excluded


def test_one_that_is_not_installed_is_in_any_range():
    world = World(Adapter("a"), missing=["a"])
    world.mapping.add(SERVICE, framework_versions={"a": ">=9"})
    assert world.resolve().better == "a"


def test_the_templates_version_is_checked_against_what_is_supported_and_wanted():
    world = World(Adapter("old", (f"{SERVICE}<2",)), Adapter("new", (f"{SERVICE}>=2",)))
    world.mapping.add(SERVICE, template_version="2.1")
    resolution = world.resolve()
    assert resolution.chosen == "new"
    assert resolution.candidate("old").excluded == (
        "it supports the template <2, whose version is 2.1"
    )
    assert world.resolve(f"{SERVICE}>=2").chosen == "new"
    error = world.refused(f"{SERVICE}>=3")
    assert "the template's version is 2.1, the agent wants >=3" in error.message


def test_a_version_beyond_what_the_adapter_was_tested_with_is_a_warning():
    resolution = World(Adapter("a", versions="<1")).resolve()
    assert resolution.chosen == "a"
    assert resolution.candidate("a").warnings == ("its adapter was tested with <1, here is 1.5",)


# ---- adapters that misbehave


def test_a_validator_that_raises_hangs_or_talks_nonsense_excludes_only_itself():
    class Raising(Adapter):
        async def validate_configuration(self, agent):
            raise ValueError("no idea")

    class Hanging(Adapter):
        async def validate_configuration(self, agent):
            await asyncio.sleep(60)

    class Talking(Adapter):
        async def validate_configuration(self, agent):
            return True

    class Mute(Adapter):
        def describe_capabilities(self):
            if self.asked:
                raise RuntimeError("mute")
            return BOTH

    mute = Mute("mute")
    world = World(
        Raising("raising"),
        Hanging("hanging"),
        Talking("talking"),
        mute,
        Adapter("good"),
        validation_seconds=0.1,
    )
    mute.asked = 1
    resolution = world.resolve()
    assert resolution.chosen == "good"
    assert {each.name: each.excluded for each in resolution.candidates} == {
        "good": "",
        "raising": "validate_configuration failed: ValueError: no idea",
        "hanging": "validate_configuration did not answer within 0.1 s",
        "talking": "validate_configuration gave a bool, no ValidationResult",
        "mute": "it cannot tell its capabilities: RuntimeError: mute",
    }


def test_a_cancelled_resolution_leaves_no_task():
    class Hanging(Adapter):
        async def validate_configuration(self, agent):
            await asyncio.sleep(60)

    async def scene():
        world = World(Hanging("h"))
        task = asyncio.create_task(world.resolver.resolve(AgentSpec("a", "a", SERVICE), NEEDS))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.02)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scene())


# ---- policies and figures


class Contrary:
    """A policy that likes the end of the alphabet."""

    def score(self, facts):
        return [Point("its first letter", ord(facts.name[0]))]


def test_a_policy_is_replaced_by_argument_and_by_configuration(tmp_path, monkeypatch):
    adapters = [Adapter("langgraph"), Adapter("zebra")]
    assert World(*adapters, policy=Contrary()).resolve().chosen == "zebra"
    (tmp_path / "own_policy.py").write_text(
        "from tframex_nb.frameworks.policies import Point\n"
        "class Own:\n    def score(self, facts):\n"
        "        return [Point('length', len(facts.name))]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {"policy": "own_policy:Own"}
    assert totals(World(*adapters, config=config).resolve()) == {"langgraph": 9, "zebra": 5}


def test_no_policy_can_choose_an_invalid_one():
    world = World(Adapter("zebra", errors=wrong(1)), Adapter("ant"), policy=Contrary())
    assert world.resolve().chosen == "ant"


@pytest.mark.parametrize(
    "policy", ["nothing", "no_module_here:Own", "json:nothing", "json:JSONDecoder"]
)
def test_a_policy_that_cannot_be_is_refused_and_nothing_changes(policy):
    world = World(Adapter("a"), config={"weights": {"a": 1}})
    with pytest.raises(SettingsError) as caught:
        FrameworkResolverService(world.registry, policy=policy)
    assert caught.value.hint
    before = world.resolver.config
    if ":" in policy:
        with pytest.raises(SettingsError):
            world.resolver.config = RuntimeConfig.model_validate({"policy": policy})
    assert world.resolver.config is before
    assert totals(world.resolve()) == {"a": 141}


@pytest.mark.parametrize("value", [math.nan, math.inf, "7", None], ids=str)
def test_a_policy_that_gives_no_number_is_told(value):
    class Odd:
        def score(self, facts):
            return [Point("odd", value)]

    with pytest.raises(SettingsError, match="the policy Odd failed on 'a'"):
        World(Adapter("a"), policy=Odd()).resolve()


def row(framework, status="finished", first=0.5, seconds=2.0, tokens=30, error="", **more):
    return {
        "id": f"{framework}{random.random()}",
        "framework": framework,
        "status": status,
        "first_token_seconds": first,
        "seconds": seconds,
        "completion_tokens": tokens,
        "error": error,
        **more,
    }


def test_figures_are_medians_of_the_runs_that_say_something():
    rows = [
        row("a", first=0.2, seconds=1.2, tokens=50),
        row("a", first=0.4, seconds=1.4, tokens=10),
        row("a", first=0.6, seconds=9.6, tokens=90),
        row("a", status="failed", error="FrameworkFailed", first=None),
        row("a", status="failed", error="RateLimited"),  # the model's fault
        row("a", status="interrupted"),
        row("a", status="running"),
        row("b", first=None, tokens=0),
    ]
    found = figures(rows)
    assert found["a"].runs == 4
    assert found["a"].success_rate == 0.75
    assert found["a"].first_token_seconds == 0.4
    assert found["a"].total_seconds == 1.4
    assert found["a"].tokens_per_second == pytest.approx(10)
    assert found["b"].tokens_per_second is None


def test_measured_figures_are_shown_beside_the_weights_and_may_take_their_place():
    rows = [row("crewai", first=0.1) for _ in range(5)]
    rows += [row("langgraph", first=4.0, status=s) for s in ("finished", "failed") * 3]
    adapters = [Adapter("langgraph"), Adapter("crewai"), Adapter("autogen")]
    shown = World(*adapters, runs=lambda: rows).resolve()
    assert shown.chosen == "langgraph"
    assert shown.measured["crewai"].success_rate == 1
    assert "100% of 5 runs, first token 0.10 s" in str(shown)
    used = World(*adapters, runs=lambda: rows, config={"policy": "measured"}).resolve()
    assert totals(used) == {"crewai": 149.6, "autogen": 146, "langgraph": 143.8}
    told = [str(point) for point in used.candidate("langgraph").points]
    assert told[-2:] == ["+3 50% of 6 runs", "+0.8 first token 4 s"]
    assert "too few runs" in str(used.candidate("autogen").points[-1])


def test_new_runs_count_at_once():
    rows = []
    world = World(
        Adapter("langgraph"), Adapter("crewai"), runs=lambda: rows, config={"policy": "measured"}
    )
    assert world.resolve().chosen == "langgraph"
    rows += [row("langgraph", status="failed", error="WorkerCrashed") for _ in range(5)]
    assert world.resolve().chosen == "crewai"


def test_load_is_spread_over_equals_when_asked():
    running = {"a": 2, "b": 1, "c": 1, "langgraph": 9}
    adapters = [Adapter(name) for name in ("a", "b", "c")]
    world = World(*adapters, config={"balance": True}, running=running.__getitem__)
    resolution = world.resolve()
    assert resolution.chosen == "b"
    assert resolution.reason == "145 points as 2 more, and the least busy (1 run now)"
    running["b"] = 3
    assert world.resolve().chosen == "c"
    alone = World(
        *adapters, Adapter("langgraph"), config={"balance": True}, running=running.__getitem__
    )
    assert alone.resolve().chosen == "langgraph"
    assert World(*adapters, running=running.__getitem__).resolve().chosen == "a"


# ---- the cache


def test_a_result_is_kept_until_something_changes():
    one = Adapter("a")
    world = World(one)
    world.resolve()
    world.resolve()
    assert one.asked == 1
    world.registry.register_framework(Adapter("b"))
    world.resolve()
    assert one.asked == 2
    world.mapping.add("other")
    world.resolve()
    assert one.asked == 3
    world.resolver.config = RuntimeConfig.model_validate({"weights": {"a": 50}})
    assert world.resolve().candidate("a").total == 190
    assert one.asked == 4
    world.resolver.invalidate()
    world.resolve()
    assert one.asked == 5


def test_the_agent_and_its_needs_are_part_of_what_is_kept():
    one = Adapter("a")
    world = World(one)
    for configuration in ({}, {"a": 1}, {"a": 2}, {"a": 1}, {}):
        world.resolve(configuration=configuration)
    assert one.asked == 3
    world.resolve(needs=NOTHING)
    assert one.asked == 4


def test_a_configuration_that_is_no_json_is_asked_each_time():
    one = Adapter("a")
    world = World(one)
    for _ in range(2):
        world.resolve(configuration={"a": object()})
    assert one.asked == 2


def test_readiness_that_changes_is_seen_without_and_with_a_generation():
    plain = World(Adapter("langgraph"), Adapter("crewai"), missing=["langgraph"])
    assert plain.resolve().chosen == "crewai"
    plain.missing.clear()
    assert plain.resolve().chosen == "langgraph"

    count = [0]
    told = World(
        Adapter("langgraph"),
        Adapter("crewai"),
        missing=["langgraph"],
        readiness_generation=lambda: count[0],
    )
    assert told.resolve().chosen == "crewai"
    told.missing.clear()
    assert told.resolve().chosen == "crewai"
    count[0] += 1
    assert told.resolve().chosen == "langgraph"


def test_what_is_kept_is_bounded():
    class Plain(Adapter):
        validate_configuration = FrameworkIntegration.validate_configuration

    world = World(*(Plain(f"n{n}") for n in range(200)))
    for number in range(110):
        world.resolve(configuration={"a": number})
    assert world.resolver._kept == sum(
        1 + len(each.candidates) for each in world.resolver._cache.values()
    )
    assert 15_000 < world.resolver._kept <= 20_000


# ---- at the same time


def test_frameworks_come_and_go_while_others_resolve():
    """Each resolution is of one moment: it chooses one that was there, or says why not."""
    world = World(Adapter("steady"))
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            world.registry.register_framework(Adapter("langgraph"), replace=True)
            world.registry.unregister("langgraph")

    async def ask():
        seen = set()
        spec = AgentSpec("a", "a", SERVICE)
        for _ in range(200):
            found = await asyncio.gather(
                *(world.resolver.resolve_framework(spec, NEEDS) for _ in range(3))
            )
            seen |= {each.name for each in found}
        return seen

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        seen = asyncio.run(ask())
    finally:
        stop.set()
        thread.join()
    assert "steady" in seen
    assert seen <= {"steady", "langgraph"}


# ---- what people see


def test_a_resolution_is_data():
    world = World(Adapter("langgraph"), Adapter("b", capabilities={}), missing=["langgraph"])
    error = world.refused(needs=needs("planning"))
    assert json.loads(json.dumps(error.resolution.to_dict()))["candidates"][0]["excluded"]
    resolution = world.resolve()
    table = resolution.to_pandas()
    assert list(table["framework"]) == ["langgraph", "b"]
    assert list(table["total"]) == [150, 0]
    assert list(table["memory"]) == ["native", "absent"]
    assert not table["chosen"].any()
    empty = World().refused().resolution
    assert list(empty.to_pandas().columns[:3]) == ["framework", "chosen", "total"]
    assert "chosen: none" in str(empty)


def test_a_resolution_explains_itself_in_one_table():
    crewai = Adapter("crewai", capabilities={"streaming": NATIVE, "memory": PARTIAL("short")})
    weak = Adapter("weak", capabilities={"streaming": NATIVE, "memory": ABSENT("none")})
    text = str(World(crewai, Adapter("langgraph"), weak, missing=["langgraph"]).resolve())
    lines = text.splitlines()
    assert lines[0].split() == [
        "framework",
        "total",
        "points",
        "streaming",
        "memory",
        "ready",
        "excluded",
    ]
    assert lines[2].startswith("crewai ✓   148    +100 valid, +20 streaming, +20 memory (partial)")
    assert "worker 1.5" in lines[2]
    assert "memory is absent: none" in lines[3]
    assert lines[4].startswith(f"chosen: crewai (template {SERVICE}, by its template): 148 points")
    assert lines[5].endswith("%frameworks install langgraph")


def test_hostile_texts_stay_texts():
    """Reasons are an adapter's words: no markup, no broken table, no control characters."""
    hostile = "<img src=x onerror=1>|a\n| b | [x](javascript:1) \x1b[31m`$"
    weak = Adapter("weak", capabilities={"streaming": NATIVE, "memory": ABSENT(hostile)})
    resolution = World(weak, Adapter("good")).resolve()
    bundle = resolution._repr_mimebundle_()
    assert "\x1b" not in bundle["text/plain"] + bundle["text/markdown"]
    rows = [line for line in bundle["text/markdown"].splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert {row.count("|") for row in (rows[0], *rows[2:])} == {8}
    assert "<img" not in bundle["text/markdown"]
    assert "](" not in bundle["text/markdown"]


def test_the_standard_policy_is_what_is_told_here():
    assert Standard.__doc__.startswith("+100 where the configuration is valid, else -10")
