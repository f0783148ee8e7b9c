"""An adapter of the user's that is made of one that comes with the package."""

from __future__ import annotations

import asyncio

import pytest

from tframex_nb.agents import Agent
from tframex_nb.frameworks.service import Frameworks
from tframex_nb.runs import collect

ADAPTER = '''
from tframex_nb.frameworks.adapters.pydantic_ai import PydanticAIFramework
from tframex_nb.messages import TextDelta


class Loud(PydanticAIFramework):
    """Pydantic AI, louder."""

    name = "loud"

    async def execute_agent_streaming(self, request):
        async for event in super().execute_agent_streaming(request):
            yield TextDelta(event.text.upper()) if isinstance(event, TextDelta) else event
'''


@pytest.mark.frameworks
def test_it_runs_in_an_environment_made_from_the_same_lock(installed, tmp_path):
    """The lock is found beside the class that names it, and the worker has that class, too."""
    installed("pydantic_ai")
    file = tmp_path / "loud.py"
    file.write_text(ADAPTER)

    async def main():
        frameworks = Frameworks()
        try:
            await frameworks.start()
            await frameworks.load(str(file))
            found = frameworks.readiness("loud")
            if not found.ready:  # environments are kept by name: it wants one of its own
                assert found.hint == "%frameworks install loud"
                await frameworks.install("loud", progress=lambda _: None, offline=True)
            run = await collect(frameworks.stream(Agent("a", "demo:fast"), "hi", framework="loud"))
            assert run.text.startswith("# DEMO ANSWER")
            await frameworks.remove("loud")
        finally:
            await frameworks.aclose()

    asyncio.run(main())
