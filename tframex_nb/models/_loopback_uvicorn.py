"""uvicorn's parts as the demo server needs them: silent, and gone at once when told to stop."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import socket

__all__ = ["PromptServer", "QuietProtocol"]


class PromptServer(uvicorn.Server):
    """uvicorn's server, which cuts what is being sent before it waits for its connections.

    From Python 3.12 on, ``asyncio.Server.wait_closed`` waits for every open connection, so
    that cutting them afterwards would come too late: a slow answer would hold the kernel's exit.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut every connection, then shut down."""
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


class QuietProtocol(H11Protocol):
    """uvicorn's own protocol, silent: ``demo:cut`` would print an error at each scripted fault."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # uvicorn's own arguments
        super().__init__(*args, **kwargs)
        # Outside the tree of loggers, so that no handler of the user shows it
        self.logger = logging.Logger("demo", logging.CRITICAL + 1)  # noqa: LOG001 - see above
