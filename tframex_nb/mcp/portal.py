"""A thread with an event loop of its own, on which connections live whatever a cell does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from tframex_nb.errors import McpError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Portal"]

T = TypeVar("T")

NAME = "tframex-mcp"
POLL = 0.005  # seconds between looks at whether the thread has ended
ENDING = 3.0  # seconds that it has to end; it is a daemon, and keeps no process
# The package tells of a server's faults here too; we raise them, and stderr is the user's.
_LOGGERS = (
    *("client", "httpx2", "httpcore2"),
    *("mcp.client.streamable_http", "mcp.client.session", "mcp.client.client"),
    *("mcp.client.subscriptions", "mcp.shared.jsonrpc_dispatcher"),
)


class Portal:
    """Runs coroutines on its own loop, from the first ``call`` to ``aclose``, which is final."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: _Looping | None = None
        self._closed = False

    async def call(self, work: Callable[[], Coroutine[None, None, T]]) -> T:
        """Run ``work`` there and return what it returns; may be awaited on any loop.

        Cancelling the call cancels the work, and returns at once.
        """
        return await asyncio.wrap_future(self._submit(work))

    @property
    def running(self) -> bool:
        """Whether there is a thread (a fork does not inherit it)."""
        return self._thread is not None and self._thread.is_alive()

    async def aclose(self) -> None:
        """End the thread: nothing that nobody owns any more is started again."""
        with self._lock:
            thread, self._thread, self._closed = self._thread, None, True
        if thread is None:
            return
        thread.stop()
        end = time.monotonic() + ENDING
        while thread.is_alive() and time.monotonic() < end:  # noqa: ASYNC110 - it wakes no loop
            await asyncio.sleep(POLL)

    def _submit(self, work: Callable[[], Coroutine[None, None, T]]):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a concurrent Future[T], whose module is not loaded for its name
        with self._lock:
            if self._closed:
                raise McpError("the MCP server was closed", hint="open it again, or run its cell")
            if not self.running:
                self._thread = _Looping()
                self._thread.start()
                self._thread.ready.wait()
            loop = self._thread.loop if self._thread is not None else None
            if loop is None:
                why = self._thread.problem if self._thread is not None else None
                raise McpError(
                    f"no thread for MCP servers could be had: {why}",
                    hint="close what you do not need, or restart the kernel",
                ) from why
        made = work()
        try:
            return asyncio.run_coroutine_threadsafe(made, loop)
        except RuntimeError:
            made.close()
            raise McpError("the MCP servers are being closed", hint="run the cell again") from None


class _Looping(threading.Thread):
    """The thread; a daemon, since whatever it holds ends with the process."""

    def __init__(self) -> None:
        super().__init__(name=NAME, daemon=True)
        self.ready = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.problem: Exception | None = None  # why there is no loop
        self._told: asyncio.Event

    def run(self) -> None:
        """Run the loop until told to stop, then cancel what is left on it."""
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_not_here)
        try:
            with asyncio.Runner() as runner:
                runner.get_loop()  # first, for a coroutine without a loop would be left behind
                runner.run(self._main())
        except Exception as exc:  # noqa: BLE001 - no descriptors left, say; who waits tells it
            self.problem = exc
        finally:
            self.ready.set()
            for name in _LOGGERS:
                logging.getLogger(name).removeFilter(_not_here)

    def stop(self) -> None:
        """Make the loop end."""
        with contextlib.suppress(RuntimeError):
            if self.loop is not None:
                self.loop.call_soon_threadsafe(self._told.set)

    async def _main(self) -> None:
        self.loop, self._told = asyncio.get_running_loop(), asyncio.Event()
        self.ready.set()
        await self._told.wait()


def _not_here(record: logging.LogRecord) -> bool:
    """Whether a record comes from another thread than ours."""
    return record.threadName != NAME
