"""What an HTTP status and the error body beside it mean: a kind of error and the next move.

Servers agree on few statuses (a wrong key is 401, 400 or 500; an unknown model 404, 400 or 422),
so the words of the body count as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

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
    UnsupportedInput,
)

if TYPE_CHECKING:
    from tframex_nb.models._bodies import ErrorBody

__all__ = ["Verdict", "judge"]

_OVERFLOW = re.compile(
    r"context[ _](length|window|size)|maximum context|too many tokens|prompt is too long"
    r"|input is too long|reduce the length",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"insufficient[ _](quota|balance|credits?|funds)|billing|exceeded your current quota"
    r"|quota exceeded|out of credits|credit balance|payment required|spend(ing)? limit",
    re.IGNORECASE,
)
_AUTH = re.compile(
    r"(invalid|incorrect|missing|no|expired|unauthori[sz]ed)[ _:a-z]{0,20}api[ _-]?key"
    r"|api[ _-]?key[ a-z]{0,12}(invalid|incorrect|missing|expired|not valid|required)"
    r"|authentication ?error|unauthori[sz]ed",
    re.IGNORECASE,
)
_MODEL = re.compile(
    r"model[^.]{0,80}(not found|not exist|not available|unknown|not supported|not loaded)"
    r"|(unknown|invalid|unsupported|no such) model|model_not_found",
    re.IGNORECASE,
)
# Endpoints have no code for this, and each its own words; tests/servers/fault_server.py has them.
_INPUT = r"(?:images?|image_url|vision|audio|input_audio|videos?|pdfs?|files?|multi-?modal)"
_UNTAKEN = re.compile(
    rf"\b{_INPUT} (?:inputs? |modality |content |input modality )?(?:is|are) (?:not|only) "
    r"(?:supported|enabled|allowed)"
    rf"|(?:not|n't) (?:support|accept|process|take) (?:the )?{_INPUT}(?: inputs?)?\b"
    rf"|at most \d+ {_INPUT}\b|not a (?:multi-?modal|vision) model"
    rf"|unknown variant .?{_INPUT}|missing data required for {_INPUT}|that support {_INPUT} input"
    r"|allowed values: \['text'\]|only .?text.? content type is supported"
    r"|content must be a string|type: input should be 'text'",
    re.IGNORECASE,
)
_NO_PATH = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE}
_PASSING = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_LASTING = {HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED}
_OVERLOADED = 529  # Anthropic's, and no HTTPStatus
_BUSY = {
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
    _OVERLOADED,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A kind of error; ``what`` takes ``{model}``, ``hint`` ``{url}``, ``{keyed}``, ``{base}``."""

    kind: type[ModelError]
    what: str
    hint: str
    transient: bool = False


_KEY = Verdict(
    AuthError, "refused the API key", "{keyed}: set TFRAMEX_API_KEY; no key yet? use -m demo"
)
_FORBIDDEN = Verdict(
    AuthError, "forbids the access", "{keyed}, or not for this model: set TFRAMEX_API_KEY"
)
_SPENT = Verdict(
    QuotaExceeded,
    "says that the quota is spent",
    "waiting does not cure it: add credit there, or use another endpoint with -m",
)
_TOO_LONG = Verdict(
    ContextOverflow,
    "cannot fit the prompt into {model!r}",
    "send less: a shorter context, %agents reset NAME, or ChainOfAgents for long texts",
)
_TEXT_ONLY = Verdict(
    UnsupportedInput,
    "has {model!r}, which does not take what goes along with the prompt",
    "use a model that takes it (-m NAME; %models lists them), or send text; images of earlier "
    "turns are sent again: --fresh forgets them",
)
_NO_MODEL = Verdict(
    ModelNotFound, "has no model {model!r}", "%models lists what {url} has; case matters"
)
_NOWHERE = Verdict(ModelNotFound, "has no such path", "{base}")
_GAVE_UP = Verdict(
    ModelTimeout,
    "gave up waiting for the request",
    "run it again; a proxy before the server may be slow",
    transient=True,
)
_TOO_LARGE = Verdict(
    BadRequest, "finds the request too large", "send less: a shorter context, fewer images"
)
_PROXY = Verdict(
    ConnectionFailed,
    "cannot be reached: the proxy wants a login",
    "write it into the proxy's URL (TFRAMEX_PROXY), as in http://user:password@host:port",
)
_REFUSED = "mend what the message names: a parameter (-p), a tool's schema, response_format"


def judge(status: int, error: ErrorBody, wait: float | None) -> Verdict:
    """Return what the status and the body together mean; ``wait`` is the asked pause."""
    told = f"{error.code} {error.message}"
    unclear = status in {HTTPStatus.BAD_REQUEST, HTTPStatus.INTERNAL_SERVER_ERROR}
    if status == HTTPStatus.UNAUTHORIZED or (unclear and _AUTH.search(told)):
        return _KEY
    if status == HTTPStatus.FORBIDDEN:
        return _FORBIDDEN
    if _is_spent(status, error, wait):
        return _SPENT
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Verdict(RateLimited, "asks for a pause", _again(wait), transient=True)
    if _OVERFLOW.search(told):
        return _TOO_LONG
    unclear = unclear or status == HTTPStatus.UNPROCESSABLE_ENTITY
    if (unclear or status in _NO_PATH) and _UNTAKEN.search(told):
        return _TEXT_ONLY
    if status in _NO_PATH or (unclear and _MODEL.search(told)):
        return _NO_MODEL if "model" in told.lower() else _NOWHERE
    return _by_status(status, wait)


def _by_status(status: int, wait: float | None) -> Verdict:
    if status == HTTPStatus.REQUEST_TIMEOUT:
        return _GAVE_UP
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return _TOO_LARGE
    if status < HTTPStatus.BAD_REQUEST:
        return Verdict(BadResponse, "sent a status that answers nothing", "{base}")
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return _PROXY
    if status in _LASTING:
        return Verdict(ServerError, "cannot do this", _REFUSED)
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Verdict(BadRequest, "refused the request", _REFUSED, transient=status in _PASSING)
    if status in _BUSY:
        hint = f"{_again(wait)}; is the model loaded?"
        return Verdict(ServerError, "is overloaded or not ready", hint, transient=True)
    hint = f"{_again(wait)}; the server's log says why it failed"
    return Verdict(ServerError, "failed", hint, transient=True)


def _again(wait: float | None) -> str:
    if not wait:
        return "run it again in a moment"
    return f"run it again in {wait:.0f} s" if wait >= 1 else f"run it again in {wait:.2g} s"


def _is_spent(status: int, error: ErrorBody, wait: float | None) -> bool:
    """Tell a spent quota from a rate: Gemini words both alike, but says when to come back."""
    if status == HTTPStatus.PAYMENT_REQUIRED:
        return True
    if status != HTTPStatus.TOO_MANY_REQUESTS:
        return False
    return bool(_QUOTA.search(error.code) or (wait is None and _QUOTA.search(error.message)))
