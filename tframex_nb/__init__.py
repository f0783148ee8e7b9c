"""Agents in notebook cells, on any agent framework, shipped as plugins.

Importing this package loads nothing heavy: every public name is imported at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from tframex_nb.agents import Agent, BaseAgent, BasicAgent, ContextAgent, tool
    from tframex_nb.models import VLLMModel
    from tframex_nb.models.budget import Budget
    from tframex_nb.runs import Run, collect
    from tframex_nb.systems import ChainOfAgents, MultiCallSystem

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "BaseAgent",
    "BasicAgent",
    "Budget",
    "ChainOfAgents",
    "ContextAgent",
    "MultiCallSystem",
    "Run",
    "VLLMModel",
    "collect",
    "load_ipython_extension",
    "tool",
    "unload_ipython_extension",
]

_HOMES = {
    "Agent": "tframex_nb.agents",
    "BaseAgent": "tframex_nb.agents",
    "BasicAgent": "tframex_nb.agents",
    "ContextAgent": "tframex_nb.agents",
    "tool": "tframex_nb.agents",
    "Budget": "tframex_nb.models.budget",
    "VLLMModel": "tframex_nb.models",
    "Run": "tframex_nb.runs",
    "collect": "tframex_nb.runs",
    "ChainOfAgents": "tframex_nb.systems",
    "MultiCallSystem": "tframex_nb.systems",
}


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Give the shell its magics; ``%load_ext tframex_nb`` calls this."""
    from tframex_nb.notebook import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take everything back that loading gave."""
    from tframex_nb.notebook import unload

    unload(shell)


def __getattr__(name: str) -> Any:  # the lazily imported public names have many types
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tframex_nb' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
