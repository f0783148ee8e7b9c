"""The gateway over real HTTP: what frameworks see of a model, of its faults, and of its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from fault_server import ANSWER, CASES, KEY, call, finish, sse
from scripted_server import Say, play, server, until

from tframex_nb.errors import (
    AuthError,
    BadRequest,
    BadResponse,
    ConnectionFailed,
    ContextOverflow,
    ModelNotFound,
    ModelTimeout,
    QuotaExceeded,
    RateLimited,
    ServerError,
    SettingsError,
    Truncated,
)
from tframex_nb.http import Timeouts, TransportOptions
from tframex_nb.messages import (
    Event,
    Message,
    MessageFinished,
    ReasoningDelta,
    Retrying,
    TextDelta,
    ToolCall,
    ToolCallStarted,
    Usage,
)
from tframex_nb.models import Endpoints, RetryPolicy, VLLMModel
from tframex_nb.models.gateway import Gateway, GatewayRun

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["play", "server"]  # fixtures

ASK = [{"role": "user", "content": "hi"}]
ASKED = {"model": "whatever", "messages": ASK}
STREAMED = {**ASKED, "stream": True}


@dataclass
class Access:
    """A run as a framework and its adapter see it."""

    run: GatewayRun
    heard: list[Event]
    http: httpx.AsyncClient
    sdk: openai.AsyncOpenAI

    async def post(self, body: Any, **headers: str) -> httpx.Response:
        return await self.http.post("/chat/completions", json=body, headers=headers)

    async def events(self, body: Any) -> tuple[list[Any], bool]:
        """Return the data of each event, and whether the body ended as HTTP wants it."""
        whole = True
        raw = b""
        async with self.http.stream("POST", "/chat/completions", json=body) as response:
            assert response.headers["content-type"].startswith("text/event-stream"), response
            try:
                async for piece in response.aiter_bytes():
                    raw += piece
            except httpx.RemoteProtocolError:
                whole = False
        parts = raw.decode("ascii").split("\n\n")
        assert parts.pop() == ""
        datas = [part.removeprefix("data: ") for part in parts]
        return [data if data == "[DONE]" else json.loads(data) for data in datas], whole


@contextlib.asynccontextmanager
async def access(
    model: Any, *, gateway: Gateway | None = None, params: dict[str, Any] | None = None
) -> AsyncIterator[Access]:
    """Open a run, on a gateway of its own if none is given."""
    own = gateway or Gateway()
    heard: list[Event] = []
    try:
        async with (
            own.open(model, params=params, listen=heard.append) as run,
            httpx.AsyncClient(
                base_url=run.base_url, headers={"authorization": f"Bearer {run.token}"}, timeout=20
            ) as http,
            openai.AsyncOpenAI(base_url=run.base_url, api_key=run.token) as sdk,
        ):
            yield Access(run, heard, http, sdk)
    finally:
        if gateway is None:
            await own.aclose()


def text_of(chunks: list[Any]) -> str:
    choices = (choice for chunk in chunks for choice in chunk.get("choices", ()))
    return "".join(choice["delta"].get("content") or "" for choice in choices)


# -- answers -----------------------------------------------------------------------------------


def test_an_answer_streams_in_openai_s_shape(on_bench):
    """Role first, then the text; the reason, the usage that was asked for, [DONE]."""

    async def play(bench):
        async with access(bench.model("usage_own_chunk")) as a:
            body = {**STREAMED, "stream_options": {"include_usage": True}}
            return await a.events(body), a.heard, a.run

    (chunks, whole), heard, run = on_bench(play)
    *chunks, usage, done = chunks
    assert (whole, done) == (True, "[DONE]")
    assert [c["choices"][0]["delta"] for c in chunks] == [
        {"role": "assistant", "content": ""},
        {"content": "a"},
        {},
    ]
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None, None, "stop"]
    assert {c["model"] for c in chunks} == {"m"}
    assert len({c["id"] for c in chunks}) == 1
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 13
    assert usage["usage"]["completion_tokens_details"] == {"reasoning_tokens": 1}
    assert [type(event) for event in heard] == [Usage, MessageFinished]
    assert (run.requests, run.active, run.fault) == (1, 0, None)


@pytest.mark.parametrize("case", ["plain", "separators", "split_surrogates", "big_event", "parts"])
def test_text_is_exact_and_pure_ascii_on_the_wire(on_bench, case):
    """Clients that split lines as Python does would break U+2028 apart."""

    async def play(bench):
        model = bench.model(case)
        expected = await model.run(ASK)
        async with access(model) as a:
            chunks, _ = await a.events(STREAMED)
        return text_of(chunks[:-1]), expected

    text, expected = on_bench(play)
    assert text == expected


def test_usage_is_left_out_where_nobody_asked(on_bench):
    async def play(bench):
        async with access(bench.model("usage_own_chunk")) as a:
            return await a.events(STREAMED)

    chunks, _ = on_bench(play)
    assert all(chunk["choices"] for chunk in chunks[:-1])


def test_a_whole_answer_holds_text_reasoning_calls_and_usage(server, play):
    server.say(Say("hello", reasoning="hm", calls=[("f", {"x": 1})]))

    async def scene(model):
        async with access(model) as a:
            return (await a.post(ASKED)).json(), a.heard

    answer, heard = play(scene)
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "scripted"
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "hello"
    assert choice["message"]["reasoning_content"] == "hm"
    assert choice["message"]["tool_calls"] == [
        {"id": "call_1_0", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    ]
    assert answer["usage"]["total_tokens"] == 5
    assert [type(event) for event in heard] == [ReasoningDelta, Usage, MessageFinished]


def test_a_whole_answer_without_usage_has_zeros(ask, on_bench):
    """Smolagents reads ``response.usage.prompt_tokens`` without a look."""

    async def play(bench):
        async with access(bench.model("plain")) as a:
            return (await a.post(ASKED)).json()

    assert on_bench(play)["usage"]["total_tokens"] == 0


@pytest.mark.parametrize(
    ("case", "reason"),
    [("odd_finish", "stop"), ("length", "length"), ("content_filter", "content_filter"),
     ("tools_objects", "tool_calls"), ("tools_legacy", "tool_calls")],
)  # fmt: skip
def test_the_finish_reason_is_one_that_clients_know(on_bench, case, reason):
    async def play(bench):
        async with access(bench.model(case)) as a:
            return await a.events(STREAMED)

    chunks, _ = on_bench(play)
    assert chunks[-2]["choices"][0]["finish_reason"] == reason


def test_reasoning_comes_apart_from_the_text(on_bench):
    async def play(bench):
        async with access(bench.model("think")) as a:
            chunks, _ = await a.events(STREAMED)
            return chunks[:-1], a.heard

    chunks, heard = on_bench(play)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "hm so"
    assert text_of(chunks) == "yes"
    assert "".join(e.text for e in heard if isinstance(e, ReasoningDelta)) == "hm so"


TOOL_CASES = sorted(name for name in CASES if name.startswith("tools_") and name != "tools_text")


@pytest.mark.parametrize("case", TOOL_CASES)
def test_tool_calls_in_pieces_join_to_the_whole_calls(on_bench, case):
    """Joined as clients do it, by index, they are what ``stream`` gives, ids included."""

    async def play(bench):
        model = bench.model(case)
        native = [e async for e in model.stream(ASK) if isinstance(e, ToolCallStarted)]
        async with access(model) as a:
            chunks, _ = await a.events(STREAMED)
            return native, chunks[:-1], a.heard[-1].message.tool_calls

    native, chunks, whole = on_bench(play)
    joined: dict[int, dict[str, str]] = {}
    for chunk in chunks:
        for piece in chunk["choices"][0]["delta"].get("tool_calls", ()):
            slot = joined.setdefault(piece["index"], {"id": "", "name": "", "arguments": ""})
            slot["id"] += piece.get("id", "")
            slot["name"] += piece["function"].get("name", "")
            slot["arguments"] += piece["function"]["arguments"]
    calls = [ToolCall(**joined[index]) for index in sorted(joined)]
    assert calls == list(whole)
    assert [(c.name, c.arguments) for c in calls] == [(c.name, c.arguments) for c in native]


def test_a_tool_call_s_arguments_stream_while_the_model_writes_them(on_bench, monkeypatch):
    """Smolagents' whole answer is the arguments of a call: it must not come at the end."""

    async def slowly(wire):
        first = call(index=0, id="a", function={"name": "final_answer", "arguments": '{"ans'})
        await wire.stream(sse(first, done=False), last=False)
        await wire.server.go_on.wait()
        rest = call(index=0, function={"arguments": 'wer": 1}'})
        await wire.chunked(sse(rest, finish("tool_calls")))

    monkeypatch.setitem(CASES, "tool_slowly", slowly)

    async def play(bench):
        pieces = []
        async with access(bench.model("tool_slowly")) as a:
            stream = await a.sdk.chat.completions.create(**STREAMED)
            async for chunk in stream:
                for piece in chunk.choices[0].delta.tool_calls or ():
                    pieces.append(piece.function.arguments)
                    bench.server.go_on.set()
        return pieces

    assert on_bench(play) == ['{"ans', 'wer": 1}']


