"""Agents as an MCP server over streamable HTTP: real processes, and the official SDK's client."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx
import psutil
import pytest
from mcp_served import PATIENCE, over_http, raw, seen, text_of, web
from scripted_server import Say, server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripted_server import Request, ScriptedServer

__all__ = ["server"]

ERAS = ("legacy", "auto")  # with the handshake, and without
FILE = """
from tframex_nb import BasicAgent, tool

print("printed at import")

@tool
def shout(text: str) -> str:
    "Say it louder."
    return text.upper()

clerk = BasicAgent("clerk")
"""
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture
def agents() -> str:
    """A file with an agent and a function in the current folder."""
    Path("office.py").write_text(FILE)
    return "office.py"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server whose agents the demo model answers, one for all tests: its URL and token."""
    path = tmp_path_factory.mktemp("office") / "office.py"
    path.write_text(FILE)
    with web(str(path), "-m", "demo:fast") as (_, url, token):
        yield url, token


def real(server: ScriptedServer) -> dict[str, str]:
    """Return the settings that make a scripted server the model."""
    return {"TFRAMEX_API_URL": server.url, "TFRAMEX_MODEL": "scripted"}


@pytest.mark.parametrize("mode", ERAS)
def test_a_client_with_the_token_lists_and_calls(office: tuple[str, str], mode: str) -> None:
    async def main() -> None:
        async with over_http(*office, mode=mode) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["shout", "clerk"]
            assert text_of(await client.call_tool("shout", {"text": "hey"})) == "HEY"
            result = await client.call_tool("clerk", {"prompt": "hello"})
            assert (bool(text_of(result)), result.is_error) == (True, False)
            assert (await client.call_tool("shout", {})).is_error

    asyncio.run(main())


@pytest.mark.processes
@pytest.mark.parametrize("mode", ERAS)
def test_a_call_over_http_tells_its_progress_and_stops_when_it_is_cancelled(
    agents: str, mode: str, server: ScriptedServer
) -> None:
    server.say(Say("Once upon a time", hold=True), "The end.")

    async def main(url: str, token: str) -> None:
        told: list[str | None] = []

        async def progress(_done: float, _total: float | None, message: str | None) -> None:
            told.append(message)

        async with over_http(url, token, mode=mode) as client:

            async def call() -> None:
                await client.call_tool("clerk", {"prompt": "tell"}, progress_callback=progress)

            async with asyncio.timeout(PATIENCE):
                async with anyio.create_task_group() as group:
                    group.start_soon(call)
                    await seen(lambda: "writing, 16 characters" in told)
                    group.cancel_scope.cancel()
            assert await asyncio.to_thread(server.wait_closed)
            assert text_of(await client.call_tool("clerk", {"prompt": "again"})) == "The end."

    with web(agents, **real(server)) as (_, url, token):
        asyncio.run(main(url, token))


@pytest.mark.processes
def test_two_clients_are_served_at_once(agents: str, server: ScriptedServer) -> None:
    """The second is answered while the first still waits; each hears its own answer."""

    def answer(request: Request) -> Say:
        return Say(f"answer to {request.texts[-1]}", hold=request.texts[-1] == "one")

    server.answer = answer

    async def main(url: str, token: str) -> None:
        async with over_http(url, token) as one, over_http(url, token, mode="legacy") as two:
            first = asyncio.create_task(one.call_tool("clerk", {"prompt": "one"}))
            await seen(lambda: server.busy)
            result = await two.call_tool("clerk", {"prompt": "two"})
            assert text_of(result) == "answer to two"
            assert not first.done()
            first.cancel()
            await asyncio.wait({first})

    with web(agents, **real(server)) as (_, url, token):
        asyncio.run(main(url, token))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic {token}"}, 401),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1:1"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example", "Authorization": ""}, 403),
        ({"Origin": "{origin}"}, 200),
    ],
    ids=str,
)
def test_only_who_has_the_token_and_is_no_web_page_gets_in(
    office: tuple[str, str], headers: dict[str, str], status: int
) -> None:
    url, token = office
    places = {"token": token, "origin": url.removesuffix("/mcp")}
    given = {"Authorization": "Bearer {token}", "Accept": "application/json, text/event-stream"}
    sent = {name: text.format(**places) for name, text in {**given, **headers}.items()}
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}}
    hello["clientInfo"] = {"name": "test", "version": "1"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    answer = httpx.post(url, json=body, headers=sent, trust_env=False)
    assert answer.status_code == status
    assert token not in answer.text
    assert answer.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)


