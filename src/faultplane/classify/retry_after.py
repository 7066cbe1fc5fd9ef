"""When an answer says that the call may be made again: three headers, and an attribute.

``Retry-After`` is seconds or a date (RFC 9110, 10.2.3). ``retry-after-ms`` and
``x-ms-retry-after-ms`` are milliseconds, which Azure's services send and OpenAI's; being the more
precise, they count where there are several, and a value that is no wait is passed over. An
exception without headers may have an attribute ``retry_after``, as those of Werkzeug.

Waits are rounded up, so that equal ones are one object: to whole milliseconds, and to whole seconds
where they are counted from a date, which leaves another fraction at each moment.

>>> wait_in_headers({"retry-after-ms": "1500", "Retry-After": "2"}, now=0.0)
1.5
>>> wait_in_headers({"retry-after-ms": "soon", "Retry-After": "2"}, now=0.0)
2.0
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from faultplane.classify.classification import RETRY_AFTER_SECONDS_MAX
from faultplane.classify.evidence import attribute_of, int_of

__all__ = [
    "headers_say_when",
    "parse_retry_after",
    "parse_retry_after_ms",
    "says_when",
    "wait_in_headers",
    "wait_said_by",
    "whole_milliseconds",
]

RETRY_AFTER_CHARACTERS_MAX: Final = 64
_NUMBER_MAX: Final = 1e15  # far beyond the longest wait in milliseconds, within what is exact


def whole_milliseconds(seconds: float) -> float:
    """``seconds`` rounded up to milliseconds, at most 86,400.

    >>> whole_milliseconds(2.007), whole_milliseconds(0.000001), whole_milliseconds(1e9)
    (2.007, 0.001, 86400.0)
    """
    # To nanoseconds first: 2.007 seconds are a little over 2,007 milliseconds to a float.
    return math.ceil(round(min(seconds, RETRY_AFTER_SECONDS_MAX) * 1000, 6)) / 1000


# --------------------------------------------------------------------------- text of a header

_MONTH_NAMES: Final = "jan feb mar apr may jun jul aug sep oct nov dec"
_MONTHS: Final = {name: number for number, name in enumerate(_MONTH_NAMES.split(), 1)}
_CLOCK: Final = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
# The three forms of RFC 9110, 5.6.7: IMF-fixdate, RFC 850, asctime. Patterns, not compiled ones:
# few programs ever see such a header, and `re` keeps what it has compiled.
_DATES: Final = (
    rf"[a-z]{{3}}, (?P<day>[0-9]{{2}}) (?P<month>[a-z]{{3}}) (?P<year>[0-9]{{4}}) {_CLOCK} GMT",
    rf"[a-z]{{6,9}}, (?P<day>[0-9]{{2}})-(?P<month>[a-z]{{3}})-(?P<year>[0-9]{{2}}) {_CLOCK} GMT",
    rf"[a-z]{{3}} (?P<month>[a-z]{{3}}) (?P<day>[ 0-9][0-9]) {_CLOCK} (?P<year>[0-9]{{4}})",
)
_DIGITS: Final = r"[0-9]+(\.[0-9]*)?"


def parse_retry_after(value: str | bytes, now: float) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait, counted from ``now``.

    Takes seconds (a fraction is accepted, though RFC 9110 has whole ones) and the three forms of
    an HTTP-date. ``now`` is in seconds since the epoch. The answer is 0 for a date that is past,
    at most 86,400 (a longer wait is cut to it), and None for a value that is neither form or
    longer than 64 characters.

    >>> parse_retry_after("120", now=0.0)
    120.0
    >>> parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now=45.5)
    15.0
    >>> parse_retry_after("soon", now=0.0) is None
    True
    """
    text = _text(value)
    if re.fullmatch(_DIGITS, text):
        return whole_milliseconds(float(text))
    for form in _DATES:
        if match := re.fullmatch(form, text, re.ASCII | re.IGNORECASE):
            when = _epoch_seconds(match.groupdict(), now)
            return None if when is None else _until(when, now)
    return None


def parse_retry_after_ms(value: str | bytes) -> float | None:
    """Seconds that a header in milliseconds asks to wait; bounds are those of the one in seconds.

    >>> parse_retry_after_ms("20"), parse_retry_after_ms("-1")
    (0.02, None)
    """
    text = _text(value)
    return whole_milliseconds(float(text) / 1000) if re.fullmatch(_DIGITS, text) else None


