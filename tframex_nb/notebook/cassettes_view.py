"""What ``%cassettes`` answers: the recordings of this notebook, and whether they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from tframex_nb.errors import nearest
from tframex_nb.models.cassette.shelf import MODES, shared_cassettes
from tframex_nb.notebook.tables import Table

if TYPE_CHECKING:
    from tframex_nb.models.cassette import Cassettes, Recording

__all__ = ["VERBS", "cassettes_view"]

VERBS = ("use", "show", "clear")
COLUMNS = ("no", "asked", "answer", "model", "n", "pieces", "played")


def cassettes_view(words: list[str]) -> Table:
    """Answer ``%cassettes [use MODE [DIR]|show N|clear]``.

    Raises UsageError for anything else, SettingsError for a cassette that cannot be used.
    """
    cassettes = shared_cassettes()
    match words:
        case []:
            return _table(cassettes)
        case ["use", mode, *folder] if mode in MODES:
            return _use(cassettes, mode, " ".join(folder))
        case ["use", mode]:
            raise UsageError(f"%cassettes use {mode}: no such mode; {nearest(mode, MODES)}")
        case ["show", number]:
            return _show(cassettes, number)
        case ["clear"]:
            path = cassettes.current.path
            count = cassettes.current.clear()
            return Table.of(("cassette", "cleared"), [(str(path), count)])
        case [verb, *_] if verb in VERBS:
            raise UsageError("%cassettes use MODE [DIR], show N, or clear")
        case _:
            raise UsageError(f"%cassettes {words[0]}: no such verb; {nearest(words[0], VERBS)}")


def _table(cassettes: Cassettes) -> Table:
    cassette = cassettes.current
    recordings = cassette.recordings
    rows = [
        (
            number,
            each.asked.title,
            each.summary,
            str(each.asked.place),
            each.number,
            len(each.batches),
            "yes" if cassette.was_played(each) else "",
        )
        for number, each in enumerate(recordings, 1)
    ]
    notes = (cassette.note, f"{cassettes.mode}: {cassette.path}", _next(cassettes, rows=bool(rows)))
    return Table.of(COLUMNS, rows, "; ".join(note for note in notes if note))


def _next(cassettes: Cassettes, *, rows: bool) -> str:
    """Return what can be done next, where the mode leaves anything to do."""
    if cassettes.mode == "off":
        return "next: %cassettes use replay" if rows else "next: %cassettes use auto"
    return ""


def _use(cassettes: Cassettes, mode: str, folder: str) -> Table:
    cassettes.use(mode, folder=folder or None)
    path = "" if mode == "off" else str(cassettes.current.path)
    count = len(cassettes.current.recordings) if path else None
    note = (
        "from now on; what is recorded is played from the beginning"
        if path
        else "models are asked, and not recorded"
    )
    return Table.of(("mode", "cassette", "recordings"), [(mode, path, count)], note)


def _show(cassettes: Cassettes, number: str) -> Table:
    recordings = cassettes.current.recordings
    if not number.isdecimal() or not 1 <= int(number) <= len(recordings):
        last = len(recordings)
        known = f"1 to {last}" if last else "none yet"
        raise UsageError(f"%cassettes show {number}: no such recording; there is {known}")
    return Table.of(("field", "value"), _fields(recordings[int(number) - 1]))


def _fields(recording: Recording) -> list[tuple[str, object]]:
    from tframex_nb.models.cassette.missing import lines_of
    from tframex_nb.models.cassette.tape import text_of

    asked = [tuple(line.split(": ", 1)) for line in lines_of(recording.asked)]
    events = recording.events
    rows: list[tuple[str, object]] = [(pair[0], pair[-1]) for pair in asked]
    rows += [("answer", text_of(events) or recording.summary), ("pieces", len(events))]
    rows += [("seconds", sum(recording.pauses) / 1000)]
    fault = recording.fault
    return rows if fault is None else [*rows, ("error", f"{type(fault).__name__}: {fault.message}")]
