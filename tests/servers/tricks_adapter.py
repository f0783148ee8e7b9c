"""An adapter that does what its prompt names; in this process, in a shared worker, in one alone.

A worker is given this whole file, so that it imports nothing of the tests.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import httpx

from tframex_nb.frameworks.base import NATIVE, FrameworkIntegration
from tframex_nb.messages import TextDelta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tframex_nb.frameworks.base import AgentExecutionRequest
    from tframex_nb.messages import Event

__all__ = ["Broken", "Exclusive", "Here", "LateBroken", "Lists", "Shared", "Unclosable"]


class ModelRefused(Exception):
    """What a framework would raise of its own where the model fails."""


class Tricks(FrameworkIntegration):
    """Does the trick that the prompt names: ``trick argument``; without one it asks the model."""

    templates = ("tricky",)
    capabilities = dict.fromkeys(("streaming", "tools", "memory", "cancel", "planning"), NATIVE)

    async def execute_agent_streaming(
        self, request: AgentExecutionRequest
    ) -> AsyncGenerator[Event, None]:
        trick, _, argument = request.prompt.partition(" ")
        async for event in getattr(self, trick, self.ask)(request, argument):
            yield event

    async def ask(self, request, argument):
        """Ask the model until it wants no more tools, as frameworks do."""
        tools = {tool.name: tool for tool in request.tools}
        messages = [message.to_dict() for message in request.messages]
        for _ in range(request.max_steps):
            calls = []
            async for delta in asked(request, messages, tools.values()):
                if delta.get("content"):
                    yield TextDelta(delta["content"])
                calls += delta.get("tool_calls") or []
            if not calls:
                return
            messages.append({"role": "assistant", "content": "", "tool_calls": calls})
            answers = [tools[c["function"]["name"]](c["function"]["arguments"]) for c in calls]
            for call, text in zip(calls, await asyncio.gather(*answers), strict=True):
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": text})

    async def echo(self, request, argument):
        for word in argument.split(" "):
            yield TextDelta(word)

    async def swallow(self, request, argument):
        """Hide the model's fault, as frameworks do that answer with an apology."""
        try:
            async for event in self.ask(request, argument):
                yield event
        except (ModelRefused, httpx.HTTPError):
            yield TextDelta("Sorry.")

    async def hang(self, request, argument):
        """Do nothing more once the model has failed."""
        try:
            async for event in self.ask(request, argument):
                yield event
        except (ModelRefused, httpx.HTTPError):
            await asyncio.sleep(60)

    async def recover(self, request, argument):
        """Answer from a tool that takes its time, once the model has failed."""
        async for event in self.swallow(request, argument):
            yield event
        yield TextDelta(await request.tools[0]({}))
        messages = [{"role": "user", "content": "asked anew"}]
        async for delta in asked(request, messages, ()):
            yield TextDelta(delta.get("content") or "")

    async def fail(self, request, argument):
        yield TextDelta("before")
        raise LookupError(argument)

    async def group(self, request, argument):
        """Fail as a task group does."""
        yield TextDelta("before")

        async def one():
            raise LookupError(argument)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(one())

    async def late(self, request, argument):
        """Meet a time-out of its own."""
        yield TextDelta("before")
        raise TimeoutError("the framework's own")

    async def cancels(self, request, argument):
        """Be cancelled by its own doing, as a cancel scope that leaks does."""
        yield TextDelta("before")
        raise asyncio.CancelledError

    async def leave(self, request, argument):
        yield TextDelta("before")
        sys.exit(3)

    async def wrong(self, request, argument):
        yield TextDelta("before")
        yield {"text": "a dict"}

    async def nothing(self, request, argument):
        for _ in ():
            yield TextDelta("")

    async def never(self, request, argument):
        await asyncio.sleep(60)
        yield TextDelta("")

    async def slow(self, request, argument):
        for number in range(int(argument or 6000)):
            yield TextDelta(f"{number} ")
            await asyncio.sleep(0.01)

    async def deaf(self, request, argument):
        """Swallow cancellations for a while."""
        yield TextDelta("deaf")
        end = time.monotonic() + float(argument or 1)
        while time.monotonic() < end:
            try:
                await asyncio.sleep(end - time.monotonic())
            except asyncio.CancelledError:
                continue

    async def crash(self, request, argument):
        yield TextDelta("before")
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)

    async def hog(self, request, argument):
        yield TextDelta("before")
        held = []
        while True:
            held.append(b"x" * 2**22)
            await asyncio.sleep(0.005)

    async def pid(self, request, argument):
        yield TextDelta(str(os.getpid()))

    async def call(self, request, argument):
        """Call a tool: ``call NAME JSON``; several at once: ``call NAME JSON | NAME JSON``."""
        tools = {tool.name: tool for tool in request.tools}
        wishes = [wish.strip().partition(" ") for wish in argument.split(" | ")]
        calls = [tools[name](json.loads(text or "{}")) for name, _, text in wishes]
        yield TextDelta("|".join(await asyncio.gather(*calls)))

    async def call_from_thread(self, request, argument):
        handle = request.tools[0]
        yield TextDelta(await asyncio.to_thread(handle.call_from_thread, json.loads(argument)))

    async def history(self, request, argument):
        yield TextDelta(json.dumps([message.to_dict() for message in request.history]))

    async def built(self, request, argument):
        yield TextDelta(str(request.subject))


class Here(Tricks):
    name = "here"


class Shared(Tricks):
    """In a worker where ``memory_limit_mb`` is set for it."""

    name = "shared"


class Exclusive(Tricks):
    name = "exclusive"
    cancellable = False


class Broken(Tricks):
    """Cannot begin."""

    name = "broken"
    fault: Exception = OSError("no disk")

    async def initialize(self):
        raise self.fault


class LateBroken(Broken):
    name = "latebroken"
    fault = TimeoutError("no answer")


class Unclosable(Tricks):
    """Cannot end."""

    name = "unclosable"

    async def aclose(self):
        raise OSError("no disk")


class Lists(Tricks):
    name = "lists"

    def execute_agent_streaming(self, request):
        return [TextDelta("a list")]


async def asked(request, messages, tools):
    """Yield the deltas of one call of the model."""
    body = {"model": request.model.name, "stream": True, "messages": messages}
    if tools:
        names = "name", "description", "parameters"
        told = [{name: getattr(tool, name) for name in names} for tool in tools]
        body["tools"] = [{"type": "function", "function": each} for each in told]
    head = {"Authorization": f"Bearer {request.model.api_key}"}
    url = f"{request.model.base_url}/chat/completions"
    async with (
        httpx.AsyncClient(trust_env=False, timeout=None) as client,
        client.stream("POST", url, json=body, headers=head) as response,
    ):
        if response.status_code != 200:
            raise ModelRefused((await response.aread()).decode())
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            data = json.loads(line[6:])
            if "error" in data:
                raise ModelRefused(data["error"]["message"])
            for choice in data["choices"]:
                yield choice["delta"]
