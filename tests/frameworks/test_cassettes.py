"""Every framework is recorded and replayed through the one model that it speaks to."""

from __future__ import annotations

import asyncio

import pytest

from tframex_nb import Agent
from tframex_nb.errors import CassetteMiss, ModelError, ModelNotFound
from tframex_nb.frameworks.service import Frameworks
from tframex_nb.messages import TextDelta, ToolResult
from tframex_nb.models import VLLMModel
from tframex_nb.models.cassette import shared_cassettes
from tframex_nb.models.demo import DemoServer

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(240)]

NAMES = (
    "native",
    "langgraph",
    "crewai",
    "autogen",
    "agent_framework",
    "openai_agents",
    "pydantic_ai",
    "smolagents",
)


def weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: its name.
    """
    return f"{city}: sunny, 21 degrees"


@pytest.fixture
def cassettes(tmp_path):
    found = shared_cassettes()
    yield lambda mode: found.use(mode, folder=tmp_path / "tapes", name="test")
    found.use(None)


@pytest.fixture
def demo():
    """A demo server and models on it; replay comes after it has stopped."""
    server = DemoServer()
    url, token = server.url, server.token
    yield server, lambda name="demo:fast": VLLMModel(name, url, token)
    server.stop()


async def dialogue(name, model, prompts):
    """Ask an agent on a framework; return what people see of each run, and its notes."""
    frameworks, seen = Frameworks(), []
    agent = Agent("guide", model=model, tools=[weather], system="Answer in one sentence.")
    try:
        for prompt in prompts:
            try:
                async for _ in frameworks.stream(agent, prompt, framework=name):
                    pass
            except ModelError as exc:
                seen.append((type(exc), exc.message, agent.last.notes))
                continue
            seen.append((outputs(agent.last), agent.last.notes))
    finally:
        await model.aclose()
        await frameworks.aclose()
    return seen


def outputs(run):
    results = [(e.name, e.content) for e in run.events if isinstance(e, ToolResult)]
    said = "".join(e.text for e in run.events if isinstance(e, TextDelta))
    return run.text, said, results, run.usage, run.finish_reason, run.reasoning


PROMPTS = ("What is the weather in Oslo?", "And what did I ask before?")


@pytest.mark.parametrize("name", NAMES)
def test_a_dialogue_is_replayed_offline_twice_with_the_same_outputs(
    name, installed, cassettes, demo
):
    """A tool is called, a second turn remembers the first; the server is gone by the replays."""
    installed(name)
    server, model = demo
    cassettes("record")
    recorded = asyncio.run(dialogue(name, model(), PROMPTS))
    assert [notes for _, notes in recorded] == [("recorded",), ("recorded",)]
    assert ("weather", "Oslo: sunny, 21 degrees") in recorded[0][0][2]
    server.stop()
    for _ in range(2):
        cassettes("replay")
        replayed = asyncio.run(dialogue(name, model(), PROMPTS))
        assert [notes for _, notes in replayed] == [("replayed",), ("replayed",)]
        assert [seen for seen, _ in replayed] == [seen for seen, _ in recorded]


@pytest.mark.parametrize("name", ["native", "langgraph", "crewai"])
def test_a_miss_and_a_recorded_error_are_what_a_run_fails_with(name, installed, cassettes, demo):
    installed(name)
    server, model = demo
    cassettes("record")
    recorded = asyncio.run(dialogue(name, model("nobody"), PROMPTS[:1]))
    assert recorded[0][0] is ModelNotFound
    asyncio.run(dialogue(name, model(), PROMPTS[:1]))
    server.stop()
    cassettes("replay")
    again = asyncio.run(dialogue(name, model("nobody"), PROMPTS[:1]))
    assert again[0][:2] == recorded[0][:2]
    missed = asyncio.run(dialogue(name, model(), ["What is the weather in Rome?"]))
    assert missed[0][0] is CassetteMiss
    assert "is not recorded" in missed[0][1]


@pytest.mark.parametrize("name", ["native", "langgraph", "crewai"])
def test_auto_asks_only_what_is_new(name, installed, cassettes, demo):
    installed(name)
    _, model = demo
    cassettes("auto")
    first = asyncio.run(dialogue(name, model(), PROMPTS[:1]))
    cassettes("auto")
    second = asyncio.run(dialogue(name, model(), PROMPTS))
    assert first[0][1] == ("recorded",)
    assert [notes for _, notes in second] == [("replayed",), ("recorded",)]
    assert second[0][0] == first[0][0]
