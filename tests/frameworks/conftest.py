"""The frameworks' environments of this checkout; `make frameworks` installs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["installed"]


@pytest.fixture
def installed(
    root: Path, monkeypatch: pytest.MonkeyPatch, missing_part: Callable[[str], None]
) -> Callable[[str], None]:
    """Point at the environments of this checkout, and miss the part where one is not there."""
    from tframex_nb.frameworks.environments import Environments, shipped_locks

    monkeypatch.setenv("TFRAMEX_FRAMEWORKS_DIR", str(root / ".venvs" / "frameworks"))

    def check(name: str) -> None:
        lock = shipped_locks().get(name)
        if lock is not None and Environments().find(name, lock) is None:
            missing_part(f"{name} is not installed: make frameworks")

    return check
