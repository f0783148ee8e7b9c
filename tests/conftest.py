"""What holds for every test: no network, no stray environment, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from IPython.core.async_helpers import get_asyncio_loop
from jupyter_core.utils import ensure_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OFFLINE = Path(__file__).parent / "offline"
ROOT = Path(__file__).parents[1]


def _guard() -> list[str]:
    """Switch the network off in this process too, once; return the list of what was tried."""
    loaded = getattr(sys.modules.get("sitecustomize"), "blocked", None)
    if loaded is not None:
        return loaded
    return runpy.run_path(str(OFFLINE / "sitecustomize.py"))["blocked"]


# On from here, before any test module is imported.
BLOCKED = _guard()

# A shell starts what runs in its background with SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Settings of the developer's shell that would change what the code under test does.
FOREIGN = (
    "TFRAMEX_",
    "OPENAI_",
    "ANTHROPIC_",
    "GEMINI_",
    "GOOGLE_",
    "OPENROUTER_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "JPY_",
)

# Threads that belong to the process, not to a test, and end with it.
LASTING_THREADS = (
    "asyncio_",  # the default executor of IPython's loop, which outlives every cell
    "IPythonHistorySavingThread",
    "pytest_timeout",
    "tmon",  # tqdm's monitor
)

# What a process opens once and keeps.
LASTING_FILES = ("/dev/null", "/dev/urandom", "/memfd:", "/proc/", "/sys/")

PATIENCE = 2.0  # seconds that a closing thread, process or socket gets before it counts as leaked


@pytest.fixture(scope="session", autouse=True)
def _process_wide() -> Iterator[None]:
    """Open what IPython and Jupyter open once in a process, so that no test is blamed for it."""
    loops = [get_asyncio_loop(), ensure_event_loop()]
    yield
    for loop in loops:
        loop.close()


@pytest.fixture(autouse=True)
def _clean_world(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start each test in an empty folder, without the developer's settings.

    Children get the same, and a guard of their own: PYTHONPATH makes each Python child load
    ``tests/offline/sitecustomize.py`` before anything else.
    """
    for name in list(os.environ):
        if name.upper().startswith(FOREIGN):
            monkeypatch.delenv(name)
    home = tmp_path_factory.getbasetemp()
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(home / name.lower()))
    monkeypatch.setenv("PYTHONPATH", str(OFFLINE))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def network_attempts() -> list[str]:
    """What this test tried to reach beyond loopback; a test that means to try clears it."""
    return BLOCKED


@pytest.fixture(autouse=True)
def _stays_on_loopback() -> Iterator[None]:
    """Fail a test that reached for the network, also where the code swallowed the refusal."""
    BLOCKED.clear()
    yield
    if BLOCKED:
        pytest.fail("reached for the network: " + ", ".join(BLOCKED))


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """Fail a test that leaves a thread, a process, a file, a socket or a task behind.

    Fixtures of a wider scope are set up before this one, so what they own is not counted.
    """
    complaints = _Complaints()
    logging.getLogger("asyncio").addHandler(complaints)
    before = _possessions()
    yield
    _close_shared_models()
    leaked = _wait_for(lambda: _possessions() - before)
    logging.getLogger("asyncio").removeHandler(complaints)
    if leaked or complaints.lines:
        pytest.fail("left behind: " + "; ".join([*sorted(leaked), *complaints.lines]))


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """Collect garbage after each file: an unclosed resource warns there, in its own file.

    Once per test would cost more than the tests themselves.
    """
    yield
    gc.collect()


@pytest.fixture(scope="session")
def missing_part() -> Callable[[str], None]:
    """Skip where a part of the test bench is not on this machine; ``make test`` lets none go."""

    def missing(reason: str) -> None:
        if os.environ.get("REQUIRE_ALL_PARTS"):
            pytest.fail(reason)
        pytest.skip(reason)

    return missing


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout's root folder."""
    return ROOT


class _Complaints(logging.Handler):
    """Collects what asyncio only logs: destroyed tasks, exceptions that nobody retrieved."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append("asyncio said: " + record.getMessage().replace("\n", " "))


def _possessions() -> set[str]:
    return _threads() | _children() | _files() | _tasks()


def _threads() -> set[str]:
    return {
        f"thread {thread.name} ({thread.ident})"
        for thread in threading.enumerate()
        if not thread.name.startswith(LASTING_THREADS)
    }


def _children() -> set[str]:
    """Direct children by /proc, which costs microseconds; elsewhere nothing is seen."""
    found = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            found |= {f"process {pid}" for pid in listing.read_text().split()}
        except OSError:  # the thread ended while we looked
            continue
    return found


def _files() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            target = str(entry.readlink())
        except OSError:  # the listing's own descriptor
            continue
        if not target.startswith(LASTING_FILES):
            found.add(f"file {entry.name} -> {target}")
    return found


def _tasks() -> set[str]:
    """Tasks on the loops that outlive a test; any other loop dies with its tasks."""
    loops = (get_asyncio_loop(), ensure_event_loop())
    return {f"task {task.get_name()}" for loop in loops for task in asyncio.all_tasks(loop)}


def _wait_for(leaked: Callable[[], set[str]]) -> set[str]:
    """Return what is still there after a while; a clean test waits for nothing."""
    if not leaked():
        return set()
    gc.collect()
    end = time.monotonic() + PATIENCE
    while (rest := leaked()) and time.monotonic() < end:
        time.sleep(0.01)
    return rest


def _close_shared_models() -> None:
    """Close the process's own models and demo server where a test made them, and forget them."""
    module = sys.modules.get("tframex_nb.models.endpoints")
    shared = getattr(module, "shared_endpoints", None)
    if shared is None or not shared.cache_info().currsize:
        return
    get_asyncio_loop().run_until_complete(shared().aclose())
    shared.cache_clear()
