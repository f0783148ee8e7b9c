"""Chat models: what streams run events from an endpoint; imported at first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tframex_nb.models._retry import RetryPolicy
    from tframex_nb.models.base import ChatModel
    from tframex_nb.models.endpoints import Endpoints, shared_endpoints
    from tframex_nb.models.openai_compatible import VLLMModel

__all__ = ["ChatModel", "Endpoints", "RetryPolicy", "VLLMModel", "shared_endpoints"]

_HOMES = {
    "ChatModel": "tframex_nb.models.base",
    "Endpoints": "tframex_nb.models.endpoints",
    "RetryPolicy": "tframex_nb.models._retry",
    "VLLMModel": "tframex_nb.models.openai_compatible",
    "shared_endpoints": "tframex_nb.models.endpoints",
}


def __getattr__(name: str) -> Any:  # the lazily imported names have many types
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tframex_nb.models' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
