"""What is left of the processes that an MCP server told of."""

from __future__ import annotations

import time

import psutil

__all__ = ["wait_gone"]

PATIENCE = 10  # seconds: more than the guard takes to kill


def wait_gone(pids: str) -> None:
    """Fail unless all of these processes end."""
    numbers = [int(pid) for pid in pids.split()]
    assert numbers
    end = time.monotonic() + PATIENCE
    while alive := [pid for pid in numbers if psutil.pid_exists(pid) and not is_zombie(pid)]:
        assert time.monotonic() < end, f"still there: {alive}"
        time.sleep(0.02)


def is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
