"""VLLMModel against a real server: sixteen dialogues that the model knows by heart."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tframex_nb.errors import AuthError
from tframex_nb.messages import (
    MessageFinished,
    ReasoningDelta,
    TextDelta,
    ToolCallStarted,
    Usage,
)
from tframex_nb.models import VLLMModel

pytestmark = pytest.mark.llama

GREEDY = {"temperature": 0, "max_tokens": 400}
SILENT = {"chat_template_kwargs": {"enable_thinking": False}}
STORY = [{"role": "user", "content": "Tell a long story."}]


def expected(answer: dict[str, Any]) -> tuple[str, str, list[tuple[str, Any]]]:
    """Return text, reasoning and calls of a canned answer."""
    text, reasoning = answer["content"], ""
    if text.startswith("<think>"):
        reasoning, text = text.removeprefix("<think>").split("</think>", 1)
    calls = [call["function"] for call in answer.get("tool_calls", [])]
    return text, reasoning, [(c["name"], json.loads(c["arguments"])) for c in calls]


def params_of(dialogue: dict[str, Any]) -> dict[str, Any]:
    params: dict[str, Any] = dict(GREEDY)
    if "<think>" not in dialogue["messages"][-1]["content"]:
        params |= SILENT
    if dialogue["tools"]:
        params["tools"] = dialogue["tools"]
    return params


def test_every_dialogue_is_answered_word_for_word(llama: str, dialogue: dict[str, Any]) -> None:
    """Text, reasoning, tool calls, finish reason and usage, as they were learned.

    The server trims white space around an answer that it has parsed, so the ends may differ.
    """
    *asked, answer = dialogue["messages"]
    text, reasoning, calls = expected(answer)

    async def ask() -> list[Any]:
        async with VLLMModel("tiny", llama) as model:
            return [event async for event in model.stream(asked, **params_of(dialogue))]

    events = asyncio.run(ask())
    said = "".join(e.text for e in events if isinstance(e, TextDelta))
    thought = "".join(e.text for e in events if isinstance(e, ReasoningDelta))
    called = [(e.name, json.loads(e.arguments)) for e in events if isinstance(e, ToolCallStarted)]
    usage = [e for e in events if isinstance(e, Usage)]
    last = events[-1]
    assert said.strip() == text.strip()
    assert thought.strip() == reasoning.strip()
    assert called == calls
    assert isinstance(last, MessageFinished)
    assert last.finish_reason == ("tool_calls" if calls else "stop")
    assert (last.message.text, last.message.reasoning) == (said, thought)
    assert len(usage) == 1
    assert usage[0].prompt_tokens > 0
    assert usage[0].completion_tokens > 0


def test_the_text_arrives_in_pieces(llama: str) -> None:
    """A long answer comes token by token, not at once."""

    async def ask() -> list[str]:
        async with VLLMModel("tiny", llama, **GREEDY, **SILENT) as model:
            return [piece async for piece in model.call_stream(STORY)]

    pieces = asyncio.run(ask())
    assert len(pieces) > 50
    assert "".join(pieces).startswith("Part 1. The fox walked")


def test_a_token_limit_is_told(llama: str) -> None:
    """The finish reason of an answer that was cut off is ``length``."""

    async def ask() -> Any:
        async with VLLMModel("tiny", llama) as model:
            return [e async for e in model.stream(STORY, temperature=0, max_tokens=8, **SILENT)]

    assert asyncio.run(ask())[-1].finish_reason == "length"


def test_a_client_that_goes_away_ends_the_servers_work(llama: str) -> None:
    """Closing the stream closes the connection: the server's slots are idle again."""

    async def ask() -> str:
        async with VLLMModel("tiny", llama, **GREEDY, **SILENT) as model:
            stream = model.stream(STORY)
            async for event in stream:
                if isinstance(event, TextDelta):
                    break
            await stream.aclose()
            # Four slots: four whole answers at once prove that none of them is still busy.
            return "|".join(await asyncio.gather(*(model.run(STORY) for _ in range(4))))

    assert asyncio.run(ask()).count("Part 8.") == 4


def test_its_own_name_is_among_its_models(llama: str) -> None:
    async def ask() -> list[str]:
        async with VLLMModel("tiny", llama) as model:
            return await model.list_models()

    assert "tiny" in asyncio.run(ask())


@pytest.mark.parametrize("key", [None, "sk-not-the-right-one"], ids=["no key", "wrong key"])
def test_a_refused_key_is_an_auth_error_with_the_next_move(
    locked_llama: tuple[str, str], key: str | None
) -> None:
    url, right = locked_llama

    async def ask() -> None:
        async with VLLMModel("tiny", url, key) as model:
            await model.run(STORY)

    with pytest.raises(AuthError, match="401") as caught:
        asyncio.run(ask())
    assert caught.value.status == 401
    assert "TFRAMEX_API_KEY" in caught.value.hint
    assert right not in str(caught.value)
    assert "not-the-right-one" not in str(caught.value)


def test_the_right_key_opens(locked_llama: tuple[str, str]) -> None:
    url, key = locked_llama

    async def ask() -> str:
        async with VLLMModel("tiny", url, key, **GREEDY, **SILENT) as model:
            return await model.run([{"role": "user", "content": "ping"}])

    assert asyncio.run(ask()) == "pong"
