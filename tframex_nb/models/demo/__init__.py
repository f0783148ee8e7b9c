"""The embedded demo model: an OpenAI-compatible server on loopback whose words are scripted."""

from __future__ import annotations

from tframex_nb.models.demo.server import DemoServer
from tframex_nb.models.demo.variants import VARIANTS, Variant, variant_names

__all__ = ["VARIANTS", "DemoServer", "Variant", "variant_names"]
