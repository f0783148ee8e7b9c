"""Approval: who is asked before a tool acts, what an answer does, what is remembered."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from scripted_server import Say

from tframex_nb.agents import Agent, ApprovalRequest, Approvals, Decision, Tool, tool
from tframex_nb.agents.toolbox import Toolbox
from tframex_nb.errors import AgentError, InvalidInput
from tframex_nb.messages import (
    ApprovalAsked,
    ApprovalGiven,
    ToolCall,
    ToolCallStarted,
    ToolResult,
    event_from_dict,
)
from tframex_nb.transcript import to_markdown, to_text


class Person:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self, *answers: Decision) -> None:
        self.answers = list(answers)
        self.asked: list[ApprovalRequest] = []

    @property
    def names(self) -> list[str]:
        return [request.call.name for request in self.asked]

    async def __call__(self, request: ApprovalRequest) -> Decision:
        self.asked.append(request)
        await asyncio.sleep(0)
        return self.answers.pop(0)


YES, NO = Decision(allowed=True), Decision(allowed=False, reason="not today")


@pytest.fixture
def done() -> list:
    return []


@pytest.fixture
def tools(done):
    """One tool that writes, one that reads, one that is asynchronous."""

    @tool(writes=True)
    def save(path: str) -> str:
        done.append(path)
        return f"saved {path}"

    def look(path: str) -> str:
        done.append(f"looked at {path}")
        return "seen"

    @tool(writes=True)
    async def send(to: str) -> str:
        done.append(to)
        return f"sent to {to}"

    return save, look, send


def call(name: str, number: int = 1, **arguments: object) -> ToolCall:
    return ToolCall(f"c{number}", name, json.dumps(arguments))


def ran(tools, calls, approve) -> list:
    """Run calls; return the events."""

    async def scene():
        return [event async for event in Toolbox(tools).run(calls, approve=approve, agent="a")]

    return asyncio.run(scene())


def test_an_allowed_call_runs_between_question_answer_and_result(tools, done):
    events = ran(tools, [call("save", path="x")], Person(YES))
    asked, given, result = events
    assert asked == ApprovalAsked("c1", "save", '{"path": "x"}')
    assert given == ApprovalGiven("c1", "save", allowed=True)
    assert (result.content, result.is_error) == ("saved x", False)
    assert done == ["x"]


def test_a_denied_call_never_runs_and_the_model_is_told_why(tools, done):
    _, given, result = ran(tools, [call("save", path="x")], Person(NO))
    assert (given.allowed, given.reason) == (False, "not today")
    assert result.is_error
    assert "was not run" in result.content
    assert "not today" in result.content
    assert done == []


def test_edited_arguments_are_those_that_run_and_the_model_knows(tools, done):
    edited = Decision(allowed=True, arguments='{"path": "y"}')
    _, given, result = ran(tools, [call("save", path="x")], Person(edited))
    assert given.arguments == '{"path": "y"}'
    assert done == ["y"]
    assert '{"path": "y"}' in result.content
    assert result.content.endswith("saved y")


def test_edited_arguments_are_validated_as_a_models_are(tools, done):
    edited = Decision(allowed=True, arguments='{"way": "y"}')
    *_, result = ran(tools, [call("save", path="x")], Person(edited))
    assert result.is_error
    assert "Invalid arguments for save" in result.content
    assert done == []


@pytest.mark.parametrize(
    "arguments", ["{", '{"way": 1}', "[1]", '{"path": "a", "path": "b"}'], ids=repr
)
def test_a_call_that_cannot_run_is_not_asked_about(tools, done, arguments):
    """What stands twice is no call either: a person and the tool might read it differently."""
    person = Person()
    (result,) = ran(tools, [ToolCall("c", "save", arguments)], person)
    assert result.is_error
    assert "Invalid arguments for save" in result.content
    assert (person.asked, done) == ([], [])


def test_a_batch_is_asked_about_one_after_the_other_then_runs(tools, done):
    """Two asynchronous calls and one between: the denied one alone is left out."""
    calls = [call("send", 1, to="a"), call("send", 2, to="b"), call("send", 3, to="c")]
    events = ran(tools, calls, Person(YES, NO, YES))
    assert [e.type for e in events] == ["approval_asked", "approval_given"] * 3 + [
        "tool_result"
    ] * 3
    assert [(e.id, e.is_error) for e in events[6:]] == [
        ("c1", False),
        ("c2", True),
        ("c3", False),
    ]
    assert sorted(done) == ["a", "c"]


def test_a_policy_says_what_is_asked_about(tools, done):
    """``all`` asks about every tool, ``writes`` about those that write, ``never`` about none."""
    calls = [call("save", 1, path="x"), call("look", 2, path="x")]
    for policy, names in (("all", ["save", "look"]), ("writes", ["save"]), ("never", [])):
        person = Person(YES, YES)
        ran(tools, calls, Approvals().approver(policy, person))
        assert person.names == names, policy
    assert len(done) == 6


def test_an_unknown_policy_is_refused():
    with pytest.raises(InvalidInput, match="'often' is no policy") as caught:
        Approvals().approver("often", Person())
    assert caught.value.hint == "it is one of all, writes, never"


def test_a_tool_that_its_server_makes_into_another_is_asked_about_again():
    """A server may first offer what is harmless, and change it once it is allowed for good."""

    @tool(name="read", writes=True)
    def harmless(path: str) -> str:
        return path

    @tool(name="read", writes=True)
    def other(path: str, send_to: str = "") -> str:
        return path + send_to

    approvals, person = Approvals(), Person(Decision(allowed=True, always=True), NO)
    first, second = (replace(Tool.of(each), origin="mcp:x") for each in (harmless, other))

    async def main():
        approve = approvals.approver("writes", person)
        for each in (first, first, second):
            call = ToolCall("1", "read", '{"path": "a"}')
            _ = [event async for event in Toolbox([each]).run([call], approve=approve)]

    asyncio.run(main())
    assert [request.tool for request in person.asked] == [first, second]


def test_what_is_always_allowed_is_not_asked_about_again(tools, done):
    """It holds for this tool, by name and origin, and for no other memory."""
    approvals, person = Approvals(), Person(Decision(allowed=True, always=True), YES, YES)
    for _ in range(3):
        ran(tools, [call("save", path="x")], approvals.approver("writes", person))
    assert person.names == ["save"]
    assert approvals.always == ("save",)
    other = Tool.of(tool(lambda path: done.append("other"), name="save", writes=True))
    ran([other], [call("save", path="x")], approvals.approver("writes", person))
    assert person.names == ["save", "save"]
    ran(tools, [call("save", path="x")], Approvals().approver("writes", person))
    assert len(person.asked) == 3


def test_a_denial_is_not_remembered(tools, done):
    approvals, person = Approvals(), Person(NO, Decision(allowed=False, always=True), YES)
    for _ in range(3):
        ran(tools, [call("save", path="x")], approvals.approver("writes", person))
    assert done == ["x"]


def test_runs_at_the_same_time_are_asked_about_one_at_a_time(tools):
    approvals, open_now, most = Approvals(), [], []

    async def ask(request):
        open_now.append(request)
        most.append(len(open_now))
        await asyncio.sleep(0.01)
        open_now.remove(request)
        return Decision(allowed=True, always=request.call.name == "save")

    async def one(name: str, **arguments: str) -> None:
        approve = approvals.approver("writes", ask)
        async for _ in Toolbox(tools).run([call(name, **arguments)], approve=approve):
            pass

    async def scene():
        await asyncio.gather(*(one("save", path="x") for _ in range(3)), one("send", to="a"))

    asyncio.run(scene())
    assert most == [1, 1], "those that wait do not ask again what was allowed for good"


def test_an_answer_that_is_no_decision_is_an_error(tools, done):
    async def yes(_request):
        return True

    with pytest.raises(AgentError, match="approve returned a bool for 'save'"):
        ran(tools, [call("save", path="x")], yes)
    assert done == []


def test_a_run_asks_tells_the_model_and_shows_it(server, play, tools, done):
    """The agent's run: the question, the answer in one line, and the model's next call."""
    server.say(Say(calls=[("save", {"path": "x"})]), "Well.", Say(calls=[("save", {"path": "x"})]))
    server.say("Done.")
    edited = Decision(allowed=True, arguments='{"path": "<b>y</b>"}')

    async def scene(model):
        agent = Agent("boss", model, tools=tools)
        person = Person(NO, edited)
        await agent.run("go", approve=person)
        denied = agent.last
        await agent.run("go", approve=person)
        return denied, agent.last, person

    denied, allowed, person = play(scene)
    assert person.asked[0].agent == "boss"
    assert person.asked[0].tool.writes
    assert "not today" in server.requests[1].texts[-1]
    assert denied.status == "finished"
    assert "save: denied: not today" in to_text(denied)
    assert "save: allowed, arguments edited" in to_text(allowed)
    assert 'save(path="<b>y</b>")' in to_text(allowed), "the arguments that ran are shown"
    assert "<b>" not in to_markdown(allowed)
    assert done == ["<b>y</b>"]


def test_nobody_is_asked_in_plain_python(server, play, tools, done):
    server.say(Say(calls=[("save", {"path": "x"})]), "Done.")

    async def scene(model):
        agent = Agent("boss", model, tools=tools)
        await agent.run("go")
        return agent.last

    run = play(scene)
    assert done == ["x"]
    assert not [e for e in run.events if isinstance(e, (ApprovalAsked, ApprovalGiven))]


def nested(server, play, made, person):
    """Let a boss ask a helper, whose model calls save; return the boss's run."""
    server.say(Say(calls=[("helper", {"prompt": "p"})]), Say(calls=[("save", {"path": "x"})]))
    server.say("mm", "done")

    async def scene(model):
        boss = Agent("boss", model, tools=[made(model)])
        await boss.run("go", approve=Approvals().approver("writes", person))
        return boss.last

    return play(scene)


