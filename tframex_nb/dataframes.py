"""Rows as a pandas DataFrame, where pandas is installed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import TFrameXError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__all__ = ["frame"]


def frame(rows: Sequence[Any], columns: list[str] | None = None) -> pd.DataFrame:  # any cells
    """Return rows, which are dicts or tuples under ``columns``, as a DataFrame.

    Raises TFrameXError where pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as exc:
        raise TFrameXError(
            "a DataFrame needs pandas, which is not installed in this environment",
            hint=f"{sys.executable} -m pip install pandas",
        ) from exc
    return pd.DataFrame(rows, columns=columns)
