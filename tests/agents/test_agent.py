"""The tool loop: calls, results, errors that a model can mend, bounds."""

from __future__ import annotations

import asyncio
import threading

import pytest
from scripted_server import Say

from tframex_nb.agents import Agent, tool
from tframex_nb.errors import AgentError, BadRequest, InvalidInput, StepLimitReached, ToolError
from tframex_nb.messages import (
    MessageFinished,
    RunFailed,
    RunFinished,
    RunStarted,
    TextDelta,
    ToolCallStarted,
    ToolResult,
)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def results(agent):
    """The tool results of an agent's last run."""
    return [e for e in agent.last.events if isinstance(e, ToolResult)]


def ask(play, *, tools, prompt="go", **options):
    """Let an agent answer one prompt; return the agent."""

    async def scene(model):
        agent = Agent("calc", model, tools=tools, **options)
        await agent.run(prompt)
        return agent

    return play(scene)


def test_the_loop_calls_a_tool_and_answers_with_its_result(server, play):
    """The model sees the tool's schema, then its own call with the result beside it."""
    server.say(Say("Let me see. ", calls=[("add", {"a": 1, "b": "2"})]), "It is three.")
    agent = ask(play, tools=[add], prompt="1 + 2?", system="You calculate.")
    assert agent.last.text == "It is three."
    first, second = server.requests
    assert first.roles == ["system", "user"]
    assert first.tool_names == ["add"]
    assert second.roles == ["system", "user", "assistant", "tool"]
    assert second.messages[2]["tool_calls"][0]["id"] == second.messages[3]["tool_call_id"]
    assert second.messages[3]["content"] == "3"


def test_events_of_a_run_come_in_their_order(server, play):
    """RunStarted first, text before the tool call stays, one terminal event last."""
    server.say(Say("Hm. ", calls=[("add", {"a": 1, "b": 2})]), "3")
    agent = ask(play, tools=[add])
    kinds = [type(e) for e in agent.last.events]
    order = (RunStarted, TextDelta, ToolCallStarted, MessageFinished, ToolResult, RunFinished)
    first = [kinds.index(kind) for kind in order]
    assert first == sorted(first)
    assert first[0] == 0
    assert first[-1] == len(kinds) - 1
    assert agent.last.usage.total_tokens == 10
    assert agent.last.messages[1].text == "Hm. "


def test_async_tools_run_at_the_same_time_and_answer_in_order(server, play):
    """Two neighbouring async calls meet inside; the results keep the order of the calls."""
    calls = [("slow", {"x": "a"}), ("fast", {"x": "b"})]
    server.say(Say(calls=calls), "done")
    met = asyncio.Event()

    async def slow(x: str) -> str:
        await met.wait()
        return f"slow {x}"

    async def fast(x: str) -> str:
        met.set()
        return f"fast {x}"

    agent = ask(play, tools=[slow, fast])
    assert [r.content for r in results(agent)] == ["slow a", "fast b"]


def test_sync_tools_run_alone_on_the_thread_of_the_run_in_order(server, play):
    """Nothing else runs while a synchronous tool does, and an async one waits its turn."""
    server.say(Say(calls=[("sync", {"x": 1}), ("other", {"x": 2}), ("sync", {"x": 3})]), "done")
    seen = []

    def sync(x: int) -> None:
        seen.append((x, threading.get_ident()))

    async def other(x: int) -> None:
        seen.append((x, threading.get_ident()))

    ask(play, tools=[sync, other])
    assert seen == [(x, threading.get_ident()) for x in (1, 2, 3)]


def test_a_tool_may_opt_into_a_thread(server, play):
    """thread=True leaves the loop free: two blocking tools wait for each other."""
    server.say(Say(calls=[("wait", {"side": 0}), ("wait", {"side": 1})]), "done")
    barrier = threading.Barrier(2)

    @tool(thread=True)
    def wait(side: int) -> str:
        barrier.wait(10)
        return f"{side} met, main thread: {threading.current_thread() is threading.main_thread()}"

    agent = ask(play, tools=[wait])
    assert [r.content for r in results(agent)] == [
        f"{side} met, main thread: False" for side in (0, 1)
    ]


def test_objects_of_the_loop_work_inside_tools(server, play):
    """A queue that a task of the same loop feeds can be awaited in a tool."""
    server.say(Say(calls=[("take", {})]), "done")

    async def scene(model):
        queue = asyncio.Queue(1)

        async def take() -> str:
            return await queue.get()

        agent = Agent("a", model, tools=[take])
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.run("go"))
            group.create_task(queue.put("fed by a task"))
        return agent

    assert results(play(scene))[0].content == "fed by a task"


def test_the_bound_on_steps_ends_a_loop_and_keeps_the_text(server, play):
    """After max_steps model calls the run fails, typed, with the text so far and a next move."""
    server.answer = lambda _: Say("Still at it. ", calls=[("add", {"a": 1, "b": 1})])

    async def scene(model):
        agent = Agent("calc", model, tools=[add], max_steps=3)
        with pytest.raises(StepLimitReached) as caught:
            await agent.run("count")
        return agent, caught.value

    agent, error = play(scene)
    assert error.message == "'calc' used up its 3 model calls and still wants to call add"
    assert error.hint == "raise max_steps, or ask for less at a time"
    assert error.received == "Still at it. "
    assert len(server.requests) == 3
    assert len(results(agent)) == 2
    assert agent.last.status == "failed"
    assert isinstance(agent.last.events[-1], RunFailed)


