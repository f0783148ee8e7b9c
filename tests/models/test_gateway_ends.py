"""The gateway over real HTTP: cuts, models of any kind, connections, threads, processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fault_server import ANSWER, CASES, KEY
from gateway_access import ASK, ASKED, STREAMED, access, text_of
from scripted_server import Say, play, server, until

from tframex_nb.errors import (
    BadResponse,
    RateLimited,
)
from tframex_nb.http import TransportOptions
from tframex_nb.messages import (
    Event,
    Message,
    MessageFinished,
    TextDelta,
    ToolCall,
    ToolCallStarted,
)
from tframex_nb.models import RetryPolicy, VLLMModel
from tframex_nb.models.gateway import Gateway, GatewayRun

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["play", "server"]  # fixtures

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
    """Python 3.12 warns of each fork beside threads, which is what this is about."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (out.stdout, out.stderr) == ("both\n", "")


def test_importing_it_loads_no_server():
    code = "import sys, tframex_nb.models.gateway; print({'uvicorn', 'httpx'} & set(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert out.stdout == "set()\n"
