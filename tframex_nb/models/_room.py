"""That a model call waits for room in a budget, as people read it while it does."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from tframex_nb.messages import Event

__all__ = ["RoomAwaited"]


@dataclass(frozen=True, slots=True)
class RoomAwaited(Event):
    """A call waits, since others may spend what its ``budget`` has left; ``over`` once it may go.

    ``calls`` are those under way.
    """

    type: ClassVar[str] = "room_awaited"
    budget: str
    calls: int = 1
    over: bool = False

    @property
    def ended(self) -> Self:
        """The end of this wait."""
        return dataclasses.replace(self, over=True)

    @property
    def subject(self) -> str:
        """The wait."""
        return "room"

    @property
    def line(self) -> str:
        """What is waited for, and how not to; nothing once it is over."""
        if self.over:
            return ""
        others = "a call under way" if self.calls == 1 else f"{self.calls} calls under way"
        return (
            f"waiting: {others} may spend all that {self.budget} has left; "
            "with max_tokens they go side by side"
        )
