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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut every connection, then shut down."""
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


class QuietProtocol(H11Protocol):
    """uvicorn's own protocol, silent: it would print an error at each answer that is cut."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # uvicorn's own arguments
        super().__init__(*args, **kwargs)
        # Outside the tree of loggers, so that no handler of the user shows it
        self.logger = logging.Logger("loopback", logging.CRITICAL + 1)  # noqa: LOG001 - see above


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
    )
    return PromptServer(config)
