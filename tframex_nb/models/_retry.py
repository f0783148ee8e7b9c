"""When a model call is tried again, and after how long."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tframex_nb.errors import ModelError

__all__ = ["RetryPolicy", "retry_after"]

_dice = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retries before the first token; times in seconds.

    The n-th wait is ``backoff * 2**n``, at most ``max_backoff``, shortened by up to the share
    ``jitter`` so that many clients do not come back at once. A ``Retry-After`` is waited for
    exactly, unless it is longer than ``max_retry_after``: then the error is raised at once.
    """

    retries: int = 2
    backoff: float = 0.5
    max_backoff: float = 8.0
    max_retry_after: float = 30.0
    jitter: float = 0.25

    def delay(self, error: ModelError, attempt: int) -> float | None:
        """Return how long to wait after failed attempt number ``attempt`` (from 0), or None."""
        if not error.transient or attempt >= self.retries:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.max_retry_after else None
        wait = min(self.backoff * 2.0**attempt, self.max_backoff)
        return wait * (1 - self.jitter * _dice.random())


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, never negative.

    Seconds, fractions and HTTP dates (RFC 9110, 10.2.3), and ``Retry-After-Ms`` as OpenAI and
    Azure send it. A date is read against the server's own ``Date``, so a wrong clock here does
    no harm. Nonsense counts as absent.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "").strip()
    seconds = _number(value)
    if seconds is not None:
        return seconds
    then, now = _date(value), _date(headers.get("date", ""))
    if then is None:
        return None
    return max(0.0, then - (time.time() if now is None else now))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
