"""What an HTTP status says, and Retry-After in each of its forms."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultplane.classify.classification import RETRY_AFTER_SECONDS_MAX
from faultplane.classify.http_status import STATUSES, by_status, parse_retry_after

LATER = {408, 423, 425, 429, 502, 503, 504}


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_has_an_answer_that_names_it(status):
    answer = by_status(status)
    expected = f"http[{status}]" if status in STATUSES else f"http[{status // 100}xx]"
    assert answer.rule == expected
    assert answer.retryable is (status in LATER)
    assert by_status(status) is answer


def test_otlp_statuses_that_may_be_retried_are_retryable():
    assert {429, 502, 503, 504} <= LATER


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 405, 409, 410, 412, 413, 415, 422, 451]
)
def test_a_refused_request_is_no_failure_of_the_server(status):
    assert by_status(status).counts_as == "success"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 507, 599])
def test_a_server_that_cannot_is_a_failure(status):
    assert by_status(status).counts_as == "failure"


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 200, 299, 600, 999, 10**9])
def test_what_is_no_error_status_is_answered_with_low_confidence(status):
    answer = by_status(status)
    assert answer.confidence < 0.5
    assert not answer.retryable


def test_a_wait_is_part_of_the_answer_and_equal_ones_are_one():
    assert by_status(503, 4.0).retry_after == 4.0
    assert by_status(503, 4.0) is by_status(503, 4.0)
    assert by_status(503).retry_after is None


# -------------------------------------------------------------------------------- Retry-After

NOW = datetime(1994, 11, 6, 8, 49, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 120\t", 120.0),
        ("1.5", 1.5),
        (b"120", 120.0),
        ("86400", 86_400.0),
        ("86401", 86_400.0),
        ("9" * 64, 86_400.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 7.0),
        ("sun, 06 nov 1994 08:49:37 gmt", 7.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 7.0),
        ("Sun Nov  6 08:49:37 1994", 7.0),
        ("Sun, 06 Nov 1994 08:49:29 GMT", 0.0),
        ("Mon, 07 Nov 2094 08:49:37 GMT", 86_400.0),
    ],
)
def test_seconds_and_dates_are_understood(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    ["", " ", "soon", "-1", "+1", "1e3", "1_000", "0x10", "١", "1 2", "nan", "inf", ".5", "9" * 65,
     "Sun, 06 Nov 1994", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT",
     "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:00 GMT",
     "Sun, 06 Nov 1994 08:49:61 GMT", "Sun, 06 Xxx 1994 08:49:37 GMT",
     "Sun, 06 Nov 1994 08:49:37 PST", "Sun, 06 Nov 1969 08:49:37 GMT",
     "Sun, 29 Feb 1900 08:49:37 GMT", "Sun Nov 6 08:49:37 1994"],
)  # fmt: skip
def test_anything_else_is_no_answer(value):
    assert parse_retry_after(value, NOW) is None


def test_two_digit_years_are_within_fifty_years():
    now = datetime(2040, 6, 1, tzinfo=UTC).timestamp()
    assert parse_retry_after("Friday, 01-Jun-40 00:00:09 GMT", now) == 9.0
    assert parse_retry_after("Thursday, 01-Jun-95 00:00:09 GMT", now) == 0.0  # 1995
    assert parse_retry_after("Monday, 01-Jun-85 00:00:09 GMT", now) == RETRY_AFTER_SECONDS_MAX


@given(st.integers(0, 4_000_000_000), st.integers(-200_000, 200_000))
def test_dates_are_read_as_they_are_written(now, ahead):
    if now + ahead < 0:
        return
    expected = min(max(ahead, 0), RETRY_AFTER_SECONDS_MAX)
    assert parse_retry_after(formatdate(now + ahead, usegmt=True), float(now)) == expected


@given(st.text(max_size=70) | st.binary(max_size=70), st.floats(0, 4e9))
def test_whatever_comes_the_answer_is_none_or_within_its_bounds(value, now):
    answer = parse_retry_after(value, now)
    assert answer is None or 0.0 <= answer <= RETRY_AFTER_SECONDS_MAX
