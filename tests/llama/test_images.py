"""An image for a real server whose model has no eyes."""

from __future__ import annotations

import asyncio

import pytest

from tframex_nb.agents import Agent
from tframex_nb.errors import UnsupportedInput
from tframex_nb.models import VLLMModel
from tframex_nb.models.parts import Attachment
from tframex_nb.runtime import RunRequest, Runtime
from tframex_nb.testing.images import png

pytestmark = pytest.mark.llama


@pytest.mark.parametrize("framework", ["", "native"])
def test_a_model_without_eyes_is_one_clear_error_and_the_text_goes_on(
    llama: str, framework: str
) -> None:
    """The refusal is ours, after one request, and the next question is not spoiled by the image."""

    async def scene() -> tuple[UnsupportedInput, str]:
        runtime = Runtime()
        async with VLLMModel("tiny", llama, temperature=0, max_tokens=20) as model:
            agent = Agent("eye", model)
            prompt = ["What is this?", Attachment("image", "image/png", png(3, 2), "dots")]
            with pytest.raises(UnsupportedInput) as told:
                async for _ in runtime.stream(RunRequest(agent, prompt, framework=framework)):
                    pass
            async for _ in runtime.stream(RunRequest(agent, "Hi", framework=framework)):
                pass
            await runtime.aclose()
            assert agent.last is not None
            return told.value, agent.last.status

    error, status = asyncio.run(scene())
    assert "image input is not supported" in error.message
    assert error.hint.startswith("use a model that takes it")
    assert status == "finished"
