"""LangGraph: agents as graphs of nodes.

Without a subject the agent is LangChain's ``create_agent``. A subject is a graph over messages,
compiled or not, with models of its own; a builder makes them of the ``model`` that it is given::

    from langchain_openai import ChatOpenAI
    llm = ChatOpenAI(model=model.name, base_url=model.base_url, api_key=model.api_key)

The whole conversation comes to a graph as messages, so a checkpointer of its own sees each run as
a new thread. Tag a model call ``nostream`` whose text is not for the reader.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from tframex_nb.errors import FrameworkFailed, InvalidInput, StepLimitReached
from tframex_nb.frameworks.base import ABSENT, NATIVE, PARTIAL, FrameworkIntegration
from tframex_nb.messages import TextDelta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from tframex_nb.frameworks.base import (
        AgentExecutionRequest,
        Capability,
        StreamChunk,
        ToolHandle,
    )
    from tframex_nb.messages import Message

__all__ = ["LangGraphFramework"]


class LangGraphFramework(FrameworkIntegration):
    """LangGraph, with LangChain's agent on top of it."""

    name = "langgraph"
    module = "langgraph"
    distribution = "langgraph"
    versions = ">=1.2,<2"
    lock = "locks/langgraph.txt"
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
        "human_in_loop": ABSENT("an interrupt() ends the run: a cell cannot answer it"),
        "multi_agent": NATIVE,
        "planning": PARTIAL("a graph of yours can plan; the ready-made agent does not"),
        "code_execution": ABSENT("it runs no code of its own; a tool can"),
    }
    environment: ClassVar[Mapping[str, str]] = {
        "LANGSMITH_TRACING": "false",
        "LANGSMITH_TRACING_V2": "false",  # the older name, which is asked first
    }
    configuration: ClassVar[Mapping[str, str]] = {
        "recursion_limit": "supersteps that the graph may take; else three times max_steps",
    }
    configuration_types: ClassVar[Mapping[str, type]] = {"recursion_limit": int}

    async def initialize(self) -> None:
        """Import the framework."""
        import langchain.agents  # noqa: F401 - now, so that the first run need not
        import langchain_openai  # noqa: F401 - likewise

    async def execute_agent_streaming(
        self, request: AgentExecutionRequest
    ) -> AsyncGenerator[StreamChunk, None]:
        """Yield the text of the graph's agents, except of those that run inside a tool."""
        from langchain_core.messages import AIMessage
        from langgraph.errors import GraphRecursionError

        limit = request.agent.configuration.get("recursion_limit", 3 * request.max_steps)
        thread = request.run_id or uuid.uuid4().hex
        config = {"recursion_limit": limit, "configurable": {"thread_id": thread}}
        async with _graph(request) as graph:
            stream = graph.astream(
                {"messages": _messages(request)},
                config,
                stream_mode=["messages", "updates"],
                subgraphs=True,
            )
            try:
                async with contextlib.aclosing(stream):
                    async for place, mode, data in stream:
                        if mode == "updates":
                            _refuse_interrupt(data)
                        elif isinstance(data[0], AIMessage) and _shown(place, data[0].text):
                            yield TextDelta(str(data[0].text))
            except GraphRecursionError as exc:
                raise StepLimitReached(
                    f"{request.agent.name!r} used up the {limit} supersteps of its graph, "
                    f"for {request.max_steps} model calls",
                    hint="raise max_steps or recursion_limit, or ask for less at a time",
                ) from exc


@contextlib.asynccontextmanager
async def _graph(request: AgentExecutionRequest) -> AsyncIterator[Any]:  # a compiled graph
    from langgraph.graph import StateGraph
    from langgraph.pregel import Pregel

    subject = request.subject
    if subject is None:
        async with request.model.openai_client() as client:
            yield _agent(request, client)
    elif not isinstance(subject, (Pregel, StateGraph)):
        raise InvalidInput(
            f"langgraph runs a graph, not a {type(subject).__name__}",
            hint="give a StateGraph, compiled or not, or what create_agent returns",
        )
    elif request.schema is not None:
        raise InvalidInput(
            "a graph of your own answers in its own form, so it takes no schema",
            hint="give the schema to create_agent(response_format=…) where you build it",
        )
    else:
        yield subject.compile() if isinstance(subject, StateGraph) else subject


def _shown(place: tuple[str, ...], text: str) -> bool:
    """Whether a message is for the reader: an agent in a tool speaks to its caller."""
    return bool(text) and not any(part.startswith("tools:") for part in place)


def _refuse_interrupt(update: Mapping[str, Any]) -> None:  # what each node gave
    if "__interrupt__" in update:
        asked = ", ".join(repr(each.value) for each in update["__interrupt__"])
        raise FrameworkFailed(
            f"the graph stopped to ask a person: {asked}",
            hint="take interrupt() out of the graph, or ask through a tool of the notebook",
            framework="langgraph",
        )


def _agent(
    request: AgentExecutionRequest,
    client: Any,  # an openai.AsyncOpenAI
) -> Any:  # a compiled graph
    from langchain.agents import create_agent
    from langchain.agents.middleware import after_model
    from langchain.agents.structured_output import ProviderStrategy
    from langchain_openai import ChatOpenAI

    async def key() -> str:  # a key that must be awaited, so that no client for threads is made
        return request.model.api_key

    model = ChatOpenAI(
        model=request.model.name,
        base_url=request.model.base_url,
        api_key=key,
        max_retries=0,
        timeout=None,
        stream_chunk_timeout=0,
        use_responses_api=False,
        http_async_client=client._client,  # noqa: SLF001 - the only door to it
        http_socket_options=(),
    )
    form = None
    if request.schema is not None:
        form = ProviderStrategy({"title": "answer", **request.schema})  # a title it must have
    return create_agent(
        model,
        [_tool(each) for each in request.tools],
        response_format=form,
        middleware=[after_model(can_jump_to=["model"])(_answer_broken_calls)],
    )


def _answer_broken_calls(state: Any, _runtime: object) -> dict[str, Any] | None:  # the graph's
    """Answer calls whose arguments are no JSON; without it they would end the run in silence."""
    from langchain_core.messages import ToolMessage

    last = state["messages"][-1]
    if not last.invalid_tool_calls:
        return None
    answers = [
        ToolMessage(f"The arguments are no JSON object: {call['args']}", tool_call_id=call["id"])
        for call in last.invalid_tool_calls
    ]
    return {"messages": answers} if last.tool_calls else {"messages": answers, "jump_to": "model"}


def _tool(handle: ToolHandle) -> Any:  # a langchain_core.tools.StructuredTool
    from langchain_core.tools import StructuredTool

    async def run(**arguments: Any) -> str:  # any JSON
        return await handle(arguments)

    return StructuredTool.from_function(
        coroutine=run,
        name=handle.name,
        description=handle.description,
        args_schema=dict(handle.parameters),
    )


def _messages(request: AgentExecutionRequest) -> list[Any]:  # of langchain_core.messages
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

    def convert(message: Message) -> Any:
        if message.role == "assistant":
            calls = [call.to_dict() for call in message.tool_calls]
            return AIMessage(message.text, additional_kwargs={"tool_calls": calls} if calls else {})
        if message.role == "tool":
            return ToolMessage(message.text, tool_call_id=message.tool_call_id)
        return {"system": SystemMessage, "user": HumanMessage}[message.role](message.text)

    return [convert(message) for message in request.messages]
