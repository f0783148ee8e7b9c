"""A pool of connections that never queues, and whose credentials stay at home.

A pool belongs to one origin (scheme, host, port) and to one event loop. Its headers, the API key
among them, go to that origin only: redirects are followed by hand, inside the origin, with the
POST kept (RFC 9110, 15.4.8 and 15.4.9).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tframex_nb.errors import PoolExhausted
from tframex_nb.http import open_client, public_url, through_proxy, tls_context
from tframex_nb.models._log_filter import hide_secrets_of
from tframex_nb.settings.urls import origin

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    import httpx

    from tframex_nb.http import Timeouts, TransportOptions

__all__ = ["CrossOriginRedirect", "Pool", "RedirectLoop"]

MAX_REDIRECTS = 5
_ORDINARY = frozenset({"accept", "content-type"})


class CrossOriginRedirect(Exception):
    """A redirect points to another origin; it was not followed."""

    def __init__(self, status: int, location: str) -> None:
        super().__init__(f"{status} to {location}")
        self.status = status
        self.location = location


class RedirectLoop(Exception):
    """More redirects than any sane server sends."""


class Pool:
    """The connections to one origin, made for the running loop, counted, never queued for.

    Each connection has a client of its own. One client for all would queue in silence beyond its
    limit, and looks at every connection on every request: with 200 streams that took half of
    the CPU time.
    """

    def __init__(
        self,
        url: str,
        *,
        options: TransportOptions,
        timeouts: Timeouts,
        headers: Callable[[], Mapping[str, str]],
    ) -> None:
        self._url = url
        self._options = options
        self._timeouts = timeouts
        self._headers = headers
        self._tls: ssl.SSLContext | None = None
        self._clients: list[httpx.AsyncClient] = []
        self._idle: list[httpx.AsyncClient] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: AsyncGenerator[None, None] | None = None
        self._open = 0

    @property
    def open_streams(self) -> int:
        """How many responses are being read now."""
        return self._open

    @property
    def through_proxy(self) -> bool:
        """Whether a proxy stands between, by the options or by the environment."""
        return through_proxy(self._url, self._options)

    @contextlib.asynccontextmanager
    async def request(
        self, method: str, url: str, *, content: bytes | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Send a request to the pool's origin; the connection is closed when the block is left.

        A response that was read to its end gives its connection back for the next one. Raises
        ``PoolExhausted``, ``CrossOriginRedirect``, ``RedirectLoop`` and httpx's own errors.
        """
        if self._open >= self._options.max_connections:
            raise self._exhausted()
        await self.open()
        idle = self._idle
        client = idle.pop() if idle else self._another()
        self._open += 1
        try:
            response = await self._send(client, method, url, content)
            try:
                yield response
            finally:
                await response.aclose()
        finally:
            self._open -= 1
            idle.append(client)

    async def open(self) -> None:
        """Get ready for the running loop, outside any bound: loading CAs takes time."""
        loop = asyncio.get_running_loop()
        if self._keeper is None or self._loop is not loop:
            if self._tls is None:
                self._tls = tls_context(self._url, self._options)
            self._loop, self._clients, self._idle = loop, [], []
            self._keeper = _keep(self._clients)
            await anext(self._keeper)
            hide_secrets_of(self)
            self._idle.append(self._another())  # a proxy that cannot be used is told now

    def secrets(self) -> list[str]:
        """Return what the headers hold beside the ordinary: no log may show it."""
        values = (v for k, v in self._headers().items() if k not in _ORDINARY)
        return [v.removeprefix("Bearer ") for v in values if v]

    async def aclose(self) -> None:
        """Close every connection; the next request opens new ones."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None and self._loop is asyncio.get_running_loop():
            await keeper.aclose()

    def _another(self) -> httpx.AsyncClient:
        client = open_client(
            self._url, options=self._options, timeouts=self._timeouts, tls=self._tls
        )
        client.headers.update(self._headers())  # here, so that no frame that may fail holds them
        self._clients.append(client)
        return client

    async def _send(
        self, client: httpx.AsyncClient, method: str, url: str, content: bytes | None
    ) -> httpx.Response:
        for _ in range(MAX_REDIRECTS):
            request = client.build_request(method, url, content=content)
            response = await client.send(request, stream=True)
            if response.status_code not in {301, 302, 303, 307, 308}:
                return response
            await response.aclose()
            url = self._redirected(response, method)
        raise RedirectLoop(f"more than {MAX_REDIRECTS} redirects")

    def _redirected(self, response: httpx.Response, method: str) -> str:
        location = response.headers.get("location", "")
        try:
            target = str(response.request.url.join(location))
        except Exception:  # noqa: BLE001 - httpx and idna raise many kinds for a hostile header
            raise CrossOriginRedirect(response.status_code, "(not a URL)") from None
        keeps_method = response.status_code in {307, 308} or method == "GET"
        if not location or not keeps_method or origin(target) != origin(self._url):
            raise CrossOriginRedirect(response.status_code, public_url(target) if location else "")
        return target

    def _exhausted(self) -> PoolExhausted:
        limit = self._options.max_connections
        return PoolExhausted(
            f"all {limit} connections to {public_url(self._url)} are in use",
            hint=f"wait for a stream to end, or raise max_connections above {limit} "
            f"(TFRAMEX_MAX_CONNECTIONS={limit * 2})",
            url=public_url(self._url),
        )


async def _keep(clients: list[httpx.AsyncClient]) -> AsyncGenerator[None, None]:
    """Close ``clients`` on their own loop when their owner goes away or the loop shuts down.

    A suspended async generator is the one thing that a loop closes by itself, both when it is
    collected and in ``shutdown_asyncgens``, so that ``asyncio.run`` leaves no socket behind.
    """
    try:
        yield
    finally:
        for client in clients:
            await client.aclose()
