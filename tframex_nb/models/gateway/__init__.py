"""The gateway: every framework reaches the model of its run through it, on loopback."""

from __future__ import annotations

from tframex_nb.models.gateway.run import GatewayRun
from tframex_nb.models.gateway.server import Gateway

__all__ = ["Gateway", "GatewayRun"]
