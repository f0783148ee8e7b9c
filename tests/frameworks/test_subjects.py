"""What users build with a framework: a live object here, a builder anywhere, a cell's name."""

from __future__ import annotations

import asyncio
import functools

import pytest
from service_bench import PLACES, on_bench

from tframex_nb.errors import CannotTravel, FrameworkFailed, InvalidInput

everywhere = pytest.mark.parametrize("place", PLACES)
in_workers = pytest.mark.parametrize("place", PLACES[1:])
SECRET = "of this module"


class Team:
    """A live object."""

    def __str__(self):
        return "a live team"


def plain():
    return "built"


def with_model(model):
    return f"for {model.name} at {model.base_url[:16]}"


def with_tools(tools, model):
    return [tool.name for tool in tools] + [model.name]


async def awaited(model):
    import asyncio  # a builder imports what it needs

    await asyncio.sleep(0)
    return f"awaited {model.name}"


def recursive(model, *, depth=2):
    def inner(left):
        return left if not left else inner(left - 1)

    return f"depth {inner(depth)} for {model.name}"


def failing(model):
    crew = {"name": model.name}
    return crew["agents"]


def of_this_module():
    return SECRET


def nothing():
    return None


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@everywhere
@pytest.mark.parametrize(
    ("builder", "said"),
    [
        (plain, "built"),
        (with_model, "for scripted at http://127.0.0.1"),
        (with_tools, "['add', 'scripted']"),
        (awaited, "awaited scripted"),
        (recursive, "depth 0 for scripted"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_builder_builds_where_the_framework_is(tmp_path, place, builder, said):
    """It is given the model and the tools that it asks for, and may be awaited."""

    async def play(bench):
        run = await bench.run("built", place, subject=builder, tools=[add])
        assert (run.status, run.text) == ("finished", said), run.error

    on_bench(tmp_path, play)


@everywhere
def test_a_builder_of_a_function_may_be_defined_in_a_function(tmp_path, place):
    """Its source is found and brought to the left margin."""

    def indented(model):
        return f"indented {model.name}"

    async def play(bench):
        assert (await bench.run("built", place, subject=indented)).text == "indented scripted"

    on_bench(tmp_path, play)


@everywhere
def test_a_builder_that_fails_names_its_line(tmp_path, place):
    async def play(bench):
        run = await bench.run("built", place, subject=failing)
        assert type(run.error) is FrameworkFailed
        assert "KeyError: 'agents' (" in run.error.message
        assert 'return crew["agents"])' in run.error.message
        assert bench.server.requests == []
        assert (await bench.run("built", place, subject=plain)).text == "built"

    on_bench(tmp_path, play)


@in_workers
def test_a_builder_that_needs_the_notebook_is_told_what_it_misses(tmp_path, place):
    async def play(bench):
        run = await bench.run("built", place, subject=of_this_module)
        assert type(run.error) is FrameworkFailed
        assert "NameError: name 'SECRET' is not defined (" in run.error.message
        assert "return SECRET" in run.error.message

    on_bench(tmp_path, play)


def test_a_live_object_is_used_as_it_is_in_this_process(tmp_path):
    async def play(bench):
        assert (await bench.run("built", "here", subject=Team())).text == "a live team"

    on_bench(tmp_path, play)


@in_workers
@pytest.mark.parametrize(
    ("subject", "what"),
    [
        (Team(), "a Team"),
        (functools.partial(recursive, depth=3), "a partial"),
        (Team, "the class Team"),
        (lambda: "x", "a lambda"),
        (eval("lambda model: 1"), "a lambda"),
        (len, "a builtin_function_or_method"),
        (Team().__str__, "a method"),
        (42, "an int"),
    ],
    ids=["object", "partial", "class", "lambda", "evaluated", "builtin", "method", "number"],
)
def test_what_cannot_travel_is_refused_with_what_can(tmp_path, place, subject, what):
    async def play(bench):
        run = await bench.run("built", place, subject=subject)
        assert type(run.error) is CannotTravel, repr(run.error)
        assert run.error.message == f"{what} cannot be sent to {place}'s worker"
        assert "pass a function that builds it" in run.error.hint
        assert run.error.hint.endswith(f"%%framework {place}")
        assert run.error.framework == place
        assert bench.frameworks.placement.pools() == {}

    on_bench(tmp_path, play)


@in_workers
def test_a_function_without_source_is_refused_so(tmp_path, place):
    async def play(bench):
        namespace = {}
        exec("def build(): return 1", namespace)
        run = await bench.run("built", place, subject=namespace["build"])
        assert type(run.error) is CannotTravel
        assert run.error.message == (
            f"the function build, whose source cannot be found, cannot be sent to {place}'s worker"
        )

    on_bench(tmp_path, play)


@everywhere
def test_a_name_that_a_cell_defined(tmp_path, place):
    """A cell runs in a worker, also for a framework that is at home here."""

    async def play(bench):
        service = bench.frameworks
        await service.run_cell(
            place, "class Team:\n    def __str__(self): return 'of a cell'", log=print
        )
        await service.run_cell(
            place, "team = Team()\ndef build(model): return model.name", log=print
        )
        assert (await bench.run("built", place, subject="team")).text == "of a cell"
        assert (await bench.run("built", place, subject="build")).text == "scripted"
        run = await bench.run("built", place, subject="taem")
        assert type(run.error) is FrameworkFailed
        assert run.error.message == "no cell of this framework has defined 'taem'"
        assert run.error.framework == place
        assert run.error.hint == "did you mean 'team'?"

    on_bench(tmp_path, play)


@everywhere
def test_a_cell_that_fails_says_where(tmp_path, place):
    async def play(bench):
        with pytest.raises(FrameworkFailed, match="ZeroDivisionError") as caught:
            await bench.frameworks.run_cell(place, "x = 1\ny = x / 0", log=print)
        assert "line 2: y = x / 0" in caught.value.message
        lines = []
        await bench.frameworks.run_cell(place, "print('well')", log=lines.append)
        assert lines == ["well"]

    on_bench(tmp_path, play)


# Real frameworks, each built as its own documentation tells.


def langgraph_team(model):
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI
    from langgraph.graph import START, MessagesState, StateGraph

    def chat():
        return ChatOpenAI(model=model.name, base_url=model.base_url, api_key=model.api_key)

    graph = StateGraph(MessagesState)
    graph.add_node("writer", create_agent(chat(), name="writer"))
    graph.add_node("editor", create_agent(chat(), name="editor"))
    graph.add_edge(START, "writer")
    graph.add_edge("writer", "editor")
    return graph.compile()


def crewai_crew(model):
    from crewai import LLM, Agent, Crew, Task

    llm = LLM(f"openai/{model.name}", base_url=model.base_url, api_key=model.api_key, stream=True)
    writer = Agent(role="writer", goal="write", backstory="You write.", llm=llm)
    editor = Agent(role="editor", goal="edit", backstory="You edit.", llm=llm)
    tasks = [
        Task(description="Write about {prompt}", expected_output="a draft", agent=writer),
        Task(description="Edit it", expected_output="a text", agent=editor),
    ]
    return Crew(agents=[writer, editor], tasks=tasks)


def autogen_team(model):
    from autogen_agentchat.agents import AssistantAgent
    from autogen_agentchat.conditions import MaxMessageTermination
    from autogen_agentchat.teams import RoundRobinGroupChat
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    client = OpenAIChatCompletionClient(
        model=model.name,
        base_url=model.base_url,
        api_key=model.api_key,
        model_info={
            "family": "unknown",
            "vision": False,
            "function_calling": True,
            "json_output": True,
            "structured_output": True,
        },
    )
    members = [AssistantAgent(name, client) for name in ("writer", "editor")]
    return RoundRobinGroupChat(members, termination_condition=MaxMessageTermination(3))


def openai_agents_handoff(model):
    from agents import Agent, OpenAIChatCompletionsModel

    own = OpenAIChatCompletionsModel(model.name, openai_client=model.openai_client())
    editor = Agent("editor", instructions="Edit.", model=own)
    return Agent("writer", instructions="Write, then hand over.", model=own, handoffs=[editor])


def pydantic_ai_agent(model):
    from pydantic_ai import Agent

    return Agent(instructions=f"You answer as {model.name}.")


HANDOFF = [("transfer_to_editor", {})]


@pytest.mark.frameworks
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("name", "builder", "says", "asked"),
    [
        ("langgraph", langgraph_team, ["A draft.", "A text."], 2),
        ("crewai", crewai_crew, ["A draft.", "A text."], 2),
        ("autogen", autogen_team, ["A draft.", "A text."], 2),
        ("openai_agents", openai_agents_handoff, [HANDOFF, "A text."], 2),
        ("pydantic_ai", pydantic_ai_agent, ["A text."], 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_built_with_a_real_framework_runs(tmp_path, installed, name, builder, says, asked):
    """The builder's source goes to the framework's own environment; its model is the run's."""
    from scripted_server import Say

    from tframex_nb.frameworks.environments import Environments

    installed(name)

    async def play(bench):
        bench.frameworks.environments = bench.frameworks.placement.environments = Environments()
        says_calls = [Say(calls=each) if isinstance(each, list) else each for each in says]
        bench.server.say(*says_calls)
        run = await bench.run("a house", name, subject=builder)
        assert run.error is None, run.error
        assert run.text.endswith("A text.")
        assert len(bench.server.requests) == asked
        assert "a house" in str(bench.server.requests[0].messages)
        bench.server.say("never used")
        wrong = await bench.run("a house", name, subject=plain)
        assert isinstance(wrong.error, (FrameworkFailed, InvalidInput))
        assert "str" in wrong.error.message

    on_bench(tmp_path, play, load=False, discovery={"auto_scan": True})


@pytest.mark.frameworks
@pytest.mark.timeout(240)
def test_cells_of_a_real_framework_give_their_names_to_runs(tmp_path, installed):
    """A cell imports the framework, builds with the notebook's tool, and a run uses it."""
    from scripted_server import Say

    from tframex_nb.frameworks.environments import Environments

    installed("pydantic_ai")
    cell = (
        "from pydantic_ai import Agent\nfrom notebook import add\n"
        "mine = Agent(instructions='Add.', tools=[add])"
    )

    async def play(bench):
        bench.frameworks.environments = bench.frameworks.placement.environments = Environments()
        calls = []

        async def call(arguments):
            calls.append(arguments)
            return "3"

        handle = tool_handle("add", call)
        await bench.frameworks.run_cell("pydantic_ai", cell, tools=[handle], log=print)
        bench.server.say(Say(calls=[("add", {"a": 1, "b": 2})]), "Three.")
        run = await bench.run("1 + 2?", "pydantic_ai", subject="mine")
        assert run.text == "Three.", run.error
        assert calls == [{"a": 1, "b": 2}]

    on_bench(tmp_path, play, load=False, discovery={"auto_scan": True})


def tool_handle(name, call):
    from tframex_nb.agents.tools import Tool, tool
    from tframex_nb.frameworks.base import ToolHandle

    known = Tool.of(tool(add))
    loop = asyncio.get_running_loop()
    return ToolHandle(name, known.description, known.parameters, call, loop)
