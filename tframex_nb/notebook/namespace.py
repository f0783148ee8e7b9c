"""The user's namespace is the registry: agents, tools and values are found there by name."""

from __future__ import annotations

import builtins
import keyword
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import UnknownAgent, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tframex_nb.agents import BaseAgent
    from tframex_nb.systems.base import BaseSystem

__all__ = [
    "agents_in",
    "find_agent",
    "find_system",
    "get_agent",
    "look_up",
    "names_of",
    "names_of_tools",
    "taken_by",
]

_IPYTHON = frozenset({"In", "Out", "exit", "get_ipython", "open", "quit"})


def agents_in(namespace: Mapping[str, Any]) -> dict[str, BaseAgent]:
    """Return the agents of a namespace by their variable, each once, underscores left out."""
    from tframex_nb.agents import BaseAgent

    found: dict[int, tuple[str, BaseAgent]] = {}
    for name, value in namespace.items():
        if isinstance(value, BaseAgent) and not name.startswith("_"):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def find_agent(namespace: Mapping[str, Any], name: str) -> BaseAgent | None:
    """Return the agent that the variable ``name`` holds, or whose id is ``name``."""
    from tframex_nb.agents import BaseAgent

    value = namespace.get(name)
    if isinstance(value, BaseAgent):
        return value
    return next((a for a in agents_in(namespace).values() if a.agent_id == name), None)


def find_system(namespace: Mapping[str, Any], name: str) -> BaseSystem | None:
    """Return the system that the variable ``name`` holds."""
    from tframex_nb.systems.base import BaseSystem

    value = namespace.get(name)
    return value if isinstance(value, BaseSystem) else None


def get_agent(namespace: Mapping[str, Any], name: str) -> BaseAgent:
    """Return the agent of this name; raises UnknownAgent with the nearest name."""
    agent = find_agent(namespace, name)
    if agent is None:
        known = agents_in(namespace)
        hint = f"{nearest(name, known)}; define one with: %%agent {name} --define"
        raise UnknownAgent(f"no agent is named {name!r}", hint=hint)
    return agent


def taken_by(namespace: Mapping[str, Any], name: str) -> str:
    """Return why a new agent may not take the variable ``name``, or the empty text."""
    if not name.isidentifier() or keyword.iskeyword(name):
        return "it is no name in Python"
    if name in namespace:
        return f"the name holds a {type(namespace[name]).__name__}"
    return "Python itself uses the name" if hasattr(builtins, name) else ""


def look_up(namespace: Mapping[str, Any], dotted: str) -> Any:  # whatever the user named
    """Return the value of a dotted name; raises KeyError with the part that is missing."""
    first, *rest = dotted.split(".")
    if first not in namespace:
        raise KeyError(first)
    value = namespace[first]
    for part in rest:
        if not hasattr(value, part):
            raise KeyError(f"{first}.{part}")
        value = getattr(value, part)
    return value


def names_of(namespace: Mapping[str, Any]) -> list[str]:
    """Return the names that may be the user's: no underscores, nothing that IPython puts there."""
    return [name for name in namespace if not name.startswith("_") and name not in _IPYTHON]


def names_of_tools(namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names that the user gave to functions and agents."""
    for name, value in namespace.items():
        module = getattr(value, "__module__", "")
        if not name.startswith("_") and callable(value) and module == "__main__":
            yield name
    yield from agents_in(namespace)
