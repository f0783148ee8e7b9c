"""Each framework as its own documentation drives it, without any of ours, for comparison.

``python direct.py NAME URL KEY`` runs in the framework's environment. It makes the agent once; for
each line on stdin, a number of runs, it prints their figures as JSON: milliseconds to the first
text and to the end, milliseconds of CPU, pieces of text.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

MODEL = "demo:brisk"
PROMPT = "Tell me about streaming."
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TESTING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
}


def langgraph(url: str, key: str):
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI

    agent = create_agent(ChatOpenAI(model=MODEL, base_url=url, api_key=key, max_retries=0), [])

    async def ask() -> AsyncIterator[str]:
        said = {"messages": [("user", PROMPT)]}
        async for chunk, _ in agent.astream(said, stream_mode="messages"):
            yield chunk.text

    return ask


def crewai(url: str, key: str):
    from crewai import LLM, Agent
    from crewai.events import crewai_event_bus
    from crewai.events.types.llm_events import LLMStreamChunkEvent
    from crewai.events.utils.console_formatter import set_suppress_console_output

    set_suppress_console_output(True)
    llm = LLM(model=MODEL, base_url=url, api_key=key, custom_openai=True, stream=True)
    agent = Agent(role="assistant", goal="Answer the user.", backstory="", llm=llm)
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_event_loop()

    @crewai_event_bus.on(LLMStreamChunkEvent)
    def hear(_source: object, event: LLMStreamChunkEvent) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, event.chunk)

    async def ask() -> AsyncIterator[str]:
        work = asyncio.ensure_future(asyncio.to_thread(agent.kickoff, PROMPT))
        work.add_done_callback(lambda _: queue.put_nowait(None))
        while (piece := await queue.get()) is not None:
            yield piece
        await work

    return ask


def autogen(url: str, key: str):
    from autogen_agentchat.agents import AssistantAgent
    from autogen_agentchat.messages import ModelClientStreamingChunkEvent
    from autogen_core import CancellationToken
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    info = {"vision": False, "function_calling": True, "json_output": True}
    info |= {"family": "unknown", "structured_output": True}
    client = OpenAIChatCompletionClient(model=MODEL, base_url=url, api_key=key, model_info=info)
    agent = AssistantAgent("assistant", client, system_message=None, model_client_stream=True)

    async def ask() -> AsyncIterator[str]:
        await agent.on_reset(CancellationToken())
        async for event in agent.run_stream(task=PROMPT):
            if isinstance(event, ModelClientStreamingChunkEvent):
                yield event.content

    return ask


def agent_framework(url: str, key: str):
    from agent_framework import Agent
    from agent_framework.openai import OpenAIChatCompletionClient

    agent = Agent(OpenAIChatCompletionClient(model=MODEL, base_url=url, api_key=key))

    async def ask() -> AsyncIterator[str]:
        async for update in agent.run(PROMPT, stream=True):
            yield update.text

    return ask


def openai_agents(url: str, key: str):
    from agents import Agent, OpenAIChatCompletionsModel, Runner
    from openai import AsyncOpenAI

    model = OpenAIChatCompletionsModel(MODEL, AsyncOpenAI(base_url=url, api_key=key))
    agent = Agent("assistant", model=model)

    async def ask() -> AsyncIterator[str]:
        async for event in Runner.run_streamed(agent, PROMPT).stream_events():
            told = getattr(event, "data", None)
            if getattr(told, "type", "") == "response.output_text.delta":
                yield told.delta

    return ask


def pydantic_ai(url: str, key: str):
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    agent = Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(url, key)))

    async def ask() -> AsyncIterator[str]:
        async with agent.run_stream(PROMPT) as result:
            async for piece in result.stream_text(delta=True, debounce_by=None):
                yield piece

    return ask


def smolagents(url: str, key: str):
    from smolagents import LogLevel, OpenAIModel, ToolCallingAgent
    from smolagents.models import ChatMessageStreamDelta

    model = OpenAIModel(MODEL, api_base=url, api_key=key)
    agent = ToolCallingAgent([], model, stream_outputs=True, verbosity_level=LogLevel.OFF)

    async def ask() -> AsyncIterator[str]:
        events = agent.run(PROMPT, stream=True)
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            if isinstance(event, ChatMessageStreamDelta):
                for call in event.tool_calls or ():
                    yield call.function.arguments or ""

    return ask


async def run(ask: Callable[[], AsyncIterator[str]]) -> dict[str, float]:
    """Return the figures of one run."""
    begun, busy, first, pieces = time.perf_counter(), time.process_time(), 0.0, 0
    async for piece in ask():
        if piece:
            first = first or time.perf_counter() - begun
            pieces += 1
    total, cpu = time.perf_counter() - begun, time.process_time() - busy
    if not pieces:
        raise SystemExit("the answer is empty")
    figures = {"first": first, "total": total, "cpu": cpu}
    return {name: 1000 * value for name, value in figures.items()} | {"pieces": pieces}


async def main(name: str, url: str, key: str) -> None:
    os.environ.update(QUIET)
    figures = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what frameworks print is not for the reader of the figures
    ask = globals()[name](url, key)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps([await run(ask) for _ in range(int(line))]), file=figures, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