def test_the_openai_sdk_streams_text_and_calls(server, play):
    server.say(Say(["one ", "two"], reasoning="hm", calls=[("f", {"x": 1}), ("g", {})]))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]

    async def scene(model):
        async with access(model) as a:
            options = {"include_usage": True}
            async with a.sdk.chat.completions.stream(
                model="x", messages=ASK, tools=tools, stream_options=options
            ) as stream:
                texts = [e.delta async for e in stream if e.type == "content.delta"]
                return texts, await stream.get_final_completion()

    texts, final = play(scene)
    assert texts == ["", "one ", "two"]  # the first comes with the role
    message = final.choices[0].message
    assert message.content == "one two"
    assert [(c.function.name, c.function.arguments) for c in message.tool_calls] == [
        ("f", '{"x": 1}'),
        ("g", "{}"),
    ]
    assert final.usage.total_tokens == 5
    assert server.requests[0].tool_names == ["f"]


def test_the_openai_sdk_s_structured_output_passes(server, play):
    """``response_format`` goes up unchanged; the SDK checks the answer against it."""
    import pydantic

    class City(pydantic.BaseModel):
        name: str

    server.say('{"name": "Bern"}')

    async def scene(model):
        async with access(model) as a:
            return await a.sdk.chat.completions.parse(model="x", messages=ASK, response_format=City)

    assert play(scene).choices[0].message.parsed == City(name="Bern")
    assert server.requests[0].body["response_format"]["json_schema"]["name"] == "City"


