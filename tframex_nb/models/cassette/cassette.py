"""One cassette: the recordings of a notebook or a test, and how far they have been played."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from typing import TYPE_CHECKING

from tframex_nb.errors import SettingsError
from tframex_nb.models.cassette.storage import Content, is_cassette, locked, read, stamp, write

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tframex_nb.models.cassette.asking import Asked, Place
    from tframex_nb.models.cassette.recording import Recording

__all__ = ["Cassette"]


class Cassette:
    """The recordings in the file ``path``; any thread may ask for one, or add one.

    With ``beside``, those of its whole folder are played, too: who does not know which notebook
    it runs cannot tell which of them is its own. ``note`` tells of a file that was cut.
    """

    def __init__(self, path: Path, *, beside: bool = False) -> None:
        self.path = path
        self.note = ""
        self._beside = beside
        self._lock = threading.RLock()
        self._files: dict[Path, Content] = {}
        self._by_key: dict[str, list[Recording]] = {}
        self._by_like: dict[str, list[Recording]] = {}
        self._turns: Counter[str] = Counter()
        self._played: set[tuple[str, str, int]] = set()  # ids of recordings
        self._old: set[bytes] | None = None  # lines of earlier times, which a new one replaces
        self._anew: set[str] = set()  # keys that were recorded since

    @property
    def recordings(self) -> list[Recording]:
        """Every recording, in the order of the file; raises SettingsError where it is broken."""
        with self._lock:
            self._refresh()
            return self._all()

    @property
    def places(self) -> set[Place]:
        """Who was asked in these recordings."""
        return {recording.asked.place for recording in self.recordings}

    def open(self) -> None:
        """Read the file; from now on, what is in it is what new recordings may replace.

        Raises SettingsError where it is broken.
        """
        with self._lock:
            self._refresh()
            if self._old is None:
                mine = self._files.get(self.path, Content()).recordings
                self._old = {each.line for each in mine}

    def find(self, asked: Asked, *, loosely: bool) -> tuple[Recording | None, bool]:
        """Return the next recording of a request, and whether ids or times differ.

        The same request finds its recordings in order, then the last one again. ``loosely``
        takes one whose texts differ by ids, dates and times, where no other is there.
        """
        with self._lock:
            self._refresh()
            same = self._by_key.get(asked.key)
            if same:
                turn = self._turns[asked.key]
                self._turns[asked.key] += 1
                return self._give(same[min(turn, len(same) - 1)]), False
            alike = self._by_like.get(asked.like, []) if loosely else []
            fresh = (each for each in alike if each.id not in self._played)
            found = next(fresh, alike[-1] if alike else None)
            return (None if found is None else self._give(found)), True

    def was_played(self, recording: Recording) -> bool:
        """Whether a recording was given to a run since the cassette was opened or rewound."""
        return recording.id in self._played

    def rewind(self) -> None:
        """Begin anew: every request finds its first recording again."""
        with self._lock:
            self._turns.clear()
            self._played.clear()
            self._anew.clear()
            self._old = None

    def add(self, recording: Recording, *, anew: bool) -> None:
        """Keep a recording in the file, beside what others have written there meanwhile.

        ``anew`` takes those of the same request out that were there when this cassette was
        opened. Raises OSError where it cannot be written, SettingsError where the file
        is broken.
        """
        with self._lock, locked(self.path.parent):
            self._refresh()
            mine = list(self._files.get(self.path, Content()).recordings)
            key = recording.asked.key
            gone: set[tuple[str, str, int]] = set()
            if anew and key not in self._anew:
                old = self._old or set()
                gone = {e.id for e in mine if e.asked.key == key and e.line in old}
                self._anew.add(key)
            before = next((e for e in mine if e.id in gone and e.says_the_same(recording)), None)
            mine = [e for e in mine if e.id not in gone]
            last = max((e.number for e in mine if e.asked.like == recording.asked.like), default=0)
            made = recording.timed_as(before).numbered(last + 1)
            merged = tuple(_sorted([*mine, made]))
            self._files[self.path] = Content(merged, stamp=write(self.path, merged))
            self._index()
            self._turns[key] += 1
            self._played.add(made.id)

    def clear(self) -> int:
        """Delete the file, also a broken one; return how many recordings were in it.

        Raises SettingsError for a file that is no cassette.
        """
        with self._lock, locked(self.path.parent):
            if not is_cassette(self.path):
                raise SettingsError(f"{self.path} is no cassette", hint="it was left as it is")
            with contextlib.suppress(SettingsError):
                self._refresh()
            count = len(self._files.pop(self.path, Content()).recordings)
            self.path.unlink(missing_ok=True)
            self.rewind()
            self._index()
            return count

    def __repr__(self) -> str:
        return f"<Cassette {self.path}: {len(self._all())} recordings>"

    def _paths(self) -> list[Path]:
        if not self._beside:
            return [self.path]
        return sorted({self.path, *self.path.parent.glob("*.ndjson")})

    def _refresh(self) -> None:
        """Read what has changed on disk."""
        paths = self._paths()
        changed = False
        for path in paths:
            known = self._files.get(path)
            if known is None or known.stamp != stamp(path):
                self._files[path] = read(path)
                changed = True
        for path in self._files.keys() - set(paths):
            del self._files[path]
            changed = True
        if changed:
            self._index()

    def _index(self) -> None:
        self.note = "; ".join(content.note for content in self._files.values() if content.note)
        self._by_key, self._by_like = {}, {}
        for recording in self._all():
            self._by_key.setdefault(recording.asked.key, []).append(recording)
            self._by_like.setdefault(recording.asked.like, []).append(recording)
        for alike in (*self._by_key.values(), *self._by_like.values()):
            alike.sort(key=lambda each: each.number)

    def _all(self) -> list[Recording]:
        return [each for path in sorted(self._files) for each in self._files[path].recordings]

    def _give(self, recording: Recording) -> Recording:
        self._played.add(recording.id)
        return recording


def _sorted(recordings: Iterable[Recording]) -> list[Recording]:
    return sorted(recordings, key=lambda each: each.sorting)
