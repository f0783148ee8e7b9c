"""The protocol between the kernel and a worker: JSON lines, typed, versioned (stdlib only).

Every line is one object; ``t`` names its kind, the other keys are the fields of its class below.
A run (an agent's, or a cell's) has an id, and several may go on at once. The worker may send
``WINDOW`` bytes of a run's events that the kernel has not yet credited, so a slow reader slows
the framework, run by run. A line has at most ``MAX_LINE`` bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

__all__ = [
    "MAX_LINE",
    "PROTOCOL",
    "WINDOW",
    "Call",
    "Cancel",
    "Cell",
    "Close",
    "Credit",
    "Done",
    "Events",
    "Failed",
    "Hello",
    "Lines",
    "Message",
    "Ping",
    "Pong",
    "ProtocolError",
    "Ready",
    "Result",
    "Start",
    "decode",
    "encode",
    "encode_events",
]

PROTOCOL = 1
MAX_LINE = 16 * 2**20  # bytes
WINDOW = 64 * 2**10  # bytes of events that a run may have on the way


class ProtocolError(Exception):
    """A line that is too long, or says nothing that this version of the protocol knows."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Worker, first: who it is."""

    t: ClassVar[str] = "hello"
    protocol: int
    python: str
    pid: int


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker: the framework is imported; ``version`` is its version."""

    t: ClassVar[str] = "ready"
    version: str


@dataclass(frozen=True, slots=True)
class Start:
    """Kernel: run an agent; ``subject`` is a name and a builder's source, or None."""

    t: ClassVar[str] = "start"
    run: str
    request: dict[str, Any]  # an AgentExecutionRequest as JSON
    subject: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """Kernel: execute the source of a cell; ``tools`` are name, description and parameters."""

    t: ClassVar[str] = "cell"
    run: str
    source: str
    filename: str
    tools: list[dict[str, Any]]  # JSON


@dataclass(frozen=True, slots=True)
class Events:
    """Worker: events of a run, in order; ``weight`` bytes are to be credited for them."""

    t: ClassVar[str] = "events"
    run: str
    weight: int
    events: list[dict[str, Any]]  # Event.to_dict


@dataclass(frozen=True, slots=True)
class Credit:
    """Kernel: so many bytes of the run's events have been read."""

    t: ClassVar[str] = "credit"
    run: str
    weight: int


@dataclass(frozen=True, slots=True)
class Call:
    """Worker: a run calls a tool of the notebook; ``arguments`` are an object or JSON text."""

    t: ClassVar[str] = "call"
    run: str
    call: int
    name: str
    arguments: dict[str, Any] | str


@dataclass(frozen=True, slots=True)
class Result:
    """Kernel: what a tool said; ``error`` tells that it could not be called at all."""

    t: ClassVar[str] = "result"
    call: int
    text: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """Worker: a run has ended, cancelled or not."""

    t: ClassVar[str] = "done"
    run: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker: a run, or with an empty ``run`` the start of the worker, has raised.

    ``error`` is the exception's type, ``hint`` that of an error of ours, ``traceback`` the tail.
    """

    t: ClassVar[str] = "failed"
    run: str
    error: str
    text: str
    hint: str = ""
    ours: bool = False
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Kernel: end a run."""

    t: ClassVar[str] = "cancel"
    run: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Kernel: does the event loop still turn?"""

    t: ClassVar[str] = "ping"


@dataclass(frozen=True, slots=True)
class Pong:
    """Worker: it does."""

    t: ClassVar[str] = "pong"


@dataclass(frozen=True, slots=True)
class Close:
    """Kernel: end yourself."""

    t: ClassVar[str] = "close"


Message: TypeAlias = (
    Hello
    | Ready
    | Start
    | Cell
    | Events
    | Credit
    | Call
    | Result
    | Done
    | Failed
    | Cancel
    | Ping
    | Pong
    | Close
)

_KINDS: dict[str, type[Message]] = {kind.t: kind for kind in Message.__args__}
_FIELDS = {kind: tuple(f.name for f in fields(kind)) for kind in _KINDS.values()}
# What JSON must give for each annotation above: a worker may send anything.
_JSON: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "str": str,
    "bool": bool,
    "dict[str, Any]": dict,
    "dict[str, Any] | str": (dict, str),
    "list[dict[str, Any]]": list,
    "list[str] | None": (list, type(None)),
}
_TYPES = {kind: tuple((f.name, _JSON[str(f.type)]) for f in fields(kind)) for kind in _FIELDS}


def encode(message: Message) -> bytes:
    """Return the line of a message.

    Raises ProtocolError where it is too long, TypeError or ValueError where it is not JSON.
    """
    kind = type(message)
    data = {"t": kind.t, **{name: getattr(message, name) for name in _FIELDS[kind]}}
    return _bounded(json.dumps(data, separators=(",", ":")).encode() + b"\n")


def encode_events(run: str, pieces: list[str]) -> bytes:
    """Return the line of events that are JSON texts already; raises ProtocolError."""
    weight = sum(map(len, pieces))
    head = f'{{"t":"events","run":{json.dumps(run)},"weight":{weight},"events":['
    return _bounded((head + ",".join(pieces) + "]}\n").encode())


def decode(line: bytes) -> Message:
    """Read a line; raises ProtocolError, also where a field is not of the type that it has here."""
    try:
        data = json.loads(line)
        return _checked(_KINDS[data.pop("t")](**data))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        start = line[:80].decode(errors="replace")
        raise ProtocolError(f"not a line of protocol {PROTOCOL}: {start!r}") from exc


def _checked(message: Message) -> Message:
    for name, wanted in _TYPES[type(message)]:
        if not isinstance(getattr(message, name), wanted):
            raise TypeError(name)
    return message


def _bounded(line: bytes) -> bytes:
    if len(line) > MAX_LINE:
        raise ProtocolError(f"a message of {len(line):,} bytes; at most {MAX_LINE:,} fit")
    return line


class Lines:
    """Cuts a stream of bytes into lines of at most ``limit`` bytes."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that the chunk completes; raises ProtocolError for one too long."""
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._rest, lines[0]))
            self._rest, self._size = [], 0
        if rest:
            self._rest.append(rest)
            self._size += len(rest)
        if self._size > self._limit:
            raise ProtocolError(f"a line of more than {self._limit:,} bytes")
        return lines
