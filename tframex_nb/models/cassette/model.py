"""A model that is recorded, or whose recordings answer in its place."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tframex_nb.errors import BudgetExceeded, ModelError, SettingsError
from tframex_nb.messages import MessageFinished, ReasoningDelta, TextDelta
from tframex_nb.models._room import RoomAwaited
from tframex_nb.models._tool_calls import ToolCallDelta
from tframex_nb.models.base import Around, ChatModel, PooledModel, StreamingModel
from tframex_nb.models.cassette.asking import Asked, Place
from tframex_nb.models.cassette.masking import Mask, known_secrets
from tframex_nb.models.cassette.missing import miss
from tframex_nb.models.cassette.recording import Recording
from tframex_nb.models.cassette.tape import with_pieces

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    from tframex_nb.messages import Event, Message
    from tframex_nb.models.cassette.cassette import Cassette
    from tframex_nb.models.cassette.tape import Fault

__all__ = ["LIMIT", "Deck", "Mode", "TapedModel", "TapedStream"]

Mode = Literal["off", "record", "replay", "auto"]
LIMIT = 50_000_000  # characters of an answer that are recorded at most
BREATH = 4  # batches that are replayed before others get a turn; asyncio warns of five lost writes

_Ask = Any  # a function without arguments that returns an async generator of batches


@dataclass
class Deck:
    """What plays and records for one run's model, on whichever loops that is asked.

    ``timing`` replays the pauses between the pieces, too.
    """

    cassette: Cassette
    mode: Mode
    place: Place
    secrets: Callable[[], list[str]] = list
    timing: bool = False
    limit: int = LIMIT
    replayed: int = 0
    recorded: int = 0
    loose: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of the run: whether it was replayed or recorded."""
        counts = {"replayed": self.replayed, "recorded": self.recorded}
        both = all(counts.values())
        marks = [f"{n} {what}" if both else what for what, n in counts.items() if n]
        differ = ["ids or times differ from the recording"] if self.loose else []
        return tuple(dict.fromkeys([*marks, *differ, *self.told]))

    async def batches(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        params: Mapping[str, Any],  # sampling parameters
        ask: _Ask,
        *,
        pieces: bool,
    ) -> AsyncGenerator[list[Event], None]:
        """Yield the events of one model call, recorded or asked for.

        Raises what the model raised, CassetteMiss in replay where nothing was recorded, and
        SettingsError where the cassette cannot be used.
        """
        asked = self._asked(messages, params)
        self.cassette.open()
        if self.cassette.note and self.cassette.note not in self.told:
            self.told.append(self.cassette.note)
        found = self._find(asked)
        source = self._replay(found, pieces) if found is not None else self._record(asked, ask())
        async with contextlib.aclosing(source) as batches:
            async for events in batches:
                yield events

    def _asked(
        self, messages: Sequence[Message | Mapping[str, Any]], params: Mapping[str, Any]
    ) -> Asked:
        return Asked.of(self.place, messages, params, self._mask())

    def _mask(self) -> Mask:
        return Mask([*known_secrets(), *self.secrets()])

    def _find(self, asked: Asked) -> Recording | None:
        """Return what answers without asking; raises CassetteMiss where only that may."""
        if self.mode == "record":
            return None
        found, loose = self.cassette.find(asked, loosely=self.mode == "replay")
        if self.mode == "replay":
            if found is None:
                raise miss(self.cassette.path, asked, self.cassette.recordings)
            self.loose += loose
            return found
        return None if found is None or found.error is not None else found

    async def _replay(
        self, recording: Recording, pieces: bool
    ) -> AsyncGenerator[list[Event], None]:
        self.replayed += 1
        batches = with_pieces(recording.events, pieces=pieces)
        pauses = recording.pauses if self.timing else []
        for number, (events, pause) in enumerate(itertools.zip_longest(batches, pauses)):
            if pause or not number % BREATH:
                await asyncio.sleep((pause or 0) / 1000)
            if events:
                yield events
        fault = recording.fault
        if fault is not None:
            raise fault

    async def _record(
        self, asked: Asked, answering: AsyncGenerator[list[Event], None]
    ) -> AsyncGenerator[list[Event], None]:
        take = _Take(self.limit)
        async with contextlib.aclosing(answering) as batches:
            try:
                async for events in batches:
                    if not (
                        events and type(events[0]) is RoomAwaited
                    ):  # a wait is no part of the answer
                        take.add(events)
                    if events and type(events[-1]) is MessageFinished:
                        await self._keep(asked, take, None)
                    yield events
            except (ModelError, BudgetExceeded) as exc:
                if self.mode == "record":  # auto asks anew: a wrong key may be right by then
                    await self._keep(asked, take, exc)
                raise

    async def _keep(self, asked: Asked, take: _Take, fault: Fault | None) -> None:
        """Write the recording; what cannot be written is told, and costs nobody the answer."""
        if take.batches is None:
            self.told.append(f"not recorded: the answer is larger than {self.limit:,} characters")
            return
        mask = self._mask()  # the model's own key is known now
        clean = Asked.of(asked.place, asked.messages, asked.params, mask)

        def work(batches: list[list[Event]]) -> None:
            recording = Recording.of(clean, batches, take.pauses, fault, mask)
            self.cassette.add(recording, anew=self.mode == "record" or fault is None)

        try:
            await asyncio.to_thread(work, take.batches)
        except (OSError, SettingsError) as exc:
            self.told.append(f"not recorded: {exc}")
        else:
            self.recorded += 1


