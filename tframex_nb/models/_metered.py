"""A model whose calls are counted, priced and kept inside budgets, for every framework.

It stands around a run's model as the run sees it, so that whatever asks the model, an agent's
own steps or a framework through the gateway, on any loop and thread, is counted here.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from tframex_nb.errors import ModelTimeout, SettingsError, Truncated
from tframex_nb.messages import MessageFinished, Retrying, TextDelta, Usage
from tframex_nb.models._estimates import prompt_tokens, said, size_of, tokens_in, whole
from tframex_nb.models.base import PooledModel, StreamingModel
from tframex_nb.models.budget import Amount, Claim, session_budget
from tframex_nb.models.prices import is_kept, load_kept, price_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from tframex_nb.errors import BudgetExceeded
    from tframex_nb.messages import Event, Message
    from tframex_nb.models.base import ChatModel
    from tframex_nb.models.budget import Budget
    from tframex_nb.models.prices import Price
    from tframex_nb.settings import Settings

__all__ = ["budgets_of", "metered"]

TURN = 0.01  # seconds between two looks for room
STRIDE = 64  # bytes of a completion, some sixteen tokens, from one look at the caps to the next
THOUSAND = 1000
_MARKS = frozenset({MessageFinished, Retrying})
_DEMO = re.compile(r"demo(:.*)?")


def metered(model: ChatModel, budgets: Sequence[Budget], settings: Settings) -> ChatModel:
    """Return the model with its calls under ``budgets``, beside those it is under already."""
    around = getattr(model, "around", None)
    if around is not None:  # what is replayed from a recording costs nothing
        return cast("ChatModel", around(lambda inner: metered(inner, budgets, settings)))
    meter = _Meter(tuple(dict.fromkeys((*budgets, *budgets_of(model)))), settings)
    inner = model.inner if isinstance(model, _MeteredModel | _MeteredStream) else model
    if isinstance(inner, PooledModel) and type(inner).stream is PooledModel.stream:
        return _MeteredModel(inner, meter)
    return _MeteredStream(inner, meter)


def budgets_of(model: object) -> tuple[Budget, ...]:
    """Return the budgets that a run's model is under."""
    while model is not None:
        if isinstance(model, _MeteredModel | _MeteredStream):
            return model.meter.budgets
        model = getattr(model, "inner", None)
    return ()


class _Meter:
    """What the calls of one run have in common."""

    def __init__(self, budgets: tuple[Budget, ...], settings: Settings) -> None:
        self.budgets = budgets
        self.settings = settings

    async def begin(self, call: _Call) -> None:
        """Return when the call may be made; wait where calls beside it may need the room.

        Raises BudgetExceeded where there is none, SettingsError where a cost is capped whose
        price is not known.
        """
        if any(budget.capped for budget in self.budgets):
            await self._know_price(call)
            call.bound()
        elif is_kept(call.api_url):  # read beside the answer, not after it
            asyncio.get_running_loop().run_in_executor(None, load_kept)
        while not call.claim.admitted():  # noqa: ASYNC110 - others end on other threads and loops
            await asyncio.sleep(TURN)

    async def _know_price(self, call: _Call) -> None:
        capped = [budget for budget in self.budgets if budget.max_cost is not None]
        if not capped:
            return
        ask = getattr(call.model, "find_name", None)
        if ask is not None:
            await ask()
        if is_kept(call.api_url):
            await asyncio.to_thread(load_kept)
        label = call.model.label
        free = capped == [session_budget()] and _DEMO.fullmatch(label)  # our own words
        if call.price() is None and not free:
            raise SettingsError(
                f"no price is known for {label}, and what {capped[0].name} may cost is capped",
                hint=f'set it in tframex.toml: [prices."{call.model.model_name or label}"] with '
                "input and output in USD per million tokens; or cap max_tokens_total instead",
            )


class _Call:
    """One model call: what it asks, what has come of it, and its claim on the budgets."""

    def __init__(
        self,
        meter: _Meter,
        model: ChatModel,
        messages: Sequence[Message | Mapping[str, Any]],
        params: Mapping[str, Any],  # sampling parameters
    ) -> None:
        self.model = model
        self.claim = Claim(meter.budgets)
        self.capped = False
        self._settings = meter.settings
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


