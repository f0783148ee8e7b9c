"""A conversation: the turns that an agent remembers, each owned by the cell that made it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tframex_nb.errors import InvalidInput
from tframex_nb.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tframex_nb.runs import Run, Status

__all__ = ["Conversation", "Draft", "Turn"]

MAX_TURNS = 500  # an agent in a loop of a script must not grow for ever
UNANSWERED = "Not run: the turn ended before this tool was called."


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and all that followed: answers, tool calls, tool results.

    ``key`` is the cell that owns the turn, or None. ``status`` is that of its run: a stopped
    or failed turn keeps its partial text. ``stale`` says that an earlier turn has changed since.
    """

    key: str | None
    messages: tuple[Message, ...]
    run_id: str
    status: Status
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A turn that has begun: what it may see, and where it will be put."""

    key: str | None
    epoch: int
    number: int
    history: tuple[Message, ...]


@dataclass(slots=True)
class _Entry:
    """A turn with its place: ``place`` orders the turns, ``number`` tells the later of two."""

    place: int
    number: int
    turn: Turn


class Conversation:
    """The turns of one agent, in order, the latest ``MAX_TURNS`` of them.

    ``begin`` takes a snapshot and ``commit`` puts the turn in its place, so two runs at once
    never see half of each other. ``limit`` bounds how many earlier messages a model is sent
    (None: all): the newest are kept, and a tool call is never torn from its result.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._entries: list[_Entry] = []
        self._count = 0
        self._epoch = 0

    @property
    def limit(self) -> int | None:
        """How many earlier messages a model is sent at most; raises InvalidInput below 0."""
        return self._limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        if limit is not None and limit < 0:
            raise InvalidInput(
                f"memory={limit}: an agent cannot remember fewer than 0 messages",
                hint="memory=0 remembers nothing, memory=None all",
            )
        self._limit = limit

    @property
    def turns(self) -> list[Turn]:
        """The turns, oldest first."""
        return [entry.turn for entry in self._entries]

    def messages(self, before: str | None = None) -> list[Message]:
        """Return what a model is sent of the turns, or of those before the turn of a key."""
        return list(self._history(before))

    def begin(self, key: str | None = None, *, fresh: bool = False, keep: bool = True) -> Draft:
        """Start a turn: freeze what it sees. ``fresh`` sees nothing, and forgets all if kept."""
        if fresh and keep:
            self.reset()
        self._count += 1
        history = () if fresh else self._history(key)
        return Draft(key, self._epoch, self._count, history)

    def commit(self, draft: Draft, run: Run) -> None:
        """Keep the turn of an ended run.

        A turn of the same key is replaced, and the turns after it become stale. A turn of a
        conversation that was reset meanwhile, or that a later run of its key has overtaken,
        is dropped.
        """
        if draft.epoch != self._epoch:
            return
        turn = Turn(draft.key, run.messages, run.id, run.status)
        own = self._find(draft.key)
        if own is None:
            self._entries.append(_Entry(draft.number, draft.number, turn))
            self._entries.sort(key=lambda entry: entry.place)
            del self._entries[:-MAX_TURNS]
        elif own.number < draft.number:
            own.number, own.turn = draft.number, turn
            self._outdate_after(own)

    def reset(self) -> None:
        """Forget every turn; runs that have begun are not remembered either."""
        self._entries.clear()
        self._epoch += 1

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Turn]:
        return iter(self.turns)

    def __repr__(self) -> str:
        stale = sum(entry.turn.stale for entry in self._entries)
        note = f", {stale} stale" if stale else ""
        return f"<Conversation: {len(self)} turns{note}>"

    def _find(self, key: str | None) -> _Entry | None:
        if key is None:
            return None
        return next((entry for entry in self._entries if entry.turn.key == key), None)

    def _history(self, key: str | None) -> tuple[Message, ...]:
        own = self._find(key)
        seen = [e for e in self._entries if own is None or e.place < own.place]
        return _newest([m for entry in seen for m in _sendable(entry.turn)], self.limit)

    def _outdate_after(self, changed: _Entry) -> None:
        for entry in self._entries:
            if entry.place > changed.place:
                entry.turn = dataclasses.replace(entry.turn, stale=True)


def _sendable(turn: Turn) -> list[Message]:
    """Return a turn's messages as an endpoint accepts them.

    A turn stopped before its first word is left out, since many chat templates refuse two user
    messages in a row; a tool call that a stop left without a result is given one, since
    endpoints refuse a call without.
    """
    answered = {m.tool_call_id for m in turn.messages if m.role == "tool"}
    kept: list[Message] = []
    for message in turn.messages:
        if message.role == "assistant" and not (message.content or message.tool_calls):
            continue
        kept.append(message)
        kept += [
            Message("tool", UNANSWERED, tool_call_id=call.id, name=call.name)
            for call in message.tool_calls
            if call.id not in answered
        ]
    return kept if any(m.role == "assistant" for m in kept) else []


def _newest(messages: Sequence[Message], limit: int | None) -> tuple[Message, ...]:
    """Return at most ``limit`` of the newest messages, starting with a question if one is left."""
    if limit is None or len(messages) <= limit:
        return tuple(messages)
    start = len(messages) - limit
    while start < len(messages) and messages[start].role == "tool":
        start += 1
    questions = (i for i in range(start, len(messages)) if messages[i].role == "user")
    return tuple(messages[next(questions, start) :])
