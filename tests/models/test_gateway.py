"""The gateway over real HTTP: what a framework sees of an answer, and who may ask."""

from __future__ import annotations

import httpx
import pytest
from fault_server import ANSWER, CASES, call, finish, sse
from gateway_access import ASK, ASKED, STREAMED, access, text_of
from scripted_server import Say, play, server

from tframex_nb.messages import (
    MessageFinished,
    ReasoningDelta,
    Retrying,
    ToolCall,
    ToolCallStarted,
    Usage,
)
from tframex_nb.models import RetryPolicy
from tframex_nb.models.gateway import Gateway

__all__ = ["play", "server"]  # fixtures

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
    f = {"name": "f", "parameters": {"type": "object"}}
    tools = [{"type": "function", "function": {**f, "strict": True}}]

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
