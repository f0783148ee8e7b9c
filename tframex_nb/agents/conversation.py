"""A conversation: the turns that an agent remembers, each owned by the cell that made it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import InvalidInput
from tframex_nb.messages import Message, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tframex_nb.runs import Run, Status

__all__ = ["MAX_TURNS", "OWN", "Conversation", "Draft", "Turn"]

MAX_TURNS = 500  # an agent in a loop of a script must not grow for ever
OWN = "@"  # begins the keys of turns that no cell owns
UNANSWERED = "Not run: the turn ended before this tool was called."


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and all that followed: answers, tool calls, tool results.

    ``key`` is the cell that owns the turn, or None. ``status`` is that of its run: a stopped
    or failed turn keeps its partial text. ``stale`` says that an earlier turn has changed since.
    ``usage`` and ``seconds`` are what its run took.
    """

    key: str | None
    messages: tuple[Message, ...]
    run_id: str
    status: Status
    stale: bool = False
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0

    @property
    def prompt(self) -> str | list[dict[str, Any]]:  # OpenAI content parts, any JSON
        """What was asked, as it was sent: text, or content parts; empty where nothing was."""
        return next((m.content for m in self.messages if m.role == "user"), "")

    @property
    def question(self) -> str:
        """The text of what was asked."""
        return next((m.text for m in self.messages if m.role == "user"), "")

    @property
    def answer(self) -> str:
        """The text of the last answer, partial where the turn was stopped."""
        said = (m.text for m in reversed(self.messages) if m.role == "assistant")
        return next(said, "")


@dataclass(frozen=True, slots=True)
class Draft:
    """A turn that has begun: what it may see, and where it will be put."""

    key: str | None
    epoch: int
    number: int
    history: tuple[Message, ...]
    place: int | None = None  # of the turn that it replaces, where there was one


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
        self._watchers: list[Callable[[], None]] = []

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
        own = self._find(key)
        history = () if fresh else self._history(key)
        return Draft(key, self._epoch, self._count, history, None if own is None else own.place)

    def commit(self, draft: Draft, run: Run) -> None:
        """Keep the turn of an ended run.

        A turn of the same key is replaced, and the turns after it become stale. A turn of a
        conversation that was reset meanwhile, that a later run of its key has overtaken, or
        whose place was dropped, is dropped.
        """
        if draft.epoch != self._epoch:
            return
        turn = Turn(
            draft.key, run.messages, run.id, run.status, usage=run.usage, seconds=run.seconds
        )
        own = self._find(draft.key)
        if own is None and draft.place is None:
            self._entries.append(_Entry(draft.number, draft.number, turn))
            self._entries.sort(key=lambda entry: entry.place)
            del self._entries[:-MAX_TURNS]
        elif own is not None and own.number < draft.number:
            own.number, own.turn = draft.number, turn
            self._outdate_after(own)
        self._changed()

    def reset(self) -> None:
        """Forget every turn; runs that have begun are not remembered either."""
        self._entries.clear()
        self._epoch += 1
        self._changed()

    def turn(self, number: int) -> Turn:
        """Return a turn by its number, the first is 1; raises InvalidInput with those there are."""
        return self._entry(number).turn

    def key(self, number: int) -> str:
        """Return the key of a turn: a run with ``turn=key`` takes the turn's place.

        A turn that no cell owns is given one.
        """
        entry = self._entry(number)
        if entry.turn.key is None:
            entry.turn = dataclasses.replace(entry.turn, key=f"{OWN}{entry.place}")
        assert entry.turn.key is not None
        return entry.turn.key

    def replace(self, number: int, *messages: Message) -> None:
        """Put other messages in the place of a turn, without a run; later turns become stale.

        Raises InvalidInput where there is no such turn, or for messages that are no turn.
        """
        entry = self._entry(number)
        if not messages or messages[0].role != "user" or any(m.role == "system" for m in messages):
            raise InvalidInput(
                "a turn is a user message and what answers it",
                hint='replace(2, Message("user", "…"), Message("assistant", "…"))',
            )
        self._count += 1
        entry.number = self._count  # a run that has begun before is overtaken
        entry.turn = Turn(entry.turn.key, messages, entry.turn.run_id, "finished")
        self._outdate_after(entry)
        self._changed()

    def drop(self, number: int) -> None:
        """Forget one turn; later turns become stale. Raises InvalidInput for no such turn."""
        entry = self._entry(number)
        self._entries.remove(entry)
        self._outdate_after(entry)
        self._changed()

    def take(self, turns: Sequence[Turn]) -> None:
        """Remember these turns in place of all others; runs that have begun are not kept."""
        self._entries.clear()
        self._epoch += 1
        for turn in turns[-MAX_TURNS:]:
            self._count += 1
            self._entries.append(_Entry(self._count, self._count, turn))
        self._changed()

    def to_dict(self) -> dict[str, Any]:  # any JSON
        """Return the conversation as its file has it, secrets masked; see docs/dialogue.md."""
        from tframex_nb.agents.transcripts import encode

        return encode(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, limit: int | None = None) -> Conversation:
        """Make a conversation of what ``to_dict`` gave; raises InvalidInput for anything else."""
        from tframex_nb.agents.transcripts import decode

        made = cls(limit)
        made.take(decode(data).to_turns())
        return made

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the conversation to a file, whole or not at all; secrets are masked.

        ``force`` overwrites another conversation. Raises InvalidInput where the file may not, or
        cannot be written.
        """
        from tframex_nb.agents.transcript_files import write
        from tframex_nb.agents.transcripts import encode

        write(path, encode(self), force=force)

    def load(self, path: str | Path) -> None:
        """Remember what a file holds, in place of what was remembered.

        Raises InvalidInput for a file that is no conversation; nothing changes then.
        """
        from tframex_nb.agents.transcript_files import read

        self.take(read(path).to_turns())

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` after each change, on whichever thread; return what ends that."""
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed) if changed in self._watchers else None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Turn]:
        return iter(self.turns)

    def __repr__(self) -> str:
        stale = sum(entry.turn.stale for entry in self._entries)
        note = f", {stale} stale" if stale else ""
        return f"<Conversation: {len(self)} turns{note}>"

    def _changed(self) -> None:
        for changed in tuple(self._watchers):
            changed()

    def _entry(self, number: int) -> _Entry:
        if not 1 <= number <= len(self._entries):
            raise InvalidInput(f"there is no turn {number}", hint=self._numbers())
        return self._entries[number - 1]

    def _numbers(self) -> str:
        last = len(self._entries)
        if not last:
            return "the conversation is empty"
        return "there is turn 1" if last == 1 else f"there are turns 1 to {last}"

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
