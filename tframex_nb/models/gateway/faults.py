"""Our errors as OpenAI's wire has them: a status and an error object."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tframex_nb.errors import (
    AuthError,
    BadRequest,
    BadResponse,
    BudgetExceeded,
    CassetteMiss,
    ConnectionFailed,
    ContextOverflow,
    ModelNotFound,
    ModelTimeout,
    PoolExhausted,
    QuotaExceeded,
    RateLimited,
    ServerError,
    SettingsError,
    Truncated,
    UnsupportedInput,
)

__all__ = ["WireFault", "fault_on_the_wire", "refusal_on_the_wire"]

_BAD, _SERVER = "invalid_request_error", "server_error"

# The first that fits: subclasses stand before their bases.
_KINDS: tuple[tuple[type[Exception], int, str, str], ...] = (
    (AuthError, 401, "invalid_api_key", "authentication_error"),
    (QuotaExceeded, 429, "insufficient_quota", "insufficient_quota"),
    (RateLimited, 429, "rate_limit_exceeded", "rate_limit_error"),
    (ModelNotFound, 404, "model_not_found", _BAD),
    (ContextOverflow, 400, "context_length_exceeded", _BAD),
    (UnsupportedInput, 400, "unsupported_input", _BAD),
    (CassetteMiss, 400, "not_recorded", _BAD),
    (BadRequest, 400, "invalid_request", _BAD),
    (BudgetExceeded, 400, "budget_exceeded", _BAD),
    (SettingsError, 400, "invalid_settings", _BAD),
    (ServerError, 500, "server_error", _SERVER),
    (ModelTimeout, 504, "timeout", _SERVER),
    (ConnectionFailed, 502, "connection_failed", _SERVER),
    (Truncated, 502, "truncated", _SERVER),
    (BadResponse, 502, "bad_response", _SERVER),
    (PoolExhausted, 503, "too_many_streams", _SERVER),
)


_LONGEST = 86_400  # seconds of a pause that are passed on

_ASKED_ONCE: tuple[tuple[bytes, bytes], ...] = ((b"x-should-retry", b"false"),)


@dataclass(frozen=True, slots=True)
class WireFault:
    """An error as a client of OpenAI's protocol takes it; ``headers`` are ASGI's.

    Its clients are told not to retry: that was done, or it would not help.
    """

    status: int
    error: dict[str, Any]
    headers: tuple[tuple[bytes, bytes], ...] = _ASKED_ONCE


def fault_on_the_wire(fault: Exception) -> WireFault:
    """Return what a client sees of ``fault``: not where the model is, nor what a user should do.

    The run fails with the fault itself; a framework needs to know no more than that.
    """
    status, code, what = _kind(fault)
    headers = _ASKED_ONCE
    pause = getattr(fault, "retry_after", None)
    if pause is not None and 0 <= pause <= _LONGEST:
        headers = (*headers, (b"retry-after", str(math.ceil(pause)).encode()))
    return WireFault(status, _error(_said(fault), code, what), headers)


def refusal_on_the_wire(status: int, message: str, code: str) -> WireFault:
    """Return a refusal of the gateway's own."""
    return WireFault(status, _error(message, code, _BAD))


def _said(fault: Exception) -> str:
    text = str(getattr(fault, "message", "") or fault) or type(fault).__name__
    place = getattr(fault, "url", "")
    return text.replace(place, "the model") if place else text


def _kind(fault: Exception) -> tuple[int, str, str]:
    for kind, status, code, what in _KINDS:
        if isinstance(fault, kind):
            return (_own_status(fault) if kind is ServerError else status), code, what
    return 500, "internal_error", _SERVER


def _own_status(fault: Exception) -> int:
    status = getattr(fault, "status", None)
    return status if isinstance(status, int) and status in range(500, 600) else 500


def _error(message: str, code: str, kind: str) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": None, "code": code}
