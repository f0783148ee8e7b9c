"""An MCP server over stdin and stdout, where nothing but the protocol may be written."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING

from tframex_nb.errors import TFrameXError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterator

    from tframex_nb.mcp.server_calls import AgentServer

__all__ = ["Channel", "claimed", "run_stdio"]

Channel = tuple[io.TextIOWrapper, io.TextIOWrapper]  # what comes in, what goes out


@contextlib.contextmanager
def claimed() -> Iterator[Channel]:
    """Take stdin and stdout for the protocol while the block runs.

    What anything else prints, a child's output too, goes to stderr; who reads stdin finds its
    end. Take them before the code of others is loaded. Raises TFrameXError where they are closed.
    """
    kept = (sys.stdin, sys.stdout)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    try:
        coming, going = os.dup(0), os.dup(1)
    except OSError as exc:
        raise TFrameXError(
            "stdin or stdout is closed, and the protocol needs both",
            hint="over HTTP: tframex-nb mcp TARGET --http",
        ) from exc
    _point(0, os.open(os.devnull, os.O_RDONLY))
    _point(1, os.dup(2))
    sys.stdout = sys.stderr
    # Their descriptors stay open to the end: a thread may still read one
    taken = os.fdopen(coming, "rb", closefd=False), os.fdopen(going, "wb", closefd=False)
    try:
        yield (
            io.TextIOWrapper(taken[0], encoding="utf-8", errors="replace"),
            io.TextIOWrapper(taken[1], encoding="utf-8", newline="\n"),
        )
    finally:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            kept[1].flush()
        sys.stdin, sys.stdout = kept
        os.dup2(coming, 0)
        os.dup2(going, 1)


def run_stdio(
    server: AgentServer,
    channel: Channel | None = None,
    *,
    aclose: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """Serve one client until it closes stdin, or a signal comes; return the exit code.

    ``channel`` is what ``claimed`` gave; without one stdin and stdout are taken now.
    """
    if channel is None:
        with claimed() as taken:
            return run_stdio(server, taken, aclose=aclose)
    from tframex_nb.mcp.server_running import run_until_told

    coming, going = channel

    async def serving(_told: asyncio.Event) -> None:
        import anyio
        from mcp.server.stdio import stdio_server

        protocol = server.protocol
        try:
            async with stdio_server(anyio.wrap_file(coming), anyio.wrap_file(going)) as streams:
                options = protocol.create_initialization_options()
                await protocol.run(streams[0], streams[1], options)
        except* (BrokenPipeError, ConnectionResetError):  # the client is gone: an end, no fault
            pass

    return run_until_told(serving, server, aclose)


def _point(descriptor: int, at: int) -> None:
    os.dup2(at, descriptor)
    os.close(at)
