"""The gateway's ASGI app: who may ask, the two routes, and answers that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, NoReturn

from tframex_nb.errors import BadResponse
from tframex_nb.messages import MessageFinished, Usage
from tframex_nb.models.gateway.faults import fault_on_the_wire, refusal_on_the_wire
from tframex_nb.models.gateway.question import Refusal, read_question
from tframex_nb.models.gateway.wire import ChunkWriter, error_event, whole_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

    from tframex_nb.models.gateway.faults import WireFault
    from tframex_nb.models.gateway.question import Question
    from tframex_nb.models.gateway.run import GatewayRun

__all__ = ["GatewayApp"]

_BODY_LIMIT = 32 << 20  # bytes
_PARTING = 0.5  # seconds to say why an answer was cut
_ROUTES = {("POST", "/v1/chat/completions"), ("GET", "/v1/models")}
_EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
]
_ENDED = "this run has ended, and its token with it"


class GatewayApp:
    """Answer to the runs that are open, by their tokens, and to loopback's own Host.

    A web page must not get in: it sends an Origin, or the Host of a name that was rebound.
    """

    def __init__(self, runs: Mapping[str, GatewayRun], port: int) -> None:
        self._runs = runs
        self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost", "[::1]")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            run = self._admit(dict(scope["headers"]))
            route = (scope["method"], scope["path"])
            if route not in _ROUTES:
                _unknown(*route)
            if route[0] == "GET":
                await _respond(send, 200, _models(run.model_name))
                return
            body = await _read_body(receive)
            if body is None:
                return
            question = read_question(body)
        except Refusal as refusal:
            fault = refusal_on_the_wire(refusal.status, refusal.message, refusal.code)
            await _respond_fault(send, fault)
            return
        await _Exchange(run, question, receive, send).answer()

    def _admit(self, headers: dict[bytes, bytes]) -> GatewayRun:
        if headers.get(b"host", b"").lower() not in self._hosts or b"origin" in headers:
            message = "this gateway answers only to the kernel that started it"
            raise Refusal(403, message, "forbidden")
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        run = self._runs.get(token.decode("latin-1")) if scheme.lower() == b"bearer" else None
        if run is None or run.closed:
            message = f"the token is not valid here: it is wrong, or {_ENDED}"
            raise Refusal(401, message, "invalid_api_key")
        return run


class _Exchange:
    """One question and its answer, cut when the run closes or the client goes away."""

    def __init__(self, run: GatewayRun, question: Question, receive: Receive, send: Send) -> None:
        self._run = run
        self._question = question
        self._receive = receive
        self._send = send
        self._task: asyncio.Task[Any] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._started = False
        self._complete = False
        self._gone = False
        self._cutting = False

    async def answer(self) -> None:
        """Answer, however this goes."""
        self._task = asyncio.current_task()
        self._watching = asyncio.create_task(self._watch())
        try:
            if self._run.begin(self):
                await self._try()
            else:
                await self._say_ended()
        except asyncio.CancelledError:
            if not self._cutting or self._task is None:
                raise
            self._task.uncancel()
            await self._say_ended()
        finally:
            self._run.end(self)
            self._watching.cancel()

    def cut(self) -> None:
        """End this answer now, and the model call under it, unless it has all been given."""
        if self._task is not None and not self._cutting and not self._complete:
            self._cutting = True
            self._task.cancel()

    async def _try(self) -> None:
        fault = self._run.known_fault(self._question)
        if fault is None:
            try:
                await (self._stream() if self._question.stream else self._whole())
            except Exception as exc:  # noqa: BLE001 - the wall around any model; the run keeps it
                if self._complete:
                    return
                self._run.failed(self._question, exc)
                fault = exc
        if fault is not None:
            await self._end_by(fault_on_the_wire(fault))

    async def _stream(self) -> None:
        writer = ChunkWriter(self._run.model_name, usage=self._question.usage)
        async with contextlib.aclosing(self._run.ask(self._question)) as batches:
            async for events in batches:
                if self._complete:
                    continue
                data = writer.write(events)
                if writer.finished:
                    self._finish()
                self._run.tell(events)
                if data:
                    await self._give(data)
        if not self._complete:
            raise _unfinished()

    async def _whole(self) -> None:
        usage: Usage | None = None
        finished: MessageFinished | None = None
        async with contextlib.aclosing(self._run.ask(self._question)) as batches:
            async for events in batches:
                self._run.tell(events)
                for event in events:
                    if isinstance(event, Usage):
                        usage = event
                    elif isinstance(event, MessageFinished):
                        finished = event
        if finished is None:
            raise _unfinished()
        self._finish()
        await _respond(self._send, 200, whole_answer(self._run.model_name, finished, usage))

    def _finish(self) -> None:
        """Note that the answer is whole; what the upstream still sends is read for its connection.

        From here on uvicorn tells of a disconnect that is none.
        """
        self._complete = True
        self._run.fault = None
        if self._watching is not None:
            self._watching.cancel()

    async def _give(self, data: bytes) -> None:
        if not self._started:
            self._started = True
            start = {"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM}
            await self._send(start)
        await self._send(
            {"type": "http.response.body", "body": data, "more_body": not self._complete}
        )

    async def _say_ended(self) -> None:
        """Tell a client that still listens why nothing more comes; one that is stuck is left."""
        if not self._gone and not self._complete:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PARTING):
                    await self._end_by(refusal_on_the_wire(401, _ENDED, "invalid_api_key"))

    async def _end_by(self, fault: WireFault) -> None:
        """Say what went wrong; an app that returns in mid-answer makes uvicorn hang up."""
        if self._started:
            data = error_event(fault.error)
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        else:
            await _respond_fault(self._send, fault)

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self.cut()


def _unfinished() -> BadResponse:
    return BadResponse(
        "the model's stream ended without a MessageFinished",
        hint="a ChatModel ends each stream with exactly one MessageFinished",
    )


def _unknown(method: str, path: str) -> NoReturn:
    there = " and ".join(" ".join(route) for route in sorted(_ROUTES))
    raise Refusal(404, f"no {method} {path} here: this gateway has {there}", "not_found")


def _models(name: str) -> bytes:
    row = {"id": name, "object": "model", "created": 0, "owned_by": "tframex-nb"}
    return json.dumps({"object": "list", "data": [row]}).encode()


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body, or None where the client goes away; raises ``Refusal``."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > _BODY_LIMIT:
            raise Refusal(413, f"the body is larger than {_BODY_LIMIT} bytes", "too_large")
        if not message.get("more_body"):
            return bytes(body)


async def _respond_fault(send: Send, fault: WireFault) -> None:
    await _respond(send, fault.status, json.dumps({"error": fault.error}).encode(), *fault.headers)


async def _respond(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(body)).encode())
    start = [(b"content-type", b"application/json"), length, *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body, "more_body": False})
