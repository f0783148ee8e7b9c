"""The way to an endpoint: a real proxy, a real TLS server, a private CA."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from typing import Any, Self

import pytest
import trustme
from fault_server import KEY, FaultServer

from tframex_nb.errors import ConnectionFailed
from tframex_nb.http import TransportOptions
from tframex_nb.models import Endpoints, VLLMModel
from tframex_nb.settings import load_settings

ASK = [{"role": "user", "content": "hi"}]


class Proxy:
    """A forward proxy on loopback: it tunnels, forwards plain HTTP, and records what it saw.

    Every host leads to ``target``, a port of this machine, so that any name can be asked for.
    """

    def __init__(self, target: int, *, login: str = "") -> None:
        self.heads: list[str] = []
        self._target = target
        self._login = f"Basic {base64.b64encode(login.encode()).decode()}" if login else ""
        self._open: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode())
        if self._login and self._login not in self.heads[-1]:
            writer.write(b"HTTP/1.1 407 Login\r\ncontent-length: 0\r\n\r\n")
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._open.append(up_writer)
        if head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            method, url, rest = head.split(b" ", 2)
            path = b"/" + url.split(b"/", 3)[3]
            up_writer.write(b" ".join((method, path, rest)))
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_pipe(reader, up_writer), _pipe(up_reader, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def tls(authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("models.example", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def bundle(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


async def answer_of(url: str, **options: Any) -> str:
    async with VLLMModel("m", url, KEY, transport=TransportOptions(**options)) as model:
        return await model.run(ASK)


def test_proxy_of_the_environment_carries_plain_http(monkeypatch):
    async def play():
        async with FaultServer() as server, Proxy(server.port) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
            text = await answer_of("http://models.example/plain/v1")
            return text, proxy.heads[0].split("\r\n")[0], server.requests[0].headers

    text, line, headers = asyncio.run(play())
    assert text
    assert line == "POST http://models.example/plain/v1/chat/completions HTTP/1.1"
    assert headers["authorization"] == f"Bearer {KEY}"


def test_proxy_tunnels_tls_and_never_sees_the_key(tls, bundle):
    """The login in the proxy's URL goes to the proxy, the key through the tunnel only."""

    async def play():
        async with FaultServer(tls=tls) as server, Proxy(server.port, login="me:pw") as proxy:
            url = f"http://me:pw@127.0.0.1:{proxy.port}"
            text = await answer_of("https://models.example/plain/v1", proxy=url, ca_bundle=bundle)
            return text, proxy.heads, server.requests[0].headers

    text, heads, headers = asyncio.run(play())
    assert text
    assert heads[0].startswith("CONNECT models.example:443 HTTP/1.1")
    assert KEY not in "".join(heads)
    assert headers["authorization"] == f"Bearer {KEY}"
    assert "proxy-authorization" not in headers


def test_proxy_that_wants_a_login_says_so(tls, bundle):
    async def play():
        async with FaultServer(tls=tls) as server, Proxy(server.port, login="me:pw") as proxy:
            url = f"http://me:wr0ng@127.0.0.1:{proxy.port}"
            await answer_of("https://models.example/plain/v1", proxy=url, ca_bundle=bundle)

    with pytest.raises(ConnectionFailed, match="through the proxy") as caught:
        asyncio.run(play())
    assert "TFRAMEX_PROXY" in caught.value.hint
    assert "wr0ng" not in str(caught.value)


def test_ca_of_the_environment_is_honoured_on_this_host_too(tls, bundle, monkeypatch, tmp_path):
    """``SSL_CERT_FILE`` is how a company's machine says which CAs it trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", bundle)

    async def play():
        async with FaultServer(tls=tls) as server:
            environ = {"TFRAMEX_API_URL": server.url("plain"), "TFRAMEX_MODEL": "m"}
            endpoints = Endpoints(load=lambda **given: load_settings(tmp_path, environ, **given))
            try:
                return await endpoints.resolve().run(ASK)
            finally:
                await endpoints.aclose()

    assert asyncio.run(play())
