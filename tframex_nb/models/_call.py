"""One attempt at one model call: the request, its response, the events in it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tframex_nb.errors import BadResponse, ModelError
from tframex_nb.http import bytes_of
from tframex_nb.models._assembly import Assembly, ErrorInStream, Malformed
from tframex_nb.models._bodies import load_json
from tframex_nb.models._faults import (
    Target,
    bare,
    from_exception,
    from_payload,
    from_status,
    strange_body,
    truncated,
)
from tframex_nb.models._sse import EventReader, EventTooLarge
from tframex_nb.models._waits import WaitExpired, Waits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    import httpx

    from tframex_nb.messages import Event
    from tframex_nb.models._pool import Pool

__all__ = ["answer"]

ERROR_BODY = 64 << 10  # bytes of an error body that are read at most
WHOLE_BODY = 64 << 20  # bytes of an answer that came as one JSON document
GRACE = 5.0  # seconds for usage and [DONE] once the answer has finished
DRAIN = 0.1  # seconds for the end of the body after [DONE], so that the connection is kept
_BLANK = b" \t\r\n\xef\xbb\xbf"  # white space and the bytes of a BOM
_ENCODINGS = {"", "identity", "gzip", "deflate"}
_CONTEXT_HINT = (
    "the prompt may not fit the model's context: try a shorter one; see the server's log"
)


async def answer(
    pool: Pool,
    url: str,
    body: bytes,
    *,
    waits: Waits,
    target: Target,
    inline: bool,
    pieces: bool = False,
) -> AsyncGenerator[list[Event], None]:
    """Yield the events of one attempt, in a list per read.

    With ``pieces``, tool calls are given as they grow. Raises ``ModelError`` for every way in
    which this can go wrong; the events that came before the fault are given first.
    """
    call = _Call(target, waits, Assembly(inline=inline, pieces=pieces))
    try:
        async with contextlib.AsyncExitStack() as stack:
            waits.expect_first_byte()
            with waits:
                request = pool.request("POST", url, content=body)
                response = await stack.enter_async_context(request)
            await call.begin(response)
            chunks = bytes_of(response)
            stack.push_async_callback(chunks.aclose)
            while not call.over:
                events: list[Event] = []
                try:
                    with waits:
                        chunk = await anext(chunks)
                    call.feed(chunk, events)
                except StopAsyncIteration:
                    call.end_of_body(events)
                except Exception as exc:  # noqa: BLE001 - kept and typed below, after the events
                    call.fail(exc, events)
                if events:
                    yield events
            call.raise_fault()
            await call.drain(chunks)
    except Exception as exc:  # typed here, and raised
        fault = call.typed(exc, proxied=pool.through_proxy)
        if fault is exc:
            raise
        raise fault from bare(exc)


class _Call:
    """The state of one attempt; ``over`` once the last event was given or a fault was met."""

    def __init__(self, target: Target, waits: Waits, assembly: Assembly) -> None:
        self.over = False
        self.fault: Exception | None = None
        self._target = target
        self._waits = waits
        self._assembly = assembly
        self._reader = EventReader()
        self._headers: Mapping[str, str] = {}
        self._begun = False
        self._phase = "first byte"
        self._head = b""  # what came before the first byte that tells the kind of body
        self._document: bytearray | None = None
        self._sniffed = False

    async def begin(self, response: httpx.Response) -> None:
        """Take the status and the headers; raise the error of a status that is no success."""
        self._begun = True
        self._headers = response.headers
        if not response.is_success:
            body = await _error_body(response, self._waits)
            raise from_status(self._target, response.status_code, response.headers, body)
        encoding = response.headers.get("content-encoding", "identity")
        if encoding.lower() not in _ENCODINGS:
            shown = self._target.clean(encoding, 40)
            raise Malformed(f"a body in a content-encoding nobody asked for ({shown})")

    def feed(self, chunk: bytes, events: list[Event]) -> None:
        """Take bytes in; add the events that they complete to ``events``."""
        if not self._sniffed:
            chunk = self._sniff(chunk)
        if self._document is not None:
            self._document += chunk
            if len(self._document) > WHOLE_BODY:
                raise EventTooLarge
            return
        for name, data in self._reader.feed(chunk):
            self._take(name, data, events)
            if self.over:
                return

    def end_of_body(self, events: list[Event]) -> None:
        """Take the end of the body: it is right only after a finish reason."""
        try:
            if self._document is not None:
                self._take_document(bytes(self._document), events)
            else:
                self._take_rest(events)
            if not self.over:
                self._finish(events)
        except Exception as exc:  # noqa: BLE001 - kept and typed later, after the events
            self.fail(exc, events)

    def fail(self, exc: Exception, events: list[Event]) -> None:
        """Keep a fault, unless the answer had finished and only its tail is missing."""
        self.over = True
        if self._assembly.finish_reason is None or isinstance(exc, Malformed | ErrorInStream):
            self.fault = exc
            self._assembly.flush(events)
        else:
            events.extend(self._assembly.end())

    def raise_fault(self) -> None:
        """Raise the fault that was kept, if any."""
        if self.fault is not None:
            raise self.fault

    async def drain(self, chunks: AsyncIterator[bytes]) -> None:
        """Read the end of the body, so that the connection can serve the next call."""
        self._waits.expect_chunks(DRAIN)
        with contextlib.suppress(Exception), self._waits:
            async for _ in chunks:
                pass

    def typed(self, exc: Exception, *, proxied: bool) -> ModelError:
        """Return the fault as the one error that the floors above know."""
        received = self._assembly.received
        match exc:
            case ModelError():
                exc.received = exc.received or received
                return exc
            case ErrorInStream():
                return from_payload(self._target, exc.payload, received)
            case Malformed():
                return self._bad(f"sent what the protocol does not allow: {exc}", received)
            case EventTooLarge():
                return self._bad("sent one event without an end (more than 16 MiB)", received)
            case _:
                return from_exception(
                    self._target, exc, received, begun=self._begun, proxied=proxied
                )

    def _sniff(self, chunk: bytes) -> bytes:
        """Tell JSON and web pages from an event stream by their first byte, not by the header.

        The content type is wrong too often, in both directions.
        """
        self._head += chunk
        if b"\0" in self._head[:4]:
            raise Malformed("text in UTF-16 or UTF-32; JSON on the wire is UTF-8 (RFC 8259)")
        first = self._head.lstrip(_BLANK)[:1]
        if not first:
            if len(self._head) > ERROR_BODY:
                raise EventTooLarge
            return b""
        self._sniffed = True
        if first in {b"{", b"[", b"<"}:
            self._document = bytearray()
            self._waits.expect_chunks()
        return self._head

    def _take(self, name: bytes, data: bytes, events: list[Event]) -> None:
        if data == b"[DONE]":
            self._finish(events)
            return
        try:
            chunk = load_json(data)
        except ValueError:
            self._take_strange(name, data, events)
            return
        if name == b"error":
            raise ErrorInStream(chunk)
        self._assembly.take(chunk, events)
        if self._phase != "chunks":
            self._next_phase()

    def _next_phase(self) -> None:
        """After the first event each read has a bound; after the last one it is short."""
        if self._assembly.finish_reason is not None:
            self._phase = "chunks"
            self._waits.expect_chunks(GRACE)
        elif self._phase == "first byte":
            self._phase = "open"
            self._waits.expect_chunks()

    def _take_strange(self, name: bytes, data: bytes, events: list[Event]) -> None:
        """Take data that is no JSON: an odd [DONE], an error in words, glued events."""
        if data.strip() in {b"", b"[DONE]"}:
            if data.strip():
                self._finish(events)
        elif name == b"error":
            raise ErrorInStream(data.decode("utf-8", "replace"))
        elif b"\n" in data:
            for line in data.split(b"\n"):
                if not self.over:
                    self._take(name, line, events)
        else:
            shown = self._target.clean(data[:400].decode("utf-8", "replace"), 120)
            raise Malformed(f"data that is no JSON: {shown}")

    def _take_rest(self, events: list[Event]) -> None:
        """Take an event that lacks its blank line; half an event means a broken-off answer."""
        for name, data in self._reader.end():
            try:
                self._take(name, data, events)
            except Malformed:
                raise truncated(self._target, "the stream ended inside an event") from None

    def _take_document(self, body: bytes, events: list[Event]) -> None:
        """Take a whole answer that came as one JSON document, or the error in it."""
        try:
            data = load_json(body.strip(_BLANK))
        except ValueError:
            raise strange_body(self._target, body, self._headers) from None
        if isinstance(data, list) and data:
            data = data[0]  # Gemini wraps an error in a list
        self._assembly.take(data, events)
        if not self._assembly.answered:
            raise strange_body(self._target, body, self._headers)
        self._assembly.finish_reason = self._assembly.finish_reason or "stop"

    def _finish(self, events: list[Event]) -> None:
        if self._assembly.finish_reason is None:
            raise self._unfinished()
        self.over = True
        events.extend(self._assembly.end())

    def _unfinished(self) -> ModelError:
        if self._assembly.answered:
            fault = truncated(self._target, "the stream ended without a finish reason")
            fault.transient = False
            if not self._assembly.received:
                fault.hint = _CONTEXT_HINT
            return fault
        if self._phase == "first byte" and (self._reader.strange or not self._head.strip()):
            return strange_body(self._target, self._reader.strange, self._headers)
        return self._bad("ended the stream without an answer", "", hint=_CONTEXT_HINT)

    def _bad(self, what: str, received: str, *, hint: str = "") -> BadResponse:
        return BadResponse(
            f"{self._target.url} {what}",
            hint=hint or "is api_url an OpenAI-compatible endpoint? look at the server's log",
            url=self._target.url,
            status=200,
            received=received,
        )


async def _error_body(response: httpx.Response, waits: Waits) -> bytes:
    """Return the beginning of an error body, also where it breaks off or stalls."""
    import httpx

    body = bytearray()
    chunks = bytes_of(response)
    with contextlib.suppress(httpx.HTTPError, WaitExpired), waits:
        async for chunk in chunks:
            body += chunk
            if len(body) >= ERROR_BODY:
                break
    return bytes(body[:ERROR_BODY])
