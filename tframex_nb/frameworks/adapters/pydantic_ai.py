"""Pydantic AI: typed agents.

Without a subject the agent is made of the run's instructions and tools. A subject is a
``pydantic_ai.Agent``; where it has no model it gets the run's, and a builder makes one of the
``model`` that it is given::

    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider
    llm = OpenAIChatModel(model.name, provider=OpenAIProvider(model.base_url, model.api_key))

An answer that is not plain text (a schema, an ``output_type``) is yielded whole, as JSON, when
Pydantic AI has found it valid: what came before may be an attempt that the model had to mend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tframex_nb.errors import FrameworkFailed, InvalidInput, StepLimitReached
from tframex_nb.frameworks.base import ABSENT, NATIVE, FrameworkIntegration
from tframex_nb.messages import TextDelta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from tframex_nb.frameworks.base import (
        AgentExecutionRequest,
        Capability,
        StreamChunk,
        ToolHandle,
    )
    from tframex_nb.messages import Message

__all__ = ["PydanticAIFramework"]


class PydanticAIFramework(FrameworkIntegration):
    """Pydantic AI, version 2."""

    name = "pydantic_ai"
    module = "pydantic_ai"
    distribution = "pydantic-ai-slim"
    versions = ">=2.60,<3"
    lock = "locks/pydantic_ai.txt"
    templates = (
        "customer-service-bot",
        "chat-assistant",
        "task-execution-bot",
        "generic-conversation",
        "generic-task",
        "generic-custom",
    )
    capabilities: ClassVar[Mapping[str, Capability]] = {
        "streaming": NATIVE,
        "tools": NATIVE,
        "memory": NATIVE,
        "cancel": NATIVE,
        "structured_output": NATIVE,
        "human_in_loop": ABSENT("a tool that waits for approval ends the run"),
        "multi_agent": ABSENT("it has no team: an agent calls another from a tool of yours"),
        "planning": ABSENT("the model decides from call to call"),
        "code_execution": ABSENT("it runs no code of its own; a tool can"),
    }
    configuration: ClassVar[Mapping[str, str]] = {
        "retries": "how often the model may mend a wrong call or answer (1)",
    }
    configuration_types: ClassVar[Mapping[str, type]] = {"retries": int}

    async def initialize(self) -> None:
        """Import the framework."""
        import pydantic_ai.models.openai  # noqa: F401 - now, so that the first run need not

    async def execute_agent_streaming(
        self, request: AgentExecutionRequest
    ) -> AsyncGenerator[StreamChunk, None]:
        """Yield the text of the agent, or the JSON of its result."""
        from pydantic_ai.exceptions import UsageLimitExceeded
        from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
        from pydantic_ai.run import AgentRunResultEvent

        agent = _agent(request)
        plain = request.schema is None and agent.output_type is str
        async with request.model.openai_client() as client:
            try:
                async with agent.run_stream_events(**_run(request, agent, client)) as events:
                    async for event in events:
                        match event:
                            case (
                                PartStartEvent(part=TextPart(content=text))
                                | PartDeltaEvent(delta=TextPartDelta(content_delta=text))
                            ) if plain and text:
                                yield TextDelta(text)
                            case AgentRunResultEvent(result=result) if not plain:
                                yield TextDelta(_document(result.output))
            except UsageLimitExceeded as exc:
                raise StepLimitReached(
                    f"{request.agent.name!r} used up its {request.max_steps} model calls",
                    hint="raise max_steps, or ask for less at a time",
                ) from exc


def _agent(request: AgentExecutionRequest) -> Any:  # a pydantic_ai.Agent
    from pydantic_ai import Agent
    from pydantic_ai.agent import AbstractAgent

    if request.subject is None:
        return Agent(name=request.agent.name or None)
    if not isinstance(request.subject, AbstractAgent):
        raise InvalidInput(
            f"pydantic_ai runs an agent, not a {type(request.subject).__name__}",
            hint="give a pydantic_ai.Agent",
        )
    return request.subject


def _run(
    request: AgentExecutionRequest,
    agent: Any,  # a pydantic_ai.Agent
    client: Any,  # an openai.AsyncOpenAI
) -> dict[str, Any]:  # the arguments of run_stream_events
    from pydantic_ai import FunctionToolset, NativeOutput, StructuredDict, UsageLimits
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel(request.model.name, provider=OpenAIProvider(openai_client=client))
    form = None
    if request.schema is not None:
        form = NativeOutput(StructuredDict(dict(request.schema), name="answer"))
    return {
        "user_prompt": request.prompt,
        "message_history": [_message(each) for each in request.history],
        "instructions": request.system or None,
        "toolsets": [FunctionToolset([_tool(each) for each in request.tools])],
        "output_type": form,
        "model": model if agent.model is None else None,
        "usage_limits": UsageLimits(request_limit=request.max_steps),
        "retries": request.agent.configuration.get("retries"),
    }


def _tool(handle: ToolHandle) -> Any:  # a pydantic_ai.Tool
    from pydantic_ai import Tool
    from pydantic_core import SchemaValidator
    from pydantic_core import core_schema as schema

    async def run(**arguments: Any) -> str:  # any JSON
        return await handle(arguments)

    tool = Tool.from_schema(run, handle.name, handle.description, dict(handle.parameters))
    # it would take any JSON: what is no object goes back to the model, as what is no JSON does
    tool.function_schema.validator = SchemaValidator(schema.dict_schema(schema.str_schema()))
    return tool


def _message(message: Message) -> Any:  # a pydantic_ai.messages.ModelMessage
    from pydantic_ai import messages as of

    if message.role == "assistant":
        calls = [of.ToolCallPart(c.name, c.arguments, c.id) for c in message.tool_calls]
        text = [of.TextPart(message.text)] if message.text else []
        return of.ModelResponse([*text, *calls])
    if message.role == "tool":
        part = of.ToolReturnPart(message.name or "tool", message.text, message.tool_call_id)
        return of.ModelRequest([part])
    part = {"user": of.UserPromptPart, "system": of.SystemPromptPart}[message.role]
    return of.ModelRequest([part(message.text)])


def _document(output: Any) -> str:  # whatever the agent's output_type is
    from pydantic_ai import DeferredToolRequests
    from pydantic_core import to_json

    if isinstance(output, DeferredToolRequests):
        names = ", ".join(call.tool_name for call in (*output.approvals, *output.calls))
        raise FrameworkFailed(
            f"the agent stopped to wait for a person or another program: {names}",
            hint="let the tool run without approval, or ask through a tool of the notebook",
            framework="pydantic_ai",
        )
    return output if isinstance(output, str) else to_json(output).decode()
