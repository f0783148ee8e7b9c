"""A run in its cell: updated while it lasts, plain Markdown when it ends."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from typing import TYPE_CHECKING, Protocol

from tframex_nb.messages import RunStarted, ToolCallStarted
from tframex_nb.transcript import TerminalWriter, to_markdown, to_text

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from tframex_nb.messages import Event
    from tframex_nb.notebook.front_end import Mode
    from tframex_nb.runs import Run

__all__ = ["LiveRun", "open_display"]

MIN_INTERVAL = 0.1  # seconds between two updates of a short answer
RATE = 250_000  # characters/s of answer text sent at most: bounds the bytes of a long one
WAITING = 1.0  # seconds between two signs of life while nothing arrives

_serial = itertools.count(1)


class LiveRun(Protocol):
    """What shows one run while it lasts."""

    def feed(self, event: Event, run: Run, /) -> None:
        """Take one event in."""
        ...

    def close(self, run: Run | None) -> None:
        """Show the final state; called once, whatever happened."""
        ...


def open_display(shell: InteractiveShell, mode: Mode, *, title: str) -> LiveRun:
    """Return the display that suits whoever is looking."""
    if mode == "terminal":
        return _Terminal()
    if mode == "final":
        return _Final(shell)
    return _Adaptive(shell, title=title)


class _Final:
    """One display at the end, without an id: what a headless client can keep."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._publish = shell.display_pub.publish

    def feed(self, _event: Event, _run: Run) -> None:
        """Wait for the end."""

    def close(self, run: Run | None) -> None:
        """Publish the answer once."""
        if run is not None:
            self._publish(_bundle(run))


class _Terminal:
    """Plain text as it arrives."""

    def __init__(self) -> None:
        self._writer = TerminalWriter(colour=sys.stdout.isatty())

    def feed(self, event: Event, _run: Run) -> None:
        """Print what the event adds."""
        print(self._writer.feed(event), end="", flush=True)  # noqa: T201  # a terminal's display

    def close(self, run: Run | None) -> None:
        """Print the footer."""
        if run is not None:
            print(self._writer.close(run), flush=True)  # noqa: T201  # a terminal's display


class _Adaptive:
    """One display, updated at an interval that grows with the answer.

    The interval ``max(0.1 s, length / 250 kB/s)`` keeps the bytes on the wire linear in
    practice: each update carries the whole text.
    """

    def __init__(self, shell: InteractiveShell, *, title: str) -> None:
        self._publish = shell.display_pub.publish
        self._id = f"tframex-{os.getpid()}-{next(_serial)}"
        self._title = title
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._painted = 0.0
        self._began = time.monotonic()
        self._run: Run | None = None
        self._shown = False
        self._waiting = self._loop.call_later(WAITING, self._wait)
        self._send({"text/markdown": f"*{title} …*"})

    def feed(self, event: Event, run: Run) -> None:
        """Paint now where the interval allows it, else when it does."""
        self._run = run
        if isinstance(event, RunStarted):
            return
        self._waiting.cancel()
        if not self._shown or isinstance(event, ToolCallStarted):
            self._paint()
        elif self._timer is None:
            due = self._painted + self._interval() - time.monotonic()
            if due <= 0:
                self._paint()
            else:
                self._timer = self._loop.call_later(due, self._paint)

    def close(self, run: Run | None) -> None:
        """Leave plain Markdown behind."""
        self._waiting.cancel()
        self._cancel_timer()
        final = {"text/plain": "", "text/markdown": ""} if run is None else _bundle(run)
        self._send(final)

    def _paint(self) -> None:
        self._cancel_timer()
        if self._run is None:
            return
        self._shown = True
        self._send({"text/markdown": to_markdown(self._run, live=True)})
        self._painted = time.monotonic()

    def _wait(self) -> None:
        """Show that the model is being waited for."""
        seconds = time.monotonic() - self._began
        self._send({"text/markdown": f"*{self._title} … {seconds:.0f} s*"})
        self._waiting = self._loop.call_later(WAITING, self._wait)

    def _interval(self) -> float:
        length = self._run.length if self._run is not None else 0
        return max(MIN_INTERVAL, length / RATE)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self, data: dict[str, str]) -> None:
        first = self._painted == 0.0
        self._painted = time.monotonic()
        self._publish(data, transient={"display_id": self._id}, update=not first)


def _bundle(run: Run) -> dict[str, str]:
    return {"text/plain": to_text(run), "text/markdown": to_markdown(run)}