def test_the_run_s_parameters_go_before_the_body_s(server, play):
    """The body's model, its stream and its nulls are not passed on; the rest is."""
    server.say("ok")

    async def scene(model):
        async with access(model, params={"temperature": 0.5}) as a:
            body = {"temperature": 1, "top_p": 0.9, "stop": None, "seed": 7, **ASKED}
            await a.post(body)

    play(scene)
    body = server.requests[0].body
    assert body["model"] == "scripted"
    assert (body["temperature"], body["top_p"], body["seed"]) == (0.5, 0.9, 7)
    assert "stop" not in body
    assert body["stream"] is True


def test_models_lists_the_run_s_model(server, play):
    async def scene(model):
        async with access(model) as a:
            return [row.id async for row in a.sdk.models.list()]

    assert play(scene) == ["scripted"]


def test_events_are_heard_before_the_end_is_seen(server, play):
    server.say(*[Say("x", reasoning="hm")] * 20)

    async def scene(model):
        seen = []
        async with access(model) as a:
            for number in range(20):
                body = {**STREAMED, "seed": number}
                async with a.http.stream("POST", "/chat/completions", json=body) as response:
                    async for line in response.aiter_lines():
                        if 'finish_reason": "stop' in line:
                            break
                seen.append(sum(isinstance(e, MessageFinished) for e in a.heard))
        return seen

    assert play(scene) == list(range(1, 21))


def test_a_retry_is_heard_and_not_seen(on_bench):
    async def play(bench):
        model = bench.model("busy_once", retry=RetryPolicy(backoff=0.01))
        async with access(model) as a:
            chunks, _ = await a.events(STREAMED)
            return text_of(chunks[:-1]), a.heard[0], a.run.requests, len(bench.server.requests)

    text, first, asked, sent = on_bench(play)
    assert text == ANSWER
    assert isinstance(first, Retrying)
    assert (asked, sent) == (1, 2)


# -- faults --------------------------------------------------------------------------------------

