"""The one HTTP client: pools that never queue, bounded waits, credentials that stay at home.

A client belongs to one origin (scheme, host, port) and to one event loop. Its headers, the API
key among them, go to that origin only: redirects are followed by hand, inside the origin, with
the POST kept (RFC 9110, 15.4.8 and 15.4.9). httpx lives behind this module.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies

from tframex_nb.errors import PoolExhausted, SettingsError
from tframex_nb.settings.urls import is_loopback, origin

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    import httpx

__all__ = [
    "CrossOriginRedirect",
    "Pool",
    "QuickAnswer",
    "RedirectLoop",
    "Timeouts",
    "TransportOptions",
    "bytes_of",
    "check_url",
    "open_client",
    "public_url",
    "quick_get",
    "read_bounded",
]

MAX_REDIRECTS = 5
KEEP_ALIVE = 30.0  # seconds that an idle connection is kept
PROBE_BODY = 1 << 20  # bytes that a probe reads at most
_SECRET_PARAMETERS = ("key", "token", "secret", "password", "sig", "auth")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds on every wait, in seconds; None means no bound.

    ``connect`` is the TCP and TLS handshake, ``first_byte`` the time from the request to the
    first event (keep-alive comments do not end it), ``between_chunks`` the silence between two
    reads (comments do break it), ``run`` one whole model call with its retries.
    """

    connect: float | None = 10.0
    first_byte: float | None = 120.0
    between_chunks: float | None = 60.0
    run: float | None = 3600.0


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """How connections are made.

    ``max_connections`` bounds the streams open at a time; ``proxy`` is a URL (socks needs
    httpx[socks]); ``ca_bundle`` a PEM file or directory trusted besides the public CAs;
    ``verify=False`` switches TLS checks off; ``trust_env`` honours ``HTTPS_PROXY``, ``NO_PROXY``
    and ``SSL_CERT_FILE``, but a loopback address never goes through a proxy of the environment.
    """

    max_connections: int = 100
    proxy: str | None = field(default=None, repr=False)  # may hold a password
    ca_bundle: str | None = None
    verify: bool = True
    trust_env: bool = True


@dataclass(frozen=True, slots=True)
class QuickAnswer:
    """What a probe saw: the HTTP status and at most 1 MiB of body."""

    status: int
    body: bytes = field(repr=False)


class CrossOriginRedirect(Exception):
    """A redirect points to another origin; it was not followed."""

    def __init__(self, status: int, location: str) -> None:
        super().__init__(f"{status} to {location}")
        self.status = status
        self.location = location


class RedirectLoop(Exception):
    """More redirects than any sane server sends."""


def check_url(url: str) -> str:
    """Return ``url`` without spaces around it; raise ``SettingsError`` unless it is http(s)."""
    text = url.strip()
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not text.isprintable() or " " in text:
        shown = public_url(text)
        raise SettingsError(
            f"{shown!r} is not an HTTP URL",
            hint="write it with scheme and host, as in http://localhost:8000/v1",
        )
    if any(_is_secret_parameter(pair) for pair in parts.query.split("&")):
        raise SettingsError(
            f"{public_url(text)!r} holds a secret, which would end up in logs",
            hint="give the key as api_key, or in headers={'api-key': …}",
        )
    return text


def public_url(url: str) -> str:
    """Return the URL without user, password, secret parameters and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    netloc = parts.netloc.rpartition("@")[2]
    query = "&".join(_public_parameter(pair) for pair in parts.query.split("&") if pair)
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def open_client(
    url: str,
    *,
    options: TransportOptions,
    timeouts: Timeouts,
    headers: Mapping[str, str] | None = None,
) -> httpx.AsyncClient:
    """Return a client for the origin of ``url``; it opens nothing yet.

    It follows no redirect and bounds no read: the model's ``Waits`` do that.
    Raises ``SettingsError`` for a CA bundle or a proxy that cannot be used.
    """
    import httpx

    limits = httpx.Limits(
        max_connections=None,  # Pool counts: httpx would queue in silence
        max_keepalive_connections=options.max_connections,
        keepalive_expiry=KEEP_ALIVE,
    )
    timeout = httpx.Timeout(None, connect=timeouts.connect, write=timeouts.first_byte)
    try:
        return httpx.AsyncClient(
            headers={"accept-encoding": "identity", **(headers or {})},
            timeout=timeout,
            limits=limits,
            proxy=options.proxy,
            verify=_tls(url, options),
            trust_env=options.trust_env and not is_loopback(url),
            follow_redirects=False,
        )
    except (ValueError, ImportError, httpx.InvalidURL) as exc:
        hint = "use http://host:port, or pip install 'httpx[socks]' for a socks5:// proxy"
        raise SettingsError("the proxy cannot be used", hint=hint) from exc.with_traceback(None)


async def quick_get(url: str, within: float, *, trust_env: bool = False) -> QuickAnswer:
    """Fetch ``url`` once, with no key, no redirect and at most ``within`` seconds in all.

    Raises ``OSError`` where nothing answers and ``TimeoutError`` where it takes too long.
    """
    import httpx

    options = TransportOptions(trust_env=trust_env)
    bounds = Timeouts(connect=within, first_byte=within)
    try:
        async with (
            asyncio.timeout(within),
            open_client(url, options=options, timeouts=bounds) as client,
            client.stream("GET", url) as response,
        ):
            body = await read_bounded(response.aiter_bytes(), PROBE_BODY)
            return QuickAnswer(response.status_code, body)
    except (TimeoutError, httpx.TimeoutException):
        raise TimeoutError(f"{public_url(url)} did not answer in {within:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise ConnectionError(f"{public_url(url)}: {exc}") from None


async def read_bounded(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    """Return the first ``limit`` bytes of a body."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) >= limit:
            break
    return bytes(body[:limit])


