"""What a run tells of its framework, beside the answer: choice, waiting, worker, prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tframex_nb.messages import Event

__all__ = ["ConfigurationRefused", "FrameworkChosen", "FrameworkLog", "Waiting", "WorkerStarting"]

LONG = 120  # characters of a print that people see


@dataclass(frozen=True, slots=True)
class ConfigurationRefused(Event):
    """A watched configuration has changed and cannot be read: the old one stays in force."""

    type: ClassVar[str] = "configuration_refused"
    reason: str

    @property
    def subject(self) -> str:
        """The configuration."""
        return "configuration"

    @property
    def line(self) -> str:
        """What is wrong with it."""
        return f"{self.reason}; the configuration stays as it was"


@dataclass(frozen=True, slots=True)
class FrameworkChosen(Event):
    """The resolver chose a framework; ``better`` tells of one that could be installed."""

    type: ClassVar[str] = "framework_chosen"
    framework: str
    reason: str = ""
    better: str = ""

    @property
    def subject(self) -> str:
        """The choice."""
        return "framework"

    @property
    def line(self) -> str:
        """The framework, why it was chosen, and what would be better."""
        return "; ".join(part for part in (f"{self.framework}: {self.reason}", self.better) if part)


@dataclass(frozen=True, slots=True)
class Waiting(Event):
    """The run waits for a slot of its framework, ``ahead`` others first; -1 once it has one."""

    type: ClassVar[str] = "waiting"
    framework: str
    ahead: int = 0

    @property
    def subject(self) -> str:
        """The wait."""
        return "slot"

    @property
    def line(self) -> str:
        """Whom it waits for; nothing once it goes on."""
        if self.ahead < 0:
            return ""
        others = f", {self.ahead} ahead" if self.ahead else ""
        return f"waiting until {self.framework} is free{others}"


@dataclass(frozen=True, slots=True)
class WorkerStarting(Event):
    """A framework is being imported, here or in a new worker; ``ready`` once it is there."""

    type: ClassVar[str] = "worker_starting"
    framework: str
    ready: bool = False

    @property
    def subject(self) -> str:
        """The start."""
        return "worker"

    @property
    def line(self) -> str:
        """What starts; nothing once it has."""
        return "" if self.ready else f"starting {self.framework} …"


@dataclass(frozen=True, slots=True)
class FrameworkLog(Event):
    """What a framework has printed: the last line, and how many there were."""

    type: ClassVar[str] = "framework_log"
    framework: str
    text: str
    lines: int = 1

    @property
    def subject(self) -> str:
        """The framework's prints."""
        return "log"

    @property
    def line(self) -> str:
        """The last line, its beginning where it is long."""
        count = f" ({self.lines} lines)" if self.lines > 1 else ""
        text = self.text if len(self.text) <= LONG else f"{self.text[: LONG - 1]}…"
        return f"{self.framework} printed{count}: {text}"