def test_a_forced_tool_choice_holds_for_the_first_call_only(server, play):
    """Forced again after the result, a call would never end."""
    server.say(Say(calls=[("add", {"a": 1, "b": 1})]), "2")

    async def scene(model):
        return await Agent("calc", model, tools=[add]).run("go", tool_choice="required")

    assert play(scene) == "2"
    assert [r.body["tool_choice"] for r in server.requests] == ["required", "auto"]


def test_tools_and_steps_can_be_given_for_one_run(server, play):
    """The run's tools replace the agent's own; the agent keeps its own."""
    server.say("one", "two", "three")

    async def scene(model):
        agent = Agent("a", model, tools=[add])
        await agent.run("x", tools=[divmod_of])
        await agent.run("y", tools=[])
        await agent.run("z", max_steps=1, temperature=0)

    def divmod_of(a: int, b: int) -> tuple[int, int]:
        return divmod(a, b)

    play(scene)
    assert [r.tool_names for r in server.requests] == [["divmod_of"], [], ["add"]]
    assert server.requests[2].body["temperature"] == 0
    assert "max_steps" not in server.requests[2].body


def test_an_answer_of_only_a_tool_call_has_empty_text_then_the_last_message(server, play):
    """The answer of a run of several steps is the text of the last message."""
    server.say(Say(calls=[("add", {"a": 2, "b": 2})]), Say(["fo", "ur"], usage=(7, 1)))
    agent = ask(play, tools=[add])
    assert agent.last.text == "four"
    assert str(agent.last) == "four"
    assert [m.role for m in agent.last.messages] == ["user", "assistant", "tool", "assistant"]


def test_two_tools_of_one_name_are_refused_naming_both():
    """The error names both functions and how to tell them apart."""

    def other():
        return tool(lambda a: a, name="add")

    with pytest.raises(ToolError) as caught:
        Agent("a", tools=[add, other()])
    assert "two tools are called 'add'" in caught.value.message
    assert f"{__name__}.add and " in caught.value.message
    assert "other.<locals>.<lambda>" in caught.value.message
    assert caught.value.hint == 'give one another name: tool(function, name="…")'


@pytest.mark.parametrize("thing", ["add", 3, {"type": "function"}], ids=["name", "int", "dict"])
def test_what_is_no_tool_is_refused(thing):
    """Only functions, agents and Tools can be tools."""
    with pytest.raises(ToolError, match="not a tool") as caught:
        Agent("a", tools=[thing])
    assert caught.value.hint == "pass a function, an Agent or a Tool"


def test_no_steps_at_all_are_refused():
    """An agent must be able to ask once; the error is a ValueError too."""
    with pytest.raises(InvalidInput, match="could not ask its model even once"):
        Agent("a", max_steps=0)
    assert issubclass(InvalidInput, ValueError)


def test_the_repr_tells_model_tools_and_turns(server, play):
    """What is worth knowing at a glance."""
    server.say("hello")
    agent = ask(play, tools=[add, tool(add, name="plus")])
    assert repr(agent) == "<Agent 'calc' on scripted: tools add, plus, 1 turn>"
    assert repr(Agent("x")) == "<Agent 'x' on the default model: no tools, 0 turns>"


def test_a_fault_in_the_second_step_keeps_the_first(server, play):
    """A model error after a tool fails the run with everything before it kept."""
    server.say(Say("Looking. ", calls=[("add", {"a": 1, "b": 1})]), Say(status=400, error="no"))

    async def scene(model):
        agent = Agent("calc", model, tools=[add])
        with pytest.raises(BadRequest):
            await agent.run("go")
        return agent

    agent = play(scene)
    assert agent.last.status == "failed"
    assert agent.last.text == "Looking. "
    assert [t.status for t in agent.conversation] == ["failed"]


def test_something_that_is_no_model_is_refused_when_the_run_begins():
    """The run fails, typed; nothing else happens."""
    agent = Agent("a", model=object())
    with pytest.raises(AgentError, match="is no model"):
        agent.run_sync("hi")
    assert [type(e) for e in agent.last.events] == [RunStarted, RunFailed]


def test_tools_and_memory_can_be_changed_between_runs(server, play):
    """A cell gives a known agent new tools, or another memory; bad ones are refused at once."""
    server.say("A", "B")

    async def scene(model):
        agent = Agent("a", model)
        await agent.run("a")
        agent.tools = [add]
        agent.memory = 0
        await agent.run("b")
        return agent

    agent = play(scene)
    assert server.requests[1].tool_names == ["add"]
    assert server.requests[1].texts == ["b"]
    assert agent.memory == 0
    with pytest.raises(ToolError):
        agent.tools = [3]
    with pytest.raises(InvalidInput):
        agent.memory = -1
    assert [t.name for t in agent.tools] == ["add"]