FAULTS = {
    "s401": (401, "invalid_api_key", AuthError, openai.AuthenticationError),
    "s403": (401, "invalid_api_key", AuthError, openai.AuthenticationError),
    "s429": (429, "rate_limit_exceeded", RateLimited, openai.RateLimitError),
    "s429_quota": (429, "insufficient_quota", QuotaExceeded, openai.RateLimitError),
    "s404_model": (404, "model_not_found", ModelNotFound, openai.NotFoundError),
    "s400": (400, "invalid_request", BadRequest, openai.BadRequestError),
    "s422": (400, "invalid_request", BadRequest, openai.BadRequestError),
    "s400_context": (400, "context_length_exceeded", ContextOverflow, openai.BadRequestError),
    "s500": (500, "server_error", ServerError, openai.InternalServerError),
    "s503": (503, "server_error", ServerError, openai.InternalServerError),
    "hang_up": (502, "connection_failed", ConnectionFailed, openai.InternalServerError),
    "no_http": (502, "bad_response", BadResponse, openai.InternalServerError),
    "html": (502, "bad_response", BadResponse, openai.InternalServerError),
    "stall_before_first_byte": (504, "timeout", ModelTimeout, openai.InternalServerError),
}


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_before_the_first_byte_keeps_its_kind(on_bench, case, streamed):
    """It comes as OpenAI's status, code and words; the SDK's own retries make no request."""
    status, code, kind, theirs = FAULTS[case]

    async def play(bench):
        bounds = Timeouts(first_byte=0.3, between_chunks=5)
        async with access(bench.model(case, timeouts=bounds)) as a:
            with pytest.raises(theirs) as caught:
                await a.sdk.chat.completions.create(model="x", messages=ASK, stream=streamed)
            return caught.value, a.run.fault, a.run.requests, len(bench.server.requests)

    seen, fault, asked, sent = on_bench(play)
    assert type(fault) is kind
    assert (seen.status_code, seen.code) == (status, code)
    assert fault.message in seen.message
    assert (asked, sent) == (1, 1)


def test_a_pause_that_is_asked_for_is_passed_on(on_bench):
    async def play(bench):
        async with access(bench.model("s429")) as a:
            response = await a.post(ASKED)
            return response.headers, a.run.fault

    headers, fault = on_bench(play)
    assert (headers["retry-after"], headers["x-should-retry"]) == ("7", "false")
    assert fault.retry_after == 7


CUT = {
    "cut_chunk": Truncated,
    "reset": Truncated,
    "no_finish": Truncated,
    "error_object": ServerError,
    "bad_json": BadResponse,
    "stall_between_chunks": ModelTimeout,
}


@pytest.mark.parametrize("case", CUT)
def test_a_fault_after_the_first_byte_ends_the_stream_with_an_error(on_bench, case):
    """What came is given, then the error, and no [DONE]: nothing reads as a whole answer."""

    async def play(bench):
        bounds = Timeouts(between_chunks=0.3)
        async with access(bench.model(case, timeouts=bounds)) as a:
            return await a.events(STREAMED), a.run.fault

    (chunks, whole), fault = on_bench(play)
    assert text_of(chunks[:-1]) == "one two "
    assert fault.message in chunks[-1]["error"]["message"]
    assert not whole
    assert type(fault) is CUT[case]
    assert fault.received == "one two "


def test_the_openai_sdk_raises_for_a_cut_stream(on_bench):
    async def play(bench):
        async with access(bench.model("cut_chunk")) as a:
            text = ""
            stream = await a.sdk.chat.completions.create(**STREAMED)
            try:
                async for chunk in stream:
                    text += chunk.choices[0].delta.content or ""
            except openai.APIError as exc:
                return text, str(exc)
            return text, ""

    text, error = on_bench(play)
    assert text == "one two "
    assert "broke the answer off" in error


def test_the_same_question_after_a_fault_gets_the_same_fault(server, play):
    """A framework's retries make no requests; another question is asked, and clears the fault."""
    server.say(Say(status=500, error="down"), "fine")

    async def scene(model):
        quick = VLLMModel("scripted", server.url, retry=RetryPolicy(retries=0))
        async with quick, access(quick) as a:
            first = await a.post(ASKED)
            fault = a.run.fault
            again = await a.post(STREAMED)
            assert a.run.fault is fault
            sent = len(server.requests)
            other = await a.post({**ASKED, "temperature": 0})
            assert a.run.fault is None
            return first, again, sent, other, (await a.post(ASKED)), a.run.requests

    first, again, sent, other, later, asked = play(scene)
    assert first.status_code == again.status_code == later.status_code == 500
    assert first.json() == again.json()
    assert sent == 1
    assert other.json()["choices"][0]["message"]["content"] == "fine"
    assert (asked, len(server.requests)) == (2, 2)


