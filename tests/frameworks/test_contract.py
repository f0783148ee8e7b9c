"""The contract of every adapter that comes with the package, on the real framework."""

from __future__ import annotations

import pytest

from tframex_nb.testing import FrameworkContract

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(240)]


class Installed(FrameworkContract):
    __test__ = False

    @pytest.fixture(autouse=True)
    def _installed(self, installed):
        installed(self.framework)


class TestNative(Installed):
    __test__ = True
    framework = "native"


class TestLangGraph(Installed):
    __test__ = True
    framework = "langgraph"


class TestCrewAI(Installed):
    __test__ = True
    framework = "crewai"


class TestAutoGen(Installed):
    __test__ = True
    framework = "autogen"


class TestAgentFramework(Installed):
    __test__ = True
    framework = "agent_framework"


class TestOpenAIAgents(Installed):
    __test__ = True
    framework = "openai_agents"


class TestPydanticAI(Installed):
    __test__ = True
    framework = "pydantic_ai"


class TestSmolagents(Installed):
    __test__ = True
    framework = "smolagents"
