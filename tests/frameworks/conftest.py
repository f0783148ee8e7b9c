"""The frameworks' environments of this checkout; `make frameworks` installs them."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["installed"]

MODULES = {
    "agent_framework": "agent_framework",
    "autogen": "autogen_agentchat",
    "langgraph": "langgraph",
    "openai_agents": "agents",
    "pydantic_ai": "pydantic_ai",
}


@pytest.fixture
def installed(
    root: Path, monkeypatch: pytest.MonkeyPatch, missing_part: Callable[[str], None]
) -> Callable[[str], None]:
    """Point at the environments of this checkout, and miss the part where one is not there.

    A framework that is importable right here needs none: it runs in this process.
    """
    from tframex_nb.frameworks.environments import Environments, shipped_locks

    monkeypatch.setenv("TFRAMEX_FRAMEWORKS_DIR", str(root / ".venvs" / "frameworks"))

    def check(name: str) -> None:
        module = MODULES.get(name, "")
        if module and importlib.util.find_spec(module) is not None:
            return
        lock = shipped_locks().get(name)
        if lock is not None and Environments().find(name, lock) is None:
            missing_part(f"{name} is not installed: make frameworks")

    return check