def bytes_of(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Yield the body as it arrives, decoded where the server compressed it.

    Most servers do not, and then httpx's decoding layers are skipped: they cost a fifth of the
    time of a streamed chunk.
    """
    if response.headers.get("content-encoding", "identity").lower() in {"", "identity"}:
        return cast(
            "AsyncGenerator[bytes, None]", aiter(cast("httpx.AsyncByteStream", response.stream))
        )
    return cast("AsyncGenerator[bytes, None]", response.aiter_bytes())


class Pool:
    """The connections to one origin, made for the running loop, counted, never queued for."""

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
        self._client: httpx.AsyncClient | None = None
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
        environment = self._options.trust_env and not is_loopback(self._url)
        proxies = getproxies() if environment else {}
        scheme = self._url.partition(":")[0]
        return bool(self._options.proxy or proxies.get(scheme) or proxies.get("all"))

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
        self._open += 1
        try:
            response = await self._send(method, url, content)
            try:
                yield response
            finally:
                await response.aclose()
        finally:
            self._open -= 1

    async def open(self) -> None:
        """Make the client for the running loop, outside any bound: CAs take time to load."""
        await self._ready()

    async def aclose(self) -> None:
        """Close every connection; the next request opens new ones."""
        keeper, self._keeper, self._client = self._keeper, None, None
        if keeper is not None and self._loop is asyncio.get_running_loop():
            await keeper.aclose()

    async def _send(self, method: str, url: str, content: bytes | None) -> httpx.Response:
        client = await self._ready()
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

    async def _ready(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client = open_client(
                self._url,
                options=self._options,
                timeouts=self._timeouts,
                headers=self._headers(),
            )
            self._loop = loop
            self._keeper = _keep(self._client)
            await anext(self._keeper)
        return self._client

    def _exhausted(self) -> PoolExhausted:
        limit = self._options.max_connections
        return PoolExhausted(
            f"all {limit} connections to {public_url(self._url)} are in use",
            hint=f"wait for a stream to end, or raise max_connections above {limit} "
            f"(TFRAMEX_MAX_CONNECTIONS={limit * 2})",
            url=public_url(self._url),
        )


async def _keep(client: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    """Close ``client`` on its own loop when its owner goes away or the loop shuts down.

    A suspended async generator is the one thing that a loop closes by itself, both when it is
    collected and in ``shutdown_asyncgens``, so that ``asyncio.run`` leaves no socket behind.
    """
    try:
        yield
    finally:
        await client.aclose()


def _tls(url: str, options: TransportOptions) -> ssl.SSLContext | bool:
    """Return what httpx verifies with; plain HTTP loads no CAs, which takes 20 ms and more."""
    proxied = (options.proxy or "").startswith("https") or options.trust_env
    if not options.verify or (url.startswith("http:") and not proxied):
        return False
    if options.ca_bundle is None:
        return True
    return _trusting(options.ca_bundle)


def _trusting(ca_bundle: str) -> ssl.SSLContext:
    import ssl

    import httpx

    context = httpx.create_ssl_context()
    path = Path(ca_bundle).expanduser()
    try:
        if path.is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as exc:
        hint = "ca_bundle (TFRAMEX_CA_BUNDLE) is a PEM file, or a directory made by c_rehash"
        raise SettingsError(
            f"the CA bundle {ca_bundle!r} cannot be read: {exc}", hint=hint
        ) from exc
    return context


def _public_parameter(pair: str) -> str:
    return f"{pair.partition('=')[0]}=…" if _is_secret_parameter(pair) else pair


def _is_secret_parameter(pair: str) -> bool:
    name, equals, _ = pair.partition("=")
    return bool(equals) and any(word in name.lower() for word in _SECRET_PARAMETERS)
