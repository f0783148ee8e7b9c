"""Systems: several model calls that together do one job; every one streams run events."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tframex_nb.systems.chain import ChainOfAgents
    from tframex_nb.systems.events import CallEvent, CallFailed, CallFinished, CallStarted
    from tframex_nb.systems.multi_call import MultiCallSystem

__all__ = [
    "CallEvent",
    "CallFailed",
    "CallFinished",
    "CallStarted",
    "ChainOfAgents",
    "MultiCallSystem",
]

_HOMES = {
    "CallEvent": "events",
    "CallFailed": "events",
    "CallFinished": "events",
    "CallStarted": "events",
    "ChainOfAgents": "chain",
    "MultiCallSystem": "multi_call",
}


def __getattr__(name: str) -> Any:  # the lazily imported public names have many types
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
