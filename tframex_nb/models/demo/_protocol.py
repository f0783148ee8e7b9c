"""HTTP/1.1 for the demo server, with a logger of its own: a notebook is no server's log."""

from __future__ import annotations

import logging
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["QuietProtocol"]


class QuietProtocol(H11Protocol):
    """uvicorn's own protocol, silent: ``demo:cut`` would print an error at each scripted fault."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # uvicorn's own arguments
        super().__init__(*args, **kwargs)
        # Outside the tree of loggers, so that no handler of the user shows it
        self.logger = logging.Logger("demo", logging.CRITICAL + 1)  # noqa: LOG001 - see above
