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
from typing import TYPE_CHECKING, Any, cast

from tframex_nb.errors import SettingsError
from tframex_nb.messages import MessageFinished, Retrying, Usage
from tframex_nb.models._metered_call import MeteredCall
from tframex_nb.models._room import RoomAwaited
from tframex_nb.models.base import Around, ChatModel, PooledModel, StreamingModel
from tframex_nb.models.budget import session_budget
from tframex_nb.models.prices import is_kept, load_kept

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from tframex_nb.messages import Event, Message
    from tframex_nb.models.budget import Budget
    from tframex_nb.settings import Settings

__all__ = ["budgets_of", "metered"]

TURN = 0.01  # seconds between two looks for room
BRIEF = 0.2  # seconds of waiting that nobody is told of
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

    def call(
        self,
        model: ChatModel,
        messages: Sequence[Message | Mapping[str, Any]],
        params: Mapping[str, Any],  # sampling parameters
    ) -> MeteredCall:
        """Return a call that is not made yet."""
        return MeteredCall(self.budgets, self.settings, model, messages, params)

    async def begin(self, call: MeteredCall) -> AsyncGenerator[RoomAwaited, None]:
        """End when the call may be made; yield what is waited for where that takes a while.

        It waits where calls beside it may need the room. Raises BudgetExceeded where there is
        none, SettingsError where a cost is capped whose price is not known.
        """
        if any(budget.capped for budget in self.budgets):
            await self._know_price(call)
            call.bound()
        elif is_kept(call.api_url):  # read beside the answer, not after it
            asyncio.get_running_loop().run_in_executor(None, load_kept)
        begun: float | None = time.monotonic()
        while not call.claim.admitted():  # others end on other threads and loops
            behind = call.claim.behind
            if begun is not None and behind is not None and time.monotonic() - begun > BRIEF:
                begun = None
                yield RoomAwaited(behind.name, max(1, len(behind.claims)))
            await asyncio.sleep(TURN)

    async def _know_price(self, call: MeteredCall) -> None:
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
                f"input and output in USD per million tokens; or cap {capped[0].ledger.options[1]} "
                "instead",
            )


class _MeteredModel(Around[PooledModel], PooledModel):
    """A pooled model under budgets; whatever else it has is the inner model's."""

    def __init__(self, inner: PooledModel, meter: _Meter) -> None:
        self.inner = inner
        self.meter = meter

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
        call = self.meter.call(self.inner, messages, params)
        ask = functools.partial(self.inner.batches, messages, params, pieces=pieces)
        return _watched(self.meter, call, ask)

    def sibling(self) -> _MeteredModel:
        """Return the same for another event loop, under the same budgets."""
        return _MeteredModel(self.inner.sibling(), self.meter)

    def nearby(self, keep: Callable[[PooledModel], PooledModel]) -> PooledModel:
        """Return the same around the kept sibling of the inner model, whose pool stays warm."""
        return _MeteredModel(self.inner.nearby(keep), self.meter)

    def __getattr__(self, name: str) -> Any:  # whatever the inner model has
        return _of_inner(self, name)

    def __repr__(self) -> str:
        return repr(self.inner)


class _MeteredStream(Around[ChatModel], StreamingModel):
    """A model with a ``stream`` of its own under budgets, on the loop that it belongs to."""

    def __init__(self, inner: ChatModel, meter: _Meter) -> None:
        self.inner = inner
        self.meter = meter

    async def stream(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncGenerator[Event, None]:
        """Yield what the inner model yields, as long as the budgets allow."""
        call = self.meter.call(self.inner, messages, params)
        ask = functools.partial(_one_by_one, self.inner, messages, params)
        async with contextlib.aclosing(_watched(self.meter, call, ask)) as batches:
            async for events in batches:
                for event in events:
                    yield event

    def __getattr__(self, name: str) -> Any:  # whatever the inner model has
        return _of_inner(self, name)

    def __repr__(self) -> str:
        return repr(self.inner)


async def _watched(
    meter: _Meter, call: MeteredCall, ask: Callable[[], AsyncGenerator[list[Event], None]]
) -> AsyncGenerator[list[Event], None]:
    """Yield the events of one call, and settle it whichever way it ends."""
    waited: RoomAwaited | None = None
    async with contextlib.aclosing(meter.begin(call)) as waits:
        async for waited in waits:
            yield [waited]
    fault: BaseException | None = None
    claim = call.claim
    try:
        if waited is not None:
            yield [waited.ended]
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
    except BaseException as exc:  # what ended it is settled below, and goes on
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


def _of_inner(model: _MeteredModel | _MeteredStream, name: str) -> Any:  # as ``__getattr__``
    if name in ("inner", "meter") or name.startswith("__"):  # while it is being copied
        raise AttributeError(name)
    return getattr(model.inner, name)
