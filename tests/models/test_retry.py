"""Retries: before the first token only, as long as asked, never for a spent quota."""

from __future__ import annotations

import pytest

from tframex_nb.errors import QuotaExceeded, RateLimited, ServerError
from tframex_nb.http import Timeouts
from tframex_nb.messages import Retrying
from tframex_nb.models._retry import RetryPolicy, retry_after

FAST = RetryPolicy(retries=2, backoff=0.001, max_retry_after=5)


@pytest.mark.parametrize("case", ["busy_once", "hangs_up_once", "empty_cut_once"])
def test_transient_fault_before_the_first_token_is_tried_again(ask, case):
    """One Retrying event with the reason, then the whole answer, once."""
    outcome = ask(case, retry=FAST)
    assert outcome.finished.finish_reason == "stop"
    assert outcome.requests == 2
    first, *rest = outcome.events
    assert isinstance(first, Retrying)
    assert (first.attempt, first.delay <= 0.001) == (1, True)
    assert case in first.reason
    assert not any(isinstance(event, Retrying) for event in rest)


def test_number_of_requests_is_one_more_than_the_retries(ask):
    """Two retries make three requests."""
    outcome = ask("s502", retry=FAST)
    assert isinstance(outcome.error, ServerError)
    assert outcome.requests == 3
    assert [event.attempt for event in outcome.of(Retrying)] == [1, 2]


@pytest.mark.parametrize(
    "case", ["s429_quota", "s402", "s401", "s400", "s501", "html", "no_finish"]
)
def test_what_waiting_does_not_cure_is_not_tried_again(ask, case):
    """One request, one error."""
    outcome = ask(case, retry=FAST)
    assert outcome.error is not None
    assert outcome.requests == 1
    assert outcome.of(Retrying) == []


def test_spent_quota_is_its_own_error(ask):
    """It is a RateLimited for whoever catches that, and says that waiting does not help."""
    error = ask("s429_quota", retry=FAST).error
    assert isinstance(error, QuotaExceeded)
    assert isinstance(error, RateLimited)
    assert "waiting does not cure it" in error.hint


@pytest.mark.parametrize(
    ("case", "delay"),
    [
        ("limited_seconds", 0.0),
        ("limited_fraction", 0.02),
        ("limited_milliseconds", 0.03),
        ("limited_past_date", 0.0),
        ("limited_date_wrong_clock", 0.0),
    ],
)
def test_retry_after_is_honoured_exactly(ask, case, delay):
    """Seconds, fractions, milliseconds, dates; a date is read by the server's own clock."""
    outcome = ask(case, retry=FAST)
    assert outcome.finished.finish_reason == "stop"
    assert [event.delay for event in outcome.of(Retrying)] == [delay]


@pytest.mark.parametrize("case", ["s429", "s429_far", "limited_far_date", "s429_gemini"])
def test_retry_after_beyond_the_bound_is_raised_at_once(ask, case):
    """Nobody waits an hour in silence: the error says when to come back."""
    outcome = ask(case, retry=FAST)
    assert isinstance(outcome.error, RateLimited)
    assert outcome.requests == 1
    assert outcome.error.retry_after > 5
    assert "run it again in" in outcome.error.hint


@pytest.mark.parametrize("case", ["limited_nonsense", "limited_negative", "limited_infinite"])
def test_nonsense_in_retry_after_counts_as_absent(ask, case):
    """The own backoff is used."""
    outcome = ask(case, retry=FAST)
    assert outcome.finished.finish_reason == "stop"
    assert outcome.of(Retrying)[0].delay <= 0.001


def test_pause_longer_than_the_run_may_last_is_not_begun(ask):
    """The bound on the whole run holds for the waits between attempts too."""
    bounds = Timeouts(connect=5, first_byte=5, between_chunks=5, run=1)
    outcome = ask("s503", timeouts=bounds, retry=RetryPolicy())
    assert isinstance(outcome.error, ServerError)
    assert outcome.requests == 1


def test_backoff_grows_to_its_bound_and_is_jittered():
    """0.5, 1, 2, 4, 8, 8 … seconds, each shortened by at most a quarter."""
    error = ServerError("x")
    error.transient = True
    policy = RetryPolicy(retries=9)
    for attempt, full in enumerate([0.5, 1, 2, 4, 8, 8, 8]):
        delays = [policy.delay(error, attempt) for _ in range(50)]
        assert full * 0.75 <= min(delays) < max(delays) <= full
    assert policy.delay(error, 9) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), (" 1.5 ", 1.5), ("-1", None), ("nan", None), ("inf", None), ("", None),
     ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0), ("Fri, 99 Foo 1999", None)],
)  # fmt: skip
def test_retry_after_header(value, seconds):
    """RFC 9110, 10.2.3, and what is none of it."""
    assert retry_after({"retry-after": value}) == seconds
