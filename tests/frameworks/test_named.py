"""An agent that names a framework runs on it, or says why not: never on another in silence."""

from __future__ import annotations

import asyncio

import pytest

from tframex_nb.agents import Agent
from tframex_nb.errors import AgentError
from tframex_nb.frameworks import NATIVE, FrameworkIntegration, Frameworks
from tframex_nb.messages import TextDelta
from tframex_nb.runs import collect


class Echo(FrameworkIntegration):
    """Says what it was asked."""

    name = "echo"
    capabilities = {"streaming": NATIVE}  # noqa: RUF012 - as people write it

    async def execute_agent_streaming(self, request):
        yield TextDelta(f"echo of {request.prompt}")


def test_plain_python_is_told_how_to_run_it():
    """``run`` of an agent that names a framework does not run natively instead."""
    agent = Agent("clerk", "demo:fast", framework="echo")
    with pytest.raises(AgentError, match=r"names the framework 'echo'") as caught:
        agent.run_sync("hi")
    assert "Frameworks().stream(agent, prompt)" in caught.value.hint
    assert agent.last is None


def test_an_agent_that_was_handed_the_frameworks_runs_on_its_own():
    """By itself, as a tool of another agent, and natively where that is asked for."""

    async def main():
        frameworks = Frameworks()
        await frameworks.start()
        try:
            await frameworks.load(Echo)
            clerk = Agent("clerk", "demo:fast", framework="echo")
            run = await collect(frameworks.stream(clerk, "one"))
            assert (run.framework, run.text) == ("echo", "echo of one")
            assert await clerk.run("two") == "echo of two"
            assert clerk.last.framework == "echo"
            boss = Agent("boss", "demo:fast", tools=[clerk])
            run = await collect(boss.stream("clerk(prompt='three')"))
            assert "echo of three" in next(m.text for m in run.messages if m.role == "tool")
            run = await collect(frameworks.stream(clerk, "four", framework="native"))
            assert run.framework == "native"
            assert "echo of" not in run.text
        finally:
            await frameworks.aclose()

    asyncio.run(main())


def test_the_repr_tells_framework_and_template():
    agent = Agent("clerk", "demo", framework="crewai", template_id="workflow-agent")
    assert "framework crewai, template workflow-agent" in repr(agent)
