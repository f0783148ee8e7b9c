"""VLLMModel: what it sends, how it shares connections, how it closes them, what it never shows."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import json
import logging
import socket
import ssl
import traceback

import pytest
import trustme
from fault_server import ANSWER, KEY
from pydantic import SecretStr

from tframex_nb.errors import (
    BadRequest,
    BadResponse,
    ConnectionFailed,
    ModelError,
    ModelTimeout,
    PoolExhausted,
    SettingsError,
)
from tframex_nb.http import Timeouts, TransportOptions, quick_get, through_proxy
from tframex_nb.messages import Message, ToolCall
from tframex_nb.models import ChatModel, VLLMModel
from tframex_nb.models._retry import RetryPolicy

ASK = [{"role": "user", "content": "hi"}]
ONCE = RetryPolicy(retries=0)
PATIENCE = 5  # seconds that a close may take before the test fails; figures are in benchmarks/


# -- what is sent -------------------------------------------------------------------------------


def test_parameters_go_out_unchanged(on_bench):
    """Defaults, a call's own parameters over them, None takes one back, anything is allowed."""

    async def play(b):
        schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
        tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
        model = b.model("plain", max_tokens=9, temperature=0.5, top_k=3)
        text = await model.run(
            ASK, temperature=0, top_k=None, response_format=schema, tools=tools,
            tool_choice="auto", chat_template_kwargs={"enable_thinking": False},
        )  # fmt: skip
        assert text == ANSWER
        assert b.server.requests[0].body == {
            "model": "m",
            "messages": ASK,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 9,
            "temperature": 0,
            "response_format": schema,
            "tools": tools,
            "tool_choice": "auto",
            "chat_template_kwargs": {"enable_thinking": False},
        }

    on_bench(play)


def test_messages_go_out_in_openai_shape(on_bench):
    """Messages and mappings may be mixed; half a surrogate pair cannot break the JSON."""

    async def play(b):
        call = ToolCall("a", "f", "{}")
        messages = [
            Message("system", "s"),
            Message("assistant", "", tool_calls=(call,), reasoning="never sent"),
            Message("tool", "é\ud800", tool_call_id="a"),
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
        ]
        await b.model("plain").run(messages)
        sent = b.server.requests[0].body["messages"]
        assert sent[1]["tool_calls"] == [call.to_dict()]
        assert sent[2] == {"role": "tool", "content": "é?", "tool_call_id": "a"}
        assert "never sent" not in json.dumps(sent)

    on_bench(play)


def test_key_and_headers_are_sent(on_bench):
    """Bearer for a key, extra headers as given, no compression asked for."""

    async def play(b):
        await b.model("plain", headers={"X-Team": "blue"}).run(ASK)
        headers = b.server.requests[0].headers
        assert headers["authorization"] == f"Bearer {KEY}"
        assert headers["x-team"] == "blue"
        assert headers["accept-encoding"] == "identity"
        assert headers["content-type"] == "application/json"

    on_bench(play)


def test_no_key_sends_no_authorization(on_bench):
    """And the error of a server that wants one says that none was sent."""

    async def play(b):
        outcome = await b.ask("s401", api_key=None)
        assert "authorization" not in b.server.requests[0].headers
        assert "no API key was sent" in outcome.error.hint

    on_bench(play)


def test_login_in_the_url_becomes_a_header(on_bench):
    """The URL that is logged, shown and requested holds no password."""

    async def play(b):
        url = b.server.url("plain").replace("http://", "http://me:s3cret@")
        model = b.model("plain", url=url, api_key=None)
        await model.run(ASK)
        assert b.server.requests[0].headers["authorization"].startswith("Basic ")
        assert "s3cret" not in repr(model) + model.api_url

    on_bench(play)


@pytest.mark.parametrize("suffix", ["", "/", "/chat/completions", "/chat/completions/"])
def test_base_url_may_be_written_in_several_ways(on_bench, suffix):
    """A trailing slash, or the whole address of the call."""

    async def play(b):
        model = b.model("plain", url=b.server.url("plain") + suffix)
        assert await model.run(ASK) == ANSWER
        assert b.server.requests[0].path == "/plain/v1/chat/completions"

    on_bench(play)


