"""The process between us and a stdio server: when our pipe closes, the server is ended.

Run as a script with nothing but the standard library. The server has the guard's stdin, stdout
and stderr, so no byte is copied; the guard only watches whether anybody still holds the other
end of stdin. That end closes in whatever way our process ends, SIGKILL too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["main"]

GRACE = 2.0  # seconds that a server has to end by itself once its stdin is closed
POLITE = 0.5  # seconds between SIGTERM and SIGKILL
LOOK = 1.0  # seconds between looks at whether our parent is still the same
NOT_FOUND = 127  # what a shell says of a command that it cannot run
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


def main(command: list[str]) -> int:
    """Run the command until it ends or our stdin closes; return its exit code."""
    parent = os.getppid()
    _adopt_orphans()
    wake = _wakeup()
    try:
        child = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - the user's server
    except (OSError, ValueError) as exc:
        sys.stderr.write(f"{command[0]}: {getattr(exc, 'strerror', None) or exc}\n")
        return NOT_FOUND
    _let_go_of_output()
    _watch(child, parent, wake)
    if child.poll() is None:
        _end(child)
    _kill_rest(child.pid)
    return child.wait()


def _watch(child: subprocess.Popen[bytes], parent: int, wake: int) -> None:
    """Return when the child has ended, nobody holds our stdin, or we have another parent."""
    poller = select.poll()
    poller.register(0, 0)  # no events asked for: only a hang-up is told, nothing is read
    poller.register(wake, select.POLLIN)
    while child.poll() is None and os.getppid() == parent:
        if any(descriptor == 0 for descriptor, _ in poller.poll(LOOK * 1000)):
            return
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 1024)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Wait for the child, then ask its group, then kill it."""
    if _ends_within(child, GRACE):
        return
    _signal_group(child.pid, signal.SIGTERM)
    if not _ends_within(child, POLITE):
        _signal_group(child.pid, signal.SIGKILL)


def _ends_within(child: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill_rest(group: int) -> None:
    """Kill what the server started: its group, and on Linux what left the group too."""
    _signal_group(group, signal.SIGKILL)
    end = time.monotonic() + POLITE
    while time.monotonic() < end:
        rest = _children() - {group}
        for pid in rest:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        if not rest:
            return


def _children() -> set[int]:
    """Return our children: those of an ended server are ours, since we adopt orphans."""
    try:
        listing = Path("/proc/self/task", str(os.getpid()), "children").read_text()
        return set(map(int, listing.split()))
    except OSError:  # not Linux
        return set()


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _wakeup() -> int:
    """Return a descriptor that is readable when a child has ended."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reading


def _let_go_of_output() -> None:
    """Leave stdout and stderr to the server: who reads them learns of its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.exit(code if code >= 0 else 128 - code)
