"""How a server's process runs and ends: signals, threads of tools, what is closed last."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from tframex_nb.mcp.server_calls import AgentServer

__all__ = ["run_until_told"]

GRACE = 20.0  # seconds for calls, workers and connections to end


def run_until_told(
    serving: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
    server: AgentServer,
    aclose: Callable[[], Awaitable[None]] | None,
) -> int:
    """Run ``serving`` to its end, or until a signal sets the event it is given.

    Return the exit code: 0, also for Ctrl-C at a server that serves until Ctrl-C.
    """
    with asyncio.Runner() as runner:
        return runner.run(_until_told(serving, server, aclose or _close_models))


async def _until_told(
    serving: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
    server: AgentServer,
    aclose: Callable[[], Awaitable[None]],
) -> int:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(_Threads())
    told = asyncio.Event()

    def stop() -> None:
        if told.is_set():  # the second Ctrl-C of somebody who does not want to wait
            _leave()
        told.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # no such handlers on Windows
            loop.add_signal_handler(number, stop)
    task = asyncio.create_task(serving(told))
    telling = asyncio.create_task(told.wait())
    try:
        await asyncio.wait({task, telling}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        telling.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await server.aclose()
                await aclose()
    if told.is_set():
        done, _ = await asyncio.wait({task}, timeout=0.5)
        if not done:  # it waits for a thread that reads stdin, and nothing can wake that
            _leave()
    await task
    return 0


def _leave() -> None:
    """End the process now; all that needs closing is closed."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


async def _close_models() -> None:
    from tframex_nb.models import shared_endpoints

    await shared_endpoints().aclose()


class _Threads(concurrent.futures.ThreadPoolExecutor):
    """A thread for each call, and no wait for any at the end.

    A function that was stopped cannot be; it must not take a place that another call needs, nor
    keep the process once its client is gone.
    """

    def submit(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        **named: Any,  # a tool takes what it likes
    ) -> concurrent.futures.Future[Any]:
        """Start the function."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*args, **named))
            except BaseException as exc:  # noqa: BLE001 - it is the caller's: the future carries it
                future.set_exception(exc)

        threading.Thread(target=work, name="tool", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let them be."""
        del wait, cancel_futures
