"""The bench itself: the guards of conftest do what they say."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def test_network_is_off_beyond_loopback(network_attempts: list[str]) -> None:
    """A connection to a public address is refused before a packet leaves."""
    with socket.socket() as sock, pytest.raises(RuntimeError, match="network is off"):
        sock.connect(("192.0.2.1", 80))
    with pytest.raises(RuntimeError, match="network is off"):
        socket.getaddrinfo("tframex.org", 443)
    assert network_attempts == ["a connection to 192.0.2.1", "the address of tframex.org"]
    network_attempts.clear()


def test_names_that_resolve_nowhere_fail_as_they_would() -> None:
    """RFC 2606 names give the resolver's own error, so that code under test can be watched."""
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("models.invalid", 443)


def test_python_children_have_no_network_either() -> None:
    """The guard travels to each Python child by PYTHONPATH."""
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 1
    assert "the network is off in tests" in done.stderr


def test_tests_start_in_an_empty_folder_without_foreign_settings() -> None:
    assert not list(Path().iterdir())
    assert not [name for name in os.environ if name.startswith(("TFRAMEX_", "OPENAI_"))]


# One line each, so that it can stand in a test of its own.
LEAKS = {
    "thread": "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "process": "kept.append(subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1))",
    "file": "kept.append(socket.socket())",
    "task": "kept.append(get_asyncio_loop().create_task(asyncio.sleep(60)))",
    "exception": "logging.getLogger('asyncio').error('Task was destroyed but it is pending!')",
    "network": "swallow_a_refusal()",
}
PREAMBLE = """
import asyncio, contextlib, logging, socket, subprocess, sys, threading, time
from IPython.core.async_helpers import get_asyncio_loop

kept = []

def swallow_a_refusal():
    with contextlib.suppress(RuntimeError):
        socket.create_connection(("192.0.2.1", 80))
"""


def test_what_is_left_behind_fails_its_own_test(tmp_path: Path, root: Path) -> None:
    """Each leak, and a refusal that was swallowed, makes exactly its own test red."""
    bench = (root / "tests/conftest.py").read_text().replace("PATIENCE = 2.0", "PATIENCE = 0.1")
    (tmp_path / "conftest.py").write_text(bench)
    (tmp_path / "offline").symlink_to(root / "tests/offline")
    tests = [f"def test_{kind}():\n    {line}\n" for kind, line in LEAKS.items()]
    (tmp_path / "test_leaks.py").write_text(PREAMBLE + "\n".join([*tests, "def test_clean(): 1"]))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_leaks.py"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    failed = re.findall(r"^ERROR test_leaks.py::test_(\w+)", done.stdout, re.MULTILINE)
    assert sorted(failed) == sorted(LEAKS), done.stdout
