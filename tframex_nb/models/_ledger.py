"""The books of budgets: what is spent, what is claimed, and whether another call fits.

One lock stands before all books: a call is admitted to several budgets at the same moment, from
any thread and any loop.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from tframex_nb.errors import BudgetExceeded
from tframex_nb.messages import Usage
from tframex_nb.models.prices import usd

if TYPE_CHECKING:
    from tframex_nb.models.prices import Price

__all__ = ["Amount", "Claim", "Ledger", "Spent"]

UNREAD = 5.0  # seconds after which a call that nobody reads on holds up no other


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


@dataclass(slots=True, eq=False)
class Ledger:
    """The books of one budget; they are read and written with the ``lock`` held.

    ``used`` is what was spent, with estimates for what was not counted; ``claims`` are the calls
    under way. ``options`` name what raises the caps, of cost and of tokens.
    """

    lock: ClassVar[threading.Lock] = threading.Lock()

    name: str
    options: tuple[str, str]
    max_cost: Decimal | None = None
    max_tokens: int | None = None
    spent: Spent = field(default_factory=Spent)
    used: Amount = field(default_factory=Amount)
    claims: set[Claim] = field(default_factory=set)

    @property
    def capped(self) -> bool:
        """Whether there is any cap."""
        return self.max_cost is not None or self.max_tokens is not None

    @property
    def now(self) -> Amount:
        """What was spent, and what the calls under way have come to."""
        return sum((claim.live for claim in self.claims), self.used)

    @property
    def at_most(self) -> Amount | None:
        """What the calls under way may still come to, on top; None where nothing bounds one."""
        total = self.used
        for claim in self.claims:
            if claim.most is None:
                return None
            total += claim.most
        return total

    def over(self, amount: Amount) -> bool:
        """Whether an amount passes a cap."""
        return (self.max_tokens is not None and amount.tokens > self.max_tokens) or (
            self.max_cost is not None and amount.cost > self.max_cost
        )

    def exceeded(self, amount: Amount, *, before: bool) -> BudgetExceeded:
        """Return the error for an amount: before a call that needs it, or in its middle."""
        by_cost = self.max_cost is not None and amount.cost > self.max_cost
        used = self.used if before else amount
        if by_cost:
            spent, cap = usd(used.cost), usd(self.max_cost or Decimal(0))
            needs = usd(amount.cost - used.cost)
        else:
            spent, cap = f"{used.tokens:,}", f"{self.max_tokens or 0:,} tokens"
            needs = f"{amount.tokens - used.tokens:,} tokens"
        told = f"{self.name} has spent {spent} of its {cap}"
        told += f", and the next call needs about {needs} more" if before else ": it was stopped"
        option = self.options[not by_cost]
        error = BudgetExceeded(told, hint=f"raise {option}, or ask for less at a time")
        error.spent = used.cost if by_cost else used.tokens
        error.cap = (self.max_cost if by_cost else self.max_tokens) or 0
        return error


@dataclass(slots=True, eq=False)
class Claim:
    """One model call under its budgets: admitted, grown while it streams, settled once.

    ``least`` is about what it needs, ``most`` what it can come to, None where nothing bounds it;
    ``live`` is about what it has come to. ``unread`` is when its reader was last waited for.
    """

    ledgers: tuple[Ledger, ...]
    least: Amount = field(default_factory=Amount)
    most: Amount | None = None
    live: Amount = field(default_factory=Amount)
    unread: float | None = None
    behind: Ledger | None = None  # the last one that had no room for it

    def admitted(self) -> bool:
        """Whether the call may be made now; it has to wait where others may leave no room.

        All that goes on fits under every cap at its most; then this one, whatever it comes to,
        is the only request that can pass a line. Raises BudgetExceeded where a cap leaves no
        room, or where what it waits for is not read.
        """
        with Ledger.lock:
            capped = [ledger for ledger in self.ledgers if ledger.capped]
            for ledger in capped:
                needed = ledger.used + self.least
                if ledger.over(needed):
                    raise ledger.exceeded(needed, before=True)
            for ledger in capped:
                beside = ledger.at_most
                if ledger.claims and (beside is None or ledger.over(beside + self.least)):
                    _check_read(ledger)
                    self.behind = ledger
                    return False
            for ledger in self.ledgers:
                ledger.claims.add(self)
        return True

    def grow(self, live: Amount) -> BudgetExceeded | None:
        """Note what the call has come to; return the error where that passes a cap."""
        with Ledger.lock:
            self.live = live
            for ledger in self.ledgers:
                if ledger.capped and ledger.over(now := ledger.now):
                    return ledger.exceeded(now, before=False)
        return None

    def settle(
        self, usage: Usage | None, cost: Decimal | None, guess: Amount, *, priced: bool
    ) -> None:
        """Note what the call has spent; ``guess`` stands for what is not known of it."""
        known = Amount(
            guess.tokens if usage is None else usage.total_tokens,
            guess.cost if cost is None else cost,
        )
        with Ledger.lock:
            for ledger in self.ledgers:
                ledger.claims.discard(self)
                ledger.used += known
                ledger.spent = ledger.spent.plus(usage, cost, priced=priced)

    def withdraw(self) -> None:
        """Note that the call was never made, or cost nothing."""
        with Ledger.lock:
            for ledger in self.ledgers:
                ledger.claims.discard(self)


def _check_read(ledger: Ledger) -> None:
    """Raise BudgetExceeded where nobody reads on what would make room: it would wait for ever."""
    now = time.monotonic()
    if all(c.unread is not None and now - c.unread > UNREAD for c in ledger.claims):
        raise BudgetExceeded(
            f"{ledger.name} has a call under way that nobody reads on, and that may spend the rest",
            hint="read that answer to its end or close it; with max_tokens calls go side by side",
        )
