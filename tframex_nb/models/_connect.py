"""From a connection, as the settings describe it, to a chat model."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tframex_nb.http import Timeouts, TransportOptions
from tframex_nb.models._retry import RetryPolicy
from tframex_nb.models.openai_compatible import VLLMModel

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from tframex_nb.settings import Connection

__all__ = ["identity", "maker"]


def maker(connection: Connection) -> Callable[[str], VLLMModel]:
    """Return what builds the model of this connection for a model's name."""

    def make(name: str) -> VLLMModel:
        # None in a default would take nothing back, so what is not set is left out
        sampling: dict[str, Any] = {  # parameters of many types
            "temperature": connection.temperature,
            "max_tokens": connection.max_tokens,
        }
        return VLLMModel(
            name,
            connection.url,
            connection.api_key,
            timeouts=replace(Timeouts(), **connection.timeouts),
            retry=_retry(connection),
            transport=_transport(connection),
            reasoning=connection.reasoning,
            headers={n: value.get_secret_value() for n, value in connection.headers.items()},
            **{n: value for n, value in sampling.items() if value is not None},
        )

    return make


def identity(connection: Connection) -> Hashable:
    """Return what makes two connections the same: equal ones share a model and its pool."""
    return tuple(
        tuple(sorted(value.items())) if isinstance(value, dict) else value
        for value in (getattr(connection, f.name) for f in dataclasses.fields(connection))
    )


def _retry(connection: Connection) -> RetryPolicy:
    if connection.retries is None:
        return RetryPolicy()
    return RetryPolicy(retries=connection.retries)


def _transport(connection: Connection) -> TransportOptions:
    options = TransportOptions(
        proxy=connection.proxy.get_secret_value() if connection.proxy else None,
        ca_bundle=connection.ca_bundle,
        verify=connection.verify,
    )
    if connection.max_connections is None:
        return options
    return replace(options, max_connections=connection.max_connections)
