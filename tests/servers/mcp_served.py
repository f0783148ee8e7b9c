"""``tframex-nb mcp`` as a client starts it, and the official SDK's client beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["COMMAND", "PATIENCE", "Raw", "over_http", "over_stdio", "raw", "seen", "text_of", "web"]

COMMAND = [sys.executable, "-m", "tframex_nb", "mcp"]
PATIENCE = 20  # seconds that a test waits for a process
_ENVIRONMENT = ("PYTHONPATH", "TFRAMEX_FRAMEWORKS_DIR")


def text_of(result: Any) -> str:
    """Return the texts of a result, one below the other."""
    return "\n".join(block.text for block in result.content)


@contextlib.asynccontextmanager
async def over_stdio(
    *arguments: str, mode: str = "auto", log: Path | None = None, **environment: str
) -> AsyncIterator[Client]:
    """Start the server as the SDK's client does; ``log`` takes what it writes to stderr."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    parameters = StdioServerParameters(
        command=COMMAND[0], args=[*COMMAND[1:], *arguments], env={**kept, **environment}
    )
    with Path(log or os.devnull).open("a", encoding="utf-8") as errors:
        async with Client(stdio_client(parameters, errlog=errors), mode=mode) as client:
            yield client


class Raw:
    """The server as a process whose pipes a test holds; lines of JSON go in and come out."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def send(self, **message: Any) -> None:
        """Send one message as it is."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Return the next message; fails where a line is none."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def open(self) -> dict[str, Any]:
        """Shake hands; return what the server says of itself."""
        about = {"name": "test", "version": "1"}
        params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": about}
        self.send(id=0, method="initialize", params=params)
        answer = self.receive()
        self.send(method="notifications/initialized")
        return answer["result"]

    def call(self, number: int, name: str, **arguments: Any) -> None:
        """Ask for a tool, and wait for nothing."""
        self.send(id=number, method="tools/call", params={"name": name, "arguments": arguments})


@contextlib.contextmanager
def raw(*arguments: str, command: list[str] = COMMAND, **environment: str) -> Iterator[Raw]:
    """Start the server, or what serves in its place; one that still runs at the end is killed."""
    process = subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    with process:
        try:
            yield Raw(process)
        finally:
            process.kill()


@contextlib.contextmanager
def web(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """Start the server over HTTP; yield the process, its URL, and the token it made."""
    with raw(*arguments, "--http", "0", **environment) as started:
        process = started.process
        assert process.stderr is not None
        said = ""
        while "serving at" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        url = said.split("serving at ")[1].strip()
        token = ""
        if "--token-env" not in arguments:
            found = re.fullmatch(r"Authorization: Bearer (\S+)\n", process.stderr.readline())
            assert found
            token = found[1]
        yield process, url, token


@contextlib.asynccontextmanager
async def over_http(url: str, token: str, *, mode: str = "auto") -> AsyncIterator[Client]:
    """Connect the SDK's client with a token."""
    headers = {"Authorization": f"Bearer {token}"}
    timeout = httpx2.Timeout(PATIENCE)
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def seen(condition: Any) -> None:
    """Wait until something is so that nothing announces."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)
