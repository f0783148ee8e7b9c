"""uvicorn's parts as servers inside a kernel need them: silent, idle, gone at once when told."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

__all__ = ["PromptServer", "QuietProtocol", "prompt_server"]

PATIENCE = 10.0  # seconds in which a client has to say what it wants
IDLE = 256  # connections on which nothing is asked; beyond, the longest idle is cut
AT_ONCE = 64  # connections that are taken before the idle ones among them can be cut
QUEUE = 2048  # connections that the system holds until then


class PromptServer(uvicorn.Server):
    """uvicorn's server, which sleeps while nothing happens, and cuts what is being sent to stop.

    From Python 3.12 on, ``asyncio.Server.wait_closed`` waits for every open connection, so
    that cutting them afterwards would come too late: a slow answer would hold the kernel's exit.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    def end(self) -> None:
        """Stop serving; called on the server's own loop."""
        self.should_exit = self.force_exit = True
        self._told.set()

    async def main_loop(self) -> None:
        """Wait to be told: uvicorn's own loop wakes ten times a second for what is off here."""
        await self._told.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; what is not yet taken waits, for else its client would try again in a second."""
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(QUEUE)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut every connection, then shut down."""
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


class QuietProtocol(H11Protocol):
    """uvicorn's own protocol, silent: it would print an error at each answer that is cut.

    Any process on this machine can connect. One that asks nothing, or never comes to the end of
    its question, must not use up the kernel's file descriptors.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # uvicorn's own arguments
        super().__init__(*args, **kwargs)
        # Outside the tree of loggers, so that no handler of the user shows it
        self.logger = logging.Logger("loopback", logging.CRITICAL + 1)  # noqa: LOG001 - see above
        self.heard = self.loop.time()
        self._due: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether no question is being answered here."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn types it wider
        """Take a connection, in place of the longest idle one where there are many."""
        super().connection_made(transport)
        idle = [each for each in self.connections if isinstance(each, QuietProtocol) and each.idle]
        if len(idle) > _most_idle():
            min(idle, key=lambda each: each.heard).transport.abort()
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Take a piece of a question; the first begins the time that it may take."""
        super().data_received(data)
        self.heard = self.loop.time()
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._forget()
        super().connection_lost(exc)

    def _expect(self) -> None:
        if not self.idle:
            self._forget()
        elif self._due is None:
            self._due = self.loop.call_later(PATIENCE, self.transport.abort)

    def _forget(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


def _most_idle() -> int:
    """Return how many idle connections are kept: macOS gives a process 256 files in all."""
    try:
        import resource
    except ImportError:  # Windows, where sockets are no files
        return IDLE
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return IDLE if most == resource.RLIM_INFINITY else min(IDLE, most // 4)


def prompt_server(app: ASGIApp) -> PromptServer:
    """Return a server for ``app`` that logs nothing and adds no header."""
    config = uvicorn.Config(
        app,
        http=QuietProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=60,
        backlog=AT_ONCE,
    )
    return PromptServer(config)
