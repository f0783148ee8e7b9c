"""Asking endpoints whether they are there: short, at the same time, without a key."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

__all__ = ["EndpointStatus", "probe_all"]

PROBE = 0.25  # seconds for one probe; all run at once
_MANY = 50  # models that a row keeps
_LONG = 120  # characters of a model's name


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """One row of the models table.

    ``kind`` is configured, found, demo or preset; ``state`` says in a few words whether it can
    be used, ``next`` what to type. ``selected`` marks what answers when no model is named.
    """

    name: str
    kind: str
    url: str = ""
    models: tuple[str, ...] = ()
    state: str = ""
    next: str = ""
    selected: bool = False


async def probe_all(rows: Sequence[EndpointStatus]) -> list[EndpointStatus]:
    """Return the rows with what each endpoint answers to ``GET /models``; 0.3 s at most.

    No key is sent. A loopback address is never asked through a proxy.
    """
    from tframex_nb.http import TransportOptions, tls_context

    # Once and before the clock of the probes runs: loading CAs takes 20 ms.
    https = next((row.url for row in rows if row.url.startswith("https:")), "http:")
    tls = tls_context(https, TransportOptions())
    return list(await asyncio.gather(*(_probe(row, tls) for row in rows)))


async def _probe(row: EndpointStatus, tls: ssl.SSLContext) -> EndpointStatus:
    from tframex_nb.http import quick_get

    try:
        found = await quick_get(f"{row.url}/models", PROBE, tls=tls)
    except TimeoutError:
        return replace(row, state="no answer in time")
    except OSError:
        return replace(row, state="nothing answers")
    if found.status in (401, 403):
        return replace(row, state="wants a key")
    if not 200 <= found.status < 300:  # noqa: PLR2004 - HTTP's 2xx
        return replace(row, state=f"answers {found.status}")
    models = _names(found.body)
    if models is None:
        return replace(row, state="answers, not as OpenAI does")
    return replace(row, models=models, state="ready")


def _names(body: bytes) -> tuple[str, ...] | None:
    """Return the names in a list of models, or None where it is none.

    The text comes from whoever has the port, so it is cut and stripped of control characters.
    """
    from tframex_nb.models._listing import listed_models

    try:
        found = listed_models(body)
    except ValueError:
        return None
    if found is None:
        return None
    shown = ("".join(c for c in name if c.isprintable())[:_LONG] for name in found[:_MANY])
    return tuple(sorted({name for name in shown if name}))
