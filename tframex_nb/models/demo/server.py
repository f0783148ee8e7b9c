"""The demo server: the demo model's app, on loopback."""

from __future__ import annotations

import functools
import secrets
from typing import TYPE_CHECKING

from tframex_nb.models._loopback import LoopbackServer

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["DemoServer"]


class DemoServer:
    """The demo model's HTTP server; it starts when its ``url`` is first asked for."""

    def __init__(self) -> None:
        self._token = secrets.token_urlsafe(24)
        build = functools.partial(_build, self._token)
        self._server = LoopbackServer("tframex-nb demo model", build)

    @property
    def url(self) -> str:
        """The base URL, such as ``http://127.0.0.1:40123/v1``; starts the server."""
        return f"http://127.0.0.1:{self.start()}/v1"

    @property
    def token(self) -> str:
        """The API key of this server: random, and good for this process only."""
        return self._token

    @property
    def running(self) -> bool:
        """Whether the server runs in this process (a fork does not inherit it)."""
        return self._server.running

    def start(self) -> int:
        """Start the server unless it runs, and return its port."""
        return self._server.start()

    def stop(self) -> None:
        """Stop the server and cut what it is sending; it may be started again."""
        self._server.stop()

    def __repr__(self) -> str:
        port = self._server.port
        return f"<DemoServer on 127.0.0.1:{port}>" if port else "<DemoServer, not started>"


def _build(token: str, port: int) -> ASGIApp:
    from tframex_nb.models.demo.app import build_app

    return build_app(token, port)
