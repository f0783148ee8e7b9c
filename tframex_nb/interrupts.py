"""Ctrl-C and ■ while agents run: cancel the task, never the event loop (stdlib only).

An awaiting notebook cell notices an interrupt only when its loop wakes (ipykernel #881), and a
plain ``KeyboardInterrupt`` that leaves a task ends ``run_forever`` and with it the kernel. So
while a run lasts, SIGINT is ours: it cancels the run's task through ``call_soon_threadsafe``,
which wakes the loop at once. Only while a synchronous tool holds the thread does the handler
raise ``KeyboardInterrupt``, inside that tool, where ``call_tool`` catches it. The same holds for
a cell's own code beside a run that it left going, where IPython catches it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
    from types import FrameType

__all__ = [
    "RunStopped",
    "ToolStopped",
    "call_tool",
    "guarded",
    "interruptible",
    "run_sync",
    "stand_apart",
]

T = TypeVar("T")
P = ParamSpec("P")

_LOOPS = frozenset({"asyncio", "nest_asyncio", "nest_asyncio2", "uvloop"})
_OTHERS = _LOOPS | {"tframex_nb"}
_CELLS = "IPython.core.interactiveshell"  # its run_code catches what a cell raises
HEARTBEAT = 0.05  # seconds; bounds the delay of a signal that another thread received

_apart = contextvars.ContextVar("tframex_apart", default=False)


class RunStopped(asyncio.CancelledError, KeyboardInterrupt):
    """The user stopped the run; what was received is kept.

    It is a ``CancelledError`` first, so that it may cross a task's border without ending the
    loop, and a ``KeyboardInterrupt`` for whoever catches that.
    """

    def _render_traceback_(self) -> list[str]:
        """Return the one line that IPython shows in place of a traceback."""
        return ["Stopped: the run was interrupted; the partial answer is kept."]


class ToolStopped(Exception):
    """The user interrupted a tool that held the thread; the run that called it goes on."""


def stand_apart() -> None:
    """Let no interrupt stop what runs in this context from now on: it is meant for others.

    A synchronous tool that holds the thread is interrupted all the same, or nothing else could
    run: ``call_tool`` raises ``ToolStopped`` for it.
    """
    _apart.set(True)


def guarded(coro: Coroutine[Any, Any, T]) -> Awaitable[T]:
    """Return an awaitable that an interrupt in IPython stops at once.

    Outside IPython, or off the main thread, it just awaits ``coro``.
    """
    return _Guarded(coro)


async def interruptible(coro: Coroutine[Any, Any, T]) -> T:
    """Run ``coro`` as a task of the running loop while SIGINT is ours.

    Raises ``RunStopped`` where the user stopped it; a cancellation from elsewhere passes
    through unchanged. Off the main thread there are no signals, and it just awaits, as it does
    for what stands apart.
    """
    if _apart.get() or not _on_main_thread():
        return await coro
    loop = asyncio.get_running_loop()
    task = loop.create_task(coro)
    with _sigint.watch(loop, task) as watch:
        beat = loop.create_task(_heartbeat())
        try:
            return await task
        except asyncio.CancelledError:
            if watch.interrupted:
                raise RunStopped from None
            raise
        finally:
            beat.cancel()


def run_sync(coro: Coroutine[Any, Any, T]) -> T:
    """Run ``coro`` to its end from synchronous code.

    Inside a running loop (a notebook's cell) this needs nest-asyncio, which is applied to that
    loop now, for good. Raises ``RunStopped`` where the user interrupted.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _run_idle(coro)
    _allow_nesting(loop)
    return _unwrap(loop.run_until_complete(_outcome(coro)))


def call_tool(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a synchronous tool on this thread; an interrupt inside it cancels the run.

    Raises ToolStopped in its place where the run stands apart.
    """
    if _apart.get():
        return _call_apart(function, *args, **kwargs)
    try:
        return _invoke(function, *args, **kwargs)
    except KeyboardInterrupt:
        raise asyncio.CancelledError from None


def _call_apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a tool of a run that stands apart; between two cells a kernel ignores SIGINT."""
    try:
        with _sigint.reach() if _on_main_thread() else contextlib.nullcontext():
            return _invoke(function, *args, **kwargs)
    except KeyboardInterrupt:
        raise ToolStopped("the user interrupted it while it held up the notebook") from None


def _invoke(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Hold the frame below which SIGINT may raise: ``call_tool``'s own has no such instant."""
    return function(*args, **kwargs)


class _Guarded:
    """A coroutine that turns interruptible when it is awaited."""

    def __init__(self, coro: Coroutine[Any, Any, Any]) -> None:
        self._coro = coro

    def __await__(self) -> Generator[Any, None, Any]:
        if _in_ipython():
            return interruptible(self._coro).__await__()
        return self._coro.__await__()

    def close(self) -> None:
        """Give the run up before it began, as one does with a coroutine."""
        self._coro.close()


class _Watch:
    """One run that SIGINT cancels."""

    def __init__(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        self.loop = loop
        self.task = task
        self.interrupted = False

    def interrupt(self) -> None:
        self.interrupted = True
        self.loop.call_soon_threadsafe(self.task.cancel)


class _Sigint:
    """The process's SIGINT handler while any run lasts.

    A signal handler is global by nature: this is the one mutable module global here. Runs may
    overlap (``asyncio.gather``), so the handler is shared, installed by the first run and taken
    back by the last, unless someone else has replaced it meanwhile.
    """

    def __init__(self) -> None:
        self._watches: list[_Watch] = []
        self._previous: Any = None  # what signal.signal returns: a callable, an enum or None

    @contextlib.contextmanager
    def watch(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> Iterator[_Watch]:
        """Let SIGINT cancel ``task`` while the block runs."""
        watch = _Watch(loop, task)
        self._watches.append(watch)
        if signal.getsignal(signal.SIGINT) != self._handle:
            self._previous = signal.signal(signal.SIGINT, self._handle)
        try:
            yield watch
        finally:
            self._watches.remove(watch)
            if not self._watches and signal.getsignal(signal.SIGINT) == self._handle:
                signal.signal(signal.SIGINT, self._previous or signal.default_int_handler)

    @contextlib.contextmanager
    def reach(self) -> Iterator[None]:
        """Let SIGINT reach the tool that the block calls, and whoever it reached before."""
        behind = signal.getsignal(signal.SIGINT)
        if behind == self._handle:
            yield
            return

        def handle(signum: int, frame: FrameType | None) -> None:
            if callable(behind):
                behind(signum, frame)
            if _inside_tool(frame):
                raise KeyboardInterrupt

        signal.signal(signal.SIGINT, handle)
        try:
            yield
        finally:
            if signal.getsignal(signal.SIGINT) is handle:
                signal.signal(signal.SIGINT, signal.SIG_IGN if behind is None else behind)

    def _handle(self, _signum: int, frame: FrameType | None) -> None:
        for watch in tuple(self._watches):
            watch.interrupt()
        if _inside_tool(frame) or _inside_cell(frame):
            raise KeyboardInterrupt


_sigint = _Sigint()


def _inside_tool(frame: FrameType | None) -> bool:
    """Whether a tool's own code was interrupted, and not a loop that the tool drives itself."""
    while frame is not None:
        if frame.f_code is _invoke.__code__:
            return True
        if frame.f_globals.get("__name__", "").partition(".")[0] in _LOOPS:
            return False
        frame = frame.f_back
    return False


def _inside_cell(frame: FrameType | None) -> bool:
    """Whether the cell's own synchronous code was interrupted, beside a run that it left going."""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module == _CELLS and frame.f_code.co_name == "run_code":
            return True
        if module.partition(".")[0] in _OTHERS:
            return False
        frame = frame.f_back
    return False


async def _heartbeat() -> None:
    while True:  # noqa: ASYNC110  # waking the loop is all it is for
        await asyncio.sleep(HEARTBEAT)


async def _outcome(coro: Coroutine[Any, Any, T]) -> T | RunStopped:
    """Run ``coro``; give a stop back as a value, so that no exception crosses the loop."""
    try:
        return await interruptible(coro)
    except RunStopped as stopped:
        return stopped


def _unwrap(outcome: T | RunStopped) -> T:
    if isinstance(outcome, RunStopped):
        raise outcome
    return outcome


def _run_idle(coro: Coroutine[Any, Any, T]) -> T:
    """Run on IPython's own loop where there is one, so that loop-bound objects keep working."""
    helpers = sys.modules.get("IPython.core.async_helpers")
    if helpers is not None and _in_ipython() and _on_main_thread():
        loop: asyncio.AbstractEventLoop = helpers.get_asyncio_loop()
        return _unwrap(loop.run_until_complete(_outcome(coro)))
    return _unwrap(asyncio.run(_outcome(coro)))


def _allow_nesting(loop: asyncio.AbstractEventLoop) -> None:
    """Patch ``loop`` with the maintained fork of nest-asyncio where it can be imported."""
    try:
        nest = importlib.import_module("nest_asyncio2")
    except ImportError:
        nest = importlib.import_module("nest_asyncio")
    nest.apply(loop)


def _in_ipython() -> bool:
    """Whether this process is an IPython session, without importing IPython."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
