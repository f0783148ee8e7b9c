"""What a real server answered is replayed in the same pieces, and nobody is asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import pytest
from pydantic import BaseModel

from tframex_nb.agents import Agent
from tframex_nb.errors import CassetteMiss
from tframex_nb.messages import ReasoningDelta, TextDelta, ToolResult
from tframex_nb.models import VLLMModel
from tframex_nb.models.cassette import shared_cassettes
from tframex_nb.runs import collect
from tframex_nb.runtime import RunRequest, Runtime
from tframex_nb.testing.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.llama

GREEDY: dict[str, Any] = {
    "temperature": 0,
    "max_tokens": 300,
    "chat_template_kwargs": {"enable_thinking": False},
}
PROMPT = "What is the weather in Paris?"


class Weather(BaseModel):
    city: Literal["Paris", "Oslo"]
    warm: bool


def get_weather(city: str, unit: Literal["C", "F"] = "C") -> str:
    """Get the weather in a city."""
    return '{"temp": 21, "sky": "sunny"}' if (city, unit) == ("Paris", "C") else "unknown"


@pytest.fixture
def cassettes(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Give what chooses the mode of this test's own cassette."""
    found = shared_cassettes()
    yield lambda mode: found.use(mode, folder=tmp_path / "tapes", name="llama")
    found.use(None)


def ask(url: str, prompt: str, framework: str, **options: Any) -> tuple[Any, int]:
    """Let an agent answer; return what people see of its run, and how often the model was asked."""

    async def scene() -> tuple[Any, int]:
        runtime = Runtime()
        async with VLLMModel("tiny", url, **GREEDY) as model:
            witness = Witness(model)
            agent = Agent("guide", witness, tools=options.pop("tools", ()))
            request = RunRequest(agent, prompt, framework=framework, **options)
            try:
                run = await collect(runtime.stream(request))
            finally:
                await runtime.aclose()
            return seen(run), len(witness.calls)

    return asyncio.run(scene())


def seen(run: Any) -> dict[str, Any]:
    said = (TextDelta, ReasoningDelta)
    return {
        "output": run.output,
        "pieces": [event.text for event in run.events if isinstance(event, said)],
        "tools": [(e.name, e.content) for e in run.events if isinstance(e, ToolResult)],
        "usage": run.usage,
        "end": (run.status, run.finish_reason),
    }


@pytest.mark.frameworks
@pytest.mark.parametrize("framework", ["native", "langgraph"])
@pytest.mark.parametrize(
    "options",
    [{}, {"tools": [get_weather]}, {"schema": Weather}],
    ids=["text", "tools", "schema"],
)
def test_an_answer_is_replayed_as_the_server_gave_it(
    llama: str,
    cassettes: Callable[[str], None],
    framework: str,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    root: Path,
) -> None:
    monkeypatch.setenv("TFRAMEX_FRAMEWORKS_DIR", str(root / ".venvs" / "frameworks"))
    cassettes("record")
    recorded, asked = ask(llama, PROMPT, framework, **options)
    assert asked == 1 + bool(options.get("tools"))
    assert recorded["pieces"]
    assert bool(recorded["tools"]) == bool(options.get("tools"))
    assert isinstance(recorded["output"], Weather) == ("schema" in options)
    for _ in range(2):
        cassettes("replay")
        replayed, asked = ask(llama, PROMPT, framework, **options)
        assert replayed == recorded
        assert not asked
    with pytest.raises(CassetteMiss, match="Add 1 and 2"):
        ask(llama, "Add 1 and 2.", framework, **options)