def test_an_agent_as_a_tool_asks_whom_its_caller_asks(server, play, tools, done):
    """The outer run tells of it, too, under the call that asked the agent."""
    person = Person(NO)
    run = nested(server, play, lambda _: Agent("helper", tools=tools), person)
    assert [(r.agent, r.call.name) for r in person.asked] == [("helper", "save")]
    assert done == []
    assert "not today" in server.requests[2].texts[-1]
    told = [e for e in run.events if isinstance(e, ApprovalGiven)]
    (outer,) = (e for e in run.events if isinstance(e, ToolCallStarted))
    assert [e.id.startswith(f"{outer.id}/") for e in told] == [True]
    assert "save: denied: not today" in to_text(run)


@pytest.mark.parametrize("thread", [False, True], ids=["awaited", "in a thread"])
def test_an_agent_that_a_tool_asks_in_its_own_way_asks_too(server, play, tools, done, thread):
    def made(model):
        inner = Agent("inner", model, tools=tools)

        async def helper(prompt: str) -> str:
            return await inner.run(prompt)

        def blocking(prompt: str) -> str:
            return inner.run_sync(prompt)

        return tool(blocking, name="helper", thread=True) if thread else helper

    person = Person(NO)
    nested(server, play, made, person)
    assert [r.agent for r in person.asked] == ["inner"]
    assert done == []