def test_other_paths_and_bodies_are_refused(office: tuple[str, str]) -> None:
    url, token = office
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    with httpx.Client(headers=headers, trust_env=False) as http:
        assert http.post(url.removesuffix("/mcp") + "/", json=PING).status_code == 404
        assert http.post(url, content=b"{").status_code == 400
        assert http.post(url, content=b"x" * (5 << 20)).status_code == 413
        assert http.post(url, json=PING, headers={"Mcp-Session-Id": "other"}).status_code == 404
        assert http.get(url.removesuffix("/mcp") + "/docs").status_code == 404


@pytest.mark.processes
def test_connections_that_ask_nothing_keep_nobody_out(agents: str) -> None:
    """Any process here can open them; macOS gives a server 256 files in all."""
    few = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))\n"
    Path(agents).write_text(few + Path(agents).read_text())
    with web(agents, "-m", "demo:fast") as (_, url, token), contextlib.ExitStack() as held:
        port = int(url.split(":")[2].partition("/")[0])
        for _ in range(400):
            silent = held.enter_context(socket.create_connection(("127.0.0.1", port)))
            silent.settimeout(PATIENCE)
            silent.sendall(b"GET /mcp HTTP/1.1\r\nHost: ")
        answer = httpx.post(url, json=PING, headers={"authorization": "Bearer wrong"})
        assert answer.status_code == 401
        assert token


@pytest.mark.processes
def test_it_listens_on_loopback_alone(agents: str) -> None:
    with web(agents) as (process, url, _):
        listening = [
            each.laddr
            for each in psutil.Process(process.pid).net_connections()
            if each.status == psutil.CONN_LISTEN
        ]
        assert [address.ip for address in listening] == ["127.0.0.1"]
        assert f":{listening[0].port}/" in url


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_ctrl_c_ends_it_with_a_run_under_way_and_clients_that_listen(
    agents: str, how: signal.Signals, server: ScriptedServer
) -> None:
    server.say(Say("Once", hold=True))

    async def main(url: str, token: str, stop: asyncio.Event) -> None:
        async with over_http(url, token, mode="legacy") as client:
            call = asyncio.create_task(client.call_tool("clerk", {"prompt": "tell"}))
            await seen(lambda: server.busy)
            process.send_signal(how)
            assert await asyncio.to_thread(process.wait, PATIENCE) == 0
            call.cancel()
            await asyncio.wait({call})

    with web(agents, **real(server)) as (process, url, token):
        asyncio.run(main(url, token, asyncio.Event()))
        assert server.wait_closed()
        assert process.stderr is not None
        said = process.stderr.read()
        assert "Traceback" not in said
        assert process.stdout is not None
        assert process.stdout.read() == ""


@pytest.mark.processes
def test_a_token_from_the_environment_is_never_shown(agents: str) -> None:
    secret = "planted-token-of-the-test"
    with web(agents, "--token-env", "OFFICE_TOKEN", OFFICE_TOKEN=secret) as (process, url, _):

        async def main() -> None:
            async with over_http(url, secret) as client:
                assert text_of(await client.call_tool("shout", {"text": "hey"})) == "HEY"

        asyncio.run(main())
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert secret not in process.stderr.read()
        assert process.wait(PATIENCE) == 0


@pytest.mark.processes
@pytest.mark.parametrize("token", ["short", "sixteen letters and spaces", "sixteen-letters-ü"])
def test_a_token_that_protects_nothing_is_refused(agents: str, token: str) -> None:
    with raw(agents, "--http", "0", "--token-env", "OFFICE_TOKEN", OFFICE_TOKEN=token) as started:
        assert started.process.stderr is not None
        said = started.process.stderr.read()
        assert started.process.wait(PATIENCE) == 2
        assert "16 printable ASCII characters" in said
        assert token not in said


@pytest.mark.processes
def test_a_port_that_is_taken_is_named(agents: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with raw(agents, "--http", port) as started:
            assert started.process.stderr is not None
            said = started.process.stderr.read()
            assert started.process.wait(PATIENCE) == 2
    assert f"port {port} of 127.0.0.1 cannot be had" in said
    assert "hint: name another one, or --http 0" in said
