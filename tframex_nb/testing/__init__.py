"""What proves an adapter: a contract suite on a real model server, with pytest.

::

    from tframex_nb.testing import FrameworkContract

    class TestMine(FrameworkContract):
        framework = MyFramework  # a class, or the name of a registered framework
"""

from __future__ import annotations

from tframex_nb.testing.contract import FrameworkContract
from tframex_nb.testing.witness import Witness

__all__ = ["FrameworkContract", "Witness"]
