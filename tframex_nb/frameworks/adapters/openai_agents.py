"""OpenAI Agents SDK (imports as ``agents``): agents that hand over to each other.

Without a subject the agent is made of the run's instructions and tools. A subject is an
``agents.Agent``, which may have handoffs; agents without a model get the run's, and a builder makes
one of the ``model`` that it is given::

    from agents import OpenAIChatCompletionsModel
    llm = OpenAIChatCompletionsModel(model.name, openai_client=model.openai_client())

Handoffs, and tools that the subject brings, are shown as tool calls. Nothing is traced.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from typing import TYPE_CHECKING, Any, ClassVar

from tframex_nb.errors import FrameworkFailed, InvalidInput, StepLimitReached
from tframex_nb.frameworks.base import ABSENT, NATIVE, FrameworkIntegration
from tframex_nb.messages import TextDelta, ToolCallStarted, ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from tframex_nb.frameworks.base import (
        AgentExecutionRequest,
        Capability,
        StreamChunk,
        ToolHandle,
    )
    from tframex_nb.messages import Message

__all__ = ["OpenAIAgentsFramework"]


class OpenAIAgentsFramework(FrameworkIntegration):
    """The OpenAI Agents SDK over chat completions."""

    name = "openai_agents"
    module = "agents"
    distribution = "openai-agents"
    versions = ">=0.20,<1"
    lock = "locks/openai_agents.txt"
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
        "human_in_loop": ABSENT("a tool that needs approval ends the run"),
        "multi_agent": NATIVE,
        "planning": ABSENT("the model decides from call to call"),
        "code_execution": ABSENT("its code interpreter runs at OpenAI only; a tool can"),
    }
    environment: ClassVar[Mapping[str, str]] = {"OPENAI_AGENTS_DISABLE_TRACING": "1"}
    configuration: ClassVar[Mapping[str, str]] = {
        "parallel_tool_calls": "whether the model may ask for several tools at once",
    }
    configuration_types: ClassVar[Mapping[str, type]] = {"parallel_tool_calls": bool}

    async def initialize(self) -> None:
        """Import the framework."""
        import agents  # noqa: F401 - now, so that the first run need not

    async def execute_agent_streaming(
        self, request: AgentExecutionRequest
    ) -> AsyncGenerator[StreamChunk, None]:
        """Yield the text of the agents, and the calls that are their own."""
        from agents import Runner
        from agents.exceptions import MaxTurnsExceeded

        shown = _Shown({tool.name for tool in request.tools})
        async with request.model.openai_client() as client:
            agent, config = _agent(request), _config(request, client)
            items = [item for each in _said(request) for item in _items(each)]
            run = Runner.run_streamed(agent, items, max_turns=request.max_steps, run_config=config)
            try:
                async with contextlib.aclosing(run.stream_events()) as events:
                    try:
                        async for event in events:
                            for each in shown.read(event):
                                yield each
                    finally:
                        run.cancel()  # its loop is a task of its own, which closing waits for
                    _refuse_approvals(run.interruptions)
            except MaxTurnsExceeded as exc:
                raise StepLimitReached(
                    f"{request.agent.name!r} used up its {request.max_steps} model calls",
                    hint="raise max_steps, or ask for less at a time",
                ) from exc


def _refuse_approvals(wanted: list[Any]) -> None:  # of agents.ToolApprovalItem
    if wanted:
        raise FrameworkFailed(
            f"the agent stopped to ask a person about {wanted[0].name!r}",
            hint="let the tool run without approval, or ask through a tool of the notebook",
            framework="openai_agents",
        )


class _Shown:
    """The SDK's events as ours: text, and the calls and handoffs that are its own."""

    def __init__(self, ours: set[str]) -> None:
        self._ours = ours
        self._names: dict[str, str] = {}  # of the calls under way, by id

    def read(self, event: Any) -> Iterator[StreamChunk]:  # an agents.StreamEvent
        if event.type == "raw_response_event":
            if event.data.type == "response.output_text.delta" and event.data.delta:
                yield TextDelta(event.data.delta)
        elif event.type == "run_item_stream_event":
            yield from self._call(event.name, event.item.raw_item)

    def _call(self, name: str, item: Any) -> Iterator[StreamChunk]:  # of the Responses API
        if name in ("tool_called", "handoff_requested"):
            called = getattr(item, "name", "")
            if called and called not in self._ours:
                self._names[item.call_id] = called
                yield ToolCallStarted(item.call_id, called, item.arguments)
        elif name in ("tool_output", "handoff_occured"):  # the SDK's spelling
            called = self._names.pop(item["call_id"], "")
            if called:
                yield ToolResult(item["call_id"], called, str(item["output"]))


