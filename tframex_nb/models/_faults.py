"""What went wrong on the wire, as one typed error with the next move.

Statuses, error bodies in the shapes that servers use, and httpx's exceptions are translated
here and nowhere else. No text that comes from outside gets into an error unbounded, with control
characters, or with a secret in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import BadResponse, ConnectionFailed, ModelError, ModelTimeout, Truncated
from tframex_nb.models._bodies import ErrorBody, excerpt, read_error
from tframex_nb.models._pool import CrossOriginRedirect, RedirectLoop
from tframex_nb.models._retry import retry_after
from tframex_nb.models._statuses import judge
from tframex_nb.models._waits import WaitExpired
from tframex_nb.settings.urls import origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

__all__ = [
    "Target",
    "bare",
    "from_exception",
    "from_payload",
    "from_status",
    "shown",
    "strange_body",
]


SECRET = 4  # characters; servers that need no key are given "x" or "-", which words contain


@dataclass(frozen=True, slots=True)
class _Unconnected:
    what: str
    hint: str
    transient: bool = False


_PROXY_HINT = "check TFRAMEX_PROXY and HTTPS_PROXY; NO_PROXY lists hosts that need none"
_PROXY = _Unconnected("cannot be reached through the proxy", _PROXY_HINT)
_NO_TLS = _Unconnected("does not speak TLS", "write http:// instead of https:// for such a server")
_NOBODY = _Unconnected(
    "is not there", "is the server running? -m demo works without one", transient=True
)
_REASONS = (
    (("proxy", "socks"), _PROXY),
    (
        ("certificate", "hostname mismatch"),
        _Unconnected(
            "shows a certificate that is not trusted here",
            "set TFRAMEX_CA_BUNDLE to your CA's PEM file",
        ),
    ),
    (("ssl", "tls"), _NO_TLS),
    (
        ("name or service", "getaddrinfo", "name resolution", "nodename", "no address", "idna"),
        _Unconnected(
            "has a host name that cannot be resolved",
            "check the host's spelling, the network and the VPN",
        ),
    ),
    (
        ("disconnected", "reset", "broken"),
        _Unconnected(
            "closed the connection without an answer",
            "run it again; if it recurs, the server's log says why",
            transient=True,
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a call talks to: the public URL, the model's name, and what must never be shown."""

    url: str
    model: str
    secrets: tuple[SecretStr, ...] = field(default=(), repr=False)

    def clean(self, text: str, limit: int = 300) -> str:
        """Return text from outside fit for an error: no secret, no control, bounded."""
        for secret in self.secrets:
            value = secret.get_secret_value()
            if len(value) >= SECRET:
                text = text.replace(value, "[key]")
        return excerpt(text, limit)


def from_status(
    target: Target, status: int, headers: Mapping[str, str], body: bytes, received: str = ""
) -> ModelError:
    """Return the error for an HTTP answer that is no answer of the model."""
    error = read_error(body)
    wait = error.retry_after if error.retry_after is not None else retry_after(headers)
    return _classify(target, status, error, wait=wait, received=received)


def from_payload(target: Target, payload: Any, received: str) -> ModelError:
    """Return the error for an error object that came with HTTP 200, often in mid-stream."""
    error = read_error(payload)
    status = error.status or 500
    wait = error.retry_after
    fault = _classify(target, status, error, wait=wait, received=received, place="in the stream")
    fault.status = error.status or HTTPStatus.OK
    return fault