def test_a_stop_while_it_asks_ends_the_run_and_nothing_ran(server, play, tools, done):
    server.say(Say("I save.", calls=[("save", {"path": "x"})]))
    asked = asyncio.Event()
    taken_back = []

    async def ask(_request):
        asked.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            taken_back.append(True)
            raise

    async def scene(model):
        agent = Agent("boss", model, tools=tools)
        task = asyncio.create_task(agent.run("go", approve=ask))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return agent.last

    run = play(scene)
    assert run.status == "interrupted"
    assert run.text == "I save."
    assert taken_back == [True]
    assert done == []


def test_the_events_cross_a_wire_as_they_are():
    for event in (
        ApprovalAsked("c", "save", '{"path": 1}'),
        ApprovalGiven("c", "save", allowed=False, reason="no"),
        ApprovalGiven("c", "save", allowed=True, arguments="{}"),
    ):
        assert event_from_dict(json.loads(json.dumps(event.to_dict()))) == event


def test_results_keep_their_order_for_the_model(server, play, tools, done):
    """A denied call beside an allowed one: each result stands at its call."""
    server.say(
        Say(calls=[("save", {"path": "a"}), ("send", {"to": "b"}), ("look", {"path": "c"})]),
        "Done.",
    )

    async def scene(model):
        agent = Agent("boss", model, tools=tools)
        await agent.run("go", approve=Approvals().approver("writes", Person(NO, YES)))
        return agent.last

    run = play(scene)
    results = [e for e in run.events if isinstance(e, ToolResult)]
    assert [(r.name, r.is_error) for r in results] == [
        ("save", True),
        ("send", False),
        ("look", False),
    ]
    assert done == ["b", "looked at c"]
