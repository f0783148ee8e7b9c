"""The worker's end of the pipe: a thread that reads and one that writes (stdlib only).

Threads, because the framework may hold the event loop for as long as it likes: events that were
yielded still go out, results of tools still come in, and the end of the kernel is still noticed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import signal
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeAlias

from tframex_nb.frameworks.worker.protocol import (
    Call,
    Lines,
    ProtocolError,
    Result,
    decode,
    encode,
    encode_events,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tframex_nb.frameworks.worker.protocol import Message

__all__ = ["ToolCallFailed", "Wire", "end_with_the_kernel"]

CHUNK = 2**16  # bytes that are read at once
ITEMS = 2**12  # messages that are written at once
LINE = 2**15  # bytes of events that are put into one line, as long as no event is larger
PR_SET_PDEATHSIG = 1  # man 2 prctl

_Item: TypeAlias = "bytes | tuple[str, str] | None"  # a line, an event of a run, the end


class ToolCallFailed(RuntimeError):
    """A tool of the notebook could not be called."""


class Wire:
    """Messages to and from the kernel; ``deliver`` gets what comes, in the reading thread."""

    def __init__(self, incoming: int, outgoing: int, deliver: Callable[[Message], None]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._deliver = deliver
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._written = threading.Event()
        self._numbers = itertools.count(1)
        self._calls: dict[int, Future[str]] = {}

    def open(self) -> None:
        """Start both threads; they end with the process."""
        for work in (self._read, self._write):
            threading.Thread(target=work, name=f"wire{work.__name__}", daemon=True).start()

    def finish(self) -> None:
        """Wait until all that was sent is written, for a second at most."""
        self._queue.put(None)
        self._written.wait(1)

    def send(self, message: Message) -> None:
        """Send a message, from any thread; raises as ``encode`` does."""
        self._queue.put(encode(message))

    def send_event(self, run: str, piece: str) -> None:
        """Send an event that is JSON text already, with the others that are ready."""
        self._queue.put((run, piece))

    def call(self, run: str, name: str, arguments: dict[str, Any] | str) -> Future[str]:
        """Call a tool of the notebook; the future is done even while the event loop is held.

        Its result raises ToolCallFailed where the tool could not be called.
        """
        number = next(self._numbers)
        future: Future[str] = Future()
        message = encode(Call(run, number, name, arguments))
        self._calls[number] = future
        self._queue.put(message)
        return future

    def _read(self) -> None:
        lines = Lines()
        while chunk := os.read(self._incoming, CHUNK):
            try:
                for line in lines.feed(chunk):
                    self._take(decode(line))
            except ProtocolError as exc:
                sys.stderr.write(f"the kernel broke the protocol: {exc}\n")
                break
        _end()

    def _take(self, message: Message) -> None:
        if not isinstance(message, Result):
            self._deliver(message)
            return
        future = self._calls.pop(message.call, None)
        if future is None or not future.set_running_or_notify_cancel():
            return
        if message.error:
            future.set_exception(ToolCallFailed(message.error))
        else:
            future.set_result(message.text)

    def _write(self) -> None:
        while True:
            items = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(items) < ITEMS:
                    items.append(self._queue.get_nowait())
            try:
                _write_all(self._outgoing, b"".join(_joined(items)))
            except OSError:  # nobody reads: the kernel is gone
                _end()
            if None in items:
                self._written.set()


def _joined(items: list[_Item]) -> list[bytes]:
    """Return the lines of the items: neighbouring events of a run share one."""
    lines: list[bytes] = []
    pieces: list[str] = []
    size, owner = 0, ""
    for item in items:
        run = item[0] if isinstance(item, tuple) else ""
        if pieces and (run != owner or size > LINE):
            lines.append(encode_events(owner, pieces))
            pieces, size = [], 0
        if isinstance(item, tuple):
            owner = run
            pieces.append(item[1])
            size += len(item[1])
        elif item is not None:
            lines.append(item)
    if pieces:
        lines.append(encode_events(owner, pieces))
    return lines


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def end_with_the_kernel(kernel: int) -> None:
    """Ask the system to kill this process when the kernel's thread that started it ends.

    The second line of defence: the first is the end of stdin, which the reading thread sees
    unless native code holds the interpreter, or another process still holds the pipe. Linux only.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(ImportError, OSError, AttributeError):  # the first line is enough
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != kernel:  # it ended before we asked
        _end()


def _end() -> None:
    """End this process and all that it started, now: nobody is there to hear more."""
    with contextlib.suppress(OSError):
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
