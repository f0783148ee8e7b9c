"""AutoGen (AgentChat): an assistant with tools, or a team that the user built.

A builder makes AutoGen's model from ``model``, which it is handed::

    from autogen_ext.models.openai import OpenAIChatCompletionClient

    client = OpenAIChatCompletionClient(
        model=model.name, base_url=model.base_url, api_key=model.api_key, max_retries=0,
        model_info={"vision": True, "function_calling": True, "json_output": True,
                    "structured_output": True, "family": "unknown"},
    )

and returns an agent or a team: ``return RoundRobinGroupChat([writer, critic], max_turns=2)``.
A team without ``max_turns`` ends after ``max_steps`` messages at the latest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any, ClassVar

from tframex_nb.errors import InvalidInput, StepLimitReached
from tframex_nb.frameworks.base import (
    ABSENT,
    NATIVE,
    PARTIAL,
    Finding,
    FrameworkIntegration,
    ValidationResult,
)
from tframex_nb.messages import TextDelta, ToolCallStarted, ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping

    from tframex_nb.frameworks.base import Agent, AgentExecutionRequest, Capability, StreamChunk
    from tframex_nb.messages import Message

__all__ = ["AutoGenFramework"]

_INFO = {
    "vision": True,
    "function_calling": True,
    "json_output": True,
    "structured_output": True,
    "family": "unknown",
}


class AutoGenFramework(FrameworkIntegration):
    """AutoGen's AgentChat 0.7, which is in maintenance mode."""

    name = "autogen"
    module = "autogen_agentchat"
    distribution = "autogen-agentchat"
    versions = ">=0.7.5,<0.8"
    lock = "locks/autogen.txt"
    templates = (
        "customer-service-bot",
        "chat-assistant",
        "task-execution-bot",
        "generic-conversation",
        "generic-task",
    )
    capabilities: ClassVar[Mapping[str, Capability]] = {
        "streaming": NATIVE,
        "tools": NATIVE,
        "memory": NATIVE,
        "cancel": PARTIAL("AutoGen leaves its connection open; it is closed from outside"),
        "structured_output": PARTIAL("the endpoint must hold the schema; nothing is asked again"),
        "human_in_loop": ABSENT("UserProxyAgent reads a terminal, and a run has none"),
        "multi_agent": NATIVE,
        "planning": PARTIAL("only in a MagenticOneGroupChat that the user builds"),
        "code_execution": PARTIAL("only with a code executor that the user builds"),
    }
    configuration: ClassVar[Mapping[str, str]] = {
        "parallel_tool_calls": "whether the model may call several tools at once: true or false",
    }

    async def validate_configuration(self, agent: Agent) -> ValidationResult:
        """Return the base's warnings, and an error for what is of the wrong type."""
        found = await super().validate_configuration(agent)
        value = agent.configuration.get("parallel_tool_calls", True)
        if isinstance(value, bool):
            return found
        error = Finding("configuration.parallel_tool_calls", f"true or false, not {value!r}")
        return ValidationResult((error,), found.warnings)

    async def initialize(self) -> None:
        """Import AutoGen, and keep its log of errors that we raise anyway off the screen."""
        import autogen_agentchat.agents  # noqa: F401 - as the next
        import autogen_ext.models.openai  # noqa: F401 - imported now, so that a run need not

        log = logging.getLogger("autogen_core")
        if not log.handlers:
            log.addHandler(logging.NullHandler())

    async def execute_agent_streaming(
        self, request: AgentExecutionRequest
    ) -> AsyncGenerator[StreamChunk, None]:
        """Yield what the assistant, or each member of the team, says."""
        from autogen_core import CancellationToken

        token = CancellationToken()
        async with contextlib.AsyncExitStack() as stack:
            if request.subject is None:
                agent = await _assistant(request, stack)
                stream = agent.run_stream(
                    task=request.prompt, cancellation_token=token, output_task_messages=False
                )
            else:
                stream = await _subject_stream(request, token)
            told = _Telling(request)
            async with contextlib.aclosing(_pumped(stream, token)) as events:
                async for event in events:
                    for piece in told.about(event):
                        yield piece
        if request.schema is not None and request.subject is None:
            from tframex_nb.frameworks.adapters._schema import check_document

            check_document(told.text, request.schema, self.name)


