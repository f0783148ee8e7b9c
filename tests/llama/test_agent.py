"""An agent with real Python tools on a real server: it calls, reads the results and answers."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest

from tframex_nb.agents import Agent
from tframex_nb.messages import RunFinished, ToolResult
from tframex_nb.models import VLLMModel

pytestmark = pytest.mark.llama

GREEDY: dict[str, Any] = {
    "temperature": 0,
    "max_tokens": 400,
    "chat_template_kwargs": {"enable_thinking": False},
}
# Letter by letter what the model has learned to read: with other spaces it may misread.
WEATHER = {"Paris": '{"temp": 21, "sky": "sunny"}', "Oslo": '{"temp": 4, "sky": "rain"}'}


def get_weather(city: str, unit: Literal["C", "F"] = "C") -> str:
    """Get the weather in a city."""
    assert unit == "C"
    return WEATHER[city]


async def add(a: int, b: int) -> int:
    """Add two integers."""
    return a + b


def run(url: str, prompt: str, tools: list[Any]) -> tuple[str, list[ToolResult], Any]:
    """Let an agent answer; return the text, the tools' results and the last event."""

    async def ask() -> list[Any]:
        async with VLLMModel("tiny", url, **GREEDY) as model:
            return [event async for event in Agent("guide", model, tools=tools).stream(prompt)]

    events = asyncio.run(ask())
    results = [event for event in events if isinstance(event, ToolResult)]
    assert isinstance(events[-1], RunFinished)
    return events[-1].text, results, events


def test_a_tool_is_called_and_its_result_is_used(llama: str) -> None:
    text, results, _ = run(llama, "What is the weather in Paris?", [get_weather])
    assert text == "It is 21 C and sunny in Paris."
    assert [(r.name, r.is_error) for r in results] == [("get_weather", False)]


def test_two_tools_in_one_turn_sync_and_async(llama: str) -> None:
    text, results, _ = run(llama, "Weather in Oslo, and add 2 and 3.", [get_weather, add])
    assert text == "It is 4 C with rain in Oslo, and 2 + 3 = 5."
    assert [r.name for r in results] == ["get_weather", "add"]
    assert results[1].content == "5"
