"""The demo server: a daemon thread with a loop of its own, on a random loopback port."""

from __future__ import annotations

import asyncio
import atexit
import secrets
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn

__all__ = ["DemoServer"]

_STOP = 5.0  # seconds to wait for the thread


class DemoServer:
    """The demo model's HTTP server; it starts when its ``url`` is first asked for.

    Starting only listens and starts the thread, so it costs about a millisecond: a client may
    connect at once, and waits until the thread has imported what it needs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._token = secrets.token_urlsafe(24)
        self._socket: socket.socket | None = None
        self._thread: _Serving | None = None

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
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> int:
        """Start the server unless it runs, and return its port."""
        with self._lock:
            if self._socket is None or not self.running:
                self._socket = _listen()
                self._thread = _Serving(self._socket, self._token)
                self._thread.start()
                atexit.register(self.stop)
            return int(self._socket.getsockname()[1])

    def stop(self) -> None:
        """Stop the server and cut what it is sending; it may be started again."""
        with self._lock:
            thread, listening = self._thread, self._socket
            self._thread = self._socket = None
        if thread is not None:
            thread.stop()
        if listening is not None:
            listening.close()
        atexit.unregister(self.stop)

    def __repr__(self) -> str:
        port = self._socket.getsockname()[1] if self._socket is not None else None
        return f"<DemoServer on 127.0.0.1:{port}>" if port else "<DemoServer, not started>"


class _Serving(threading.Thread):
    """The thread that serves one socket until it is told to stop."""

    def __init__(self, listening: socket.socket, token: str) -> None:
        super().__init__(name="tframex-nb demo model", daemon=True)
        self._listening = listening
        self._token = token
        self._server: uvicorn.Server | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        try:
            self._server = self._build()
            if self._stopping.is_set():
                return
            asyncio.run(self._serve(self._server))
        finally:
            self._listening.close()

    def stop(self) -> None:
        """Make the server end now, and wait for its thread."""
        self._stopping.set()
        if self._server is not None:
            self._server.should_exit = self._server.force_exit = True
        if self.is_alive() and threading.current_thread() is not self:
            self.join(_STOP)

    async def _serve(self, server: uvicorn.Server) -> None:
        """Serve until told to stop, then wait for the answers that were cut."""
        await server.serve(sockets=[self._listening])
        if server.server_state.tasks:
            await asyncio.wait(server.server_state.tasks, timeout=1)

    def _build(self) -> uvicorn.Server:
        import uvicorn

        from tframex_nb.models.demo._protocol import PromptServer, QuietProtocol
        from tframex_nb.models.demo.app import build_app

        app = build_app(self._token, self._listening.getsockname()[1])
        config = uvicorn.Config(
            app,
            http=QuietProtocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=60,
        )
        return PromptServer(config)


def _listen() -> socket.socket:
    """Return a listening socket; the explicit TCP makes asyncio set TCP_NODELAY on it."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    return listening