def strange_body(target: Target, body: bytes, headers: Mapping[str, str]) -> BadResponse:
    """Return the error for a 200 whose body is neither an event stream nor an answer."""
    text = target.clean(read_error(body).message) or target.clean(
        body[:400].decode("utf-8", "replace")
    )
    kind = headers.get("content-type", "").partition(";")[0] or "no content type"
    if body[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return BadResponse(
            f"{target.url} sent a web page, not an answer: {text}",
            hint=f"check the URL: {_url_hint(target)}; a proxy's login page looks like this too",
            url=target.url,
            status=200,
        )
    if not body.strip():
        return BadResponse(
            f"{target.url} answered 200 with an empty body",
            hint="the server may have crashed on the prompt: look at its log, "
            "or try a shorter prompt",
            url=target.url,
            status=200,
        )
    return BadResponse(
        f"{target.url} sent something that is no event stream ({target.clean(kind, 60)}): {text}",
        hint=f"the endpoint must speak OpenAI's chat completions: {_url_hint(target)}",
        url=target.url,
        status=200,
    )


def from_exception(
    target: Target, exc: Exception, received: str, *, begun: bool, proxied: bool
) -> ModelError:
    """Return the error for what httpx or ``http`` raised; ``begun`` once headers came."""
    fault = _from_own(target, exc) or _from_httpx(target, exc, begun=begun, proxied=proxied)
    fault.received = received
    return fault


def shown(fault: ModelError) -> ModelError:
    """Return ``fault`` without the frames that it was raised in.

    Their locals hold what the server sent, and a server may echo the key.
    """
    fault.__context__ = None
    return fault.with_traceback(None)


def bare(exc: BaseException) -> BaseException:
    """Return ``exc`` without its frames and causes.

    They belong to httpx, whose locals hold the request's headers: a traceback that shows locals
    would show the key.
    """
    exc.__cause__ = exc.__context__ = None
    return exc.with_traceback(None)


def _classify(
    target: Target,
    status: int,
    error: ErrorBody,
    *,
    wait: float | None,
    received: str,
    place: str = "",
) -> ModelError:
    verdict = judge(status, error, wait)
    said = target.clean(error.message)
    what = verdict.what.format(model=target.model)
    fault = verdict.kind(
        f"{target.url} {what} ({place or status})" + (f": {said}" if said else ""),
        hint=verdict.hint.format(url=target.url, keyed=_keyed(target), base=_url_hint(target)),
        url=target.url,
        status=status,
        received=received,
    )
    fault.retry_after = wait
    fault.transient = verdict.transient
    if isinstance(fault, ModelTimeout):
        fault.phase = "first byte"
    return fault


def _keyed(target: Target) -> str:
    sent = any(secret.get_secret_value() for secret in target.secrets)
    return "the key is not valid there" if sent else "no API key was sent"


def _url_hint(target: Target) -> str:
    if "/v1" in target.url:
        return "api_url is the part before /chat/completions, as in http://localhost:8000/v1"
    return "api_url mostly ends in /v1, as in http://localhost:8000/v1"


def _from_own(target: Target, exc: Exception) -> ModelError | None:
    if isinstance(exc, WaitExpired):
        return _timeout(target, exc.phase, exc.seconds)
    if isinstance(exc, CrossOriginRedirect):
        return _redirect(target, exc)
    if isinstance(exc, RedirectLoop):
        return BadResponse(
            f"{target.url} redirects in a circle",
            hint="set api_url to the address that the server itself names",
            url=target.url,
        )
    return None


def _timeout(target: Target, phase: str, seconds: float) -> ModelTimeout:
    setting = phase.replace("whole ", "").replace(" ", "_")
    what = {
        "connect": "did not accept a connection",
        "first byte": "sent no answer",
        "between chunks": "stopped sending",
        "whole run": "did not finish",
    }[phase]
    fault = ModelTimeout(
        f"{target.url} {what} within {seconds:g} s ({phase})",
        hint=f"is the server busy or loading? raise timeouts.{setting} to wait longer",
        url=target.url,
    )
    fault.phase = phase
    fault.transient = phase == "connect"
    return fault


def _redirect(target: Target, exc: CrossOriginRedirect) -> BadResponse:
    location = target.clean(exc.location) or "nowhere"
    if not exc.location or origin(exc.location) == origin(target.url):
        why = "and a POST does not survive that redirect"
    else:
        why = "which is another origin, so the request and the key were not sent there"
    return BadResponse(
        f"{target.url} redirects ({exc.status}) to {location}, {why}",
        hint="if you trust that address, set api_url to it",
        url=target.url,
        status=exc.status,
    )


def _from_httpx(target: Target, exc: Exception, *, begun: bool, proxied: bool) -> ModelError:
    import httpx

    if isinstance(exc, httpx.ConnectTimeout):
        return _timeout(target, "connect", _bound(exc, "connect"))
    if isinstance(exc, httpx.WriteTimeout):
        return _timeout(target, "first byte", _bound(exc, "write"))
    if isinstance(exc, httpx.DecodingError):
        return BadResponse(
            f"{target.url} sent a body that its content-encoding does not explain",
            hint="switch compression off in the server or in the proxy before it",
            url=target.url,
        )
    if isinstance(exc, httpx.InvalidURL) or "location header" in str(exc):
        return BadResponse(
            f"{target.url} redirects to something that is no HTTP URL",
            hint=f"check the URL: {_url_hint(target)}",
            url=target.url,
        )
    if begun:
        return truncated(target, target.clean(str(exc)) or type(exc).__name__)
    if isinstance(exc, httpx.RemoteProtocolError) and "disconnected" not in str(exc).lower():
        return BadResponse(
            f"{target.url} does not speak HTTP: {target.clean(str(exc))}",
            hint="check port and scheme: is it https://?",
            url=target.url,
        )
    return _unconnected(target, exc, proxied=proxied)


def truncated(target: Target, why: str) -> Truncated:
    """Return the error for an answer that broke off."""
    fault = Truncated(
        f"{target.url} broke the answer off: {why}",
        hint="what came is kept; run it again. If it recurs, the server's log says why",
        url=target.url,
        status=200,
    )
    fault.transient = True
    return fault


def _unconnected(target: Target, exc: Exception, *, proxied: bool) -> ConnectionFailed:
    import httpx

    said = target.clean(str(exc)) or type(exc).__name__
    low = said.lower()
    reason = next(
        (reason for words, reason in _REASONS if any(word in low for word in words)), _NOBODY
    )
    if not str(exc) and isinstance(exc, httpx.ConnectError) and target.url.startswith("https"):
        reason = _NO_TLS  # the server hung up in the handshake
    if isinstance(exc, httpx.ProxyError) or (proxied and reason is _NOBODY):
        reason = _PROXY
    fault = ConnectionFailed(
        f"{target.url} {reason.what}: {said}", hint=reason.hint, url=target.url
    )
    fault.transient = reason.transient
    return fault


def _bound(exc: Any, phase: str) -> float:  # httpx.TimeoutException, whose request is optional
    try:
        return float(exc.request.extensions["timeout"][phase] or 0.0)
    except (RuntimeError, KeyError, TypeError):
        return 0.0
