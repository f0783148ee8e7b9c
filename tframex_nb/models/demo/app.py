"""The demo server's ASGI app: authentication, the two routes, the stream and its faults."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import time
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tframex_nb.models.demo.script import Reply, pieces, reply_to
from tframex_nb.models.demo.variants import Variant, find, variant_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["build_app"]

_BODY_LIMIT = 32 * 1024 * 1024  # bytes
BREATH = 4  # chunks between two looks at whether the client is still there; asyncio warns at five
_EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")

_Chunk = dict[str, Any]  # a chat.completion.chunk, JSON-ready


def build_app(token: str, port: int) -> Starlette:
    """Return the app; it answers only to ``token`` and to loopback's own Host."""
    routes = [
        Route("/v1/models", _models, methods=["GET"]),
        Route("/v1/chat/completions", _Completions()),
    ]
    handlers = {404: _not_found, 405: _not_found}
    guard = Middleware(_Guard, token=token, port=port)
    return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers)


class _Guard:
    """Refuse what is not our own client: a web page, another host name, a wrong token."""

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self._app = app
        self._token = f"Bearer {token}".encode()
        self._hosts = {f"127.0.0.1:{port}".encode(), f"localhost:{port}".encode()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self._refusal(dict(scope["headers"]))
        app = self._app if refusal is None else refusal
        await app(scope, receive, send)

    def _refusal(self, headers: dict[bytes, bytes]) -> JSONResponse | None:
        if headers.get(b"host", b"").lower() not in self._hosts or b"origin" in headers:
            return _error(
                403, "this server answers only to the kernel that started it", "forbidden"
            )
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._token):
            return _error(401, "Incorrect API key provided.", "invalid_api_key")
        return None


class _Completions:
    """``POST /v1/chat/completions``, streamed or whole."""

    def __init__(self) -> None:
        self._calls = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await _read_body(Request(scope, receive))
        except ClientDisconnect:
            return
        request = _parsed(body)
        if isinstance(request, JSONResponse):
            await request(scope, receive, send)
            return
        variant = find(str(request.get("model") or "demo"))
        if variant is None:
            await _unknown(request)(scope, receive, send)
            return
        await self._answer(request, variant, (scope, receive, send))

    async def _answer(
        self, request: dict[str, Any], variant: Variant, asgi: tuple[Scope, Receive, Send]
    ) -> None:
        scope, receive, send = asgi
        if variant.fault == "hang":
            await _until_gone(receive)
            return
        flaky = variant.fault == "flaky" and next(self._calls) % 3 != 0
        status = 503 if flaky else variant.status
        if status:
            await _scripted_error(status, variant)(scope, receive, send)
            return
        reply = reply_to(request, variant.name)
        answer_id = "chatcmpl-demo-" + hashlib.sha256(json.dumps(request).encode()).hexdigest()[:12]
        head = {"id": answer_id, "created": int(time.time()), "model": variant.model}
        if request.get("stream"):
            usage = bool((request.get("stream_options") or {}).get("include_usage"))
            count = len(pieces(reply.text or "".join(written for *_, written in reply.calls)))
            await _stream(_chunks(head, reply, usage), variant, count, receive, send)
            return
        await JSONResponse(_whole(head, reply))(scope, receive, send)


def _parsed(body: bytes | None) -> dict[str, Any] | JSONResponse:
    if body is None:
        return _error(413, f"the body is larger than {_BODY_LIMIT} bytes", "too_large")
    try:
        request = json.loads(body)
    except ValueError:
        return _error(400, "the body is not JSON", "invalid_json")
    if not isinstance(request, dict) or not _messages_ok(request.get("messages")):
        return _error(400, "'messages' must be a list of messages, not empty", "invalid_messages")
    if request.get("n") not in (None, 1):
        return _error(400, "the demo gives one choice: leave 'n' out", "unsupported_value")
    return request


def _messages_ok(messages: object) -> bool:
    return (
        isinstance(messages, list) and bool(messages) and all(isinstance(m, dict) for m in messages)
    )


