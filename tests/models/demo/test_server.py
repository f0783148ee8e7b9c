"""The demo server over real HTTP: who may ask, how it streams, how it fails."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
import threading

import pytest

from tframex_nb.errors import (
    AuthError,
    BadRequest,
    BadResponse,
    ModelError,
    ModelNotFound,
    ModelTimeout,
    QuotaExceeded,
    RateLimited,
    ServerError,
    Truncated,
)
from tframex_nb.http import Timeouts, TransportOptions
from tframex_nb.messages import MessageFinished, ReasoningDelta, Retrying, ToolCallStarted, Usage
from tframex_nb.models import VLLMModel
from tframex_nb.models._retry import RetryPolicy
from tframex_nb.models.demo import DemoServer, variant_names

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def server():
    server = DemoServer()
    yield server
    server.stop()


@pytest.fixture
def ask(server):
    """Ask a variant and return the events; errors pass through."""

    def run(model: str, messages=HELLO, *, timeouts: Timeouts | None = None, retries=0, **params):
        async def main():
            retry = RetryPolicy(retries=retries, backoff=0.01)
            made = VLLMModel(model, server.url, server.token, timeouts=timeouts, retry=retry)
            async with made:
                return [event async for event in made.stream(messages, **params)]

        return asyncio.run(main())

    return run


def raw(server: DemoServer, *, path="/v1/models", method="GET", body=None, **headers) -> int:
    """Return the status of a request that is written by hand."""
    port = server.start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        auth = {"authorization": f"Bearer {server.token}"}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers={**auth, **given})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def test_nothing_runs_before_it_is_asked_for():
    before = threading.active_count()
    server = DemoServer()
    assert not server.running
    assert repr(server) == "<DemoServer, not started>"
    assert threading.active_count() == before
    server.stop()


def test_it_starts_once_stops_and_starts_again(server):
    first = server.url
    assert server.url == first
    assert server.running
    server.stop()
    assert not server.running
    assert raw(server) == 200


def test_the_token_is_random_and_not_shown(server):
    assert server.token != DemoServer().token
    server.start()
    assert server.token not in repr(server)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": ""}, 401),
        ({"host": "evil.test"}, 403),
        ({"host": "evil.test:80"}, 403),
        ({"origin": "http://evil.test"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_only_its_own_client_is_answered(server, headers, status):
    assert raw(server, **headers) == status


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        ("/v1/nothing", "GET", None, 404),
        ("/v1/models", "POST", "{}", 404),
        ("/v1/chat/completions", "POST", "not json", 400),
        ("/v1/chat/completions", "POST", "[]", 400),
        ("/v1/chat/completions", "POST", '{"messages": []}', 400),
        ("/v1/chat/completions", "POST", '{"messages": ["x"]}', 400),
        ("/v1/chat/completions", "POST", '{"messages": [{"role": "user"}], "n": 2}', 400),
    ],
)
def test_bad_requests_are_refused(server, path, method, body, status):
    assert raw(server, path=path, method=method, body=body) == status


def test_models_are_listed(server):
    async def main():
        async with VLLMModel("demo", server.url, server.token) as model:
            return await model.list_models()

    assert asyncio.run(main()) == sorted(variant_names())


def test_it_streams_text_usage_and_a_finish(ask):
    *_, usage, finished = ask("demo:fast")
    assert isinstance(usage, Usage)
    assert usage.completion_tokens > 50
    assert isinstance(finished, MessageFinished)
    assert finished.message.text.startswith("# Demo answer")
    assert finished.finish_reason == "stop"


def test_it_reasons_apart_from_the_text(ask):
    events = ask("demo:think")
    assert isinstance(events[0], ReasoningDelta)
    assert "The user asks: hello" not in events[-1].message.text


def test_it_calls_tools_over_the_wire(ask):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    tool = {"type": "function", "function": {"name": "double", "parameters": schema}}
    events = ask("demo:fast", [{"role": "user", "content": "double(21)"}], tools=[tool])
    call = next(event for event in events if isinstance(event, ToolCallStarted))
    assert (call.name, json.loads(call.arguments)) == ("double", {"a": 21})
    assert events[-1].finish_reason == "tool_calls"


def test_it_answers_whole_where_no_stream_is_asked_for(server):
    port = server.start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    headers = {"authorization": f"Bearer {server.token}", "content-type": "application/json"}
    body = json.dumps({"model": "demo:think", "messages": HELLO})
    connection.request("POST", "/v1/chat/completions", body, headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    message = answer["choices"][0]["message"]
    assert message["content"].startswith("# Demo answer")
    assert message["reasoning_content"]
    assert answer["usage"]["total_tokens"] > 0


QUICK = Timeouts(connect=2, first_byte=0.2, between_chunks=0.2, run=5)


@pytest.mark.parametrize(
    ("variant", "error", "status"),
    [
        ("400", BadRequest, 400),
        ("401", AuthError, 401),
        ("403", AuthError, 403),
        ("404", ModelNotFound, 404),
        ("429", RateLimited, 429),
        ("quota", QuotaExceeded, 429),
        ("500", ServerError, 500),
        ("503", ServerError, 503),
        ("unknown", ModelNotFound, 404),
    ],
)
def test_a_status_on_request(ask, variant, error, status):
    with pytest.raises(error) as caught:
        ask(f"demo:{variant}")
    assert caught.value.status == status


def test_an_unknown_variant_is_told_what_exists(ask):
    with pytest.raises(ModelNotFound) as caught:
        ask("demo:unknown")
    assert "The demo has: demo, demo:fast, demo:slow" in str(caught.value)


@pytest.mark.parametrize(
    ("variant", "error"),
    [("cut", Truncated), ("garbage", BadResponse), ("stall", ModelTimeout), ("hang", ModelTimeout)],
)
def test_a_fault_on_request(ask, variant, error):
    with pytest.raises(error) as caught:
        ask(f"demo:{variant}", timeouts=QUICK)
    assert isinstance(caught.value, ModelError)
    assert caught.value.received.startswith("# Demo") is (variant != "hang")


def test_the_flaky_variant_answers_the_third_time(ask):
    events = ask("demo:flaky", retries=3)
    assert [type(event) for event in events[:3]][:2] == [Retrying, Retrying]
    assert isinstance(events[-1], MessageFinished)


def test_stopping_ends_what_is_being_sent(server):
    """A slow answer does not hold the kernel's exit up."""

    async def main():
        made = VLLMModel("demo:slow", server.url, server.token, retry=RetryPolicy(retries=0))
        async with made:
            async for _ in made.stream(HELLO):
                await asyncio.to_thread(server.stop)

    with pytest.raises(ModelError):
        asyncio.run(main())
    assert not server.running