def test_a_fault_of_one_run_is_not_another_s(server, play):
    server.say(Say(status=400, error="no"), "fine")

    async def scene(model):
        gateway = Gateway()
        async with access(model, gateway=gateway) as one, access(model, gateway=gateway) as two:
            statuses = [(await a.post(ASKED)).status_code for a in (one, two)]
            faults = one.run.fault, two.run.fault
        await gateway.aclose()
        return statuses, faults

    statuses, faults = play(scene)
    assert statuses == [400, 200]
    assert isinstance(faults[0], BadRequest)
    assert faults[1] is None


def test_an_endpoint_with_several_models_says_so(on_bench):
    """What is no ModelError reaches the run as it is, too."""

    async def play(bench):
        from tframex_nb.models._endpoint_model import EndpointModel

        def make(name):
            return VLLMModel(name, bench.server.url("models"), KEY, retry=RetryPolicy(retries=0))

        model = EndpointModel("team", None, make)
        async with access(model) as a:
            response = await a.post(ASKED)
            return response, a.run.fault

    response, fault = on_bench(play)
    assert response.status_code == 400
    assert isinstance(fault, SettingsError)
    assert "2 models" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("variant", "kind"),
    [("demo:429", RateLimited), ("demo:cut", Truncated), ("demo:garbage", BadResponse)],
)
def test_the_demo_s_faults_are_the_run_s(variant, kind):
    async def main():
        endpoints = Endpoints()
        async with access(endpoints.resolve(variant)) as a:
            with pytest.raises(openai.APIError):
                async for _ in await a.sdk.chat.completions.create(**STREAMED):
                    pass
            fault = a.run.fault
        await endpoints.aclose()
        return fault

    assert type(asyncio.run(main())) is kind


# -- who may ask, and what ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer nonsense"}, 401),
        ({"authorization": ""}, 401),
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example:80"}, 403),
        ({"origin": "http://127.0.0.1"}, 403),
        ({"origin": "null"}, 403),
    ],
    ids=["wrong token", "no token", "rebound name", "rebound port", "web page", "sandboxed page"],
)
def test_who_is_not_the_run_is_refused(server, play, headers, status):
    async def scene(model):
        async with access(model) as a:
            return await a.post(ASKED, **headers)

    response = play(scene)
    assert response.status_code == status
    assert response.json()["error"]["message"]
    assert server.requests == []


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "messages"),
        (b'{"messages": []}', 400, "messages"),
        (b'{"messages": ["hi"]}', 400, "messages"),
        (b'{"messages": [{"role": "user"}], "n": 2}', 400, "one choice"),
        (b'{"messages": [{"role": "user"}], "n": [2]}', 400, "one choice"),
        (b" " * (33 << 20), 413, "larger than"),
    ],
    ids=["no json", "a list", "no messages", "text messages", "n", "odd n", "too large"],
)
def test_what_is_no_request_is_refused_in_openai_s_shape(server, play, body, status, says):
    async def scene(model):
        async with access(model) as a:
            return await a.http.post("/chat/completions", content=body)

    response = play(scene)
    assert response.status_code == status
    assert says in response.json()["error"]["message"]
    assert server.requests == []


@pytest.mark.parametrize("path", ["/responses", "/embeddings", "/completions", "/nope"])
def test_another_path_says_what_there_is(server, play, path):
    async def scene(model):
        async with access(model) as a:
            return await a.http.post(path, json={})

    response = play(scene)
    assert response.status_code == 404
    error = response.json()["error"]
    assert f"POST /v1{path}" in error["message"]
    assert "POST /v1/chat/completions" in error["message"]


def test_the_token_dies_with_the_run(server, play):
    async def scene(model):
        gateway = Gateway()
        async with access(model, gateway=gateway) as a:
            url, token = a.run.base_url, a.run.token
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}) as client:
            response = await client.post(f"{url}/chat/completions", json=ASKED)
        await gateway.aclose()
        return response, token, repr(a.run)

    response, token, shown = play(scene)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert server.requests == []
    assert token not in shown


# -- how it ends ----------------------------------------------------------------------------------


def read_in_thread(run: GatewayRun) -> tuple[threading.Thread, list[bytes]]:
    """Read a streamed answer in a thread, as a framework without asyncio does."""
    got: list[bytes] = []

    def read() -> None:
        with (
            contextlib.suppress(httpx.HTTPError),
            httpx.Client(headers={"authorization": f"Bearer {run.token}"}, timeout=20) as client,
            client.stream("POST", f"{run.base_url}/chat/completions", json=STREAMED) as response,
        ):
            got.extend(response.iter_bytes())

    thread = threading.Thread(target=read, name="a framework")
    thread.start()
    return thread, got