def _text(value: str | bytes) -> str:
    """A header's value without the blanks around it; "" for one that is too long to be a wait."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    text = value.strip(" \t")
    return text if len(text) <= RETRY_AFTER_CHARACTERS_MAX else ""


def _until(when: float, now: float) -> float:
    return float(math.ceil(min(max(when - now, 0.0), RETRY_AFTER_SECONDS_MAX)))


def _epoch_seconds(parts: dict[str, str], now: float) -> float | None:
    """Seconds since the epoch of a matched date; None for a day or time that does not exist."""
    month = _MONTHS.get(parts["month"].lower())
    year, day = int(parts["year"]), int(parts["day"])
    hour, minute, second = int(parts["hour"]), int(parts["minute"]), int(parts["second"])
    if month is None or hour > 23 or minute > 59 or second > 60:
        return None
    if len(parts["year"]) == 2:
        # A two-digit year that looks more than 50 years ahead is the past one (RFC 9110, 5.6.7).
        this_year = 1970 + math.floor(now / (365.2425 * 86_400))
        year += this_year - this_year % 100
        if year > this_year + 50:
            year -= 100
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    lengths = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not 1 <= day <= lengths[month - 1] or year < 1970:
        return None
    past = year - 1
    days = past * 365 + past // 4 - past // 100 + past // 400 - 719_162
    days += sum(lengths[: month - 1]) + day - 1
    return float(days * 86_400 + hour * 3600 + minute * 60 + second)


# ------------------------------------------------------------------------ somebody's objects

_MILLISECONDS: Final = ("retry-after-ms", "x-ms-retry-after-ms")
_HEADERS: Final = (*_MILLISECONDS, "Retry-After")
# Only a dict that a program made minds how a name is spelt.
_SPELLINGS: Final = (*_MILLISECONDS, "Retry-After-Ms", "X-Ms-Retry-After-Ms", "retry-after")
_IN_A_DICT: Final = (*_SPELLINGS, "Retry-After")
_ANY_SPELLING: Final = frozenset(_IN_A_DICT)


def _is_dict(headers: object) -> bool:
    # By type(): isinstance() would ask the object for its __class__.
    return issubclass(type(headers), dict)


def headers_say_when(headers: Any) -> bool:
    """Whether there is one of the three headers, whatever its value.

    Asked of each error that has headers, so in the way that costs least for their type.
    """
    if _is_dict(headers):
        return not _ANY_SPELLING.isdisjoint(headers)
    if hasattr(headers, "get_all"):
        # A message of `email`, which goes through all of its headers for each get.
        return "retry-after" in "\n".join(headers.keys()).lower()
    get = headers.get
    return (
        get("Retry-After") is not None
        or get("retry-after-ms") is not None
        or get("x-ms-retry-after-ms") is not None
    )


def wait_in_headers(headers: Any, now: float) -> float | None:
    """Seconds that the headers of an answer ask to wait; None where they ask for nothing.

    ``headers`` is a mapping, ``now`` in seconds since the epoch.
    """
    for name in _IN_A_DICT if _is_dict(headers) else _HEADERS:
        value = headers.get(name)
        wait = _milliseconds_of(value) if name[-2:].lower() == "ms" else _wait_of(value, now)
        if wait is not None:
            return wait
    return None


def says_when(owner: object) -> bool:
    """Whether an answer, or an exception that stands for one, says when to come back."""
    headers = getattr(owner, "headers", None)
    if hasattr(headers, "get") and headers_say_when(headers):
        return True
    return bool(attribute_of(owner, "retry_after"))


def wait_said_by(owner: object, now: float) -> float | None:
    """Seconds that ``owner`` asks to wait by its headers, or by its attribute ``retry_after``.

    The attribute may be seconds, a ``timedelta``, a ``datetime`` or what the header could be; 0 is
    what Werkzeug has for nothing. ``now`` is in seconds since the epoch.
    """
    headers = getattr(owner, "headers", None)
    wait = wait_in_headers(headers, now) if hasattr(headers, "get") else None
    if wait is None:
        wait = _wait_of(attribute_of(owner, "retry_after") or None, now)
    return wait


def _wait_of(value: Any, now: float) -> float | None:
    if isinstance(value, (str, bytes)):
        return parse_retry_after(value, now)
    if (number := _number(value)) is not None:
        return whole_milliseconds(number)
    if callable(moment := getattr(value, "timestamp", None)):
        return _until(float(moment()), now)
    span = getattr(value, "total_seconds", None)
    number = _number(span()) if callable(span) else None
    return None if number is None else whole_milliseconds(number)


def _milliseconds_of(value: Any) -> float | None:
    if isinstance(value, (str, bytes)):
        return parse_retry_after_ms(value)
    number = _number(value)
    return None if number is None else whole_milliseconds(number / 1000)


def _number(value: object) -> float | None:
    """A number that can be a wait, cut to what a float has room for; None for anything else."""
    number = value if type(value) is float else int_of(value)
    return float(min(number, _NUMBER_MAX)) if number is not None and number >= 0 else None
