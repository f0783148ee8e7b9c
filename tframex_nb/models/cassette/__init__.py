"""Cassettes: what models answered, recorded, and replayed offline in the same pieces."""

from __future__ import annotations

from tframex_nb.models.cassette.cassette import Cassette
from tframex_nb.models.cassette.model import TapedModel
from tframex_nb.models.cassette.recording import Recording
from tframex_nb.models.cassette.shelf import Cassettes, shared_cassettes

__all__ = ["Cassette", "Cassettes", "Recording", "TapedModel", "shared_cassettes"]