def test_query_of_the_url_is_kept(on_bench):
    """Azure wants its api-version on every request."""

    async def play(b):
        model = b.model("plain", url=b.server.url("plain") + "?api-version=2024-10-21")
        await model.run(ASK)
        assert b.server.requests[0].path == "/plain/v1/chat/completions?api-version=2024-10-21"

    on_bench(play)


def test_usage_is_not_asked_for_where_it_is_refused(on_bench):
    """One more request without it, at once, and never again on this model."""

    async def play(b):
        model = b.model("no_stream_options")
        assert await model.run(ASK) == ANSWER
        assert await model.run(ASK) == ANSWER
        assert ["stream_options" in r.body for r in b.server.requests] == [True, False, False]

    on_bench(play)


def test_request_that_is_no_json_is_an_error(ask):
    """Nothing is sent."""
    outcome = ask("plain", params={"logit_bias": {1, 2}})
    assert isinstance(outcome.error, BadRequest)
    assert "not JSON" in outcome.error.message
    assert "numbers" in outcome.error.hint
    assert outcome.requests == 0
    assert isinstance(ask("plain", params={"temperature": float("nan")}).error, BadRequest)


def test_call_stream_yields_text_only(on_bench):
    """TFrameX's shape."""

    async def play(b):
        pieces = [piece async for piece in b.model("reasoning").call_stream(ASK)]
        assert pieces == ["yes"]

    on_bench(play)


def test_list_models(on_bench):
    """Sorted names; the same typed errors as a call."""

    async def play(b):
        assert await b.model("models").list_models() == ["a", "b"]
        assert b.server.requests[0].method == "GET"
        with pytest.raises(BadResponse, match="web page"):
            await b.model("html").list_models()
        with pytest.raises(ModelError, match="refused the API key"):
            await b.model("s401").list_models()
        with pytest.raises(BadResponse, match="lists no models"):
            await b.model("document").list_models()
        with pytest.raises(ConnectionFailed):
            await b.model("hang_up").list_models()

    on_bench(play)


def test_it_is_a_chat_model():
    """The protocol of the floors above; constructing opens nothing."""
    model = VLLMModel("m", "http://localhost:1/v1", label="team:m")
    assert isinstance(model, ChatModel)
    assert (model.model_name, model.label, model.api_url) == (
        "m",
        "team:m",
        "http://localhost:1/v1",
    )


# -- connections --------------------------------------------------------------------------------


def test_connection_is_reused(on_bench):
    """Keep-alive over plain answers, errors and documents."""

    async def play(b):
        base = b.server.url("plain").removesuffix("/plain/v1")
        model = b.model("plain")
        for _ in range(3):
            await model.run(ASK)
        assert b.server.connections == 1
        other = b.model("s500", url=f"{base}/s500/v1")
        for _ in range(2):
            with pytest.raises(ModelError):
                await other.run(ASK)
        assert b.server.connections == 2

    on_bench(play)


def test_pool_is_bounded_and_never_queues(on_bench):
    """The stream too many is refused with the figure and the setting; then there is room."""

    async def play(b):
        model = b.model("slow", transport=TransportOptions(max_connections=2))
        streams = [model.stream(ASK) for _ in range(2)]
        for stream in streams:
            assert (await anext(stream)).text == "one "
        with pytest.raises(PoolExhausted) as caught:
            await model.run(ASK)
        assert "all 2 connections" in caught.value.message
        assert "raise max_connections above 2" in caught.value.hint
        assert len(b.server.requests) == 2
        await streams[0].aclose()
        b.server.go_on.set()
        assert await model.run(ASK) == "one two "
        await streams[1].aclose()

    on_bench(play)


def test_more_streams_than_httpx_would_open_run_at_once(on_bench):
    """Beyond its hundred, httpx queues in silence; here the pool's size is the only bound."""

    async def play(b):
        model = b.model("slow", transport=TransportOptions(max_connections=130))
        streams = [model.stream(ASK) for _ in range(130)]
        firsts = await asyncio.gather(*(anext(stream) for stream in streams))
        assert len(firsts) == 130
        for stream in streams:
            await stream.aclose()

    on_bench(play)


