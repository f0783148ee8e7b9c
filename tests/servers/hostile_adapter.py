"""An adapter that means harm: it writes into the pipe to the kernel what no adapter should.

The kernel never imports this file: it is staged, as an adapter's file is.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tframex_nb.frameworks.base import FrameworkIntegration
from tframex_nb.messages import TextDelta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tframex_nb.frameworks.base import AgentExecutionRequest
    from tframex_nb.messages import Event


class Hostile(FrameworkIntegration):
    """Does what the prompt names: ``trick argument``."""

    name = "hostile"

    async def execute_agent_streaming(
        self, request: AgentExecutionRequest
    ) -> AsyncGenerator[Event, None]:
        trick, _, argument = request.prompt.partition(" ")
        async for event in getattr(self, trick)(request, argument):
            yield event

    async def write(self, request, argument):
        """Write a line of its own into the pipe; RUN stands for the run's id."""
        yield TextDelta("before")
        await asyncio.sleep(0.05)
        _write(argument.replace("RUN", _run()).encode() + b"\n")
        await asyncio.sleep(60)

    async def nest(self, request, argument):
        yield TextDelta("before")
        await asyncio.sleep(0.05)
        _write(b"[" * 200_000 + b"\n")
        await asyncio.sleep(60)

    async def flood(self, request, argument):
        """Send events that nobody has asked for, without end."""
        yield TextDelta("before")
        event = {"type": "text_delta", "text": "x" * 2**20}
        line = json.dumps({"t": "events", "run": _run(), "weight": 0, "events": [event]})
        while True:
            _write(line.encode() + b"\n")
            await asyncio.sleep(0)

    async def shout(self, request, argument):
        """Fill stderr."""
        for _ in range(int(argument)):
            os.write(2, b"spam\n" * 10_000)
        os.write(2, b"the last line\n")
        yield TextDelta("shouted")

    async def surroundings(self, request, argument):
        facts = {
            "environ": dict(os.environ),
            "process": Path("/proc/self/environ").read_text(),
            "command": Path("/proc/self/cmdline").read_text(),
            "request": repr(request),
        }
        yield TextDelta(json.dumps(facts))

    async def fail(self, request, argument):
        yield TextDelta("before")
        raise LookupError(argument.encode().decode("unicode_escape"))


def _wire():
    return next(each for each in gc.get_objects() if type(each).__name__ == "Wire")


def _run() -> str:
    children = (each for each in gc.get_objects() if type(each).__name__ == "Child")
    return next(iter(next(children)._runs))


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(_wire()._outgoing, data) :]
