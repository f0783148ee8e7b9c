"""The lines between kernel and worker: whole, bounded, typed."""

from __future__ import annotations

import json

import pytest

from tframex_nb.frameworks.worker import protocol
from tframex_nb.frameworks.worker.protocol import (
    MAX_LINE,
    Call,
    Cancel,
    Cell,
    Close,
    Credit,
    Done,
    Events,
    Failed,
    Hello,
    Lines,
    Ping,
    Pong,
    ProtocolError,
    Ready,
    Result,
    Start,
    decode,
    encode,
    encode_events,
)

MESSAGES = [
    Hello(1, "3.12.1", 7),
    Ready("1.2"),
    Start("r1", {"prompt": "a\nb\u2028"}, ["graph", ""]),
    Cell("c1", "x = 1\n", "<cell>", [{"name": "t"}]),
    Events("r1", 3, [{"type": "text_delta", "text": "\ud800"}]),
    Credit("r1", 3),
    Call("r1", 1, "weather", {"city": "Rome"}),
    Call("r1", 2, "weather", "not JSON"),
    Result(1, "dry", "error"),
    Done("r1"),
    Failed("r1", "KeyError", "'x'", "hint", True, "Traceback"),
    Cancel("r1"),
    Ping(),
    Pong(),
    Close(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.t)
def test_a_message_survives_its_line(message: protocol.Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == message


def test_every_kind_of_message_is_tried_here() -> None:
    assert {type(message) for message in MESSAGES} == set(protocol.Message.__args__)


def test_events_share_a_line() -> None:
    pieces = [json.dumps({"type": "text_delta", "text": word}) for word in ("a", "b")]
    batch = Events("r1", len("".join(pieces)), [json.loads(piece) for piece in pieces])
    assert decode(encode_events("r1", pieces)) == batch


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"[]",
        b"1",
        b"{}",
        b'{"t":"no"}',
        b'{"t":"done"}',
        b'{"t":"done","x":1}',
        b"\xff",
    ],
)
def test_what_is_no_message_is_told(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a line of protocol 1"):
        decode(line)


def test_a_message_over_the_bound_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"a message of 16,777,2\d\d bytes; at most 16,777,216"):
        encode(Result(1, "x" * MAX_LINE))


def test_lines_are_cut_wherever_the_chunks_end() -> None:
    text = b"one\ntwo\n\nthree and more\nrest"
    for size in range(1, len(text)):
        lines = Lines()
        chunks = [text[i : i + size] for i in range(0, len(text), size)]
        found = [line for chunk in chunks for line in lines.feed(chunk)]
        assert found == [b"one", b"two", b"", b"three and more"]
        assert lines.feed(b"!\n") == [b"rest!"]


def test_a_line_without_end_is_refused() -> None:
    lines = Lines(limit=10)
    assert lines.feed(b"0123456789") == []
    with pytest.raises(ProtocolError, match="a line of more than 10 bytes"):
        lines.feed(b"x")
