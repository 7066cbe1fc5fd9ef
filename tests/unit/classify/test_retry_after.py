"""When an answer says to come back: each header in each of its forms, and the attribute."""

from __future__ import annotations

import http.client
import types
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultplane.classify.classification import RETRY_AFTER_SECONDS_MAX
from faultplane.classify.retry_after import (
    headers_say_when,
    parse_retry_after,
    parse_retry_after_ms,
    says_when,
    wait_in_headers,
    wait_said_by,
    whole_milliseconds,
)

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


def test_a_date_is_waited_for_in_whole_seconds_and_a_number_in_milliseconds():
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", NOW + 0.5) == 7.0
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", NOW + 7.5) == 0.0
    assert parse_retry_after("1.0001", NOW) == 1.001
    assert parse_retry_after("2.007", NOW) == 2.007


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("1", 0.001), (" 20\t", 0.02), (b"1500", 1.5), ("2.5", 0.003),
     ("86400000", 86_400.0), ("86400001", 86_400.0), ("9" * 64, 86_400.0),
     ("9" * 65, None), ("-1", None), ("", None), ("soon", None), ("1e3", None), ("nan", None),
     ("Sun, 06 Nov 1994 08:49:37 GMT", None)],
)  # fmt: skip
def test_milliseconds_are_understood(value, seconds):
    assert parse_retry_after_ms(value) == seconds


@given(st.floats(0, 1e6))
def test_rounding_adds_less_than_a_millisecond_and_takes_nothing(seconds):
    rounded = whole_milliseconds(seconds)
    cut = min(seconds, RETRY_AFTER_SECONDS_MAX)
    # A nanosecond is below what the clocks of two hosts agree on.
    assert cut - 1e-9 <= rounded < cut + 0.001 + 1e-9
    assert whole_milliseconds(rounded) == rounded


# ------------------------------------------------------------------------------------ headers


def message(**headers):
    found = http.client.HTTPMessage()
    for name, value in headers.items():
        found[name.replace("_", "-")] = value
    return found


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "20"}, 0.02),
        ({"Retry-After-Ms": "20"}, 0.02),
        ({"x-ms-retry-after-ms": "20"}, 0.02),
        ({"X-Ms-Retry-After-Ms": "20"}, 0.02),
        ({"Retry-After": "1", "retry-after-ms": "20"}, 0.02),
        ({"Retry-After": "1", "x-ms-retry-after-ms": "30", "retry-after-ms": "20"}, 0.02),
        ({"Retry-After": "1", "retry-after-ms": "soon"}, 1.0),
        ({"Retry-After": 3}, 3.0),
        ({"Retry-After": 2.5}, 2.5),
        ({"retry-after-ms": 2500}, 2.5),
        (message(RETRY_AFTER="7"), 7.0),
        (message(RETRY_AFTER_MS="20"), 0.02),
        (message(X_MS_Retry_After_Ms="20", retry_after="1"), 0.02),
    ],
)
def test_what_the_headers_ask_is_the_most_precise_of_them(headers, seconds):
    assert headers_say_when(headers)
    assert wait_in_headers(headers, NOW) == seconds


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "soon"}, {"Retry-After": -1}, {"Retry-After": True}, {"Retry-After": object()},
     {"retry-after-ms": "x"}, {"retry-after-ms": float("nan")}, {"retry-after-ms": -1}],
)  # fmt: skip
def test_a_header_that_is_no_wait_is_said_and_asks_for_nothing(headers):
    assert headers_say_when(headers)
    assert wait_in_headers(headers, NOW) is None


class Headers:
    """A mapping that is neither a dict nor a message, as those of most clients."""

    def __init__(self, headers):
        self._headers = {name.lower(): value for name, value in headers.items()}

    def get(self, name):
        return self._headers.get(name.lower())


@pytest.mark.parametrize("name", ["retry-after", "RETRY-AFTER-MS", "X-Ms-Retry-After-Ms"])
def test_each_header_is_seen_in_a_mapping_of_somebody_else(name):
    assert headers_say_when(Headers({"Server": "x", name: "7"}))
    assert wait_in_headers(Headers({name: "7"}), NOW) == (7.0 if name == "retry-after" else 0.007)


def test_headers_that_say_nothing():
    for headers in ({}, {"Server": "x"}, message(Server="x"), Headers({"Server": "x"})):
        assert not headers_say_when(headers)
        assert wait_in_headers(headers, NOW) is None


# --------------------------------------------------------------------------- somebody's object

SOON = datetime.fromtimestamp(NOW + 60, UTC)


@pytest.mark.parametrize(
    ("attribute", "seconds"),
    [(5, 5.0), (2.5, 2.5), ("7", 7.0), (b"7", 7.0), (timedelta(milliseconds=1500), 1.5),
     (SOON, 60.0), (SOON - timedelta(hours=1), 0.0), (10**400, 86_400.0), (1e300, 86_400.0)],
)  # fmt: skip
def test_an_attribute_is_seconds_a_span_or_a_moment(attribute, seconds):
    owner = types.SimpleNamespace(retry_after=attribute)
    assert says_when(owner)
    assert wait_said_by(owner, NOW) == seconds


@pytest.mark.parametrize("attribute", [None, 0, "", timedelta(0)])
def test_an_attribute_that_is_nothing_asks_for_nothing(attribute):
    owner = types.SimpleNamespace(retry_after=attribute)
    assert not says_when(owner)
    assert wait_said_by(owner, NOW) is None


@pytest.mark.parametrize(
    "attribute",
    [-1, float("nan"), True, object(), timedelta(-1),
     types.SimpleNamespace(timestamp=None, total_seconds=lambda: None)],
)  # fmt: skip
def test_an_attribute_that_is_no_wait_asks_for_nothing(attribute):
    assert wait_said_by(types.SimpleNamespace(retry_after=attribute), NOW) is None


def test_headers_come_before_the_attribute():
    owner = types.SimpleNamespace(headers={"Retry-After": "7"}, retry_after=5)
    assert wait_said_by(owner, NOW) == 7.0
    owner.headers = {}
    assert says_when(owner)
    assert wait_said_by(owner, NOW) == 5.0
    assert not says_when(object())
    assert wait_said_by(object(), NOW) is None
