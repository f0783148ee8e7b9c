"""MCP servers for the tests of the client: of tricks, and real ones from PyPI."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from mcp_site import site
from scripted_server import play, server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["play", "server", "site"]

SERVERS = Path(__file__).parents[1] / "servers"
PATIENCE = 20  # seconds that a test waits for a process


@pytest.fixture(scope="session")
def tricks() -> list[str]:
    """The command of the server of tricks."""
    return [sys.executable, str(SERVERS / "mcp_tricks.py")]


@pytest.fixture(scope="module")
def tricks_url(tricks: list[str]) -> Iterator[str]:
    """The URL of a server of tricks, one for the tests of a file: a start takes a second."""
    with serving() as start:
        yield start(lambda port: [*tricks, str(port)])


@pytest.fixture
def real(root: Path, missing_part: Callable[[str], None]) -> Callable[[str, str], str]:
    """Return the path of a program of a real server: ``real("new", "mcp-server-time")``."""

    def program(era: str, name: str) -> str:
        path = root / ".venvs" / "mcp" / era / "bin" / name
        if not path.exists():
            missing_part(f"{name} is not installed: make mcp-servers")
        return str(path)

    return program


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start an HTTP server, given what makes its command of a port; return its MCP URL."""
    with serving() as start:
        yield start


@contextlib.contextmanager
def serving() -> Iterator[Callable[..., str]]:
    """Yield what starts HTTP servers; they end with the block."""
    started: list[subprocess.Popen[bytes]] = []

    def start(command: Callable[[int], list[str]], port: int = 0) -> str:
        port = port or free_port()
        started.append(subprocess.Popen(command(port), stderr=subprocess.DEVNULL))
        wait_for(lambda: listens(port) or started[-1].poll() is not None)
        assert started[-1].poll() is None
        return f"http://127.0.0.1:{port}/mcp"

    try:
        yield start
    finally:
        for process in started:
            for each in psutil.Process(process.pid).children(recursive=True):
                each.kill()
            process.kill()
            process.wait(PATIENCE)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def wait_for(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