class _Take:
    """What has come of an answer so far; nothing once it is too large."""

    def __init__(self, limit: int) -> None:
        self.batches: list[list[Event]] | None = []
        self.pauses: list[int] = []
        self._left = limit
        self._last = time.perf_counter()

    def add(self, events: list[Event]) -> None:
        if self.batches is None:
            return
        now = time.perf_counter()
        self.batches.append(events)
        self.pauses.append(round((now - self._last) * 1000))
        self._last = now
        for event in events:
            self._left -= _size(event)
        if self._left < 0:
            self.batches = None


def _size(event: Event) -> int:
    if isinstance(event, (TextDelta, ReasoningDelta)):
        return len(event.text)
    return len(event.arguments) if isinstance(event, ToolCallDelta) else 0


class TapedModel(PooledModel):
    """A pooled model and the deck that records or replays it; None where only that answers."""

    def __init__(self, inner: PooledModel | None, deck: Deck, label: str) -> None:
        self.inner = inner
        self.deck = deck
        self._label = label

    @property
    def model_name(self) -> str:
        """The inner model's name, or the recorded one."""
        return (self.inner.model_name if self.inner is not None else "") or self.deck.place.model

    @property
    def label(self) -> str:
        """What people see in a footer."""
        return self._label if self.inner is None else self.inner.label

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of the run."""
        return self.deck.notes

    def batches(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        params: Mapping[str, Any],  # sampling parameters go to the endpoint unchanged
        *,
        pieces: bool = False,
    ) -> AsyncGenerator[list[Event], None]:
        """Yield the recorded events, or the inner model's, which are recorded."""

        def ask() -> AsyncGenerator[list[Event], None]:
            assert self.inner is not None, "only replay goes without a model"
            return self.inner.batches(messages, params, pieces=pieces)

        return self.deck.batches(messages, params, ask, pieces=pieces)

    def around(self, wrap: Callable[[ChatModel], ChatModel]) -> TapedModel:
        """Return the same deck around what ``wrap`` makes of the model: it sees no replay."""
        if self.inner is None:
            return self
        inner = wrap(self.inner)
        assert isinstance(inner, PooledModel), "a pooled model stays one"
        return self._with(inner)

    def sibling(self) -> TapedModel:
        """Return the same for another event loop; the deck is shared."""
        return self._with(None if self.inner is None else self.inner.sibling())

    def nearby(self, keep: Callable[[PooledModel], PooledModel]) -> PooledModel:
        """Return the same around the kept sibling of the inner model, whose pool stays warm."""
        return self._with(None if self.inner is None else self.inner.nearby(keep))

    def _with(self, inner: PooledModel | None) -> TapedModel:
        return TapedModel(inner, self.deck, self._label)

    async def aclose(self) -> None:
        """Close the inner model."""
        if self.inner is not None:
            await self.inner.aclose()


class TapedStream(Around[ChatModel], StreamingModel):
    """The same for a model that is no pooled one: it is streamed on the loop that it knows."""

    def __init__(self, inner: ChatModel, deck: Deck) -> None:
        self.inner = inner
        self.deck = deck

    def around(self, wrap: Callable[[ChatModel], ChatModel]) -> TapedStream:
        """Return the same deck around what ``wrap`` makes of the model: it sees no replay."""
        return TapedStream(wrap(self.inner), self.deck)

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of the run."""
        return self.deck.notes

    async def stream(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncGenerator[Event, None]:
        """Yield the recorded events, or the inner model's, which are recorded."""

        def ask() -> AsyncGenerator[list[Event], None]:
            return _one_by_one(self.inner.stream(messages, **params))

        answering = self.deck.batches(messages, params, ask, pieces=False)
        async with contextlib.aclosing(answering) as batches:
            async for events in batches:
                for event in events:
                    yield event


async def _one_by_one(events: AsyncIterator[Event]) -> AsyncGenerator[list[Event], None]:
    try:
        async for event in events:
            yield [event]
    finally:
        aclose = getattr(events, "aclose", None)
        if aclose is not None:
            await aclose()