def test_many_streams_at_once(server):
    async def main():
        transport = TransportOptions(max_connections=50)
        async with VLLMModel("demo:fast", server.url, server.token, transport=transport) as model:
            return await asyncio.gather(*(model.run(HELLO) for _ in range(50)))

    assert len(set(asyncio.run(main()))) == 1


EXIT = """
import sys
from tframex_nb.models.demo import DemoServer
server = DemoServer()
print(server.url)
if "stop" in sys.argv: server.stop()
"""


@pytest.mark.parametrize("how", ["stop", "leave"])
def test_it_ends_with_its_process(how):
    out = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", EXIT, how],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert out.stdout.startswith("http://127.0.0.1:")
    assert out.stderr == ""


def test_importing_it_loads_no_server():
    code = "import sys, tframex_nb.models.demo; print({'uvicorn', 'starlette'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "set()\n"


def test_a_client_that_goes_in_mid_answer_is_no_noise(server, caplog):
    """An answer without pauses ends where its reader went: asyncio warns of writes to nobody."""

    async def main():
        async with VLLMModel("demo:long", server.url, server.token) as model:
            for _ in range(5):
                async with contextlib.aclosing(model.stream(HELLO)) as events:
                    async for event in events:
                        if event.type == "text_delta":
                            break

    asyncio.run(main())
    server.stop()
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []
