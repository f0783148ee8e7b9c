"""A pool of connections that never queues, and whose credentials stay at home.

A pool belongs to one origin (scheme, host, port) and to one event loop. Its headers, the API key
among them, go to that origin only: redirects are followed by hand, inside the origin, with the
POST kept (RFC 9110, 15.4.8 and 15.4.9).
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Home:
    """The connections on one event loop; who reads from them holds it, so that it stays open."""

    loop: asyncio.AbstractEventLoop
    clients: list[httpx.AsyncClient]
    idle: list[httpx.AsyncClient]
    keeper: AsyncGenerator[None, None]


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
        self._home: _Home | None = None
        self._open = 0
        self._siblings: weakref.WeakSet[Pool] = weakref.WeakSet()

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
        home = await self.open()
        client = home.idle.pop() if home.idle else self._another(home)
        self._open += 1
        try:
            response = await self._send(client, method, url, content)
            try:
                yield response
            finally:
                await response.aclose()
        finally:
            self._open -= 1
            home.idle.append(client)

    async def open(self) -> _Home:
        """Get ready for the running loop, outside any bound: loading CAs takes time.

        What another loop still reads goes on; its connections close when it is done.
        """
        loop = asyncio.get_running_loop()
        home = self._home
        if home is not None and home.loop is loop:
            return home
        if self._tls is None:
            self._tls = tls_context(self._url, self._options)
        clients: list[httpx.AsyncClient] = []
        home = _Home(loop, clients, [], _keep(clients))
        await anext(home.keeper)
        hide_secrets_of(self)
        home.idle.append(self._another(home))  # a proxy that cannot be used is told now
        self._home = home
        return home

    def secrets(self) -> list[str]:
        """Return what the headers hold beside the ordinary: no log may show it."""
        values = (v for k, v in self._headers().items() if k not in _ORDINARY)
        return [v.removeprefix("Bearer ") for v in values if v]

    def sibling(self) -> Pool:
        """Return a pool with the same settings for another loop, closed with this one."""
        other = Pool(
            self._url, options=self._options, timeouts=self._timeouts, headers=self._headers
        )
        other._tls = self._tls
        self._siblings.add(other)
        return other

    def let_go(self) -> None:
        """Close the connections from any thread, on their own loop; what is read there goes on."""
        home, self._home = self._home, None
        if home is not None and not self._open and not home.loop.is_closed():
            asyncio.run_coroutine_threadsafe(_close(home), home.loop)

    async def aclose(self) -> None:
        """Close every connection; the next request opens new ones."""
        for other in self._siblings:
            other.let_go()
        home, self._home = self._home, None
        if home is not None and home.loop is asyncio.get_running_loop():
            await home.keeper.aclose()

    def _another(self, home: _Home) -> httpx.AsyncClient:
        client = open_client(
            self._url, options=self._options, timeouts=self._timeouts, tls=self._tls
        )
        client.headers.update(self._headers())  # here, so that no frame that may fail holds them
        home.clients.append(client)
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


async def _close(home: _Home) -> None:
    await home.keeper.aclose()


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