async def _abandon(how, model):
    stream = model.stream(ASK)
    assert [(await anext(stream)).text for _ in range(2)] == ["one ", "two "]
    if how == "close":
        await stream.aclose()
    elif how == "cancel":
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif how == "raise":
        with contextlib.suppress(KeyError):
            async with contextlib.aclosing(stream):
                raise KeyError
    else:
        await model.aclose()
    return stream


@pytest.mark.parametrize("how", ["close", "cancel", "raise", "model"])
def test_leaving_a_stream_closes_its_connection(on_bench, how):
    """However the consumer goes, the server sees it."""

    async def play(b):
        model = b.model("stall_between_chunks")
        stream = await _abandon(how, model)
        await asyncio.wait_for(b.server.requests[0].closed.wait(), PATIENCE)
        assert model._pool.open_streams == (1 if how == "model" else 0)
        await stream.aclose()

    on_bench(play)


@pytest.mark.parametrize("case", ["stall_before_headers", "stall_before_first_byte"])
def test_cancelling_before_the_first_byte_closes_the_connection(on_bench, case):
    """A prompt that the server still reads is stopped too."""

    async def play(b):
        task = asyncio.ensure_future(b.model(case).run(ASK))
        while not b.server.requests:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(b.server.requests[0].closed.wait(), PATIENCE)

    on_bench(play)


def test_outer_timeout_is_not_taken_for_ours(on_bench):
    """A caller's own asyncio.timeout passes through as TimeoutError."""

    async def play(b):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await b.model("stall_between_chunks").run(ASK)

    on_bench(play)


def test_slow_consumer_is_no_stalled_server(on_bench):
    """The bound is on the server's silence, not on the time between two pulls."""

    async def play(b):
        bounds = Timeouts(connect=5, first_byte=5, between_chunks=0.1, run=5)
        stream = b.model("plain", timeouts=bounds).stream(ASK)
        pieces = []
        async for event in stream:
            await asyncio.sleep(0.15)
            pieces.append(getattr(event, "text", ""))
        assert "".join(pieces) == ANSWER

    on_bench(play)


def test_model_serves_one_loop_after_another(on_bench):
    """A client bound to a loop that is gone is remade; nothing is left open in between."""
    models = []

    async def play(b):
        model = models[0] if models else b.model("plain")
        models[:] = [model]
        model._pool._url = b.server.url("plain")  # the bench has a new port on each loop
        model._base = b.server.url("plain")
        assert await model.run(ASK) == ANSWER

    on_bench(play)
    on_bench(play)


def test_another_loop_does_not_cut_a_running_stream(on_bench):
    """Two threads, a loop each, one model: as a kernel and a background thread share it."""

    async def first_word(model):
        async with contextlib.aclosing(model.call_stream(ASK)) as pieces:
            return await anext(pieces)

    async def play(b):
        async with VLLMModel("m", b.server.url("slow")) as model:
            pieces = model.call_stream(ASK)
            text = await anext(pieces)
            assert await asyncio.to_thread(asyncio.run, first_word(model)) == text
            for _ in range(10):  # the other loop's word to close would come through now
                await asyncio.sleep(0)
            b.server.go_on.set()
            assert text + "".join([piece async for piece in pieces]) == "one two "

    on_bench(play)


def test_forgotten_model_closes_its_connections(on_bench):
    """Collected without aclose, on a loop that goes on."""

    async def play(b):
        model = VLLMModel("m", b.server.url("plain"))
        await model.run(ASK)
        del model
        gc.collect()
        await asyncio.wait_for(b.server.requests[0].closed.wait(), PATIENCE)

    on_bench(play)


def test_redirect_inside_the_origin_keeps_the_post(on_bench):
    """307 and 308 repeat the request with its body and its key."""

    async def play(b):
        await b.model("redirected").run(ASK)
        first, second = b.server.requests
        assert second.path.endswith("/there")
        assert (second.method, second.body) == ("POST", first.body)
        assert second.headers["authorization"] == f"Bearer {KEY}"

    on_bench(play)


