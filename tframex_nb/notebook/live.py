"""A run in its cell: updated while it lasts, plain Markdown when it ends."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

from tframex_nb.agents.prompts import Attached
from tframex_nb.markdown import escape_inline
from tframex_nb.messages import RunStarted, ToolCallStarted
from tframex_nb.transcript import TerminalWriter, to_markdown, to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Context

    from IPython.core.interactiveshell import InteractiveShell

    from tframex_nb.messages import Event
    from tframex_nb.notebook.front_end import Mode
    from tframex_nb.runs import Run

__all__ = ["LiveRun", "Paced", "open_display"]

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


def open_display(
    shell: InteractiveShell, mode: Mode, *, title: Callable[[], str], explain: bool = False
) -> LiveRun:
    """Return the display that suits whoever is looking; ``title`` says what is waited for.

    With ``explain`` it shows above the answer how the run's framework was chosen.
    """
    if mode == "terminal":
        return _Terminal(explain=explain)
    if mode == "final":
        return _Final(shell, explain=explain)
    return _Adaptive(shell, title=title, explain=explain)


class Paced:
    """One display, updated at an interval that grows with what it shows.

    The interval ``max(0.1 s, length / 250 kB/s)`` keeps the bytes on the wire linear in
    practice: each update carries the whole. ``make`` returns what is shown now and its length
    in characters. ``context`` is that of the cell it belongs to, else it is that of who calls.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        first: Mapping[str, str],
        make: Callable[[], tuple[Mapping[str, str], int]],
        context: Context | None = None,
    ) -> None:
        self._publish = shell.display_pub.publish
        self._context = context
        self._id = f"tframex-{os.getpid()}-{next(_serial)}"
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._painted = 0.0
        self._length = 0
        self.send(first)

    def touch(self, *, now: bool = False) -> None:
        """Paint now where the interval allows it, or when told, else as soon as it does."""
        due = self._painted + max(MIN_INTERVAL, self._length / RATE) - time.monotonic()
        if now or (self._timer is None and due <= 0):
            self._paint()
        elif self._timer is None:
            self._timer = self._loop.call_later(due, self._paint)

    def send(self, data: Mapping[str, str]) -> None:
        """Show ``data`` at once, in place of what was painted."""
        self._cancel_timer()
        first = self._painted == 0.0
        self._painted = time.monotonic()
        context = contextvars.copy_context() if self._context is None else self._context.copy()
        about: dict[str, Any] = {"transient": {"display_id": self._id}, "update": not first}
        context.run(lambda: self._publish(dict(data), **about))

    def _paint(self) -> None:
        data, self._length = self._make()
        self.send(data)
        self._painted = time.monotonic()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Final:
    """One display at the end, without an id: what a headless client can keep."""

    def __init__(self, shell: InteractiveShell, *, explain: bool) -> None:
        self._publish = shell.display_pub.publish
        self._explain = explain

    def feed(self, _event: Event, _run: Run) -> None:
        """Wait for the end."""

    def close(self, run: Run | None) -> None:
        """Publish the answer once."""
        if run is not None:
            self._publish(_bundle(run, explain=self._explain))


class _Terminal:
    """Plain text as it arrives."""

    def __init__(self, *, explain: bool) -> None:
        self._writer = TerminalWriter(colour=sys.stdout.isatty())
        self._explain = explain

    def feed(self, event: Event, run: Run) -> None:
        """Print what the event adds."""
        if self._explain and (why := _why(run)):
            self._explain = False
            print(why["text/plain"], end="\n\n", flush=True)  # noqa: T201  # a terminal's display
        print(self._writer.feed(event), end="", flush=True)  # noqa: T201  # a terminal's display

    def close(self, run: Run | None) -> None:
        """Print the footer."""
        if run is not None:
            print(self._writer.close(run), flush=True)  # noqa: T201  # a terminal's display


class _Adaptive:
    """One display, updated while the answer grows."""

    def __init__(self, shell: InteractiveShell, *, title: Callable[[], str], explain: bool) -> None:
        self._title = title
        self._explain = explain
        self._began = time.monotonic()
        self._run: Run | None = None
        self._shown = False
        self._display = Paced(shell, {"text/markdown": f"*{escape_inline(title())} …*"}, self._make)
        self._waiting = asyncio.get_running_loop().call_later(WAITING, self._wait)

    def feed(self, event: Event, run: Run) -> None:
        """Paint now where the interval allows it, else when it does."""
        self._run = run
        if isinstance(event, (RunStarted, Attached)):  # the model is still waited for
            return
        self._waiting.cancel()
        self._display.touch(now=not self._shown or isinstance(event, ToolCallStarted))
        self._shown = True

    def close(self, run: Run | None) -> None:
        """Leave plain Markdown behind."""
        self._waiting.cancel()
        nothing = {"text/plain": "", "text/markdown": ""}
        self._display.send(nothing if run is None else _bundle(run, explain=self._explain))

    def _make(self) -> tuple[dict[str, str], int]:
        assert self._run is not None, "there is nothing to paint before the first event"
        shown = to_markdown(self._run, live=True)
        why = _why(self._run) if self._explain else {}
        return {"text/markdown": _joined(why.get("text/markdown", ""), shown)}, self._run.length

    def _wait(self) -> None:
        """Show that the model is being waited for."""
        seconds = time.monotonic() - self._began
        self._display.send({"text/markdown": f"*{escape_inline(self._title())} … {seconds:.0f} s*"})
        self._waiting = asyncio.get_running_loop().call_later(WAITING, self._wait)


def _bundle(run: Run, *, explain: bool) -> dict[str, str]:
    why = _why(run) if explain else {}
    return {
        "text/plain": _joined(why.get("text/plain", ""), to_text(run)),
        "text/markdown": _joined(why.get("text/markdown", ""), to_markdown(run)),
    }


def _why(run: Run) -> dict[str, str]:
    """Return how the run's framework was chosen, or nothing where it was not."""
    resolution: Any = getattr(run, "resolution", None)  # a floor above that of runs
    return {} if resolution is None else dict(resolution._repr_mimebundle_())


def _joined(*texts: str) -> str:
    return "\n\n".join(text for text in texts if text)
