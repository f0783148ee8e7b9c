"""The memory of a worker: the resident size of its processes, and the guard of a limit."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MemoryGuard", "tree_mb"]

SECONDS = 0.1  # between two samples
MB = 2**20


def tree_mb(pid: int) -> float:
    """Return the resident size of a process and all below it, in MB; 0 where it has ended.

    Pages that they share count in each.
    """
    total, waiting = 0, [pid]
    while waiting:
        process = waiting.pop()
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(process).memory_info().rss
            waiting += _children(process)
    return total / MB


def _children(pid: int) -> list[int]:
    """Return the direct children: Linux lists them; elsewhere every process is looked at."""
    listings = list(Path(f"/proc/{pid}/task").glob("*/children"))
    if not listings:
        return [child.pid for child in psutil.Process(pid).children()]
    found: list[int] = []
    for listing in listings:
        with contextlib.suppress(OSError):  # the thread has ended meanwhile
            found += map(int, listing.read_text().split())
    return found


class MemoryGuard:
    """Watches a process tree in a thread of its own, so that a busy kernel does not blind it.

    ``exceeded`` is called there, once, with the size in MB.
    """

    def __init__(self, pid: int, limit_mb: float, exceeded: Callable[[float], None]) -> None:
        self._pid = pid
        self._limit = limit_mb
        self._exceeded = exceeded
        self._stop: threading.Event | None = None

    def start(self) -> None:
        """Begin to watch."""
        if self._stop is None:
            self._stop = threading.Event()
            name = f"memory of {self._pid}"
            threading.Thread(target=self._watch, args=(self._stop,), name=name, daemon=True).start()

    def stop(self) -> None:
        """Watch no longer; the thread ends by itself."""
        if self._stop is not None:
            self._stop.set()
            self._stop = None

    def _watch(self, stop: threading.Event) -> None:
        while not stop.is_set():
            size = tree_mb(self._pid)
            if size > self._limit:
                self._exceeded(size)
                return
            stop.wait(SECONDS)