def test_an_answer_comes_while_the_kernel_s_thread_is_blocked(server, play):
    server.say(Say(["one ", "two"]))

    async def scene(model):
        async with access(model) as a:
            thread, got = read_in_thread(a.run)
            thread.join(20)  # blocks the loop that opened the run
            return b"".join(got)

    assert b"[DONE]" in play(scene)


@pytest.mark.parametrize("phase", ["before the first byte", "in mid-answer"])
def test_closing_from_any_thread_cuts_the_upstream_at_once(server, play, phase):
    """Also while the kernel's thread is blocked, as by a tool; the client is told why."""
    server.say(Say("one " if phase == "in mid-answer" else (), hold=True))

    async def scene(model):
        async with access(model) as a:
            thread, got = read_in_thread(a.run)
            await until(lambda: server.requests if phase != "in mid-answer" else got)
            closing = threading.Thread(target=a.run.close)
            began = time.perf_counter()
            closing.start()
            assert server.wait_closed()  # from here on this loop is blocked
            took = time.perf_counter() - began
            thread.join(20)
            closing.join()
            return took, b"".join(got), a.run

    took, got, run = play(scene)
    assert took < 0.25  # 20 ms on a quiet machine
    assert b"this run has ended" in got
    assert b"[DONE]" not in got
    assert (run.active, run.fault) == (0, None)


def test_leaving_the_block_cuts_the_upstream(server, play):
    server.say(Say("one ", hold=True))

    async def scene(model):
        gateway = Gateway()
        async with access(model, gateway=gateway) as a:
            thread, got = read_in_thread(a.run)
            await until(lambda: got)
        closed = await asyncio.to_thread(server.wait_closed)
        await asyncio.to_thread(thread.join)
        await gateway.aclose()
        return closed

    assert play(scene)


def test_stopping_the_gateway_cuts_what_is_under_way(server, play):
    server.say(Say("one ", hold=True))

    async def scene(model):
        gateway = Gateway()
        async with access(model, gateway=gateway) as a:
            thread, got = read_in_thread(a.run)
            await until(lambda: got)
            await gateway.aclose()
            assert not gateway.running
            await asyncio.to_thread(thread.join)
            return await asyncio.to_thread(server.wait_closed)

    assert play(scene)


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_a_client_that_goes_away_closes_its_upstream_call(server, play, streamed):
    server.say(Say("one ", hold=True), "next")

    async def scene(model):
        async with access(model) as a:
            body = {**ASKED, "stream": streamed}
            asking = asyncio.create_task(a.post(body))
            await until(lambda: server.requests)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            closed = await asyncio.to_thread(server.wait_closed)
            await until(lambda: a.run.active == 0)
            return closed, a.run.fault, (await a.post(body)).status_code

    assert play(scene) == (True, None, 200)


def test_a_client_that_does_not_read_is_no_flood(server, play):
    """The answer waits for it, and closing the run ends it all the same."""
    server.answer = lambda _: Say([("x" * 1000)] * 30_000)

    async def scene(model):
        gateway = Gateway()
        async with access(model, gateway=gateway) as a:
            port = int(a.run.base_url.split(":")[2].split("/")[0])
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            body = json.dumps(STREAMED).encode()
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
                f"authorization: Bearer {a.run.token}\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await reader.readuntil(b"xxxx")
            await asyncio.sleep(0.5)
            busy, active = server.busy, a.run.active
        await until(lambda: server.busy == 0)
        await until(lambda: a.run.active == 0)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await gateway.aclose()
        return busy, active

    assert play(scene) == (1, 1)


# -- models that are not ours ----------------------------------------------------------------------


class Scripted:
    """A user's own model: it notes where it ran and how it ended."""

    model_name = ""
    label = "mine"

    def __init__(self, *events: Event | Exception, hold: bool = False) -> None:
        self.events = events
        self.hold = hold
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.params: dict[str, Any] = {}
        self.closed = threading.Event()

    async def stream(self, messages: Any, **params: Any) -> AsyncIterator[Event]:
        self.loops.append(asyncio.get_running_loop())
        self.params = params
        try:
            async with asyncio.timeout(60):  # breaks where a stream is driven from several tasks
                for event in self.events:
                    if isinstance(event, Exception):
                        raise event
                    yield event
                    await asyncio.sleep(0)
                if self.hold:
                    await asyncio.Event().wait()
        finally:
            self.closed.set()

    async def aclose(self) -> None:
        pass


