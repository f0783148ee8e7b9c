"""One real framework, installed from the lock that comes with the package."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
from typing import TYPE_CHECKING

import pytest

from tframex_nb.frameworks._lock import Lock
from tframex_nb.frameworks.environments import Environments, Progress, shipped_locks

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.frameworks


def test_a_real_framework_is_installed_from_its_lock(tmp_path: Path) -> None:
    """Whole, of the size that was told, and importable; nothing of this process's packages is."""
    environments, lock = Environments(tmp_path), shipped_locks()["agent_framework"]
    plan = environments.plan("agent_framework", lock)
    told: list[Progress] = []
    made = asyncio.run(environments.install("agent_framework", lock, progress=told.append))
    assert len(made.versions) == plan.packages == Lock.read(lock).packages(made.python_version)
    assert made.size_mb == pytest.approx(plan.disk_mb, rel=0.3)
    assert max(b.seconds - a.seconds for a, b in itertools.pairwise(told)) < 5
    code = (
        "import agent_framework, agent_framework.openai, importlib.util as u\n"
        "print(u.find_spec('tframex_nb'), u.find_spec('IPython'))"
    )
    done = subprocess.run(
        [made.python, "-I", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "None None\n", done.stderr
    assert environments.plan("agent_framework", lock).note == "installed"
