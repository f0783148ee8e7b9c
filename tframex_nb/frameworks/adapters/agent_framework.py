"""Microsoft Agent Framework, AutoGen's successor: agents and workflows.

Without a subject the agent is made of the run's instructions and tools. A subject is an
``agent_framework.Agent`` or a workflow whose first step takes messages; a builder makes their
model of the ``model`` that it is given::

    from agent_framework.openai import OpenAIChatCompletionClient
    llm = OpenAIChatCompletionClient(model=model.name, async_client=model.openai_client())

A workflow's agents forget between runs, because the conversation is the notebook's. The framework
runs a workflow once at a time, and never again after a stop or a fault: give the function that
builds it, which is called for each run.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar

from tframex_nb.errors import FrameworkFailed, InvalidInput, StepLimitReached
from tframex_nb.frameworks.base import ABSENT, NATIVE, PARTIAL, FrameworkIntegration
from tframex_nb.messages import TextDelta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from tframex_nb.frameworks.base import (
        AgentExecutionRequest,
        Capability,
        StreamChunk,
        ToolHandle,
    )
    from tframex_nb.messages import Message

__all__ = ["AgentFrameworkFramework"]


class AgentFrameworkFramework(FrameworkIntegration):
    """Microsoft Agent Framework over chat completions."""

    name = "agent_framework"
    module = "agent_framework"
    distribution = "agent-framework-core"
    versions = ">=1.20,<2"
    lock = "locks/agent_framework.txt"
    templates = (
        "customer-service-bot",
        "chat-assistant",
        "task-execution-bot",
        "workflow-agent",
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
        "human_in_loop": ABSENT("a request for approval ends the run"),
        "multi_agent": NATIVE,
        "planning": PARTIAL("a workflow of yours can plan; the ready-made agent does not"),
        "code_execution": ABSENT("it runs no code of its own; a tool can"),
    }
    environment: ClassVar[Mapping[str, str]] = {
        "AGENT_FRAMEWORK_USER_AGENT_DISABLED": "true",
        "ENABLE_INSTRUMENTATION": "false",
    }

    async def initialize(self) -> None:
        """Import the framework."""
        from agent_framework import Agent  # noqa: F401 - now, so that the first run need not
        from agent_framework.openai import OpenAIChatCompletionClient  # noqa: F401 - likewise

    async def execute_agent_streaming(
        self, request: AgentExecutionRequest
    ) -> AsyncGenerator[StreamChunk, None]:
        """Yield the text of the agents."""
        limit = StepLimitReached(
            f"{request.agent.name!r} used up its {request.max_steps} model calls",
            hint="raise max_steps, or ask for less at a time",
        )
        async with request.model.openai_client() as client:
            agent = await _agent(request, client)
            stream = agent.run([_message(each) for each in _said(request)], **_run(request, limit))
            try:
                async for update in stream:
                    for content in update.contents:
                        if content.type == "text" and content.text:
                            yield TextDelta(content.text)
                        elif content.user_input_request:
                            raise _asking(content)
            finally:
                await stream.close()


async def _agent(
    request: AgentExecutionRequest,
    client: Any,  # an openai.AsyncOpenAI
) -> Any:  # an agent of agent_framework
    from agent_framework import Agent, BaseAgent, Workflow
    from agent_framework.openai import OpenAIChatCompletionClient

    subject = request.subject
    if subject is None:
        model = OpenAIChatCompletionClient(model=request.model.name, async_client=client)
        model.function_invocation_configuration["max_iterations"] = request.max_steps
        return Agent(model, request.system or None, name=request.agent.name or None)
    if isinstance(subject, Workflow):
        await _forget(subject)
        return subject.as_agent()
    if not isinstance(subject, BaseAgent):
        raise InvalidInput(
            f"agent_framework runs an agent or a workflow, not a {type(subject).__name__}",
            hint="give an agent_framework.Agent, or what WorkflowBuilder.build() returns",
        )
    return subject


async def _forget(workflow: Any) -> None:  # an agent_framework.Workflow
    """Empty the memories of a workflow's agents: the whole conversation comes with each run."""
    from agent_framework import AgentExecutor, WorkflowRunState

    if getattr(workflow, "status", WorkflowRunState.IDLE) != WorkflowRunState.IDLE:
        raise FrameworkFailed(
            "this workflow is running, or it was stopped or failed: it cannot be started again",
            hint="give the function that builds it: each run then has a workflow of its own",
            framework="agent_framework",
        )
    for each in workflow.get_executors_list():
        if isinstance(each, AgentExecutor):
            await each.on_checkpoint_restore({})  # what is missing there becomes empty


def _run(request: AgentExecutionRequest, limit: Exception) -> dict[str, Any]:  # arguments of run
    if hasattr(request.subject, "as_agent"):  # a workflow: its agents have their own
        return {"stream": True}
    from agent_framework import chat_middleware

    calls = itertools.count(1)
    form = None
    if request.schema is not None:
        wanted = {"name": "answer", "schema": dict(request.schema)}
        form = {"type": "json_schema", "json_schema": wanted}

    async def count(_context: object, call_next: Callable[[], Awaitable[None]]) -> None:
        """Refuse the call that the framework makes, without tools, once its bound is reached."""
        if next(calls) > request.max_steps:
            raise limit
        await call_next()

    return {
        "stream": True,
        "tools": [_tool(each) for each in request.tools],
        "middleware": [chat_middleware(count)],
        "options": {} if form is None else {"response_format": form},
    }


def _tool(handle: ToolHandle) -> Any:  # an agent_framework.FunctionTool
    from agent_framework import FunctionTool

    async def run(**arguments: Any) -> str:  # any JSON
        return await handle(arguments)

    schema = dict(handle.parameters)
    return FunctionTool(
        name=handle.name, description=handle.description, func=run, input_model=schema
    )


def _said(request: AgentExecutionRequest) -> tuple[Message, ...]:
    """Return what goes in as messages: an agent of ours has the system message in itself."""
    own = request.subject is None and request.system
    return request.messages[1:] if own else request.messages


def _message(message: Message) -> Any:  # an agent_framework.Message
    from agent_framework import Content
    from agent_framework import Message as Theirs

    if message.role == "tool":
        result = Content.from_function_result(message.tool_call_id, result=message.text)
        return Theirs("tool", [result])
    calls = [
        Content.from_function_call(call.id, call.name, arguments=call.arguments)
        for call in message.tool_calls
    ]
    text = [Content.from_text(message.text)] if message.text or not calls else []
    return Theirs(message.role, [*text, *calls])


def _asking(content: Any) -> FrameworkFailed:  # an agent_framework.Content
    call = getattr(content, "function_call", None)
    return FrameworkFailed(
        f"the agent stopped to ask a person about {getattr(call, 'name', content.type)!r}",
        hint="let the tool run without approval, or ask through a tool of the notebook",
        framework="agent_framework",
    )