def finished(text: str = "", *calls: ToolCall) -> MessageFinished:
    return MessageFinished(Message("assistant", text, tool_calls=calls))


def test_a_model_of_the_user_s_own_runs_on_its_own_loop():
    """Its tool calls come whole, each in one delta."""
    calls = ToolCall("a", "f", '{"x": 1}'), ToolCall("b", "g", "{}")
    started = [ToolCallStarted(c.id, c.name, c.arguments) for c in calls]
    model = Scripted(TextDelta("hi "), TextDelta("there"), *started, finished("hi there", *calls))

    async def main():
        async with access(model, params={"temperature": 1}) as a:
            chunks, _ = await a.events(STREAMED)
            return chunks[:-1], a.run.model_name, asyncio.get_running_loop(), a.heard

    chunks, name, loop, heard = asyncio.run(main())
    assert text_of(chunks) == "hi there"
    pieces = [c["choices"][0]["delta"].get("tool_calls") for c in chunks]
    assert [p[0]["index"] for p in pieces if p] == [0, 1]
    assert [p[0]["function"]["name"] for p in pieces if p] == ["f", "g"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert name == "mine"
    assert model.loops == [loop]
    assert model.params == {"temperature": 1}
    assert [type(e) for e in heard] == [MessageFinished]


def test_a_long_answer_of_such_a_model_comes_whole_and_in_order():
    words = [f"{n} " for n in range(3000)]
    model = Scripted(*map(TextDelta, words), finished("".join(words)))

    async def main():
        async with access(model) as a:
            return text_of((await a.events(STREAMED))[0][:-1])

    assert asyncio.run(main()) == "".join(words)


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyError("oops"), 500), (RateLimited("slow down"), 429)],
    ids=["its own", "one of ours"],
)
def test_an_error_of_such_a_model_is_the_run_s_fault(error, status):
    async def main():
        async with access(Scripted(error)) as a:
            return (await a.post(STREAMED)).status_code, a.run.fault

    assert asyncio.run(main()) == (status, error)


def test_a_stream_without_an_end_is_a_fault():
    async def main():
        async with access(Scripted(TextDelta("hi"))) as a:
            return await a.events(STREAMED), a.run.fault

    (chunks, _), fault = asyncio.run(main())
    assert isinstance(fault, BadResponse)
    assert "MessageFinished" in chunks[-1]["error"]["message"]


@pytest.mark.parametrize("how", ["close", "leave", "client"])
def test_such_a_model_is_cut_too(how):
    model = Scripted(TextDelta("hi"), hold=True)

    async def main():
        async with access(model) as a:
            async with a.http.stream("POST", "/chat/completions", json=STREAMED) as response:
                await anext(response.aiter_bytes())
                if how == "close":
                    a.run.close()
                    await asyncio.to_thread(model.closed.wait, 5)
                elif how == "leave":
                    await a.run.aclose()
                    return model.closed.is_set()
            await asyncio.to_thread(model.closed.wait, 5)
            return model.closed.is_set()

    assert asyncio.run(main())


def test_a_subclass_with_a_stream_of_its_own_is_asked_by_it(server):
    """What it does there, such as counting or caching, must not be gone round."""

    class Loud(VLLMModel):
        async def stream(self, messages, **params):
            async for event in super().stream(messages, **params):
                yield TextDelta(event.text.upper()) if isinstance(event, TextDelta) else event

    server.say("hello")

    async def main():
        async with Loud("scripted", server.url) as model, access(model) as a:
            return text_of((await a.events(STREAMED))[0][:-1])

    assert asyncio.run(main()) == "HELLO"


# -- connections, threads, processes ---------------------------------------------------------------


def test_connections_stay_warm_from_run_to_run_until_the_model_closes(on_bench):
    async def play(bench):
        gateway = Gateway()
        model = bench.model("plain")
        for _ in range(3):
            async with access(model, gateway=gateway) as a:
                await a.events(STREAMED)
        kept = bench.server.connections
        await model.aclose()
        await asyncio.wait_for(bench.server.requests[-1].closed.wait(), 5)
        async with access(model, gateway=gateway) as a:
            chunks, _ = await a.events(STREAMED)
        await gateway.aclose()
        return kept, text_of(chunks[:-1])

    kept, text = on_bench(play)
    assert kept < 3
    assert text == ANSWER


