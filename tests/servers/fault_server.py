"""A raw TCP server that breaks HTTP, SSE and the chat protocol in named ways.

``CASES`` maps a case's name to what the server does with a request to ``/NAME/v1/…``. It runs
on the test's own loop; it writes bytes, so that framing can be wrong at will, and keeps what
was asked (``requests``) and which connections the client closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

__all__ = ["CASES", "FaultServer", "Request", "Wire"]

ANSWER = "Grüße, 你好 👩‍🚀!"  # what a whole answer says in most cases
KEY = "sk-test-0123456789abcdef"


def delta(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def say(text: str) -> dict[str, Any]:
    return delta(content=text)


def finish(reason: str = "stop") -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def call(**fields: Any) -> dict[str, Any]:
    return delta(tool_calls=[fields])


def event(data: Any, *, name: str = "") -> bytes:
    text = data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False).encode()
    return (b"event: " + name.encode() + b"\n" if name else b"") + b"data: " + text + b"\n\n"


def sse(*chunks: Any, done: bool = True) -> bytes:
    return b"".join(event(c) for c in chunks) + (b"data: [DONE]\n\n" if done else b"")


WHOLE = sse(say("Grüße, 你好 "), say("👩‍🚀!"), finish())
HALF = sse(say("one "), say("two "), done=False)  # no finish reason, no [DONE]
DOCUMENT = {
    "object": "chat.completion",
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4},
}


@dataclass
class Request:
    """What the client asked; ``closed`` is set when its connection ends."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: int
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    closed_at: float = 0.0