# -- nobody there ---------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def _error(url, **options):
    async with VLLMModel("m", url, KEY, retry=ONCE, **options) as model:
        with pytest.raises(ModelError) as caught:
            await model.run(ASK)
    return caught.value


def test_refused_connection():
    """What is not there, and what works without it."""
    error = asyncio.run(_error(f"http://127.0.0.1:{_free_port()}/v1"))
    assert type(error) is ConnectionFailed
    assert "is not there" in error.message
    assert "-m demo" in error.hint
    assert error.transient


def test_unknown_host():
    """A name that no server resolves."""
    error = asyncio.run(_error("http://nowhere.invalid/v1"))
    assert type(error) is ConnectionFailed
    assert "cannot be resolved" in error.message
    assert "spelling" in error.hint
    assert not error.transient


def test_dead_proxy_is_named():
    """It is the proxy that is not there."""
    options = TransportOptions(proxy=f"http://me:s3cret@127.0.0.1:{_free_port()}")
    error = asyncio.run(_error("http://127.0.0.1:9/v1", transport=options))
    assert "through the proxy" in error.message
    assert "TFRAMEX_PROXY" in error.hint
    assert "s3cret" not in str(error) + repr(options)


def test_proxy_of_the_environment_is_not_asked_for_loopback(ask, monkeypatch):
    """A model on this host works behind a company's proxy settings."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{_free_port()}")
    assert ask("plain").text == ANSWER


def test_host_that_needs_no_proxy_is_not_blamed_on_it(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "models.example")
    options = TransportOptions()
    assert not through_proxy("http://models.example/v1", options)
    assert through_proxy("http://elsewhere.example/v1", options)


def test_proxy_that_cannot_be_used_is_a_settings_error():
    """An unknown scheme is told before anything is sent."""

    async def play():
        async with VLLMModel("m", "http://127.0.0.1:9/v1", transport=options) as model:
            await model.run(ASK)

    options = TransportOptions(proxy="gopher://me:s3cret@host")
    with pytest.raises(SettingsError, match="proxy") as caught:
        asyncio.run(play())
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_plain_http_server_asked_for_tls(on_bench):
    """https:// where http:// is spoken."""

    async def play(b):
        url = b.server.url("plain").replace("http:", "https:")
        error = (await b.ask("plain", url=url)).error
        assert type(error) is ConnectionFailed
        assert "does not speak TLS" in error.message
        assert "http:// instead" in error.hint

    on_bench(play)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def tls(authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_untrusted_certificate(on_bench, tls):
    """The error names the setting for a private CA."""

    async def play(b):
        error = (await b.ask("plain")).error
        assert type(error) is ConnectionFailed
        assert "a certificate that is not trusted" in error.message
        assert "TFRAMEX_CA_BUNDLE" in error.hint
        assert not error.transient

    on_bench(play, tls=tls)


def test_private_ca_is_honoured(on_bench, tls, authority, tmp_path):
    """A PEM file beside the public CAs; verify=False switches the check off."""
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)

    async def play(b):
        options = TransportOptions(ca_bundle=str(bundle))
        assert (await b.ask("plain", transport=options)).text == ANSWER
        assert (await b.ask("plain", transport=TransportOptions(verify=False))).text == ANSWER
        with pytest.raises(SettingsError, match="cannot be read") as caught:
            await b.model("plain", transport=TransportOptions(ca_bundle="no.pem")).run(ASK)
        assert "TFRAMEX_CA_BUNDLE" in caught.value.hint

    on_bench(play, tls=tls)


