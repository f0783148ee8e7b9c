"""A worker as the kernel sees it: a process, the protocol with it, the runs that go on there."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Literal

from tframex_nb.frameworks.worker import faults
from tframex_nb.frameworks.worker.link import Link
from tframex_nb.frameworks.worker.memory import MemoryGuard
from tframex_nb.frameworks.worker.process import Process
from tframex_nb.frameworks.worker.protocol import (
    PROTOCOL,
    Call,
    Cancel,
    Close,
    Done,
    Events,
    Failed,
    Hello,
    Lines,
    Ping,
    Pong,
    ProtocolError,
    Ready,
    Result,
    decode,
    encode,
)
from tframex_nb.frameworks.worker.surroundings import worker_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tframex_nb.errors import TFrameXError
    from tframex_nb.frameworks.base import ToolHandle
    from tframex_nb.frameworks.worker.protocol import Message
    from tframex_nb.frameworks.worker.spec import WorkerSpec
    from tframex_nb.frameworks.worker.stage import Stage

__all__ = ["Worker"]

START = 120.0  # seconds that the import of a framework may take
GRACE = 0.5  # seconds that a cancelled run, or a worker that is to end, has
TAIL = 4096  # bytes of stderr that are kept
LINE = 2**16  # bytes of a print without an end that are shown as a line

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from tframex_nb.frameworks.worker.child import main; main(*sys.argv[1:])"
)


class Worker:
    """One process of a framework; ``ended`` is told when it is gone, and whether it crashed."""

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        memory_limit_mb: int | None,
        ended: Callable[[Worker, bool], None],
    ) -> None:
        self.spec = spec
        self.holds = 0  # runs that are, or will be, in it
        self.idle_since = time.monotonic()
        self.started = time.time()
        self.version = ""
        self.stopping = False
        self.cells: dict[str, object] = {}
        self.lock = asyncio.Lock()
        self._ended = ended
        self._limit = memory_limit_mb
        self._loop = asyncio.get_running_loop()
        self._lines = Lines()
        self._runs: dict[str, Link] = {}
        self._leaving: dict[str, asyncio.TimerHandle] = {}
        self._stuck: set[str] = set()
        self._calm = asyncio.Event()
        self._begun = asyncio.Event()
        self._tail = b""
        self._print = b""
        self._refusal: Callable[[], TFrameXError] | None = None
        self._over_mb = 0.0
        self._pinged: float | None = None

    def open(self, stage: Stage) -> None:
        """Start the process; raises WorkerUnavailable."""
        python, adapter = self.spec.python, self.spec.adapter
        flags = ("-I", "-u", "-X", "utf8", "-c", _BOOT)
        arguments = (str(stage.path), stage.module, adapter.class_name, str(os.getpid()))
        environment = worker_environment(os.environ, python, self.spec.environment)
        try:
            self._process = Process((str(python), *flags, *arguments), environment)
        except OSError as exc:
            raise self._unavailable(f"{python} could not be started: {exc}") from exc
        self._process.listen(self)
        self._guard = MemoryGuard(self.pid, self._limit or 0, self._exceeded)
        late = f"it was not ready after {START:g} s"
        self._timer = self._loop.call_later(START, self._refuse, late)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def gone(self) -> asyncio.Future[None]:
        """Done when the process has ended and nothing of it is left."""
        return self._process.gone

    @property
    def usable(self) -> bool:
        """Whether a new run may begin here."""
        return not (self.stopping or self._stuck) and self._process.alive

    @property
    def quiet(self) -> bool:
        """Whether no run is under way, or about to be."""
        return self._begun.is_set() and not (self.holds or self._runs or self._leaving)

    @property
    def state(self) -> Literal["starting", "idle", "busy"]:
        """What it does."""
        if not self._begun.is_set():
            return "starting"
        return "busy" if self._runs or self._leaving or self._stuck else "idle"

    @property
    def runs(self) -> int:
        """How many runs go on."""
        return len(self._runs)

    async def ready(self) -> None:
        """Wait until the framework is imported, and no cancelled run is about to end.

        Raises WorkerUnavailable.
        """
        await self._begun.wait()
        while self._leaving and not self.stopping:
            self._calm.clear()
            await self._calm.wait()
        if self._refusal is not None:
            raise self._refusal()

    def begin(
        self,
        run: str,
        line: bytes,
        *,
        tools: Mapping[str, ToolHandle],
        log: Callable[[str], None],
    ) -> Link:
        """Send the line that begins a run; return its events."""
        link = Link(run, tools=tools, log=log, send=self._process.write)
        if self.gone.done():
            link.end(self._unavailable("it has just ended"))
            return link
        self._runs[run] = link
        self._pinged = None
        if self._limit is not None:
            self._guard.start()
        self._process.write(line)
        return link

    def leave(self, link: Link) -> None:
        """Take leave of a run: over, or to be cancelled, and killed where it cannot be."""
        link.drop_calls()
        if self._runs.pop(link.run, None) is None:
            return
        if self.spec.exclusive:
            self.kill()
        else:
            self._process.write(encode(Cancel(link.run)))
            overdue = self._loop.call_later(GRACE, self._overdue, link.run)
            self._leaving[link.run] = overdue
        self._rest()

    def ping(self, patience: float) -> None:
        """Ask whether it lives; kill it where it has not answered for ``patience`` seconds."""
        now = time.monotonic()
        if self._pinged is None:
            self._pinged = now
            self._process.write(encode(Ping()))
        elif now - self._pinged > patience:
            self.kill()

    def close(self) -> None:
        """Let it end by itself; kill it where it does not, or has still work to do."""
        if not self.quiet:
            self.kill()
        elif not self.stopping:
            self.stopping = True
            self._process.write(encode(Close()))
            self._timer = self._loop.call_later(GRACE, self.kill)

    def discard(self) -> None:
        """Kill and forget it; for a worker whose event loop is gone."""
        self.stopping = True
        self._guard.stop()
        self._process.abandon()

    def kill(self) -> None:
        """Kill all its processes."""
        self.stopping = True
        self._process.kill()
        self._calm.set()

    # What the process says.

    def output(self, chunk: bytes) -> None:
        """Take what came through the pipe."""
        try:
            for line in self._lines.feed(chunk):
                self._take(decode(line), len(line))
        except ProtocolError as exc:
            self._refuse(f"it broke the protocol: {exc}")

    def errors(self, chunk: bytes) -> None:
        """Take what the framework printed."""
        self._tail = (self._tail + chunk)[-TAIL:]
        *lines, self._print = (self._print + chunk).split(b"\n")
        if len(self._print) > LINE:
            lines.append(self._print)
            self._print = b""
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            for link in list(self._runs.values()):
                link.log(text)

    def ended(self, code: int) -> None:
        """Learn that the process is gone."""
        self._timer.cancel()
        self._guard.stop()
        for overdue in self._leaving.values():
            overdue.cancel()
        crashed = not (self.stopping or self._over_mb)
        if self._refusal is None and not self._begun.is_set():
            reason = f"it ended before it was ready ({faults.cause(code)})"
            self._refusal = lambda: self._unavailable(reason)
        for link in self._runs.values():
            link.end(self._fate(code))
        self._runs.clear()
        self._leaving.clear()
        self.stopping = True
        self._begun.set()
        self._calm.set()
        self._ended(self, crashed)

    def _take(self, message: Message, size: int) -> None:
        match message:
            case Hello():
                self._greet(message)
            case Ready():
                self.version = message.version
                self._timer.cancel()
                self._begun.set()
            case Events() if message.run in self._runs:
                self._runs[message.run].feed(message, size)
            case Call():
                self._call(message)
            case Done():
                self._finish(message.run, None)
            case Failed():
                self._fail(message)
            case Pong():
                self._pinged = None

    def _greet(self, hello: Hello) -> None:
        if hello.protocol != PROTOCOL:
            self._refuse(
                f"it speaks protocol {hello.protocol} (Python {hello.python}), "
                f"and the kernel {PROTOCOL}"
            )

    def _call(self, message: Call) -> None:
        link = self._runs.get(message.run)
        if link is not None:
            link.call(message)
        else:
            late = "no run is under way that could call a tool of the notebook"
            self._process.write(encode(Result(message.call, "", late)))

    def _fail(self, message: Failed) -> None:
        if message.run:
            self._finish(message.run, faults.raised(self.spec.framework, message))
        else:
            self._refuse(f"it could not be imported: {message.error}: {message.text}")

    def _finish(self, run: str, error: Exception | None) -> None:
        link = self._runs.get(run)
        if link is not None:
            self._process.read_errors()  # what the run printed came before its end
            del self._runs[run]
            link.end(error)
        overdue = self._leaving.pop(run, None)
        if overdue is not None:
            overdue.cancel()
        self._stuck.discard(run)
        self._rest()

    def _rest(self) -> None:
        """Do what is due when a run has ended."""
        if not self._leaving:
            self._calm.set()
        if not self._runs:
            self._guard.stop()
            if self._stuck:
                self.kill()

    def _overdue(self, run: str) -> None:
        """A cancelled run has not ended: the worker must, as soon as the other runs have."""
        del self._leaving[run]
        self._stuck.add(run)
        self._rest()

    def _exceeded(self, size: float) -> None:
        """The memory guard's thread calls this."""
        self._over_mb = size
        self._process.kill()

    def _refuse(self, reason: str) -> None:
        """Have nothing more to do with it."""
        if self._refusal is None:
            self._refusal = lambda: self._unavailable(reason)
        self._process.kill()

    def _unavailable(self, reason: str) -> TFrameXError:
        name = self.spec.framework
        hint = f"if it stays so, make its environment anew: %frameworks remove {name}, then install"
        return faults.unavailable(name, reason, hint=hint, stderr=self._stderr())

    def _fate(self, code: int) -> TFrameXError:
        """Return why a run ended with the process."""
        name = self.spec.framework
        if self._over_mb:
            return faults.grown(name, self._over_mb, self._limit or 0)
        if self._refusal is not None:
            return self._refusal()
        if self.stopping:
            return faults.unavailable(name, "it was closed", hint="run it again")
        return faults.crashed(name, code, self._stderr())

    def _stderr(self) -> str:
        return self._tail.decode(errors="replace")
