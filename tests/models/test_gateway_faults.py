"""The gateway over real HTTP: what a framework, and its run, see of a model's faults."""

from __future__ import annotations

import asyncio

import openai
import pytest
from fault_server import KEY
from gateway_access import ASK, ASKED, STREAMED, access, text_of
from scripted_server import Say, play, server

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
from tframex_nb.http import Timeouts
from tframex_nb.models import Endpoints, RetryPolicy, VLLMModel
from tframex_nb.models.gateway import Gateway

__all__ = ["play", "server"]  # fixtures

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
    assert fault.message.replace(fault.url, "the model") in seen.message
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
    assert fault.message.replace(fault.url, "the model") in chunks[-1]["error"]["message"]
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