def test_a_model_serves_its_own_loop_and_the_gateway_at_once(server, play):
    server.answer = lambda _: Say(["one ", "two"])

    async def scene(model):
        async with access(model) as a:
            own = [model.run(ASK) for _ in range(10)]
            through = [a.events({**STREAMED, "seed": n}) for n in range(10)]
            texts = await asyncio.gather(*own)
            return texts, [text_of(chunks[:-1]) for chunks, _ in await asyncio.gather(*through)]

    texts, through = play(scene)
    assert set(texts) == set(through) == {"one two"}


def test_the_endpoint_s_only_model_is_asked_for_once(on_bench):
    async def play(bench):
        from tframex_nb.models._endpoint_model import EndpointModel

        def make(name):
            case = "plain" if name else "one_model"
            return VLLMModel(name, bench.server.url(case), KEY, retry=RetryPolicy(retries=0))

        model = EndpointModel("team", None, make)
        async with access(model) as a:
            before = a.run.model_name
            await a.post(ASKED)
            await model.run(ASK)
            after = a.run.model_name, model.label
        await model.aclose()
        asked = [r for r in bench.server.requests if r.method == "GET"]
        return before, after, len(asked)

    async def one_model(wire):
        await wire.error(200, {"data": [{"id": "a"}]})

    CASES["one_model"] = one_model
    try:
        assert on_bench(play) == ("team", ("a", "team:a"), 1)
    finally:
        del CASES["one_model"]


def test_a_hundred_runs_at_once(server):
    """Each has a token of its own, and sees its own answer."""
    server.answer = lambda request: Say(request.texts[0])

    async def main():
        gateway = Gateway()
        transport = TransportOptions(max_connections=100)
        async with (
            VLLMModel("scripted", server.url, transport=transport) as model,
            httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client,
        ):

            async def one(number: int) -> bool:
                async with gateway.open(model, listen=lambda _: None) as run:
                    await everybody.wait()
                    body = {"messages": [{"role": "user", "content": f"{number}"}]}
                    headers = {"authorization": f"Bearer {run.token}"}
                    url = f"{run.base_url}/chat/completions"
                    answer = (await client.post(url, json=body, headers=headers)).json()
                    return answer["choices"][0]["message"]["content"] == f"{number}"

            everybody = asyncio.Barrier(100)
            right = await asyncio.gather(*(one(n) for n in range(100)))
        await gateway.aclose()
        return right

    assert all(asyncio.run(main()))


def test_twenty_runs_leave_no_file_open(server, play):
    """A connection may be one more, where a run begins before the last one's is back."""
    server.answer = lambda _: Say("x")

    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def scene(model):
        gateway = Gateway()
        counts = []
        for number in range(22):
            async with access(model, gateway=gateway) as a:
                await a.events({**STREAMED, "seed": number})
            counts.append(files())
        await until(lambda: files() < counts[1] + 10)
        await gateway.aclose()

    play(scene)


def test_nothing_runs_before_the_first_run_nor_after_the_end(server, play):
    """It starts again where it is needed again."""
    server.answer = lambda _: Say("x")

    async def scene(model):
        gateway = Gateway()
        states = [gateway.running]
        for _ in range(2):
            async with access(model, gateway=gateway) as a:
                states.append(gateway.running)
                await a.events(STREAMED)
            await gateway.aclose()
            states.append(gateway.running)
        return states, repr(gateway)

    states, shown = play(scene)
    assert states == [False, True, False, True, False]
    assert shown == "<Gateway, not started>"


FORK = """
import asyncio, os, sys, urllib.request
from tframex_nb.models import VLLMModel
from tframex_nb.models.gateway import Gateway

gateway = Gateway()

async def lists():
    async with VLLMModel("mine", "http://127.0.0.1:9/v1") as model:
        async with gateway.open(model, listen=print) as run:
            headers = {"authorization": f"Bearer {run.token}"}
            request = urllib.request.Request(run.base_url + "/models", headers=headers)
            answer = await asyncio.to_thread(urllib.request.urlopen, request, timeout=20)
            with answer:
                return answer.read()

assert b"mine" in asyncio.run(lists())
child = os.fork()
assert gateway.running == bool(child)
assert b"mine" in asyncio.run(lists())
asyncio.run(gateway.aclose())
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("both")
"""


def test_a_forked_process_starts_its_own():
    out = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=False
    )
    assert (out.stdout, out.stderr) == ("both\n", "")


def test_importing_it_loads_no_server():
    code = "import sys, tframex_nb.models.gateway; print({'uvicorn', 'httpx'} & set(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert out.stdout == "set()\n"
