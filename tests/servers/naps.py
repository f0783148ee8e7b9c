"""How code that a test interrupts sleeps."""

from __future__ import annotations

__all__ = ["NAP"]

# Thirty seconds, in short ones: what comes in the instant before a sleep begins is seen at its end.
NAP = "[time.sleep(0.1) for _ in range(300)]"
