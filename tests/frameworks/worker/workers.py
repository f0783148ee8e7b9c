"""Adapters that a worker runs in the tests; each does one thing, told by the prompt.

The kernel never imports this file: it is staged, as an adapter's file is.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from tframex_nb.errors import StepLimitReached
from tframex_nb.frameworks.base import FrameworkIntegration
from tframex_nb.messages import Message, MessageFinished, TextDelta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tframex_nb.frameworks.base import AgentExecutionRequest
    from tframex_nb.messages import Event


class Tricks(FrameworkIntegration):
    """Does the trick that the prompt names: ``trick argument``."""

    name = "tricks"

    async def execute_agent_streaming(
        self, request: AgentExecutionRequest
    ) -> AsyncGenerator[Event, None]:
        trick, _, argument = request.prompt.partition(" ")
        async for event in getattr(self, trick)(request, argument):
            yield event

    async def echo(self, request, argument):
        for word in argument.split(" "):
            yield TextDelta(word)

    async def show(self, request, argument):
        """Answer with the request itself."""
        agent = request.agent
        facts = [agent.id, agent.name, agent.template_id, dict(agent.configuration)]
        facts += [request.prompt, request.system, [m.to_dict() for m in request.history]]
        facts += [request.model.name, request.model.base_url, request.model.api_key]
        facts += [dict(request.params), request.max_steps, request.schema, request.run_id]
        yield TextDelta(json.dumps(facts))
        yield MessageFinished(
            Message("assistant", "ünïcode \ud800 \n", reasoning="why"), "stop", "m"
        )

    async def slow(self, request, argument):
        for number in range(1000):
            yield TextDelta(f"{number} ")
            await asyncio.sleep(float(argument or 0.01))

    async def many(self, request, argument):
        for self.number in range(int(argument)):
            yield TextDelta("word ")

    async def made(self, request, argument):
        yield TextDelta(str(self.number))

    async def large(self, request, argument):
        yield TextDelta("x" * int(argument))

    async def block(self, request, argument):
        """Hold the event loop, in Python code."""
        yield TextDelta("blocking")
        end = time.monotonic() + float(argument)
        while time.monotonic() < end:
            pass

    async def deaf(self, request, argument):
        """Swallow every cancellation."""
        yield TextDelta("deaf")
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    async def doze(self, request, argument):
        """End well, and hold the event loop afterwards."""
        asyncio.get_running_loop().call_later(0.05, time.sleep, 60)
        yield TextDelta("good night")

    async def print(self, request, argument):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.write(1, b"to descriptor 1\n")
        subprocess.run([sys.executable, "-c", "print('of a child')"], check=True)
        print('{"t":"done","run":"r1"}')
        print("last, without an end", end="")
        sys.stdout.write("\n")
        yield TextDelta("printed")

    async def read(self, request, argument):
        try:
            yield TextDelta(input())
        except EOFError:
            yield TextDelta("nothing to read")

    async def exit(self, request, argument):
        yield TextDelta("before")
        await asyncio.sleep(0.05)
        print("these were my last words", file=sys.stderr, flush=True)
        os._exit(int(argument))

    async def segfault(self, request, argument):
        yield TextDelta("before")
        await asyncio.sleep(0.05)
        ctypes.string_at(0)

    async def leave(self, request, argument):
        yield TextDelta("before")
        sys.exit(3)

    async def fail(self, request, argument):
        yield TextDelta("before")
        raise LookupError(argument)

    async def mute(self, request, argument):
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError

        yield TextDelta("before")
        raise Mute

    async def thread(self, request, argument):
        """Wait for a tool in a thread that nobody can cancel."""
        handle = request.tools[0]
        waits = threading.Thread(target=lambda: handle.call_from_thread({}), name="waits")
        waits.start()
        yield TextDelta("waits")
        await asyncio.sleep(60)

    async def threads(self, request, argument):
        yield TextDelta(" ".join(t.name for t in threading.enumerate()))

    async def ours(self, request, argument):
        yield TextDelta("before")
        raise StepLimitReached("too many", hint="fewer")

    async def wrong(self, request, argument):
        yield "a str"

    async def hog(self, request, argument):
        yield TextDelta("before")
        held = []
        while True:
            held.append(bytearray(os.urandom(1024) * 4096))
            await asyncio.sleep(0.005)

    async def family(self, request, argument):
        """Start a process that holds memory, or just lives on."""
        code = "import time; held = bytearray(b'x' * (%s << 20)); time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", code % argument])
        yield TextDelta(str(child.pid))
        await asyncio.sleep(60)

    async def tool(self, request, argument):
        yield TextDelta(await request.tools[0](json.loads(argument)))

    async def tools_at_once(self, request, argument):
        calls = [request.tools[0]({"city": city}) for city in argument.split(",")]
        yield TextDelta("|".join(await asyncio.gather(*calls)))

    async def tool_in_thread(self, request, argument):
        handle = request.tools[0]
        yield TextDelta(await asyncio.to_thread(handle.call_from_thread, json.loads(argument)))

    async def tool_on_the_loop(self, request, argument):
        """Call a tool in sync code that holds the event loop."""
        from notebook import weather

        yield TextDelta(weather(argument))

    async def subject(self, request, argument):
        subject = request.subject
        yield TextDelta(str(subject() if argument == "call" else subject))

    async def environment(self, request, argument):
        facts = {"environ": dict(os.environ), "path": sys.path, "argv": sys.argv}
        facts["modules"] = sorted(n for n in sys.modules if n.startswith("tframex_nb"))
        facts["session"] = os.getsid(0) == os.getpid()
        facts["threads"] = threading.active_count()
        yield TextDelta(json.dumps(facts))

    async def pid(self, request, argument):
        yield TextDelta(str(os.getpid()))
        await asyncio.sleep(float(argument or 0))


class Exclusive(Tricks):
    name = "exclusive"
    cancellable = False


class CannotImport(Tricks):
    async def initialize(self):
        print("looking for it", file=sys.stderr)
        importlib.import_module("no_such_framework")


class DiesAtStart(Tricks):
    async def initialize(self):
        print("no room", file=sys.stderr, flush=True)
        os._exit(7)


class Versioned(Tricks):
    distribution = "pip"
