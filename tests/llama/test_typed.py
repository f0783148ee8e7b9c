"""Typed answers on a real server that holds a schema by a grammar."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from tframex_nb.agents import Agent
from tframex_nb.errors import InvalidAnswer
from tframex_nb.models import VLLMModel
from tframex_nb.runs import collect
from tframex_nb.runtime import RunRequest, Runtime
from tframex_nb.testing.witness import Witness

pytestmark = pytest.mark.llama

GREEDY: dict[str, Any] = {
    "temperature": 0,
    "max_tokens": 300,
    "chat_template_kwargs": {"enable_thinking": False},
}


class Weather(BaseModel):
    city: Literal["Paris", "Oslo"]
    warm: bool
    sky: Literal["sunny", "rain"] | None = None


def get_weather(city: str, unit: Literal["C", "F"] = "C") -> str:
    """Get the weather in a city."""
    return '{"temp": 21, "sky": "sunny"}' if (city, unit) == ("Paris", "C") else "unknown"


def ask(url: str, prompt: str, schema: object, *, framework: str = "", **options: Any) -> Any:
    """Let an agent answer; return its run and the calls of the model."""

    async def scene() -> Any:
        runtime = Runtime()
        async with VLLMModel("tiny", url, **GREEDY) as model:
            witness = Witness(model)
            agent = Agent("guide", witness, **options)
            request = RunRequest(agent, prompt, schema=schema, framework=framework)
            with contextlib.suppress(InvalidAnswer):
                await collect(runtime.stream(request))
            await runtime.aclose()
            return agent.last, witness.calls

    return asyncio.run(scene())


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        (Weather, Weather),
        (list[Literal["Paris", "Oslo"]], list),
        (Literal["yes", "no"], str),
        ({"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}, dict),
    ],
    ids=["model", "list", "literal", "JSON schema"],
)
def test_the_grammar_of_the_server_gives_a_valid_answer_at_once(
    llama: str, schema: object, kind: type
) -> None:
    run, calls = ask(llama, "What is the weather in Paris?", schema)
    assert isinstance(run.output, kind)
    assert len(calls) == 1


@pytest.mark.frameworks
@pytest.mark.parametrize("framework", ["langgraph", "crewai", "openai_agents", "pydantic_ai"])
def test_a_framework_holds_the_same_schema(
    llama: str, framework: str, monkeypatch: pytest.MonkeyPatch, root: Any
) -> None:
    monkeypatch.setenv("TFRAMEX_FRAMEWORKS_DIR", str(root / ".venvs" / "frameworks"))
    run, calls = ask(llama, "What is the weather in Paris?", Weather, framework=framework)
    assert isinstance(run.output, Weather)
    assert run.framework == framework
    assert len(calls) == 1


def test_a_form_and_tools_at_once_would_keep_the_tools_from_being_called(llama: str) -> None:
    """What this server does, and the reason why the form is asked for after the tools."""

    async def both() -> Any:
        async with VLLMModel("tiny", llama, **GREEDY) as model:
            agent = Agent("guide", model, tools=[get_weather])
            schema = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}
            form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
            return await collect(
                agent.stream("What is the weather in Paris?", response_format=form)
            )

    assert asyncio.run(both()).tool_calls == ()


def test_the_tool_is_called_and_then_the_form_is_held(llama: str) -> None:
    run, calls = ask(llama, "What is the weather in Paris?", Weather, tools=[get_weather])
    assert isinstance(run.output, Weather)
    assert [call.name for call in run.tool_calls] == ["get_weather"]
    assert ["response_format" in call.params for call in calls] == [False, False, True]


def test_a_schema_that_the_server_refuses_goes_into_the_prompt(llama: str) -> None:
    """The tiny model cannot read it there: what counts is that the refusal does not end it."""
    schema = {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}, "required": ["a"]}
    run, calls = ask(llama, "Hi", schema)
    assert isinstance(run.error, InvalidAnswer)
    lines = [part.event.line for part in run.parts if part.kind == "note"]
    assert lines[0] == "tiny refuses response_format: the schema goes into the prompt"
    assert ["response_format" in call.params for call in calls] == [True, False, False, False]


class Bounded(BaseModel):
    n: int = Field(ge=1, le=3)


def test_bounds_hold_too(llama: str) -> None:
    run, _ = ask(llama, "Add 1 and 2.", Bounded)
    assert 1 <= run.output.n <= 3
