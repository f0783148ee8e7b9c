"""Budgets: what runs may spend and have spent, in tokens and in USD.

Every model call of a run is a claim on all budgets that the run is under: its own, its agent's,
those around it, the session's. No claim is admitted that the caps leave no room for, whatever
the calls beside it come to: together they pass a cap by one request at most.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import threading
import time
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, ClassVar, Self

from tframex_nb.errors import BudgetExceeded, InvalidInput
from tframex_nb.messages import Usage
from tframex_nb.models.prices import usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tframex_nb.models.prices import Price

__all__ = [
    "Amount",
    "Budget",
    "Claim",
    "Spent",
    "budgets_of_a_run",
    "innermost_budget",
    "session_budget",
    "within",
]

UNREAD = 5.0  # seconds after which a call that nobody reads on holds up no other
_RAISE = "raise {}, or ask for less at a time"


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens and USD; what has no known price counts in tokens only."""

    tokens: int = 0
    cost: Decimal = Decimal(0)

    @classmethod
    def of(cls, usage: Usage, price: Price | None, *, tier: str = "") -> Amount:
        """Return what the tokens of one call come to."""
        cost = Decimal(0) if price is None else price.cost(usage, tier=tier)
        return cls(usage.total_tokens, cost)

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.cost + other.cost)


@dataclass(frozen=True, slots=True)
class Spent:
    """What model calls have spent, as endpoints counted it.

    ``unpriced`` are the calls whose model has no known price, ``uncounted`` those of which the
    endpoint told no tokens, or which were cut before it did; ``unknown`` are either.
    """

    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    priced: Decimal = Decimal(0)
    unpriced: int = 0
    uncounted: int = 0
    unknown: int = 0

    @property
    def cost(self) -> Decimal | None:
        """USD of the calls whose cost is known; None where that is none of them."""
        return self.priced if self.unknown < self.calls else None

    @property
    def partial(self) -> bool:
        """Whether the cost of some calls is known, and of others not."""
        return 0 < self.unknown < self.calls

    @property
    def price(self) -> str:
        """The cost for the eye: the amount, that it is partial, or that it is not known."""
        if not self.calls:
            return ""
        if self.cost is None:
            return "no price known" if self.unpriced else "cost unknown: no token counts"
        return f"{usd(self.cost)} (partial)" if self.partial else usd(self.cost)

    def plus(self, usage: Usage | None, cost: Decimal | None, *, priced: bool) -> Spent:
        """Return this with one more call."""
        return Spent(
            self.calls + 1,
            self.usage if usage is None else self.usage + usage,
            self.priced + (cost or 0),
            self.unpriced + (not priced),
            self.uncounted + (usage is None),
            self.unknown + (cost is None),
        )

    def __str__(self) -> str:
        tokens = f"{self.usage.total_tokens:,} tokens"
        return f"{tokens}, {self.price}" if self.calls else "nothing spent"


class Budget:
    """What runs may spend together, and what they have spent; safe on any thread.

    ``max_cost`` is in USD, ``max_tokens_total`` counts prompts and completions; None is no cap.
    An agent takes it as ``budget=``; whatever runs inside ``with Budget(…):`` is under it too,
    and it adds up from run to run. Raises InvalidInput for a cap that nothing could be under.
    """

    # One for all budgets: a call is admitted to several of them at the same moment.
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        *,
        max_cost: Decimal | float | str | None = None,
        max_tokens_total: int | None = None,
        name: str = "the run",
        options: tuple[str, str] = ("max_cost", "max_tokens_total"),
        within: Budget | None = None,
    ) -> None:
        self.name = name
        self.spent = Spent()
        self._options = options
        self._within = within  # whose caps are shown beside what this has spent
        self._chosen: tuple[Decimal | None, int | None] = (None, None)
        self._used = Amount()  # with estimates for what was not counted
        self._claims: set[Claim] = set()
        self.max_cost = max_cost
        self.max_tokens_total = max_tokens_total

    @property
    def max_cost(self) -> Decimal | None:
        """USD that may be spent; None is no cap."""
        return self._max_cost

    @max_cost.setter
    def max_cost(self, cap: Decimal | float | str | None) -> None:
        self._max_cost = None if cap is None else _dollars(cap)

    @property
    def max_tokens_total(self) -> int | None:
        """Tokens that may be spent, prompts and completions together; None is no cap."""
        return self._max_tokens

    @max_tokens_total.setter
    def max_tokens_total(self, cap: int | None) -> None:
        if cap is not None and cap < 1:
            raise InvalidInput(
                f"max_tokens_total={cap}: no call could be made", hint="give 1 or more, or None"
            )
        self._max_tokens = cap

    @property
    def capped(self) -> bool:
        """Whether there is any cap."""
        return self._max_cost is not None or self._max_tokens is not None

    @property
    def line(self) -> str:
        """What is spent of which cap, for the eye; empty where there is no cap."""
        parts = []
        if self._max_tokens is not None:
            parts.append(f"{self.spent.usage.total_tokens:,} of {self._max_tokens:,} tokens")
        if self._max_cost is not None:
            parts.append(f"{self.spent.price or usd(Decimal(0))} of {usd(self._max_cost)}")
        return ", ".join(parts)

    @property
    def footer(self) -> str:
        """What a run has spent, under which caps, for the eye."""
        around = self._within.line if self._within is not None else ""
        return self.line or around or self.spent.price

    def choose(self, max_cost: Decimal | float | str | None, max_tokens_total: int | None) -> None:
        """Set caps that ``follow`` leaves alone; None gives the settings their say again."""
        self._chosen = (None if max_cost is None else _dollars(max_cost), max_tokens_total)
        self.follow(None, None)

    def follow(self, max_cost: Decimal | None, max_tokens_total: int | None) -> None:
        """Take the caps of the settings, where none was chosen."""
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

    # What follows is called with the lock held.

    def _over(self, amount: Amount) -> bool:
        tokens, cost = self._max_tokens, self._max_cost
        return (tokens is not None and amount.tokens > tokens) or (
            cost is not None and amount.cost > cost
        )

    def _beside(self, claim: Claim) -> Amount | None:
        """Return what the calls beside this one may come to at most; None where nobody knows."""
        total = self._used
        for other in self._claims - {claim}:
            if other.most is None:
                return None
            total += other.most
        return total

    def _now(self) -> Amount:
        return sum((claim.live for claim in self._claims), self._used)

    def _exceeded(self, amount: Amount, *, before: bool) -> BudgetExceeded:
        by_cost = self._max_cost is not None and amount.cost > self._max_cost
        used = self._used if before else amount
        spent, cap, needs = (
            (usd(used.cost), usd(self._max_cost or Decimal(0)), usd(amount.cost - used.cost))
            if by_cost
            else (
                f"{used.tokens:,}",
                f"{self._max_tokens or 0:,} tokens",
                f"{amount.tokens - used.tokens:,} tokens",
            )
        )
        told = f"{self.name} has spent {spent} of its {cap}"
        told += f", and the next call needs about {needs} more" if before else ": it was stopped"
        error = BudgetExceeded(told, hint=_RAISE.format(self._options[not by_cost]))
        error.spent = used.cost if by_cost else used.tokens
        error.cap = (self._max_cost if by_cost else self._max_tokens) or 0
        return error


