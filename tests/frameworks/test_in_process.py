"""Frameworks that the kernel's own environment has run there, without a worker."""

from __future__ import annotations

import asyncio
import importlib.util

import pytest

from tframex_nb.frameworks.environments import Environments
from tframex_nb.frameworks.service import Frameworks

MODULES = {
    "agent_framework": "agent_framework",
    "autogen": "autogen_agentchat",
    "langgraph": "langgraph",
    "openai_agents": "agents",
    "pydantic_ai": "pydantic_ai",
}


@pytest.mark.parametrize("name", MODULES)
def test_a_framework_of_this_environment_runs_in_process(name, tmp_path):
    """Importable and cancellable: no worker; else it is said to be not installed."""

    async def readiness():
        frameworks = Frameworks(environments=Environments(tmp_path))
        await frameworks.start()
        try:
            return frameworks.readiness(name)
        finally:
            await frameworks.aclose()

    found = asyncio.run(readiness())
    if importlib.util.find_spec(MODULES[name]) is None:
        assert not found.ready
        assert found.hint == f"%frameworks install {name}"
    else:
        assert found.mode == "in-process"
        assert found.version
