"""An MCP server full of tricks: ``python mcp_tricks.py`` on stdio, with a port over HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp_types import ToolAnnotations

server = MCPServer("tricks", log_level="ERROR")
READS = ToolAnnotations(read_only_hint=True)
HOSTILE = "<img src=x onerror=alert(1)> ![a](https://evil.example/x.png) \x1b[2J\u202e"


@server.tool(annotations=READS)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(description=HOSTILE)
def hostile() -> str:
    return HOSTILE


@server.tool()
def huge(size: int = 10_000_000) -> str:
    """Return very much."""
    return "x" * size


@server.tool()
async def slow(seconds: float, trace: str = "") -> str:
    """Take a while; a cancellation leaves a file."""
    try:
        if trace:
            Path(trace).write_text("begun")
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if trace:
            Path(trace).write_text("cancelled")
        raise
    return "late"


@server.tool()
def die(word: str = "out of luck") -> str:
    """End at once."""
    print(word, file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


@server.tool()
def fail(secret: str = "") -> str:
    """Fail."""
    raise ValueError(f"nothing of that kind {secret}")


@server.tool()
def picture() -> Image:
    """Return a picture."""
    return Image(data=b"\x89PNG" + b"0" * 96, format="png")


@server.tool(annotations=READS)
def environment() -> str:
    """Tell the names and values of the environment."""
    return "\n".join(f"{name}={value}" for name, value in sorted(os.environ.items()))


@server.tool(annotations=READS)
def processes() -> str:
    """Start a child in the group and one that leaves it; return the pids of all three."""
    here = subprocess.Popen(["sleep", "1000"])
    away = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    return f"{os.getpid()} {here.pid} {away.pid}"


@server.tool()
async def grow(name: str, ctx: Context) -> str:
    """Offer one tool more."""
    server.add_tool(lambda: name, name=name, description="new")
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return name


if __name__ == "__main__":
    if sys.argv[1:]:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
