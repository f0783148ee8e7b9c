"""The one door to httpx: clients with bounds, proxies and CAs; probes; URLs without secrets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from tframex_nb.errors import SettingsError
from tframex_nb.settings.urls import is_loopback

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator

    import httpx

__all__ = [
    "QuickAnswer",
    "Timeouts",
    "TransportOptions",
    "bytes_of",
    "check_url",
    "open_client",
    "public_url",
    "quick_get",
    "read_bounded",
    "through_proxy",
    "tls_context",
]

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
    tls: ssl.SSLContext | None = None,
) -> httpx.AsyncClient:
    """Return a client for the origin of ``url``; it opens nothing yet.

    It follows no redirect and bounds no read: the model's ``Waits`` do that. ``tls`` saves the
    time that loading the CAs takes. Raises ``SettingsError`` for a CA bundle or a proxy that
    cannot be used.
    """
    import httpx

    limits = httpx.Limits(max_connections=None, keepalive_expiry=KEEP_ALIVE)
    timeout = httpx.Timeout(None, connect=timeouts.connect, write=timeouts.first_byte)
    try:
        return httpx.AsyncClient(
            headers={"accept-encoding": "identity"},
            timeout=timeout,
            limits=limits,
            proxy=options.proxy,
            verify=tls or tls_context(url, options),
            trust_env=options.trust_env and not is_loopback(url),
            follow_redirects=False,
        )
    except (ValueError, ImportError, httpx.InvalidURL) as exc:
        hint = "use http://host:port, or pip install 'httpx[socks]' for a socks5:// proxy"
        raise SettingsError("the proxy cannot be used", hint=hint) from exc.with_traceback(None)


async def quick_get(url: str, within: float, *, tls: ssl.SSLContext | None = None) -> QuickAnswer:
    """Fetch ``url`` once, with no key, no redirect and at most ``within`` seconds in all.

    Raises ``OSError`` where nothing answers and ``TimeoutError`` where it takes too long.
    """
    import httpx

    options = TransportOptions()
    bounds = Timeouts(connect=within, first_byte=within)
    try:
        async with (
            asyncio.timeout(within),
            open_client(url, options=options, timeouts=bounds, tls=tls) as client,
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


def through_proxy(url: str, options: TransportOptions) -> bool:
    """Whether a proxy stands between, by the options or by the environment."""
    host = urlsplit(url).hostname or ""
    environment = options.trust_env and not is_loopback(url) and not proxy_bypass(host)
    proxies = getproxies() if environment else {}
    return bool(options.proxy or proxies.get(url.partition(":")[0]) or proxies.get("all"))


def tls_context(url: str, options: TransportOptions) -> ssl.SSLContext:
    """Return what TLS connections are checked with.

    Plain HTTP without a proxy loads no CAs, which takes 20 ms: it trusts nobody instead.
    """
    import ssl

    import httpx

    if not options.verify:
        return httpx.create_ssl_context(verify=False)
    if url.startswith("http:") and not through_proxy(url, options):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if options.ca_bundle is None:
        return httpx.create_ssl_context(trust_env=options.trust_env)
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
