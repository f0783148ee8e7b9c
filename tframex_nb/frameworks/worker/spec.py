"""What a pool of workers is told, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tframex_nb.frameworks.worker.source import AdapterSource

__all__ = ["Subject", "WorkerInfo", "WorkerSpec"]


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Which framework, in which Python, through which adapter.

    ``environment`` are variables that the framework needs. ``exclusive``: one run per process,
    which is killed at a stop.
    """

    framework: str
    python: Path
    adapter: AdapterSource
    environment: Mapping[str, str] = field(default_factory=dict)
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """What the user built with the framework: a name that a cell of it defined.

    With ``source``, the source of the function of that name, which builds it. A builder takes
    nothing, or ``model`` (a ModelAccess) or ``tools`` by name.
    """

    name: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker as people see it: ``started`` is a Unix time, ``version`` the framework's."""

    pid: int
    state: Literal["starting", "idle", "busy"]
    runs: int
    rss_mb: float
    started: float
    version: str = ""