@dataclass(slots=True, eq=False)
class Claim:
    """One model call under its budgets: admitted, grown while it streams, settled once.

    ``least`` is about what it needs, ``most`` what it can come to, None where nothing bounds it;
    ``live`` is about what it has come to. ``unread`` is when its reader was last waited for.
    """

    budgets: tuple[Budget, ...]
    least: Amount = field(default_factory=Amount)
    most: Amount | None = None
    live: Amount = field(default_factory=Amount)
    unread: float | None = None

    def admitted(self) -> bool:
        """Whether the call may be made now; it has to wait where others may leave no room.

        Raises BudgetExceeded where a cap leaves none, or where what it waits for is not read.
        """
        with Budget._lock:  # noqa: SLF001 - the other half of this module
            capped = [budget for budget in self.budgets if budget.capped]
            for budget in capped:
                needed = budget._used + self.least  # noqa: SLF001
                if budget._over(needed):  # noqa: SLF001
                    raise budget._exceeded(needed, before=True)  # noqa: SLF001
            for budget in capped:
                beside = budget._beside(self)  # noqa: SLF001
                if budget._claims and (beside is None or budget._over(beside + self.least)):  # noqa: SLF001
                    _check_read(budget, budget._claims)  # noqa: SLF001
                    return False
            for budget in self.budgets:
                budget._claims.add(self)  # noqa: SLF001
        return True

    def grow(self, live: Amount) -> BudgetExceeded | None:
        """Note what the call has come to; return the error where that passes a cap."""
        with Budget._lock:  # noqa: SLF001
            self.live = live
            for budget in self.budgets:
                if budget.capped and budget._over(now := budget._now()):  # noqa: SLF001
                    return budget._exceeded(now, before=False)  # noqa: SLF001
        return None

    def settle(
        self, usage: Usage | None, cost: Decimal | None, guess: Amount, *, priced: bool
    ) -> None:
        """Note what the call has spent; ``guess`` stands for what is not known of it."""
        known = Amount(
            guess.tokens if usage is None else usage.total_tokens,
            guess.cost if cost is None else cost,
        )
        with Budget._lock:  # noqa: SLF001
            for budget in self.budgets:
                budget._claims.discard(self)  # noqa: SLF001
                budget._used += known  # noqa: SLF001
                budget.spent = budget.spent.plus(usage, cost, priced=priced)

    def withdraw(self) -> None:
        """Note that the call was never made, or cost nothing."""
        with Budget._lock:  # noqa: SLF001
            for budget in self.budgets:
                budget._claims.discard(self)  # noqa: SLF001


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
    return Budget(name="this session", options=("session_max_cost", "session_max_tokens"))


# Per task by nature: the budgets around the code that begins a run.
_around: contextvars.ContextVar[tuple[Budget, ...]] = contextvars.ContextVar(
    "tframex_budgets", default=()
)


def _check_read(budget: Budget, claims: Iterable[Claim]) -> None:
    """Raise BudgetExceeded where nobody reads on what would make room: it would wait for ever."""
    now = time.monotonic()
    if all(claim.unread is not None and now - claim.unread > UNREAD for claim in claims):
        raise BudgetExceeded(
            f"{budget.name} has a call under way that nobody reads on, and that may spend the rest",
            hint="read that answer to its end or close it; with max_tokens calls go side by side",
        )


def _dollars(cap: Decimal | float | str) -> Decimal:
    try:
        amount = Decimal(str(cap))
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise InvalidInput(
            f"max_cost={cap!r}: no call could be made", hint="give USD, more than 0, or None"
        )
    return amount
