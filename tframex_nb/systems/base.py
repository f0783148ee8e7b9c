"""What systems share: an id, a model, and a run that is streamed and recorded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from tframex_nb.agents.running import label_of, run_events
from tframex_nb.models.budget import Budget, budgets_of_a_run, innermost_budget
from tframex_nb.runs import Run, observe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tframex_nb.messages import Event
    from tframex_nb.models.base import ChatModel

__all__ = ["BaseSystem"]


class BaseSystem(ABC):
    """A system of model calls. ``last`` is the latest run, also while it goes on or failed.

    ``budget`` is what its runs have spent; a cap that is set there holds for all of them, and
    one run is bounded inside ``with Budget(…):``.
    """

    def __init__(self, system_id: str, model: ChatModel | str | None = None) -> None:
        self.system_id = system_id
        self.model = model
        self.last: Run | None = None
        self.budget = Budget(name=f"the system {system_id!r}")

    @property
    def name(self) -> str:
        """What people call the system."""
        return self.system_id

    @abstractmethod
    def stream(self, *args: Any, **params: Any) -> AsyncIterator[Event]:  # its own signature
        """Yield the events of a run; each system says what it takes."""

    def _observed(
        self, prompt: str, steps: Callable[[ChatModel], AsyncIterator[Event]]
    ) -> tuple[Run, AsyncIterator[Event]]:
        """Return a new run, which is ``last`` from now on, and its events."""
        run = Run(agent=self.name, model=label_of(self.model), prompt=prompt)
        self.last = run
        run.budget = Budget(within=innermost_budget())
        budgets = budgets_of_a_run(run.budget, self.budget)
        return run, observe(run_events(run, self.model, steps, budgets=budgets), run)

    def __repr__(self) -> str:
        model = label_of(self.model) or "the default model"
        return f"<{type(self).__name__} {self.name!r} on {model}>"
