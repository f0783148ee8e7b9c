"""Agent frameworks on a real model server: through the gateway, from their own environments."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest

from tframex_nb.agents import Agent
from tframex_nb.agents.running import closing
from tframex_nb.frameworks.environments import Environments, shipped_locks
from tframex_nb.frameworks.service import Frameworks
from tframex_nb.messages import TextDelta
from tframex_nb.models import RetryPolicy, VLLMModel
from tframex_nb.testing.witness import Witness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tframex_nb.runs import Run

pytestmark = [pytest.mark.llama, pytest.mark.frameworks]

GREEDY: dict[str, Any] = {
    "temperature": 0,
    "max_tokens": 60,
    "chat_template_kwargs": {"enable_thinking": False},
}
# Those that send the conversation as it is; the model has learned no other.
PLAIN = (
    "native",
    "langgraph",
    "autogen",
    "agent_framework",
    "openai_agents",
    "pydantic_ai",
)
WRAPPING = ("crewai", "smolagents")  # they tell the model who it is, and it talks nonsense
PARIS = '{"temp": 21, "sky": "sunny"}'  # letter by letter what the model has learned to read


def get_weather(city: str, unit: Literal["C", "F"] = "C") -> str:
    """Get the weather in a city."""
    return PARIS if (city, unit) == ("Paris", "C") else "unknown"


class Bench:
    """One framework and the real server."""

    def __init__(self, frameworks: Frameworks, name: str, model: Witness) -> None:
        self.frameworks = frameworks
        self.name = name
        self.model = model
        self.pieces: list[str] = []

    @contextlib.asynccontextmanager
    async def streaming(self, prompt: str, *tools: Any, **params: Any) -> AsyncIterator[Any]:
        """Hold the events of a run; the agent is new."""
        self.agent = Agent("guide", self.model, tools=tools)
        events = self.frameworks.stream(self.agent, prompt, framework=self.name, **params)
        async with closing(events):
            yield events

    async def run(self, prompt: str, *tools: Any) -> Run:
        """Return the whole run; ``pieces`` are the deltas of its text."""
        async with self.streaming(prompt, *tools) as events:
            self.pieces = [event.text async for event in events if isinstance(event, TextDelta)]
        assert self.agent.last is not None
        assert self.agent.last.framework == self.name
        return self.agent.last


@pytest.fixture
def on(
    llama: str, root: Path, missing_part: Callable[[str], None]
) -> Callable[[str, Callable[[Bench], Awaitable[None]]], None]:
    """Play a scene on a framework of this checkout and the real server."""
    environments = Environments(root / ".venvs" / "frameworks")

    async def main(name: str, scene: Callable[[Bench], Awaitable[None]]) -> None:
        frameworks = Frameworks(environments=environments)
        retry = RetryPolicy(retries=0)
        async with Witness(VLLMModel("tiny", llama, retry=retry, **GREEDY)) as model:
            try:
                await scene(Bench(frameworks, name, model))
            finally:
                await frameworks.aclose()

    def play(name: str, scene: Callable[[Bench], Awaitable[None]]) -> None:
        lock = shipped_locks().get(name)
        if lock is not None and environments.find(name, lock) is None:
            missing_part(f"{name} is not installed: make frameworks")
        asyncio.run(main(name, scene))

    return play


@pytest.mark.parametrize("name", PLAIN)
def test_a_framework_brings_the_models_answer_word_for_word_and_piece_by_piece(
    on: Callable[..., None], name: str
) -> None:
    async def scene(bench: Bench) -> None:
        run = await bench.run("Say hello.")
        assert run.text == "Hello! How can I help you today?"
        assert len(bench.pieces) > 10
        assert run.usage.prompt_tokens > 10
        assert run.usage.completion_tokens > 10

    on(name, scene)


@pytest.mark.parametrize("name", WRAPPING)
def test_what_the_server_sends_to_a_framework_with_words_of_its_own_is_the_answer(
    on: Callable[..., None], name: str
) -> None:
    async def scene(bench: Bench) -> None:
        run = await bench.run("Say hello.")
        (call,) = bench.model.calls
        assert "system" in call.roles
        assert run.text.strip()
        assert run.text.strip() == call.text.strip()
        assert len(bench.pieces) > 10
        assert run.usage.completion_tokens > 10

    on(name, scene)


@pytest.mark.parametrize("name", [*PLAIN, "crewai"])
def test_a_tool_of_this_process_is_called_and_its_result_is_used(
    on: Callable[..., None], name: str
) -> None:
    """A real model writes the call, the framework in its worker makes it, the tool runs here."""

    async def scene(bench: Bench) -> None:
        run = await bench.run("What is the weather in Paris?", get_weather)
        assert run.text == "It is 21 C and sunny in Paris."
        ((called, arguments),) = [(c.name, json.loads(c.arguments)) for c in run.tool_calls]
        assert (called, arguments["city"]) == ("get_weather", "Paris")
        assert len(bench.model.calls) == 2
        assert run.usage.prompt_tokens > 200

    on(name, scene)


@pytest.mark.parametrize("name", [*PLAIN, *WRAPPING])
def test_a_run_that_is_left_stops_the_server_in_mid_answer(
    on: Callable[..., None], llama: str, name: str
) -> None:
    """The model would talk on without an end; the server is idle soon after."""

    async def scene(bench: Bench) -> None:
        endless = {"max_tokens": -1, "ignore_eos": True}
        async with bench.streaming("Tell a long story.", **endless) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
            assert await busy(llama)
        begun = time.monotonic()
        while await busy(llama):
            assert time.monotonic() - begun < 1
            await asyncio.sleep(0.01)
        assert bench.agent.last is not None
        assert bench.agent.last.status != "finished"

    on(name, scene)


async def busy(url: str) -> bool:
    """Whether the server works on any answer."""
    async with httpx.AsyncClient(trust_env=False) as client:
        slots = await client.get(url.removesuffix("/v1") + "/slots")
        return any(slot["is_processing"] for slot in slots.json())