class _MeteredModel(PooledModel):
    """A pooled model under budgets; whatever else it has is the inner model's."""

    def __init__(self, inner: PooledModel, meter: _Meter) -> None:
        self.inner = inner
        self.meter = meter

    @property
    def model_name(self) -> str:
        """The inner model's name."""
        return self.inner.model_name

    @property
    def label(self) -> str:
        """The inner model's label."""
        return self.inner.label

    def batches(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        params: Mapping[str, Any],  # sampling parameters go to the endpoint unchanged
        *,
        pieces: bool = False,
    ) -> AsyncGenerator[list[Event], None]:
        """Yield what the inner model yields, as long as the budgets allow.

        Raises BudgetExceeded before the call, or in its middle after what has been received.
        """
        call = _Call(self.meter, self.inner, messages, params)
        ask = functools.partial(self.inner.batches, messages, params, pieces=pieces)
        return _watched(self.meter, call, ask)

    def sibling(self) -> _MeteredModel:
        """Return the same for another event loop, under the same budgets."""
        return _MeteredModel(self.inner.sibling(), self.meter)

    def nearby(self, keep: Callable[[PooledModel], PooledModel]) -> PooledModel:
        """Return the same around the kept sibling of the inner model, whose pool stays warm."""
        return _MeteredModel(self.inner.nearby(keep), self.meter)

    async def aclose(self) -> None:
        """Close the inner model."""
        await self.inner.aclose()

    def __getattr__(self, name: str) -> Any:  # whatever the inner model has
        return _of_inner(self, name)

    def __repr__(self) -> str:
        return repr(self.inner)


class _MeteredStream(StreamingModel):
    """A model with a ``stream`` of its own under budgets, on the loop that it belongs to."""

    def __init__(self, inner: ChatModel, meter: _Meter) -> None:
        self.inner = inner
        self.meter = meter

    @property
    def model_name(self) -> str:
        """The inner model's name."""
        return self.inner.model_name

    @property
    def label(self) -> str:
        """The inner model's label."""
        return self.inner.label

    async def stream(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncGenerator[Event, None]:
        """Yield what the inner model yields, as long as the budgets allow."""
        call = _Call(self.meter, self.inner, messages, params)
        ask = functools.partial(_one_by_one, self.inner, messages, params)
        async with contextlib.aclosing(_watched(self.meter, call, ask)) as batches:
            async for events in batches:
                for event in events:
                    yield event

    async def aclose(self) -> None:
        """Close the inner model."""
        await self.inner.aclose()

    def __getattr__(self, name: str) -> Any:  # whatever the inner model has
        return _of_inner(self, name)

    def __repr__(self) -> str:
        return repr(self.inner)


async def _watched(
    meter: _Meter, call: _Call, ask: Callable[[], AsyncGenerator[list[Event], None]]
) -> AsyncGenerator[list[Event], None]:
    """Yield the events of one call, and settle it whichever way it ends."""
    await meter.begin(call)
    fault: BaseException | None = None
    claim = call.claim
    try:
        async with contextlib.aclosing(ask()) as batches:
            async for events in batches:
                if not call.capped and type(events[-1]) not in _MARKS:  # nearly all there are
                    call.batches += 1
                    yield events
                    continue
                stop = call.take(events)
                claim.unread = time.monotonic()
                yield events
                claim.unread = None
                if stop is not None:
                    raise stop  # noqa: TRY301 - it settles as any other end does
    except BaseException as exc:
        fault = exc
        raise
    finally:
        call.end(fault)


async def _one_by_one(
    model: ChatModel,
    messages: Sequence[Message | Mapping[str, Any]],
    params: Mapping[str, Any],  # sampling parameters
) -> AsyncGenerator[list[Event], None]:
    """Yield the events of a stream in lists of one, a whole answer's usage beside its end."""
    usage: list[Event] = []
    events = model.stream(messages, **params)
    try:
        async for event in events:
            if type(event) is Usage:
                usage.append(event)
                continue
            yield [*usage, event]
            usage.clear()
    finally:
        aclose = getattr(events, "aclose", None)
        if aclose is not None:
            await aclose()


def _may_be_billed(fault: Exception) -> bool:
    """Whether the endpoint may have worked on a call that gave nothing."""
    if isinstance(fault, ModelTimeout):
        return fault.phase != "connect"
    return isinstance(fault, Truncated)


def _is_sound(usage: Usage, text: str) -> bool:
    """Whether the counts can be true: some servers send zeros."""
    return usage.prompt_tokens > 0 and (usage.completion_tokens > 0 or not text)


def _of_inner(model: _MeteredModel | _MeteredStream, name: str) -> Any:  # as ``__getattr__``
    if name in ("inner", "meter") or name.startswith("__"):  # while it is being copied
        raise AttributeError(name)
    return getattr(model.inner, name)
