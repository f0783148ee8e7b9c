"""One model call as its budgets see it: what it can come to, has come to, and cost."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import ModelTimeout, Truncated
from tframex_nb.messages import MessageFinished, Retrying, TextDelta, Usage
from tframex_nb.models._estimates import prompt_tokens, said, size_of, tokens_in, whole
from tframex_nb.models._ledger import Amount, Claim
from tframex_nb.models.prices import price_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tframex_nb.errors import BudgetExceeded
    from tframex_nb.messages import Event, Message
    from tframex_nb.models.base import ChatModel
    from tframex_nb.models.budget import Budget
    from tframex_nb.models.prices import Price
    from tframex_nb.settings import Settings

__all__ = ["MeteredCall"]

STRIDE = 64  # bytes of a completion, some sixteen tokens, from one look at the caps to the next
THOUSAND = 1000


class MeteredCall:
    """One model call: what it asks, what has come of it, and its claim on the budgets."""

    def __init__(
        self,
        budgets: tuple[Budget, ...],
        settings: Settings,
        model: ChatModel,
        messages: Sequence[Message | Mapping[str, Any]],
        params: Mapping[str, Any],  # sampling parameters
    ) -> None:
        self.model = model
        self.claim = Claim(tuple(budget.ledger for budget in budgets))
        self.capped = False
        self._settings = settings
        self._messages = messages
        self._params = params
        self._rule: _Rule | None = None
        self._size = 0  # bytes of the completion so far, where they are counted
        self.batches = 0  # of the answer, so far
        self._looked = 0  # bytes at the last look at the budgets
        self._tried = 0  # attempts before this one that may have been billed
        self._text: list[str] = []
        self._settled = False

    @property
    def api_url(self) -> str:
        """Where the model is, empty where that is not known."""
        return str(getattr(self.model, "api_url", ""))

    def price(self, served: str = "") -> Price | None:
        """Return what the model costs; ``served`` is the name that the endpoint answered with."""
        url, label = self.api_url, self.model.label
        for name in (self.model.model_name, served):
            found = price_of(name, api_url=url, label=label, settings=self._settings)
            if found is not None:
                return found
        return None

    def bound(self) -> None:
        """Work out how little and how much the call can come to."""
        self.capped = True
        price = self.price()
        self._rule = _Rule.of(self._messages, self._params, price)
        self.claim.least = self.claim.live = self._rule.amount(0)
        answer = self._bound_of_answer()
        if answer is not None:
            self.claim.most = Amount.of(Usage(self._rule.most, answer), price)

    def take(self, events: list[Event]) -> BudgetExceeded | None:
        """Take in what has come; return the error where it passes a cap in the middle."""
        last = events[-1]
        if type(last) is MessageFinished:
            self._finish(events, last)
            return None
        if type(last) is Retrying:
            self._tried += last.reason.startswith("Truncated")
            return self._look() if self.capped else None
        self.batches += 1
        return self._grow(events)

    def end(self, fault: BaseException | None) -> None:
        """Settle what was cut or failed; what the endpoint refused has cost nothing."""
        if self._settled:
            return
        self._settled = True
        refused = isinstance(fault, Exception) and not _may_be_billed(fault)
        if refused and not self.batches and not self._tried:
            self.claim.withdraw()
        else:
            self.claim.settle(None, None, self._so_far(), priced=self.price() is not None)

    def _finish(self, events: list[Event], last: MessageFinished) -> None:
        """Settle a whole answer by what the endpoint counted, or else by what it said."""
        self._settled = True
        text = whole(last)
        usage = next((event for event in events if type(event) is Usage), None)
        if usage is not None and not _is_sound(usage, text):
            usage = None
        price = self.price(last.model)
        tier = self._params.get("service_tier")
        asked = tier if isinstance(tier, str) and tier != "auto" else ""
        cost = None if usage is None or price is None else price.cost(usage, tier=asked)
        guess = Amount()
        if cost is None:
            self._size = size_of(text)
            guess = self._so_far()
        self.claim.settle(usage, cost, guess, priced=price is not None)

    def _grow(self, events: list[Event]) -> BudgetExceeded | None:
        for event in events:
            if type(event) is TextDelta:
                self._text.append(event.text)
                self._size += size_of(event.text)
            else:
                self._size += size_of(said(event))
        return self._look() if self._size >= self._looked + STRIDE else None

    def _look(self) -> BudgetExceeded | None:
        """Return the error where what has come passes a cap."""
        self._looked = self._size
        error = self.claim.grow(self._so_far())
        if error is not None:
            error.received = "".join(self._text)
        return error

    def _so_far(self) -> Amount:
        if self._rule is None:
            self._rule = _Rule.of(self._messages, self._params, self.price())
        completion = tokens_in(self._size) if self._size else self.batches
        return self._rule.amount(completion, prompts=1 + self._tried)

    def _bound_of_answer(self) -> int | None:
        """Return how many tokens an answer may have, where a parameter says so."""
        asked = [self._params.get(name) for name in ("max_completion_tokens", "max_tokens")]
        given = [bound for bound in (*asked, getattr(self.model, "max_tokens", None)) if bound]
        choices = self._params.get("n") or 1
        if not given or not isinstance(given[0], int) or not isinstance(choices, int):
            return None
        return given[0] * choices


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule of thumb for one call: what its prompt and each further token come to.

    ``prompt`` is in tokens, about, and ``most`` never too few; ``base`` and ``each`` are USD.
    """

    prompt: int
    most: int
    base: Decimal = Decimal(0)
    each: Decimal = Decimal(0)

    @classmethod
    def of(
        cls,
        messages: Sequence[Message | Mapping[str, Any]],
        params: Mapping[str, Any],  # sampling parameters
        price: Price | None,
    ) -> _Rule:
        about, most = prompt_tokens(messages, params)
        if price is None:
            return cls(about, most)
        base = price.cost(Usage(about))
        return cls(about, most, base, (price.cost(Usage(about, THOUSAND)) - base) / THOUSAND)

    def amount(self, completion: int, *, prompts: int = 1) -> Amount:
        cost = self.base * prompts + self.each * completion
        return Amount(self.prompt * prompts + completion, cost)


def _may_be_billed(fault: Exception) -> bool:
    """Whether the endpoint may have worked on a call that gave nothing."""
    if isinstance(fault, ModelTimeout):
        return fault.phase != "connect"
    return isinstance(fault, Truncated)


def _is_sound(usage: Usage, text: str) -> bool:
    """Whether the counts can be true: some servers send zeros."""
    return usage.prompt_tokens > 0 and (usage.completion_tokens > 0 or not text)