async def _read_body(request: Request) -> bytes | None:
    """Return the body, or None where it is too large to be one of ours."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _BODY_LIMIT:
            return None
    return bytes(body)


async def _models(_request: Request) -> JSONResponse:
    rows = [
        {"id": n, "object": "model", "created": 0, "owned_by": "tframex-nb"}
        for n in variant_names()
    ]
    return JSONResponse({"object": "list", "data": rows})


async def _not_found(request: Request, _exc: Exception) -> JSONResponse:
    return _error(404, f"no {request.method} {request.url.path} here", "not_found")


def _unknown(request: dict[str, Any]) -> JSONResponse:
    names = ", ".join(variant_names())
    message = f"The model {str(request.get('model'))[:80]!r} does not exist. The demo has: {names}"
    return _error(404, message, "model_not_found")


def _scripted_error(status: int, variant: Variant) -> JSONResponse:
    code = variant.code or "overloaded"
    response = _error(status, f"scripted: {variant.about}", code)
    if variant.name == "429":
        response.headers["retry-after"] = "1"
    return response


def _error(status: int, message: str, code: str) -> JSONResponse:
    """Return an error in OpenAI's shape."""
    kind = "insufficient_quota" if code == "insufficient_quota" else "invalid_request_error"
    kind = "server_error" if status >= 500 else kind  # noqa: PLR2004 - HTTP's 5xx
    error = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status_code=status)


async def _stream(
    chunks: Iterator[_Chunk], variant: Variant, count: int, receive: Receive, send: Send
) -> None:
    """Send the chunks at the variant's pace; end at once when the client goes away."""
    await send({"type": "http.response.start", "status": 200, "headers": [_EVENT_STREAM]})
    pause = _pause(variant, count)
    middle = 3 + count // 3
    gone = asyncio.ensure_future(_until_gone(receive))
    try:
        for index, chunk in enumerate(chunks):
            if index == middle and variant.fault and await _fail(variant, gone, send):
                return
            data = json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))
            await _send(send, f"data: {data}\n\n".encode())
            if pause:
                await asyncio.wait({gone}, timeout=pause)
            elif not index % BREATH:
                await asyncio.sleep(0)
            if gone.done():
                return
        await _send(send, b"data: [DONE]\n\n", more=False)
    finally:
        gone.cancel()


def _pause(variant: Variant, count: int) -> float:
    if not variant.rate:
        return 0.0
    pace = 1 / variant.rate
    return min(pace, variant.at_most / count) if variant.at_most and count else pace


async def _fail(variant: Variant, gone: asyncio.Future[None], send: Send) -> bool:
    """Go wrong in the variant's way; return whether the answer ends here."""
    if variant.fault == "garbage":
        await _send(send, b'data: {"choices": [{"delta": {"content": "oh\n\n')
        return False
    if variant.fault == "stall":
        await gone
    return variant.fault in ("cut", "stall")  # an app that returns too early drops the connection


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _chunks(head: dict[str, Any], reply: Reply, usage: bool) -> Iterator[_Chunk]:
    """Yield the reply as OpenAI's chunks."""

    def chunk(delta: dict[str, Any], finish: str | None = None) -> _Chunk:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**head, "object": "chat.completion.chunk", "choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces(reply.reasoning):
        yield chunk({"reasoning_content": piece})
    for piece in pieces(reply.text):
        yield chunk({"content": piece})
    for index, (call_id, name, arguments) in enumerate(reply.calls):
        start = {"index": index, "id": call_id, "type": "function"}
        yield chunk({"tool_calls": [{**start, "function": {"name": name, "arguments": ""}}]})
        for piece in pieces(arguments):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, reply.finish_reason)
    if usage:
        rest = {"object": "chat.completion.chunk", "choices": [], "usage": _usage(reply)}
        yield {**head, **rest}


def _whole(head: dict[str, Any], reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.calls:
        message["tool_calls"] = [
            {"id": i, "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, name, arguments in reply.calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": _usage(reply)}


def _usage(reply: Reply) -> dict[str, int]:
    completion = reply.completion_tokens
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": reply.prompt_tokens + completion,
    }
