"""What proves an adapter: a contract suite on a real model server, with pytest.

::

    from tframex_nb.testing import FrameworkContract

    class TestMine(FrameworkContract):
        framework = MyFramework  # a class, or the name of a registered framework
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tframex_nb.testing.contract import FrameworkContract
    from tframex_nb.testing.witness import Witness

__all__ = ["FrameworkContract", "Witness"]

# At first use: pytest imports this package for its plugin, in projects that never run an agent.
_HOMES = {
    "FrameworkContract": "tframex_nb.testing.contract",
    "Witness": "tframex_nb.testing.witness",
}


def __getattr__(name: str) -> Any:  # the lazily imported names are classes of many kinds
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tframex_nb.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
