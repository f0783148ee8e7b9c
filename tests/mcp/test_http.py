"""Servers behind a URL: what a wrong one, a refusal, a cut stream and a redirect come to."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from mcp_site import Site, answer

from tframex_nb.mcp import McpConnectionLost, McpServer, McpStartFailed, McpTimeout

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

KEY = "Bearer sk-verysecret"


def opened(url: str, **options: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), McpServer(url=url, name="site", **options):
            pass

    asyncio.run(main())


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_told_without_them(site, status):
    site.reply = lambda handler: answer(handler, status)
    with pytest.raises(McpStartFailed, match=f"refused the credentials .{status}.") as caught:
        opened(site.url, headers={"authorization": KEY})
    assert "set headers beside the url of [mcp.site]" in caught.value.hint
    assert "sk-verysecret" not in str(caught.value)
    assert site.seen[0][1]["authorization"] == KEY


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b"nothing here", "cannot be reached: Not Found"),
        (200, b"<html>a page</html>", "cannot be reached: Unexpected content type: text/html"),
        (500, b"", "cannot be reached: Server returned an error response"),
    ],
    ids=["404", "a web page", "500"],
)
def test_a_url_that_is_no_mcp_server_is_told_of(site, status, body, words):
    site.reply = lambda handler: answer(handler, status, body, content_type="text/html")
    with pytest.raises(McpStartFailed, match=words) as caught:
        opened(f"{site.url}?token=sk-verysecret")
    assert "mend url, headers of [mcp.site]" in caught.value.hint
    assert "sk-verysecret" not in str(caught.value)


def test_nothing_at_the_url_is_told_of(site):
    url = site.url
    site.close()
    with pytest.raises(McpStartFailed, match=r"cannot be reached: \w"):
        opened(url)
    site.close = lambda: None


def test_a_header_never_follows_a_redirect_to_another_place(site):
    other = Site()
    try:
        site.reply = lambda handler: answer(handler, 307, location=other.url)
        with pytest.raises(McpStartFailed, match="not followed"):
            opened(site.url, headers={"authorization": KEY})
        assert other.seen == []
    finally:
        other.close()


def test_a_url_that_never_answers_is_given_up(site):
    release = threading.Event()
    site.reply = lambda handler: release.wait(20)
    try:
        with pytest.raises(McpTimeout, match=r"did not start within 0\.5 s"):
            opened(site.url, connect_timeout=0.5)
    finally:
        release.set()


def test_an_endless_answer_is_not_read_to_its_end(site):
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("connection", "close")
        handler.end_headers()
        try:
            for _ in range(100):
                handler.wfile.write(b" " * 2**20)
        except OSError:
            pass
        handler.close_connection = True

    site.reply = endless
    with pytest.raises(McpStartFailed, match="a message of more than 32 MiB"):
        opened(site.url)


def test_a_bomb_is_not_unpacked(site):
    site.reply = lambda handler: answer(
        handler, 200, b"x", content_type="application/json", content_encoding="gzip"
    )
    with pytest.raises(McpStartFailed, match="compresses"):
        opened(site.url)


def test_a_server_that_dies_in_mid_call_is_told_of(serve, tricks):
    """The stream of the call is cut; the server is reached again once it is back."""
    url = serve(lambda port: [*tricks, str(port)])
    port = int(url.split(":")[2].split("/")[0])

    async def main():
        async with McpServer(url=url, name="tricks") as server:
            tools = {tool.name: tool for tool in await server.tools()}
            with pytest.raises(McpConnectionLost, match="the MCP server 'tricks' "):
                await tools["die"].function({})
            with pytest.raises(McpStartFailed, match="cannot be reached"):
                await tools["add"].function({"a": 1, "b": 1})
            await asyncio.to_thread(serve, lambda port: [*tricks, str(port)], port)
            assert await tools["add"].function({"a": 1, "b": 1}) == "2"

    asyncio.run(main())
