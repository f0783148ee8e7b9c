"""The adapters that come with this package, one framework each."""

from __future__ import annotations

__all__: list[str] = []
