"""The part of an adapter's contract about approval: no tool acts past the one who is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

from tframex_nb.agents import Agent, Approvals, Decision, tool
from tframex_nb.messages import ApprovalAsked, ApprovalGiven, ToolResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tframex_nb.agents import ApprovalRequest
    from tframex_nb.testing.contract import Bench

__all__ = ["ApprovalsContract"]

SOON = 1.0  # seconds in which a question must be taken back


class ApprovalsContract:
    """What ``FrameworkContract`` proves of approval; it brings ``check``."""

    check: Callable[[Callable[[Bench], Awaitable[None]]], None]

    def test_a_denied_tool_does_not_run_and_the_model_gets_the_reason(self) -> None:
        """The run goes on, and says what was asked and answered."""
        acted: list[tuple[int, int]] = []

        async def test(bench: Bench) -> None:
            bench.needs("tools")
            model = bench.model()
            person = _Person(Decision(allowed=False, reason="not before noon"))
            agent = Agent("calculator", model, tools=[_adder(acted)], system="Use add to add.")
            approve = Approvals().approver("writes", person)
            run = await bench.works(agent, "add 19 and 23", approve=approve)
            assert acted == [], "the tool ran although it was denied"
            assert person.asked[0].framework == bench.name
            assert person.asked[0].agent == "calculator"
            assert json.loads(person.asked[0].call.arguments) == {"a": 19, "b": 23}
            told = json.dumps(model.calls[-1].messages)
            assert "not before noon" in told, "the model never saw the reason"
            assert run.status == "finished"
            kinds = [type(e) for e in run.events if isinstance(e, (ApprovalAsked, ApprovalGiven))]
            assert kinds[:2] == [ApprovalAsked, ApprovalGiven]
            assert next(e.is_error for e in run.events if isinstance(e, ToolResult))

        self.check(test)

    def test_edited_arguments_are_those_that_a_tool_gets(self) -> None:
        """The tool runs once, with what the person wrote; the model is told its result."""
        acted: list[tuple[int, int]] = []

        async def test(bench: Bench) -> None:
            bench.needs("tools")
            model = bench.model()
            person = _Person(Decision(allowed=True, arguments='{"a": 40, "b": 2}'))
            agent = Agent("calculator", model, tools=[_adder(acted)], system="Use add to add.")
            approve = Approvals().approver("writes", person)
            run = await bench.works(agent, "add 19 and 24", approve=approve)
            assert acted == [(40, 2)]
            assert "42" in json.dumps(model.calls[-1].messages), "the model never saw the result"
            assert run.status == "finished"

        self.check(test)

    def test_a_stop_while_somebody_is_asked_ends_the_run_at_once(self) -> None:
        """The question is taken back, the tool does not run, and nothing waits for an answer."""
        acted: list[tuple[int, int]] = []

        async def test(bench: Bench) -> None:
            bench.needs("tools")
            asked, taken_back = asyncio.Event(), asyncio.Event()

            async def ask(_request: ApprovalRequest) -> Decision:
                asked.set()
                try:
                    await asyncio.sleep(60)
                finally:
                    taken_back.set()
                return Decision(allowed=True)

            agent = Agent("calculator", bench.model(), tools=[_adder(acted)])
            task = asyncio.create_task(bench.works(agent, "add 19 and 23", approve=ask))
            await asked.wait()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.wait_for(taken_back.wait(), SOON)
            assert agent.last is not None
            assert agent.last.status == "interrupted"
            assert acted == []

        self.check(test)

    def test_nobody_is_asked_where_the_policy_says_never(self) -> None:
        """Neither about a tool that writes, nor by ``writes`` about one that does not."""
        acted: list[tuple[int, int]] = []

        async def test(bench: Bench) -> None:
            bench.needs("tools")
            person = _Person()
            for policy, writes in (("never", True), ("writes", False)):
                agent = Agent("calculator", bench.model(), tools=[_adder(acted, writes=writes)])
                approve = Approvals().approver(policy, person)  # type: ignore[arg-type]  # by name
                run = await bench.works(agent, "add 19 and 23", approve=approve)
                assert not [e for e in run.events if isinstance(e, ApprovalAsked)]
            assert acted == [(19, 23), (19, 23)]
            assert person.asked == []

        self.check(test)


class _Person:
    """Answers as it is told to, the last answer again and again."""

    def __init__(self, *answers: Decision) -> None:
        self.answers = answers
        self.asked: list[ApprovalRequest] = []

    async def __call__(self, request: ApprovalRequest) -> Decision:
        self.asked.append(request)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


def _adder(acted: list[tuple[int, int]], *, writes: bool = True) -> Callable[[int, int], int]:
    @tool(writes=writes)
    def add(a: int, b: int) -> int:
        """Add two numbers.

        Args:
            a: the first
            b: the second
        """
        acted.append((a, b))
        return a + b

    return add