def _agent(request: AgentExecutionRequest) -> Any:  # an agents.Agent
    from agents import Agent

    subject = request.subject
    if subject is None:
        subject = Agent(request.agent.name or "agent", instructions=request.system or None)
    elif not isinstance(subject, Agent):
        raise InvalidInput(
            f"openai_agents runs an agent, not a {type(subject).__name__}",
            hint="give an agents.Agent; the others of a team are its handoffs",
        )
    changes: dict[str, Any] = {}  # fields of an agents.Agent
    if request.tools:
        changes["tools"] = [*subject.tools, *map(_tool, request.tools)]
    if request.schema is not None:
        changes["output_type"] = _form(dict(request.schema))
    return subject.clone(**changes) if changes else subject


def _config(
    request: AgentExecutionRequest,
    client: Any,  # an openai.AsyncOpenAI
) -> Any:  # an agents.RunConfig
    from agents import ModelSettings, MultiProvider, OpenAIChatCompletionsModel, RunConfig
    from agents.models import get_default_model_settings

    def plain(settings: Any) -> Any:  # ModelSettings
        """Take out what the SDK adds for its own default model, which this one is not."""
        added = get_default_model_settings()
        names = ("reasoning", "verbosity")
        same = {n: None for n in names if getattr(settings, n) == getattr(added, n)}
        return dataclasses.replace(settings, **same)

    class Run(OpenAIChatCompletionsModel):  # type: ignore[misc]  # mypy does not see the SDK
        async def get_response(
            self,
            system_instructions: str | None,
            input: Any,  # noqa: A002 - the SDK's name, by which it is given
            model_settings: Any,  # these, like the rest, go through as they are
            *a: Any,
            **k: Any,
        ) -> Any:
            settings = plain(model_settings)
            return await super().get_response(system_instructions, input, settings, *a, **k)

        def stream_response(
            self,
            system_instructions: str | None,
            input: Any,  # noqa: A002 - the SDK's name, by which it is given
            model_settings: Any,  # these, like the rest, go through as they are
            *a: Any,
            **k: Any,
        ) -> Any:
            settings = plain(model_settings)
            return super().stream_response(system_instructions, input, settings, *a, **k)

    class Provider(MultiProvider):  # type: ignore[misc]  # mypy does not see the SDK
        def get_model(self, name: str | None) -> Any:
            return model if name is None else super().get_model(name)

    model = Run(request.model.name, client)
    parallel = request.agent.configuration.get("parallel_tool_calls")
    return RunConfig(
        model_provider=Provider(),
        model_settings=ModelSettings(parallel_tool_calls=parallel),
        tracing_disabled=True,
        tool_not_found_behavior="return_error_to_model",
    )


def _tool(handle: ToolHandle) -> Any:  # an agents.FunctionTool
    from agents import FunctionTool

    async def run(_context: object, arguments: str) -> str:
        return await handle(arguments)

    schema = dict(handle.parameters)
    return FunctionTool(handle.name, handle.description, schema, run, strict_json_schema=False)


def _form(schema: dict[str, Any]) -> Any:  # an agents.AgentOutputSchemaBase
    from agents import AgentOutputSchemaBase, ModelBehaviorError

    class Form(AgentOutputSchemaBase):  # type: ignore[misc]  # mypy does not see the SDK
        def is_plain_text(self) -> bool:
            return False

        def name(self) -> str:
            return "answer"

        def json_schema(self) -> dict[str, Any]:
            return schema

        def is_strict_json_schema(self) -> bool:
            return False

        def validate_json(self, json_str: str) -> Any:
            try:
                return json.loads(json_str)
            except ValueError as exc:
                raise ModelBehaviorError(f"the answer is no JSON: {json_str[:200]!r}") from exc

    return Form()


def _said(request: AgentExecutionRequest) -> tuple[Message, ...]:
    """Return what goes in as items: an agent of ours has the system message in itself."""
    own = request.subject is None and request.system
    return request.messages[1:] if own else request.messages


def _items(message: Message) -> Iterator[dict[str, Any]]:  # of the Responses API
    if message.role == "tool":
        result = {"call_id": message.tool_call_id, "output": message.text}
        yield {"type": "function_call_output", **result}
        return
    if message.text or not message.tool_calls:
        yield {"role": message.role, "content": message.text}
    for call in message.tool_calls:
        asked = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
        yield {"type": "function_call", **asked}
