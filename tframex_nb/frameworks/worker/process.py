"""A child process on the running event loop: three pipes, a process group, no leftovers.

asyncio's own subprocesses would do, but for three things: they may wait for a process in a
thread, they warn when their loop ends first, and they cannot be ended without the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import weakref
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Owner", "Process"]

CHUNK = 2**16  # bytes that are read at once
HIGH, LOW = 2**22, 2**20  # bytes that wait to be written: above, nothing more is read
DRAINS = 256  # chunks that are read of a process that has ended, or of a run's prints
POLL = 0.02  # seconds, where the system tells nobody of the end of a process


class Owner(Protocol):
    """Who is told what a process says."""

    def output(self, chunk: bytes) -> None:
        """Take what came through stdout."""
        ...

    def errors(self, chunk: bytes) -> None:
        """Take what came through stderr."""
        ...

    def ended(self, code: int) -> None:
        """Learn the exit code, minus the signal's number; all output came before."""
        ...


class Process:
    """A running process, the leader of a session and a group of its own."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._popen = subprocess.Popen(  # noqa: S603 - our own command, no shell
            list(command),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,  # a kernel's interrupt goes to its whole process group
        )
        self.pid = self._popen.pid
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._backlog = bytearray()
        self._paused = self._finished = False  # whether stdout is read
        self._lock = threading.Lock()  # who kills must not meet who reaps
        self._watch = _pidfd(self.pid)
        self._abandon = weakref.finalize(self, _bury, self._popen, self._watch, os.getpid())

    def listen(self, owner: Owner) -> None:
        """Begin to tell the owner."""
        self._owner = owner
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            os.set_blocking(_descriptor(pipe), False)
        self._stdin, self._stdout, self._stderr = map(
            _descriptor, (self._popen.stdin, self._popen.stdout, self._popen.stderr)
        )
        self._loop.add_reader(self._stdout, self._read_output)
        self._loop.add_reader(self._stderr, self._read_errors)
        if self._watch is not None:
            self._loop.add_reader(self._watch, self._reap)

    @property
    def alive(self) -> bool:
        """Whether it still runs; asks the system, and leaves the end to be told in order."""
        if self._popen.returncode is not None:
            return False
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:  # somebody else has waited for it
            return False

    def write(self, data: bytes) -> None:
        """Send bytes to stdin; what it does not take now is sent later, in order."""
        if self.gone.done():
            return
        waiting = bool(self._backlog)
        self._backlog += data
        if not waiting:
            self._flush()
            if self._backlog:
                self._loop.add_writer(self._stdin, self._flush)
        if len(self._backlog) > HIGH and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._stdout)

    def abandon(self) -> None:
        """Kill, reap and close at once, and tell nobody."""
        self._abandon()

    def read_errors(self) -> None:
        """Tell the owner now what stderr holds."""
        _drain(self._stderr, self._owner.errors)

    def kill(self) -> None:
        """Kill the process and its whole group, from any thread."""
        with self._lock:
            if self._popen.returncode is None:
                _kill_group(self.pid)

    def _flush(self) -> None:
        try:
            sent = os.write(self._stdin, self._backlog)
        except BlockingIOError:
            sent = 0
        except OSError:  # it has ended, which is told elsewhere
            self._backlog.clear()
            sent = 0
        del self._backlog[:sent]
        if not self._backlog:
            self._loop.remove_writer(self._stdin)
        if self._paused and not self._finished and len(self._backlog) < LOW:
            self._paused = False
            self._loop.add_reader(self._stdout, self._read_output)

    def _read_output(self) -> None:
        chunk = _read(self._stdout)
        if chunk:
            self._owner.output(chunk)
        elif chunk == b"":  # without its pipe it is no use, whether it has ended or not
            self._finished = True
            self._loop.remove_reader(self._stdout)
            self.kill()
            if self._watch is None:
                self._reap()

    def _read_errors(self) -> None:
        chunk = _read(self._stderr)
        if chunk:
            self._owner.errors(chunk)
        elif chunk == b"":
            self._loop.remove_reader(self._stderr)

    def _reap(self) -> None:
        """Bury the process: what it started, its last words, its descriptors."""
        self.kill()  # the group: its leader is dead, and its pid not free yet
        with self._lock:
            code = self._popen.poll()
        if code is None:
            self._loop.call_later(POLL, self._reap)
            return
        if self.gone.done():
            return
        _drain(self._stdout, self._owner.output)
        self.read_errors()
        for pipe in (self._stdout, self._stderr, self._watch):
            if pipe is not None:
                self._loop.remove_reader(pipe)
        self._loop.remove_writer(self._stdin)
        self._abandon()
        self.gone.set_result(None)
        self._owner.ended(code)


def _read(descriptor: int) -> bytes | None:
    """Return what is there, nothing at the end, None where nothing is there yet."""
    try:
        return os.read(descriptor, CHUNK)
    except BlockingIOError:
        return None


def _drain(descriptor: int, take: Callable[[bytes], None]) -> None:
    for _ in range(DRAINS):
        chunk = _read(descriptor)
        if not chunk:
            return
        take(chunk)


def _descriptor(pipe: IO[bytes] | None) -> int:
    assert pipe is not None
    return pipe.fileno()


def _pidfd(pid: int) -> int | None:
    """Return a descriptor that is readable when the process has ended, where there is such."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, or an old kernel
        return None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a zombie
        os.killpg(pid, signal.SIGKILL)


def _bury(popen: subprocess.Popen[bytes], watch: int | None, owner: int) -> None:
    """Kill, reap and close; runs at the end of the interpreter too, but not in a fork of it."""
    if os.getpid() != owner:
        return
    if popen.returncode is None:
        _kill_group(popen.pid)
        popen.wait()
    for pipe in (popen.stdin, popen.stdout, popen.stderr):
        if pipe is not None:
            pipe.close()
    if watch is not None:
        os.close(watch)
