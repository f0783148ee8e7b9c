"""What went wrong on the wire, as one typed error with the next move.

Statuses, error bodies in the shapes that servers use, and httpx's exceptions are translated
here and nowhere else. No text that comes from outside gets into an error unbounded, with control
characters, or with a secret in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import (
    AuthError,
    BadRequest,
    BadResponse,
    ConnectionFailed,
    ContextOverflow,
    ModelError,
    ModelNotFound,
    ModelTimeout,
    QuotaExceeded,
    RateLimited,
    ServerError,
    Truncated,
)
from tframex_nb.http import CrossOriginRedirect, RedirectLoop, WaitExpired, origin_of
from tframex_nb.models._bodies import ErrorBody, excerpt, read_error
from tframex_nb.models._retry import retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

__all__ = ["Target", "bare", "from_exception", "from_payload", "from_status", "strange_body"]

_OVERFLOW = re.compile(
    r"context[ _](length|window|size)|maximum context|too many tokens|prompt is too long"
    r"|exceeds? the (available|maximum) context|input is too long|reduce the length",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"insufficient[ _](quota|balance|credits?|funds)|billing|exceeded your current quota"
    r"|quota exceeded|out of credits|credit balance|payment required|spend(ing)? limit",
    re.IGNORECASE,
)
_AUTH = re.compile(
    r"(invalid|incorrect|missing|no|expired|not valid|unauthori[sz]ed)[ _:a-z]{0,20}api[ _-]?key"
    r"|api[ _-]?key[ a-z]{0,12}(invalid|incorrect|missing|expired|not valid|required)"
    r"|authentication ?error|unauthori[sz]ed|invalid_api_key",
    re.IGNORECASE,
)
_MODEL = re.compile(
    r"model[^.]{0,80}(not found|not exist|not available|unknown|not supported|not loaded)"
    r"|(unknown|invalid|unsupported|no such) model|model_not_found",
    re.IGNORECASE,
)
_KEY_HINT = "set TFRAMEX_API_KEY; no key yet? use -m demo"


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
            if value:
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
    fault = _classify(target, status, error, wait=error.retry_after, received=received)
    fault.status = error.status or 200
    return fault


def strange_body(target: Target, body: bytes, headers: Mapping[str, str]) -> BadResponse:
    """Return the error for a 200 whose body is neither an event stream nor an answer."""
    text = target.clean(read_error(body).message)
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


def from_exception(target: Target, exc: Exception, received: str, *, begun: bool) -> ModelError:
    """Return the error for what httpx or ``http`` raised; ``begun`` once headers came."""
    fault = _from_own(target, exc) or _from_httpx(target, exc, begun=begun)
    fault.received = received
    return fault


def bare(exc: BaseException) -> BaseException:
    """Return ``exc`` without its frames and causes.

    They belong to httpx, whose locals hold the request's headers: a traceback that shows locals
    would show the key.
    """
    exc.__cause__ = exc.__context__ = None
    return exc.with_traceback(None)


def _classify(
    target: Target, status: int, error: ErrorBody, *, wait: float | None, received: str
) -> ModelError:
    kind, what, hint = _kind(target, status, error, wait)
    said = target.clean(error.message)
    text = f"{target.url} {what} ({status})" + (f": {said}" if said else "")
    fault = kind(text, hint=hint, url=target.url, status=status, received=received)
    fault.retry_after = wait
    fault.transient = _is_transient(fault, status)
    return fault


def _is_transient(fault: ModelError, status: int) -> bool:
    if isinstance(fault, (QuotaExceeded, AuthError, ContextOverflow, ModelNotFound)):
        return False
    return status in {408, 409, 425, 429} or (status >= 500 and status not in {501, 505})


def _kind(
    target: Target, status: int, error: ErrorBody, wait: float | None
) -> tuple[type[ModelError], str, str]:
    """Return the error's class, what happened, and the next move."""
    told = f"{error.code} {error.message}"
    if status in {401, 403} or (status in {400, 500} and _AUTH.search(told)):
        return AuthError, "refused the API key", _auth_hint(target)
    if status in {402, 429} and _is_quota(status, error, wait):
        hint = "the account's quota is spent and waiting does not cure it: add credit, or use -m"
        return QuotaExceeded, "says that the quota is spent", f"{hint} with another endpoint"
    if status == 429:
        soon = f"in {wait:g} s" if wait is not None else "in a moment"
        return RateLimited, "asks for a pause", f"run it again {soon}, or send fewer calls at once"
    if status >= 400 and _OVERFLOW.search(told):
        hint = "send less: a shorter context, %agents reset NAME, or ChainOfAgents for long texts"
        return ContextOverflow, f"cannot fit the prompt into {target.model!r}", hint
    if status in {404, 405, 410} or (status in {400, 422, 500} and _MODEL.search(told)):
        return _not_found(target, status, told)
    return _other(status, wait)