async def _assistant(request: AgentExecutionRequest, stack: contextlib.AsyncExitStack) -> Any:
    """Return an AssistantAgent that remembers the history; ``stack`` closes its client."""
    from autogen_agentchat.agents import AssistantAgent
    from autogen_core.model_context import UnboundedChatCompletionContext
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    options: dict[str, Any] = {}  # what AutoGen's client takes
    if request.schema is not None:
        wanted = {"name": "answer", "schema": dict(request.schema)}
        options["response_format"] = {"type": "json_schema", "json_schema": wanted}
    if request.tools and "parallel_tool_calls" in request.agent.configuration:
        options["parallel_tool_calls"] = request.agent.configuration["parallel_tool_calls"]
    client = OpenAIChatCompletionClient(
        model=request.model.name,
        base_url=request.model.base_url,
        api_key=request.model.api_key,
        max_retries=0,
        model_info=_INFO,
        include_name_in_message=False,
        http_client=request.model.openai_client()._client,  # noqa: SLF001 - the only door to it
        **options,
    )
    stack.push_async_callback(client.close)
    return AssistantAgent(
        "assistant",
        client,
        tools=_tools(request),
        system_message=request.system or None,
        model_context=UnboundedChatCompletionContext(list(_remembered(request.history))),
        model_client_stream=True,
        max_tool_iterations=request.max_steps,
        reflect_on_tool_use=False,
    )


def _tools(request: AgentExecutionRequest) -> list[Any]:
    """Return the notebook's tools as AutoGen's, each with the schema that it came with."""
    from autogen_core.tools import BaseTool, ToolSchema
    from pydantic import BaseModel

    class NotebookTool(BaseTool[BaseModel, str]):  # type: ignore[misc]  # not installed here
        def __init__(self, handle: Any) -> None:  # a ToolHandle
            super().__init__(BaseModel, str, handle.name, handle.description)
            self._handle = handle

        @property
        def schema(self) -> ToolSchema:
            parameters: Any = dict(self._handle.parameters)  # a JSON schema
            return ToolSchema(name=self.name, description=self.description, parameters=parameters)

        async def run_json(self, args: Any, *_: Any, **__: Any) -> str:
            given = dict(args) if isinstance(args, dict) else json.dumps(args)
            text: str = await self._handle(given)
            return text

        async def run(self, args: BaseModel, cancellation_token: Any) -> str:
            return await self.run_json(args.model_dump(), cancellation_token)

    return [NotebookTool(handle) for handle in request.tools]


def _remembered(history: tuple[Message, ...]) -> Iterator[Any]:
    """Yield the history as AutoGen's messages."""
    from autogen_core import FunctionCall, Image
    from autogen_core import models as said

    names = {call.id: call.name for message in history for call in message.tool_calls}
    for message in history:
        if message.role == "tool":
            known = names.get(message.tool_call_id, message.name)
            result = said.FunctionExecutionResult(
                content=message.text, name=known, call_id=message.tool_call_id, is_error=False
            )
            yield said.FunctionExecutionResultMessage(content=[result])
        elif message.role == "assistant":
            calls = [FunctionCall(c.id, c.arguments, c.name) for c in message.tool_calls]
            thought = message.text or None if calls else None
            content = calls or message.text
            yield said.AssistantMessage(content=content, thought=thought, source="assistant")
        elif isinstance(message.content, str):
            yield said.UserMessage(content=message.content, source="user")
        else:
            urls = [part.get("image_url", {}).get("url", "") for part in message.content]
            parts = [
                Image.from_uri(url) if url.startswith("data:") else str(part.get("text") or url)
                for url, part in zip(urls, message.content, strict=True)
            ]
            yield said.UserMessage(content=parts, source="user")


