"""The framework of this package itself: the model, the tools it wants, the model again."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar

from tframex_nb.errors import StepLimitReached
from tframex_nb.frameworks.base import ABSENT, NATIVE, PARTIAL, FrameworkIntegration
from tframex_nb.messages import Message, MessageFinished, TextDelta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from tframex_nb.frameworks.base import AgentExecutionRequest, Capability, StreamChunk

__all__ = ["NativeFramework"]

_NO_TOOL = "There is no such tool."


class NativeFramework(FrameworkIntegration):
    """An agent's own steps; nothing has to be installed.

    ``own_steps`` says that an agent of ours needs no detour: its ``steps`` are this framework.
    """

    name = "native"
    distribution = "tframex-nb"
    own_steps = True
    templates = (
        "customer-service-bot",
        "chat-assistant",
        "generic-conversation",
        "generic-task",
    )
    capabilities: ClassVar[Mapping[str, Capability]] = {
        "streaming": NATIVE,
        "tools": NATIVE,
        "memory": NATIVE,
        "cancel": NATIVE,
        "structured_output": NATIVE,
        "human_in_loop": ABSENT("nothing asks before a tool runs"),
        "multi_agent": PARTIAL("agents are tools of other agents; there is no team"),
        "planning": ABSENT("the model decides from call to call"),
        "code_execution": ABSENT("only the notebook's own functions run"),
    }

    async def execute_agent_streaming(
        self, request: AgentExecutionRequest
    ) -> AsyncGenerator[StreamChunk, None]:
        """Yield the text of each model call, and call the tools that the model wants."""
        from tframex_nb.models import RetryPolicy, VLLMModel

        access = request.model
        retry = RetryPolicy(retries=0)
        model = VLLMModel(access.name, access.base_url, access.api_key, retry=retry)
        tools = {tool.name: tool for tool in request.tools}
        params: dict[str, Any] = dict(request.params)  # sampling parameters
        if tools:
            params["tools"] = [_offer(tool) for tool in request.tools]
        if request.schema is not None:
            wanted = {"name": "answer", "schema": dict(request.schema)}
            params["response_format"] = {"type": "json_schema", "json_schema": wanted}
        messages = list(request.messages)
        async with model:
            for _ in range(request.max_steps):
                answer = Message("assistant")
                async with contextlib.aclosing(model.stream(messages, **params)) as events:
                    async for event in events:
                        if isinstance(event, TextDelta):
                            yield event
                        elif isinstance(event, MessageFinished):
                            answer = event.message
                if not answer.tool_calls:
                    return
                messages.append(answer)
                for call in answer.tool_calls:
                    known = call.name in tools
                    text = await tools[call.name](call.arguments) if known else _NO_TOOL
                    messages.append(Message("tool", text, tool_call_id=call.id))
        raise StepLimitReached(
            f"{request.agent.name!r} used up its {request.max_steps} model calls",
            hint="raise max_steps, or ask for less at a time",
        )


def _offer(tool: Any) -> dict[str, Any]:  # a ToolHandle; OpenAI's shape
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return {"type": "function", "function": function}
