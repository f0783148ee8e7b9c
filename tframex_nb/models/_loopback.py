"""An HTTP server on loopback, inside this process: a daemon thread with a loop of its own."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from tframex_nb.models._loopback_uvicorn import PromptServer

__all__ = ["LoopbackServer"]

_STOP = 5.0  # seconds to wait for the thread


class LoopbackServer:
    """Serve an ASGI app on a random loopback port, from the first ``start`` to ``stop``.

    Starting only listens and starts the thread, so it costs about a millisecond: a client may
    connect at once, and waits until the thread has imported what it needs. ``build`` makes the
    app on that thread; it is given the port.
    """

    def __init__(self, name: str, build: Callable[[int], ASGIApp]) -> None:
        self._name = name
        self._build = build
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._thread: _Serving | None = None

    @property
    def running(self) -> bool:
        """Whether the server runs in this process (a fork does not inherit it)."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def port(self) -> int | None:
        """The port that is listened on, or None."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else None

    def start(self) -> int:
        """Start the server unless it runs, and return its port."""
        with self._lock:
            if self._socket is None or not self.running:
                if self._socket is not None:
                    self._socket.close()  # the one of the process that was forked
                self._socket = _listen()
                self._thread = _Serving(self._name, self._socket, self._build)
                self._thread.start()
                atexit.register(self.stop)
            return int(self._socket.getsockname()[1])

    def call(self, function: Callable[[], object]) -> None:
        """Run ``function`` on the server's loop soon, from any thread; nothing where none runs."""
        thread = self._thread
        if thread is not None:
            thread.call(function)

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


class _Serving(threading.Thread):
    """The thread that serves one socket until it is told to stop."""

    def __init__(
        self, name: str, listening: socket.socket, build: Callable[[int], ASGIApp]
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._listening = listening
        self._build = build
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: PromptServer | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        try:
            server = self._made()
            if not self._stopping.is_set():
                asyncio.run(self._serve(server))
        finally:
            self._listening.close()

    def call(self, function: Callable[[], object]) -> None:
        """Run ``function`` on this thread's loop soon."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """Make the server end now, and wait for its thread."""
        self._stopping.set()
        self.call(self._end)
        if self.is_alive() and threading.current_thread() is not self:
            self.join(_STOP)

    def _end(self) -> None:
        if self._server is not None:
            self._server.end()

    def _made(self) -> PromptServer:
        from tframex_nb.models._loopback_uvicorn import prompt_server

        return prompt_server(self._build(self._listening.getsockname()[1]))

    async def _serve(self, server: PromptServer) -> None:
        """Serve until told to stop, then wait for the answers that were cut."""
        self._server, self._loop = server, asyncio.get_running_loop()
        if self._stopping.is_set():
            return
        await server.serve(sockets=[self._listening])
        if server.server_state.tasks:
            await asyncio.wait(server.server_state.tasks, timeout=1)


def _listen() -> socket.socket:
    """Return a listening socket; the explicit TCP makes asyncio set TCP_NODELAY on it."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    return listening