def test_connect_is_bounded():
    """A listener whose queue is full accepts nobody."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        error = asyncio.run(_error(url, timeouts=Timeouts(connect=0.1)))
    assert type(error) is ModelTimeout
    assert (error.phase, error.transient) == ("connect", True)
    assert "within 0.1 s (connect)" in error.message
    assert "timeouts.connect" in error.hint


# -- what is never shown --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    ["sk-x\n", "sk-x\r\nX-Evil: 1", " sk-x", "sk-\x00", "sk-ü", "sk-\u2028"],
    ids=["newline", "header", "space", "null", "umlaut", "separator"],
)
def test_key_that_cannot_be_a_header_is_refused(key):
    """At once, with the way out, and without showing it."""
    with pytest.raises(SettingsError) as caught:
        VLLMModel("m", "http://localhost/v1", key)
    assert "the API key holds" in caught.value.message
    assert ".strip()" in caught.value.hint
    assert "sk-" not in str(caught.value)
    with pytest.raises(SettingsError, match="X-Team holds"):
        VLLMModel("m", "http://localhost/v1", headers={"X-Team": key})


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x/v1", "http://", "http://a b/v1", "http://x:99999/v1", ""]
)
def test_url_that_is_none_is_refused(url):
    """With an example of a right one."""
    with pytest.raises(SettingsError, match="is not an HTTP URL") as caught:
        VLLMModel("m", url)
    assert "http://localhost:8000/v1" in caught.value.hint


def test_secret_in_the_query_is_refused():
    """A URL is logged by everything on its way."""
    with pytest.raises(SettingsError, match="holds a secret") as caught:
        VLLMModel("m", "https://host/v1?api_key=s3cret")
    assert "s3cret" not in str(caught.value)


LEAKS = ["s401", "error_echo", "error_echo_stream", "echo_bad_json", "echo_200", "plain"]
LEAKS += ["cut_chunk", "hang_up", "no_http", "stall_before_headers", "to_elsewhere", "bad_gzip"]


@pytest.mark.parametrize("case", LEAKS)
def test_key_leaks_nowhere(ask, case, caplog, capfd):
    """Not in repr, str, traceback (locals included), events, output, or a DEBUG log."""
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "asyncio", "tframex_nb"):
        caplog.set_level(logging.DEBUG, logger=name)
    bounds = Timeouts(connect=5, first_byte=0.2, between_chunks=0.2, run=5)
    outcome = ask(case, timeouts=bounds, retry=RetryPolicy(retries=1, backoff=0.001))
    told = [repr(outcome.events), caplog.text, *capfd.readouterr()]
    if outcome.error is not None:
        error = outcome.error
        told += [repr(error), str(error), repr(vars(error)), "".join(error._render_traceback_())]
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        told += ["".join(shown.format()), "".join(traceback.format_exception(error))]
    assert caplog.text
    assert all(KEY not in text for text in told)


def test_placeholder_for_a_key_is_no_secret(ask):
    """Servers that need no key are given "x" or "-": an error stays readable."""
    error = ask("error_echo", api_key="e").error
    assert "bad request with header" in error.message


def test_key_is_in_no_attribute_that_shows_it():
    """Neither the model nor anything that it holds shows its key."""
    model = VLLMModel(
        "m", "http://me:s3cret@localhost/v1", SecretStr(KEY), headers={"api-key": KEY}
    )
    shown = repr(model) + repr(vars(model)) + repr(vars(model._pool)) + str(model)
    assert KEY not in shown
    assert "s3cret" not in shown


# -- probes ---------------------------------------------------------------------------------------


def test_quick_get(on_bench):
    """No key, no redirect, a bound on the whole, OSError where nothing answers."""

    async def play(b):
        answer = await quick_get(b.server.url("models") + "/models", 5)
        assert (answer.status, b"data" in answer.body) == (200, True)
        assert "authorization" not in b.server.requests[0].headers
        assert (await quick_get(b.server.url("to_elsewhere"), 5)).status == 307
        assert len((await quick_get(b.server.url("endless_error"), 5)).body) == 1 << 20
        with pytest.raises(TimeoutError, match=r"did not answer in 0.05 s"):
            await quick_get(b.server.url("stall_before_headers"), 0.05)
        with pytest.raises(OSError, match="127"):
            await quick_get(f"http://127.0.0.1:{_free_port()}/v1", 5)

    on_bench(play)


def test_call_shapes_of_the_seed():
    """Positional name, URL and key; sampling parameters at the end."""
    parameters = list(inspect.signature(VLLMModel).parameters)
    assert parameters[:3] == ["model_name", "api_url", "api_key"]
    assert VLLMModel("m", "http://localhost/v1", None, max_tokens=5)._defaults == {"max_tokens": 5}
