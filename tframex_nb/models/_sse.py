"""Server-sent events from bytes, as the WHATWG HTML standard defines the stream (9.2.6).

Lines end in CR, LF or CRLF and in nothing else: U+2028 and U+0085 are text. Bytes may be cut
anywhere. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

__all__ = ["EventReader", "EventTooLarge", "ServerEvent"]

MAX_EVENT = 16 << 20  # bytes of one event; an image in base64 fits
_BOM = b"\xef\xbb\xbf"
_KEPT = 300  # bytes of lines that are no event fields, kept for the error message

ServerEvent = tuple[bytes, bytes]
"""The event's name (mostly empty) and its data, its lines joined with LF."""


class EventTooLarge(Exception):
    """One event is larger than the bound: a flood, not an answer."""


class EventReader:
    """Turn chunks of bytes into whole events.

    ``strange`` keeps the beginning of lines that belong to no event stream, so that an error
    can show what came instead.
    """

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._held: list[bytes] = []  # the unfinished line, in pieces
        self._held_size = 0
        self._size = 0  # bytes of the unfinished event's data
        self._data: list[bytes] = []
        self._name = b""
        self._after_cr = False
        self._head: bytes | None = b""  # the first bytes, until a BOM can be told
        self.strange = b""

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Return the events that ``chunk`` completes; raise ``EventTooLarge`` for a flood."""
        if self._head is not None:
            chunk = self._without_bom(chunk)
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_line_feeds(chunk)
        if b"\n" not in chunk:
            self._hold(chunk)
            return []
        if self._held:
            self._held.append(chunk)
            chunk = b"".join(self._held)
            self._held.clear()
            self._held_size = 0
        lines = chunk.split(b"\n")
        rest = lines.pop()
        events = self._take(lines)
        if rest:
            self._hold(rest)
        return events

    def end(self) -> list[ServerEvent]:
        """Return the event that the end of the stream completes, if any.

        The standard drops an event without its blank line; servers that forget the last one
        are common, and a half event is told by its JSON.
        """
        if self._head:
            self._hold(self._head)
            self._head = None
        line = b"".join(self._held)
        self._held.clear()
        return self._take([line, b""])

    def _take(self, lines: list[bytes]) -> list[ServerEvent]:
        events: list[ServerEvent] = []
        data = self._data
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[6:] if line.startswith(b"data: ") else line[5:])
                self._size += len(line)
            elif line:
                self._other(line)
            else:
                if data:
                    events.append((self._name, data[0] if len(data) == 1 else b"\n".join(data)))
                    data.clear()
                self._name = b""
                self._size = 0
        if self._size > self._limit:
            raise EventTooLarge
        return events

    def _other(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"event":
            self._name = value.strip()
        elif name == b"data":
            self._data.append(b"")
        elif name not in {b"", b"id", b"retry"} and len(self.strange) < _KEPT:
            self.strange += line[:_KEPT] + b"\n"

    def _hold(self, piece: bytes) -> None:
        if not piece:
            return
        self._held.append(piece)
        self._held_size += len(piece)
        if self._held_size > self._limit:
            raise EventTooLarge

    def _without_bom(self, chunk: bytes) -> bytes:
        assert self._head is not None
        head = self._head + chunk
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head.removeprefix(_BOM)

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        """Rewrite CR and CRLF as LF; the two halves of a CRLF may come in two chunks."""
        if not chunk:
            return chunk
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
