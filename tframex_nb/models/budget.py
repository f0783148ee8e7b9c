"""Budgets: what runs may spend and have spent, in tokens and in USD.

Every model call of a run is a claim on all budgets that the run is under: its own, its agent's,
those around it, the session's. No claim is admitted that the caps leave no room for, whatever
the calls beside it come to: together they pass a cap by one request at most.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Self

from tframex_nb.errors import InvalidInput
from tframex_nb.models._ledger import Ledger, Spent
from tframex_nb.models.prices import usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "Budget",
    "Spent",
    "budgets_of_a_run",
    "innermost_budget",
    "session_budget",
    "within",
]


class Budget:
    """What runs may spend together, and what they have spent; safe on any thread.

    ``max_cost`` is in USD, ``max_tokens_total`` counts prompts and completions; None is no cap.
    An agent takes it as ``budget=``; whatever runs inside ``with Budget(…):`` is under it too,
    and it adds up from run to run. Raises InvalidInput for a cap that nothing could be under.
    """

    def __init__(
        self,
        *,
        max_cost: Decimal | float | str | None = None,
        max_tokens_total: int | None = None,
        name: str = "the run",
        options: tuple[str, str] = ("max_cost", "max_tokens_total"),
        within: Budget | None = None,
    ) -> None:
        self.ledger = Ledger(name, options)
        self._within = within  # whose caps are shown beside what this has spent
        self._chosen: tuple[Decimal | None, int | None] = (None, None)
        self._set: tuple[Decimal | None, int | None] = (None, None)
        self.max_cost = max_cost
        self.max_tokens_total = max_tokens_total

    @property
    def name(self) -> str:
        """Whose budget it is, for the eye."""
        return self.ledger.name

    @property
    def spent(self) -> Spent:
        """What the calls under it have spent."""
        return self.ledger.spent

    @property
    def max_cost(self) -> Decimal | None:
        """USD that may be spent; None is no cap."""
        return self.ledger.max_cost

    @max_cost.setter
    def max_cost(self, cap: Decimal | float | str | None) -> None:
        self.ledger.max_cost = None if cap is None else _dollars(cap)

    @property
    def max_tokens_total(self) -> int | None:
        """Tokens that may be spent, prompts and completions together; None is no cap."""
        return self.ledger.max_tokens

    @max_tokens_total.setter
    def max_tokens_total(self, cap: int | None) -> None:
        if cap is not None and cap < 1:
            raise InvalidInput(
                f"max_tokens_total={cap}: no call could be made", hint="give 1 or more, or None"
            )
        self.ledger.max_tokens = cap

    @property
    def capped(self) -> bool:
        """Whether there is any cap."""
        return self.ledger.capped

    @property
    def line(self) -> str:
        """What is spent of which cap, for the eye; empty where there is no cap.

        Of a call that was cut before its tokens were counted it tells the estimate that the
        caps go by.
        """
        used, parts = self.ledger.used, []
        about = "about " if self.spent.uncounted else ""
        if self.max_tokens_total is not None:
            parts.append(f"{about}{used.tokens:,} of {self.max_tokens_total:,} tokens")
        if self.max_cost is not None:
            spent = f"{about}{usd(used.cost)}" if about else self.spent.price
            parts.append(f"{spent or usd(Decimal(0))} of {usd(self.max_cost)}")
        return ", ".join(parts)

    @property
    def footer(self) -> str:
        """What a run has spent, under which caps, for the eye."""
        around = self._within.line if self._within is not None else ""
        return self.line or around or self.spent.price

    def choose(self, max_cost: Decimal | float | str | None, max_tokens_total: int | None) -> None:
        """Set caps that ``follow`` leaves alone; None gives the settings their say again."""
        self._chosen = (None if max_cost is None else _dollars(max_cost), max_tokens_total)
        self.follow(*self._set)

    def follow(self, max_cost: Decimal | None, max_tokens_total: int | None) -> None:
        """Take the caps of the settings, where none was chosen."""
        self._set = (max_cost, max_tokens_total)
        cost, tokens = self._chosen
        self.max_cost = max_cost if cost is None else cost
        self.max_tokens_total = max_tokens_total if tokens is None else tokens

    def __enter__(self) -> Self:
        _around.set((*_around.get(), self))
        return self

    def __exit__(self, *_: object) -> None:
        around = list(_around.get())
        del around[len(around) - 1 - around[::-1].index(self)]
        _around.set(tuple(around))

    def __repr__(self) -> str:
        return f"<Budget of {self.name}: {self.line or self.spent}>"


def budgets_of_a_run(*own: Budget | None) -> tuple[Budget, ...]:
    """Return the budgets that a run begun here is under, each once: its own first."""
    given = (budget for budget in own if budget is not None)
    return tuple(dict.fromkeys((*given, *_around.get(), session_budget())))


@contextlib.contextmanager
def within(budgets: Iterable[Budget]) -> Iterator[None]:
    """Put the runs that begin inside the block under these budgets too."""
    token = _around.set(tuple(dict.fromkeys((*_around.get(), *budgets))))
    try:
        yield
    finally:
        _around.reset(token)


def innermost_budget() -> Budget | None:
    """Return the budget that the code running here is most closely under, where there is one."""
    around = _around.get()
    return around[-1] if around else None


@functools.cache
def session_budget() -> Budget:
    """Return what this process has spent; its caps come from the settings.

    A process has one, as it has one history of runs.
    """
    caps = ("session_max_cost", "session_max_tokens")
    cost, tokens = (f"{cap} (%config TFrameX.{cap} = …)" for cap in caps)
    return Budget(name="this session", options=(cost, tokens))


# Per task by nature: the budgets around the code that begins a run.
_around: contextvars.ContextVar[tuple[Budget, ...]] = contextvars.ContextVar(
    "tframex_budgets", default=()
)


def _dollars(cap: Decimal | float | str) -> Decimal:
    try:
        amount = Decimal(str(cap))
    except InvalidOperation:
        raise InvalidInput(
            f"max_cost={cap!r} is no amount", hint="give USD, more than 0, or None"
        ) from None
    if not amount.is_finite() or amount <= 0:
        raise InvalidInput(
            f"max_cost={cap!r}: no call could be made", hint="give USD, more than 0, or None"
        )
    return amount