async def _subject_stream(request: AgentExecutionRequest, token: Any) -> AsyncIterator[Any]:
    """Return the stream of what the user built, from its beginning; the history is told to it."""
    from autogen_agentchat.base import ChatAgent, Team
    from autogen_agentchat.messages import TextMessage

    subject = request.subject
    if isinstance(subject, Team):
        await subject.reset()
    elif isinstance(subject, ChatAgent):
        await subject.on_reset(token)
    else:
        raise InvalidInput(
            f"autogen runs an agent or a team of AgentChat, not a {type(subject).__name__}",
            hint="return an AssistantAgent, a RoundRobinGroupChat or the like from the builder",
        )
    spoken = [m for m in request.history if m.role in ("user", "assistant") and m.text]
    task = [TextMessage(content=m.text, source=m.role) for m in spoken]
    task.append(TextMessage(content=request.prompt, source="user"))
    run: AsyncIterator[Any] = subject.run_stream(
        task=task, cancellation_token=token, output_task_messages=False
    )
    return run


async def _pumped(stream: AsyncIterator[Any], token: Any) -> AsyncGenerator[Any, None]:
    """Yield a stream that a task of its own reads.

    A team that is cancelled waits for its members to end, so the token must come first.
    """
    queue: asyncio.Queue[Any] = asyncio.Queue()
    end = object()

    async def pump() -> None:
        try:
            async for event in stream:
                queue.put_nowait(event)
        finally:
            queue.put_nowait(end)

    task = asyncio.create_task(pump())
    try:
        while (event := await queue.get()) is not end:
            yield event
        await task
    finally:
        token.cancel()
        task.cancel()
        await asyncio.wait({task})


class _Telling:
    """From AutoGen's events to ours; ``text`` is what has been said."""

    def __init__(self, request: AgentExecutionRequest) -> None:
        self._request = request
        self._own = {tool.name for tool in request.tools}
        self._several = len(getattr(request.subject, "_participants", ())) > 1
        turns = getattr(request.subject, "_max_turns", None)
        self._turns = turns or request.max_steps
        self._speaker = ""
        self._streamed = self._thinking = False
        self._messages = 0
        self.text = ""

    def about(self, event: Any) -> Iterator[StreamChunk]:
        """Yield what one event says. Raises StepLimitReached."""
        from autogen_agentchat import messages as told

        if isinstance(event, told.ModelClientStreamingChunkEvent):
            yield from self._chunk(event)
        elif isinstance(event, told.ToolCallRequestEvent):
            self._streamed = False
            for call in event.content:
                if call.name not in self._own:
                    yield ToolCallStarted(call.id, call.name, call.arguments)
        elif isinstance(event, told.ToolCallExecutionEvent):
            for result in event.content:
                if result.name not in self._own:
                    is_error = bool(result.is_error)
                    yield ToolResult(result.call_id, result.name, result.content, is_error)
        elif isinstance(event, told.BaseChatMessage):
            yield from self._message(event)

    def _chunk(self, event: Any) -> Iterator[StreamChunk]:
        """Yield a piece of text; AutoGen streams reasoning among it, between think tags."""
        if event.content.startswith("<think>") and not self._streamed:
            self._thinking = True
        elif self._thinking:
            self._thinking = event.content != "</think>"
        else:
            self._streamed = True
            yield from self._say(event.source, event.content)

    def _message(self, message: Any) -> Iterator[StreamChunk]:
        """Yield a whole message, unless it has been streamed."""
        from autogen_agentchat.messages import HandoffMessage, StopMessage, ToolCallSummaryMessage

        self._messages += 1
        streamed, self._streamed = self._streamed, False
        summary = isinstance(message, ToolCallSummaryMessage)
        subject = self._request.subject
        if (summary and subject is None) or self._messages > self._turns:
            raise StepLimitReached(
                f"{self._request.agent.name!r} used up its {self._request.max_steps} steps",
                hint="raise max_steps, or ask for less at a time",
            )
        if not streamed and not isinstance(message, HandoffMessage | StopMessage):
            yield from self._say(message.source, message.to_text())

    def _say(self, source: str, text: str) -> Iterator[StreamChunk]:
        if self._several and source != self._speaker:
            gap = "\n\n" if self._speaker else ""
            self._speaker = source
            yield TextDelta(f"{gap}**{source}**\n\n")
        self.text += text
        yield TextDelta(text)