def _other(status: int, wait: float | None) -> tuple[type[ModelError], str, str]:
    if status == 408:
        return ModelTimeout, "gave the request up", "run it again; a long prompt may need a retry"
    if status == 413:
        return (
            BadRequest,
            "finds the request too large",
            "send less: a shorter context, fewer images",
        )
    if status < 500:
        hint = "mend what the message names: a parameter (-p), a tool's schema, response_format"
        return BadRequest, "refused the request", hint
    soon = f" in {wait:g} s" if wait is not None else ""
    if status in {502, 503, 504, 529}:
        return (
            ServerError,
            "is overloaded or not ready",
            f"run it again{soon}; is the model loaded?",
        )
    return ServerError, "failed", f"run it again{soon}; the server's log says why it failed"


def _is_quota(status: int, error: ErrorBody, wait: float | None) -> bool:
    """Tell a spent quota from a rate: Gemini words both alike, but says when to come back."""
    if status == 402 or _QUOTA.search(error.code):
        return True
    return wait is None and bool(_QUOTA.search(error.message))


def _auth_hint(target: Target) -> str:
    if any(secret.get_secret_value() for secret in target.secrets):
        return f"the key is not valid there: {_KEY_HINT}"
    return f"no API key was sent: {_KEY_HINT}"


def _not_found(target: Target, status: int, told: str) -> tuple[type[ModelError], str, str]:
    if "model" in told.lower():
        hint = f"%models lists what {target.url} has; names are case-sensitive"
        return ModelNotFound, f"has no model {target.model!r}", hint
    what = "does not take a POST" if status == 405 else "has no such path"
    return ModelNotFound, what, _url_hint(target)


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
        hint=f"is the server busy or loading? raise TFRAMEX_TIMEOUTS__{setting.upper()} to wait longer",
        url=target.url,
    )
    fault.phase = phase
    fault.transient = phase == "connect"
    return fault


def _redirect(target: Target, exc: CrossOriginRedirect) -> BadResponse:
    location = target.clean(exc.location)
    if origin_of(exc.location)[:2] == origin_of(target.url)[:2]:
        why = "and a POST does not survive that redirect, or the port differs"
    else:
        why = "which is another origin, so the request and the key were not sent there"
    return BadResponse(
        f"{target.url} redirects ({exc.status}) to {location}, {why}",
        hint="if you trust that address, set api_url to it",
        url=target.url,
        status=exc.status,
    )


def _from_httpx(target: Target, exc: Exception, *, begun: bool) -> ModelError:
    import httpx

    if isinstance(exc, httpx.ConnectTimeout):
        return _timeout(target, "connect", _connect_bound(exc))
    if isinstance(exc, httpx.TimeoutException):
        return _timeout(target, "first byte", 0.0)
    if isinstance(exc, httpx.DecodingError):
        return BadResponse(
            f"{target.url} sent a body that its content-encoding does not explain",
            hint="switch compression off in the server or in the proxy before it",
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
    return _unconnected(target, exc)


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


def _unconnected(target: Target, exc: Exception) -> ConnectionFailed:
    import httpx

    said = target.clean(str(exc)) or type(exc).__name__
    what, hint, transient = "is not there", "is the server running? -m demo works without one", True
    if isinstance(exc, httpx.ProxyError) or "proxy" in type(exc).__name__.lower():
        what, transient = "cannot be reached through the proxy", False
        hint = "check TFRAMEX_PROXY and HTTPS_PROXY; NO_PROXY lists hosts that need none"
    elif "CERTIFICATE" in said.upper() or "hostname" in said.lower():
        what, transient = "shows a certificate that is not trusted here", False
        hint = "set TFRAMEX_CA_BUNDLE to your CA's PEM file"
    elif "SSL" in said.upper() or "TLS" in said.upper():
        what, transient = "does not speak TLS", False
        hint = "write http:// instead of https://, if the server is your own"
    elif any(
        word in said.lower()
        for word in ("name or service", "getaddrinfo", "resolution", "nodename")
    ):
        what, transient = "has a host name that cannot be resolved", False
        hint = "check the host's spelling, the network and the VPN"
    elif "disconnected" in said.lower():
        what, hint = (
            "closed the connection without an answer",
            "run it again; look at the server's log",
        )
    fault = ConnectionFailed(f"{target.url} {what}: {said}", hint=hint, url=target.url)
    fault.transient = transient
    return fault


def _connect_bound(exc: Any) -> float:  # httpx.ConnectTimeout, whose request is optional
    try:
        return float(exc.request.extensions["timeout"]["connect"] or 0.0)
    except (RuntimeError, KeyError, TypeError):
        return 0.0
