"""Adapters on their real frameworks, without the engine: one process each, in its environment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tframex_nb.frameworks.environments import Environments, shipped_locks
from tframex_nb.models.demo import DemoServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(240)]

DRIVER = Path(__file__).with_name("driver.py")
CHECKS = 20  # at least; a driver that checks nothing would pass
ADAPTERS = ["langgraph", "openai_agents", "pydantic_ai", "agent_framework"]


@pytest.fixture
def demo() -> Iterator[DemoServer]:
    """A demo server of this test's own, closed with it."""
    server = DemoServer()
    yield server
    server.stop()


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_keeps_what_the_interface_promises(
    name: str, demo: DemoServer, installed: Callable[[str], None]
) -> None:
    """Each check of the driver holds; what a check means is its docstring there."""
    installed(name)
    environment = Environments().find(name, shipped_locks()[name])
    assert environment is not None
    done = subprocess.run(
        [str(environment.python), str(DRIVER), name, demo.url, demo.token],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [line for line in lines if "failed" in line] == []
    assert len(lines) > CHECKS
    assert lines[-1] == {"check": "world", "changed": [], "blocked": []}
    assert done.returncode == 0, done.stderr