class Wire:
    """The server's end of one connection, with helpers for right and wrong framing."""

    def __init__(self, server: FaultServer, reader: Any, writer: Any) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.request: Request = Request("", "", {}, None, 0)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, *headers: str, kind: str = "text/event-stream") -> None:
        lines = [f"HTTP/1.1 {status} X", *headers]
        if kind:
            lines.append(f"content-type: {kind}")
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def chunked(self, data: bytes, *, size: int = 0, last: bool = True) -> None:
        """Send ``data`` as chunks of ``size`` bytes, each in a packet of its own."""
        size = size or max(1, len(data))
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            await self.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            if size < len(data):
                await asyncio.sleep(0)
        if last:
            await self.send(b"0\r\n\r\n")

    async def stream(self, data: bytes, *, size: int = 0, last: bool = True) -> None:
        await self.head(200, "transfer-encoding: chunked")
        await self.chunked(data, size=size, last=last)

    async def whole(
        self, status: int, body: bytes, *headers: str, kind: str = "application/json"
    ) -> None:
        await self.head(status, f"content-length: {len(body)}", *headers, kind=kind)
        await self.send(body)

    async def error(self, status: int, body: Any, *headers: str) -> None:
        await self.whole(status, json.dumps(body).encode(), *headers)

    async def hang(self) -> None:
        """Wait until the client goes away."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass
        raise ConnectionResetError

    def abort(self) -> None:
        """Reset the connection."""
        self.writer.transport.abort()
        raise ConnectionResetError

    def close(self) -> None:
        """End the connection with a FIN."""
        raise ConnectionAbortedError

    def turn(self) -> int:
        """Return how often this case was asked before."""
        case = self.request.path.split("/")[1]
        return sum(r.path.split("/")[1] == case for r in self.server.requests) - 1


Play = "Callable[[Wire], Awaitable[None]]"
CASES: dict[str, Callable[[Wire], Awaitable[None]]] = {}


def case(play: Callable[[Wire], Awaitable[None]]) -> Callable[[Wire], Awaitable[None]]:
    CASES[play.__name__] = play
    return play


def streamed(name: str, data: bytes, *, size: int = 0, last: bool = True) -> None:
    """Define a case that streams ``data`` with status 200."""

    async def play(wire: Wire) -> None:
        await wire.stream(data, size=size, last=last)
        if not last:
            wire.close()

    CASES[name] = play


def refused(name: str, status: int, body: Any, *headers: str, kind: str = "") -> None:
    """Define a case that answers with ``status`` and a body: JSON, or bytes of ``kind``."""

    async def play(wire: Wire) -> None:
        if isinstance(body, bytes):
            await wire.whole(status, body, *headers, kind=kind)
        else:
            await wire.error(status, body, *headers)

    CASES[name] = play


# -- answers that are right, however odd ----------------------------------------------------

streamed("plain", WHOLE)
streamed("byte_by_byte", WHOLE, size=1)
streamed("crlf", WHOLE.replace(b"\n", b"\r\n"), size=7)
streamed("cr", WHOLE.replace(b"\n", b"\r"), size=5)
streamed("bom", b"\xef\xbb\xbf" + WHOLE)
streamed("bom_cut", b"\xef\xbb\xbf" + WHOLE, size=2)
streamed("comments", b": hello\n\n" + WHOLE.replace(b"\n\n", b"\n\n: keep-alive\n\n"))
streamed("no_space", WHOLE.replace(b"data: ", b"data:"))
streamed("ids_and_names", WHOLE.replace(b"data:", b"id: 7\nevent: message\nretry: 1\ndata:"))
streamed("multi_line", b'data: {"choices": [{"index": 0,\ndata:  "delta": {"content": "a b"},\n'
         b'data: "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')  # fmt: skip
streamed("glued", WHOLE.replace(b"\n\n", b"\n"))
streamed("no_done", sse(say(ANSWER), finish(), done=False))
streamed("no_last_blank_line", WHOLE.rstrip(b"\n"))
streamed("odd_done", WHOLE.replace(b"[DONE]", b" [DONE] "))
streamed("after_done", WHOLE + sse(say("and more"), done=False))
streamed("first_null", sse(delta(role="assistant", content=None), say(ANSWER), finish()))
streamed("delta_null", sse({"choices": [{"index": 0, "delta": None}]}, say(ANSWER), finish()))
streamed("choices_null", sse({"choices": None}, {"choices": []}, {}, say(ANSWER), finish()))
streamed("error_null", sse({**say(ANSWER), "error": None}, finish()))
streamed("separators", sse(say("a\u2028b\u0085c\u2029d\x0be"), finish()))
streamed("two_choices", sse(
    {"choices": [{"index": 1, "delta": {"content": "WRONG"}}]}, say("right"),
    {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}, finish()))  # fmt: skip
streamed("no_index", sse({"choices": [{"delta": {"content": ANSWER}, "finish_reason": "stop"}]}))
streamed("split_surrogates", b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n'
         b'data: {"choices":[{"delta":{"content":"\\ude00b"}}]}\n\n' + sse(finish()))  # fmt: skip
streamed("lone_surrogate", b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n'
         + sse(say("b"), finish()))  # fmt: skip
streamed("parts", sse(delta(content=[{"type": "thinking", "thinking": [{"text": "hm"}]},
                                     {"type": "text", "text": "a"}, {"type": "text", "text": "b"},
                                     {"type": "image_url"}]), finish()))  # fmt: skip
streamed("refusal", sse(delta(refusal="I can't help with that."), finish()))
streamed("content_filter", sse(say("so far"), finish("content_filter")))
streamed("length", sse(say("so far"), finish("length")))
streamed("odd_finish", sse(say("done"), finish("eos_token")))
streamed("reasoning_content", sse(delta(reasoning_content="hm "), delta(reasoning_content="so"),
                                  say("yes"), finish()))  # fmt: skip
streamed("reasoning", sse(delta(reasoning="hm so"), say("yes"), finish()))
streamed("think", sse(*[say(c) for c in "<think>\nhm so</think>\n\nyes"], finish()))
streamed("think_whole", sse(say("<think>hm so</think>yes <think> no"), finish()))
streamed("think_open", sse(say("<think>hm"), say(" so"), finish("length")))
streamed("think_almost", sse(say("<th"), say("ree>"), finish()))
streamed("think_prefix", sse(say("  <thi"), finish()))
streamed("usage_own_chunk", sse(say("a"), finish(), {"choices": [], "usage": {
    "prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1}}}))  # fmt: skip
streamed("usage_on_finish", sse(say("a"), {**finish(), "usage": {
    "prompt_tokens": 9, "completion_tokens": 4}}))  # fmt: skip
streamed("usage_each_chunk", sse(
    {**say("a"), "usage": {"prompt_tokens": 9, "completion_tokens": 1}},
    {**finish(), "usage": {"prompt_tokens": 9, "completion_tokens": 4}}))  # fmt: skip
streamed("usage_odd", sse(say("a"), {**finish(), "usage": {
    "prompt_tokens": None, "completion_tokens": "4", "prompt_tokens_details": None}}))  # fmt: skip
streamed("tools_openai", sse(
    call(index=0, id="a", type="function", function={"name": "f", "arguments": ""}),
    call(index=0, function={"arguments": '{"x"'}), call(index=0, function={"arguments": ": 1}"}),
    call(index=1, id="b", type="function", function={"name": "g", "arguments": "{}"}),
    finish("tool_calls")))  # fmt: skip
streamed("tools_interleaved", sse(
    call(index=0, id="a", function={"name": "f", "arguments": '{"x"'}),
    call(index=1, id="b", function={"name": "g", "arguments": "{"}),
    call(index=0, function={"arguments": ": 1}"}), call(index=1, function={"arguments": "}"}),
    finish("tool_calls")))  # fmt: skip
streamed("tools_no_index", sse(
    call(id="a", function={"name": "f", "arguments": '{"x": 1}'}),
    call(id="b", function={"name": "g", "arguments": "{}"}), finish("tool_calls")))  # fmt: skip
streamed("tools_index_always_0", sse(
    call(index=0, id="a", function={"name": "f", "arguments": '{"x": 1}'}),
    call(index=0, id="b", function={"name": "g", "arguments": "{}"}),
    finish("tool_calls")))  # fmt: skip
streamed("tools_repeated", sse(
    call(index=0, id="a", function={"name": "f", "arguments": '{"x"'}),
    call(index=0, id="a", function={"name": "f", "arguments": ": "}),
    call(index=0, id="a", function={"name": "f", "arguments": "1}"}),
    call(index=1, id="b", function={"name": "g", "arguments": "{"}),
    call(index=1, id="b", function={"name": "g", "arguments": "}"}),
    finish("tool_calls")))  # fmt: skip
streamed("tools_random_ids", sse(
    call(index=0, id="a", function={"name": "f", "arguments": '{"x"'}),
    call(index=0, id="zz", function={"name": "f", "arguments": ": 1}"}),
    call(index=1, id="b", function={"name": "g", "arguments": "{}"}),
    finish("tool_calls")))  # fmt: skip
streamed("tools_one_delta", sse(delta(content=None, tool_calls=[
    {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
    {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]),
    finish("tool_calls")))  # fmt: skip
streamed("tools_objects", sse(
    call(index=0, id="a", function={"name": "f", "arguments": {"x": 1}}),
    call(index=1, id="b", function={"name": "g", "arguments": None}), finish("stop")))  # fmt: skip
streamed("tools_no_ids", sse(
    call(index=0, function={"name": "f", "arguments": '{"x": 1}'}),
    call(index=1, function={"name": "g", "arguments": "{}"}), finish("tool_calls")))  # fmt: skip
streamed("tools_same_id", sse(
    call(index=0, id="a", function={"name": "f", "arguments": '{"x": 1}'}),
    call(index=1, id="a", function={"name": "g", "arguments": "{}"}),
    finish("tool_calls")))  # fmt: skip
streamed("tools_name_in_pieces", sse(
    call(index=0, id="a", function={"name": "get_"}),
    call(index=0, function={"name": "weather", "arguments": "{}"}),
    finish("tool_calls")))  # fmt: skip
streamed("tools_bad_json", sse(
    call(index=0, id="a", function={"name": "f", "arguments": '{"x": '}),
    finish("tool_calls")))  # fmt: skip
streamed("tools_legacy", sse(
    delta(function_call={"name": "f", "arguments": '{"x"'}),
    delta(function_call={"arguments": ": 1}"}), finish("function_call")))  # fmt: skip
streamed("big_event", sse(say("x" * 3_000_000), finish()))
streamed("empty_answer", sse(delta(role="assistant", content=""), finish()))
refused("document", 200, DOCUMENT)
refused("document_as_stream", 200, json.dumps(DOCUMENT).encode(), kind="text/event-stream")
refused("document_bom", 200, b"\xef\xbb\xbf\n " + json.dumps(DOCUMENT).encode(), kind="")
refused("document_tools", 200, {"choices": [{"message": {"content": None, "tool_calls": [
    {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}]},
    "finish_reason": "tool_calls"}]})  # fmt: skip
refused("wrong_kind", 200, WHOLE, kind="application/json")
refused("no_kind", 200, WHOLE)
refused("status_201", 201, WHOLE, kind="text/event-stream")


@case
async def gzipped(wire: Wire) -> None:
    await wire.head(200, "transfer-encoding: chunked", "content-encoding: gzip")
    await wire.chunked(gzip.compress(WHOLE), size=9)


@case
async def until_close(wire: Wire) -> None:
    await wire.head(200, "connection: close")
    await wire.send(WHOLE)
    wire.close()


@case
async def cut_after_finish(wire: Wire) -> None:
    await wire.stream(sse(say(ANSWER), finish(), done=False), last=False)
    wire.abort()


@case
async def stall_after_finish(wire: Wire) -> None:
    await wire.stream(HALF + sse(finish(), done=False), last=False)
    await wire.hang()


@case
async def stall_after_done(wire: Wire) -> None:
    await wire.stream(WHOLE, last=False)
    await wire.hang()


@case
async def hints(wire: Wire) -> None:
    await wire.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
    await wire.stream(WHOLE)


@case
async def redirected(wire: Wire) -> None:
    if wire.request.path.endswith("/there"):
        await wire.stream(WHOLE)
    else:
        await wire.whole(307, b"", "location: /redirected/v1/chat/completions/there")


# -- streams that break off, stall, lie ------------------------------------------------------

streamed("no_finish", HALF + b"data: [DONE]\n\n")
streamed("no_finish_no_done", HALF)
streamed("cut_chunk", HALF, last=False)
streamed("cut_in_event", HALF + b'data: {"choices": [{"index": 0, "delta": {"con')
streamed("cut_in_utf8", HALF + sse(say("ü"), done=False).partition(b"\xbc")[0], last=False)
streamed("empty_stream", b"")
streamed("only_done", b"data: [DONE]\n\n")
streamed("only_comments", b": ping\n\n: ping\n\n")
streamed("only_role", sse(delta(role="assistant", content=""), done=True))
streamed("no_choices", sse({"model": "m"}, {"choices": []}))
streamed("only_choice_1", sse({"choices": [{"index": 1, "delta": {"content": "x"}}]}))
streamed("bad_json", HALF + b'data: {"choices": [}\n\n' + WHOLE)
streamed("bad_utf8", HALF + b'data: {"choices": [{"delta": {"content": "\xff\xfe"}}]}\n\n' + WHOLE)
streamed("json_list", HALF + sse([1, 2]))
streamed("json_text", HALF + sse("hello"))
streamed("json_null", HALF + b"data: null\n\n")
streamed("deep_json", HALF + b"data: " + b"[" * 100_000 + b"\n\n")
streamed("choices_text", HALF + sse({"choices": "x"}))
streamed("choice_number", HALF + sse({"choices": [7]}))
streamed("delta_text", HALF + sse({"choices": [{"index": 0, "delta": "x"}]}))
streamed("content_number", HALF + sse(delta(content=7)))
streamed("reasoning_list", HALF + sse(delta(reasoning=[1])))
streamed("tool_no_name", HALF + sse(call(index=0, id="a", function={"arguments": "{}"}), finish()))
streamed("tool_text", HALF + sse(delta(tool_calls=["f"]), finish()))
streamed("tools_text", HALF + sse(delta(tool_calls="f"), finish()))
streamed("tool_function_text", HALF + sse(call(index=0, function="f"), finish()))
streamed("utf16", WHOLE.decode().encode("utf-16"))
streamed("error_object", HALF + sse({"error": {"message": "CUDA out of memory", "code": 500}}))
streamed("error_text", HALF + sse({"error": "engine died"}))
streamed("error_old_vllm", HALF + sse({"object": "error", "message": "engine died", "code": 500}))
streamed("error_named", HALF + event({"message": "engine died"}, name="error"))
streamed("error_named_text", HALF + event(b"engine died", name="error"))
streamed("error_in_choice", HALF + sse({"choices": [{"index": 0, "delta": {"content": ""},
    "finish_reason": "error", "error": {"message": "engine died", "code": 502}}]}))  # fmt: skip
streamed("error_rate", sse({"error": {"message": "slow down", "code": 429}}))
streamed("error_overflow", sse({"error": {"message": "the prompt is too long", "code": 400}}))
streamed("error_after_finish", sse(say("one two "), finish(), {"error": {"message": "late"}}))
streamed("bad_chunk_size", HALF)
PAGE = (
    b"<!doctype html><html><head><title>Sign in</title></head><body>"
    b"<script>x()</script><h1>Hello &amp; welcome</h1></body></html>"
)
refused("html", 200, PAGE, kind="text/html")
refused("html_as_stream", 200, b"\n<html><body>proxy login</body></html>", kind="text/event-stream")
refused("plain_text", 200, b"Hello from nginx", kind="text/plain")
refused("empty_body", 200, b"", kind="application/json")
refused("status_204", 204, b"", kind="")
refused("blank_body", 200, b" \r\n \n", kind="text/event-stream")
refused("document_error", 200, {"error": {"message": "model overloaded", "code": 503}})
refused("document_detail", 200, {"detail": "not here"})
refused("document_list", 200, [{"error": {"message": "bad key", "code": 401}}])
refused("document_empty", 200, {})
refused("document_broken", 200, json.dumps(DOCUMENT).encode()[:-20], kind="application/json")
refused("ollama", 200, b'{"message":{"content":"Hi"},"done":false}\n{"done":true}\n',
        kind="application/x-ndjson")  # fmt: skip


@case
async def bad_length(wire: Wire) -> None:
    await wire.head(200, f"content-length: {len(HALF) + 100}")
    await wire.send(HALF)
    wire.close()


@case
async def bad_chunk_size(wire: Wire) -> None:
    await wire.head(200, "transfer-encoding: chunked")
    await wire.chunked(HALF, last=False)
    await wire.send(b"zz\r\nnonsense\r\n")


@case
async def reset(wire: Wire) -> None:
    await wire.stream(HALF, last=False)
    wire.abort()


@case
async def bad_gzip(wire: Wire) -> None:
    await wire.head(200, "transfer-encoding: chunked", "content-encoding: gzip")
    await wire.chunked(WHOLE)


@case
async def unknown_encoding(wire: Wire) -> None:
    await wire.head(200, "transfer-encoding: chunked", "content-encoding: x-odd")
    await wire.chunked(gzip.compress(WHOLE))


@case
async def stall_before_headers(wire: Wire) -> None:
    await wire.hang()


@case
async def stall_before_first_byte(wire: Wire) -> None:
    await wire.head(200, "transfer-encoding: chunked")
    await wire.hang()


@case
async def stall_between_chunks(wire: Wire) -> None:
    await wire.stream(HALF, last=False)
    await wire.hang()


@case
async def stall_in_event(wire: Wire) -> None:
    await wire.stream(HALF + b"data: {", last=False)
    await wire.hang()


@case
async def endless_comments(wire: Wire) -> None:
    await wire.head(200, "transfer-encoding: chunked")
    while True:
        await wire.chunked(b": keep-alive\n\n", last=False)
        await asyncio.sleep(0.01)


@case
async def endless_comments_later(wire: Wire) -> None:
    await wire.stream(HALF, last=False)
    while True:
        await wire.chunked(b": keep-alive\n\n", last=False)
        await asyncio.sleep(0.01)


@case
async def endless_text(wire: Wire) -> None:
    await wire.stream(sse(say("one "), say("two "), done=False), last=False)
    while True:
        await wire.chunked(sse(say(""), done=False), last=False)
        await asyncio.sleep(0.005)


@case
async def endless_line(wire: Wire) -> None:
    await wire.stream(HALF, last=False)
    while True:
        await wire.chunked(b"data: " + b"x" * 1_000_000, last=False)


@case
async def endless_event(wire: Wire) -> None:
    await wire.stream(HALF, last=False)
    while True:
        await wire.chunked(b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n" * 30_000, last=False)


@case
async def endless_error(wire: Wire) -> None:
    await wire.head(500, "transfer-encoding: chunked", kind="text/plain")
    while True:
        await wire.chunked(b"no " * 20_000, last=False)


@case
async def stalled_error(wire: Wire) -> None:
    await wire.head(500, "content-length: 999", kind="text/plain")
    await wire.send(b"the disk is full")
    await wire.hang()


@case
async def huge_header(wire: Wire) -> None:
    await wire.send(b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 300_000 + b"\r\n\r\n")
    await wire.hang()


@case
async def hang_up(wire: Wire) -> None:
    wire.close()


@case
async def reset_at_once(wire: Wire) -> None:
    wire.abort()


@case
async def no_http(wire: Wire) -> None:
    await wire.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    wire.close()


# -- statuses ---------------------------------------------------------------------------------


def openai_error(message: str, code: Any = None, kind: str = "x") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


refused("s400", 400, openai_error("temperature must be at most 2", None, "invalid_request_error"))
refused("s400_context", 400, openai_error("This model's maximum context length is 4096 tokens.",
                                          "context_length_exceeded"))  # fmt: skip
refused("s400_vllm_context", 400, {"object": "error", "message": "prompt is too long", "code": 400})
refused("s400_model", 400, {"detail": "Model nope not found"})
refused("s400_key", 400, [{"error": {"code": 400, "message": "API key not valid. Pass a valid one.",
                                     "status": "INVALID_ARGUMENT"}}])  # fmt: skip
# What endpoints say to an image or a sound that their model does not take, each in its words.
for name, status, said in (
    ("openai", 400, "Invalid content type. image_url is only supported by certain models."),
    ("llama_cpp", 500, "image input is not supported - hint: if this is unexpected, you may need to"
     " provide the mmproj"),
    ("llama_cpp_audio", 500, "audio input is not supported - hint: if this is unexpected, you may"
     " need to provide the mmproj"),
    ("vllm", 400, "At most 0 image(s) may be provided in one prompt."),
    ("vllm_text", 400, "GLM-5.2 is not a multimodal model"),
    ("ollama", 500, "this model is missing data required for image input"),
    ("ollama_cloud", 400, "this model does not support image input (ref: b8bd630e)"),
    ("lm_studio", 400, "Model does not support images. Please use a model that does."),
    ("deepseek", 400, "Failed to deserialize the JSON body into the target type: messages[0]: "
     "unknown variant `image_url`, expected `text` at line 1 column 96"),
    ("openrouter", 404, "No endpoints found that support image input"),
    ("gemini", 400, "Image input modality is not enabled for models/gemma-3-27b-it"),
    ("xai", 400, "Image inputs are not supported by this model."),
    ("text_alone", 400, "messages.content.type is invalid, allowed values: ['text']"),
    ("text_parts", 400, "Only 'text' content type is supported."),
    ("groq", 400, "messages[0].content must be a string"),
    ("checked", 422, "body.messages.0.content.0.type: Input should be 'text'"),
):  # fmt: skip
    refused(f"untaken_{status}_{name}", status, openai_error(said))
refused("untaken_400_bare", 400, {"error": "Model does not support images."})
refused("taken_format", 400, openai_error("'response_format' json_schema is not supported"))
refused("taken_tools", 400, openai_error("this model does not support tools"))
refused("taken_name", 404, openai_error("The model `image-input-7b` does not exist."))
refused("s401", 401, openai_error("Incorrect API key provided", "invalid_api_key"))
refused("s401_text", 401, {"error": "Unauthorized"})
refused("s402", 402, openai_error("Insufficient Balance"))
refused("s403", 403, openai_error("Project has no access to model"))
refused("s404_model", 404, openai_error("The model `m` does not exist.", 404, "NotFoundError"))
refused("s404_path", 404, {"detail": "Not Found"})
refused("s404_html", 404, b"<html><head><title>404 Not Found</title></head><body>"
        b"<center>nginx</center></body></html>", kind="text/html")  # fmt: skip
refused("s405", 405, {"detail": "Method Not Allowed"})
refused("s407", 407, b"", kind="")
refused("s408", 408, b"", kind="")
refused("s409", 409, {"message": "locked"})
refused("s413", 413, b"<h1>413 Request Entity Too Large</h1>", kind="text/html")
refused("s418", 418, b"short and stout", kind="text/plain")
refused("s422", 422, {"detail": [{"loc": ["body", "top_q"], "msg": "Extra inputs are not permitted",
                                  "type": "extra_forbidden"}]})  # fmt: skip
refused("s429", 429, openai_error("Rate limit reached"), "retry-after: 7")
refused("s429_far", 429, openai_error("Rate limit reached"), "retry-after: 3600")
refused("s429_quota", 429, openai_error("You exceeded your current quota", "insufficient_quota"))
GEMINI = {
    "code": 429,
    "status": "RESOURCE_EXHAUSTED",
    "message": "You exceeded your current quota",
    "details": [{"retryDelay": "13s"}],
}
refused("s429_gemini", 429, [{"error": GEMINI}])
refused("s500", 500, b"Internal Server Error", kind="text/plain")
refused("s500_key", 500, b"Authentication Error, No api key passed in.", kind="text/plain")
refused("s500_empty", 500, b"", kind="")
refused("s501", 501, {"message": "not built in"})
refused("s502", 502, b"<html><title>502 Bad Gateway</title></html>", kind="text/html")
refused("s503", 503, {"error": {"message": "Loading model", "code": 503}},
        "retry-after: 2")  # fmt: skip
refused("s504", 504, b"upstream timed out", kind="text/plain")
refused(
    "s529", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
)
refused("s599", 599, {"weird": {"a": [1, 2]}})
refused(
    "error_as_sse", 400, event({"error": {"message": "no tools here"}}), kind="text/event-stream"
)
refused("errors_list", 400, {"errors": [{"message": "first"}, {"message": "second"}]})
refused("error_list_text", 400, {"error": ["first", "second"]})
refused("error_nested", 400, {"error": {"error": {"message": {"message": "inner"}}}})
refused("error_bare_text", 400, b'"just words"', kind="application/json")
refused("error_broken_json", 400, b'{"error": {"message": "cut he', kind="application/json")
refused("error_utf8", 400, b"caf\xe9 \xff", kind="text/plain")
refused(
    "error_ansi",
    400,
    openai_error("\x1b[31mred\x1b[0m\x07 \x1b]0;title\x07and\r\n\u202enext\u200b"),
)
refused("error_huge", 400, openai_error("blah " * 100_000))
refused("error_echo", 400, openai_error(f"bad request with header Authorization: Bearer {KEY}"))
refused("error_echo_text", 401, f"<p>key={KEY}</p>".encode(), kind="text/html")
streamed("error_echo_stream", HALF + sse({"error": f"upstream refused {KEY}"}))
streamed("echo_bad_json", HALF + b"data: {" + KEY.encode() + b"\n\n")
refused("echo_200", 200, f"token {KEY}".encode(), kind="text/plain")
refused("to_elsewhere", 307, b"", "location: http://example.com:81/v1?token=abc")
refused("to_https", 301, b"", "location: https://127.0.0.1/v1/chat/completions")
refused("to_get", 302, b"", "location: /plain/v1/chat/completions")
refused("to_nowhere", 307, b"")
refused("to_nonsense", 308, b"", "location: http://[::1")
refused("to_script", 307, b"", "location: javascript:alert(1)")
refused("not_modified", 304, b"", kind="")


@case
async def in_circles(wire: Wire) -> None:
    await wire.whole(308, b"", "location: /in_circles/v1/chat/completions")


# -- what gets better when it is tried again ---------------------------------------------------


@case
async def busy_once(wire: Wire) -> None:
    if wire.turn():
        await wire.stream(WHOLE)
    else:
        await wire.error(503, openai_error("warming up"))


@case
async def hangs_up_once(wire: Wire) -> None:
    if not wire.turn():
        wire.close()
    await wire.stream(WHOLE)


@case
async def empty_cut_once(wire: Wire) -> None:
    if not wire.turn():
        await wire.head(200, "transfer-encoding: chunked")
        wire.close()
    await wire.stream(WHOLE)


@case
async def no_stream_options(wire: Wire) -> None:
    if "stream_options" in wire.request.body:
        await wire.error(
            422, {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}
        )
    else:
        await wire.stream(WHOLE)


def limited(name: str, header: Callable[[], str]) -> None:
    """Define a case that asks for a pause once, by ``header``."""

    async def play(wire: Wire) -> None:
        if wire.turn():
            await wire.stream(WHOLE)
        else:
            await wire.error(429, openai_error("slow down"), *header().split("\n"))

    CASES[name] = play


def date(offset: float) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + offset))


limited("limited_seconds", lambda: "retry-after: 0")
limited("limited_fraction", lambda: "retry-after: 0.02")
limited("limited_milliseconds", lambda: "retry-after-ms: 30\nretry-after: 9")
limited("limited_past_date", lambda: f"retry-after: {date(-60)}")
limited("limited_date_wrong_clock", lambda: f"retry-after: {date(7200)}\ndate: {date(7200)}")
limited("limited_far_date", lambda: f"retry-after: {date(7200)}")
limited("limited_nonsense", lambda: "retry-after: soon")
limited("limited_negative", lambda: "retry-after: -5")
limited("limited_infinite", lambda: "retry-after: inf")


@case
async def models(wire: Wire) -> None:
    await wire.error(200, {"object": "list", "data": [{"id": "b"}, {"id": "a"}]})


@case
async def slow(wire: Wire) -> None:
    """Give one word, then one more each time the test lets it."""
    await wire.stream(sse(say("one "), done=False), last=False)
    await wire.server.go_on.wait()
    await wire.chunked(sse(say("two "), finish()))


class FaultServer:
    """Serve the cases on loopback; an async context manager."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.go_on = asyncio.Event()
        self._tls = tls
        self._tasks: set[asyncio.Task[Any] | None] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._connection, "127.0.0.1", 0, ssl=self._tls, limit=1 << 20
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        assert self._server is not None
        return self._server.sockets[0].getsockname()[1]

    def url(self, name: str) -> str:
        """Return the base URL of a case."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self.port}/{name}/v1"

    async def _connection(self, reader: Any, writer: Any) -> None:
        self._tasks.add(asyncio.current_task())
        self.connections += 1
        wire = Wire(self, reader, writer)
        number = self.connections
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                wire.request = await _read_request(reader, number)
                self.requests.append(wire.request)
                await CASES[wire.request.path.split("/")[1]](wire)
        self._note_end(number)
        self._tasks.discard(asyncio.current_task())
        writer.close()

    def _note_end(self, number: int) -> None:
        for request in self.requests:
            if request.connection == number:
                request.closed_at = time.perf_counter()
                request.closed.set()


async def _read_request(reader: asyncio.StreamReader, number: int) -> Request:
    first = await reader.readexactly(1)
    if first == b"\x16":  # a TLS handshake: what a plain server says to it is no TLS
        raise ConnectionAbortedError
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, json.loads(body) if body else None, number)
