"""What an HTTP status says, and how long ``Retry-After`` asks to wait.

The table follows RFC 9110 and 6585 for the meaning of a status. Only statuses that say "later"
(408, 423, 425, 429, 502, 503, 504) are retryable; 500 is not, because it says nothing about
whether the work was done. A 4xx other than 408 and 429 counts as a success of the server: it
answered, and it judged the request, so it must not open a breaker that every caller shares.

>>> by_status(503, retry_after=2.0).retry_after
2.0
>>> by_status(404).counts_as.value
'success'
>>> parse_retry_after("120", now=0.0)
120.0
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any, Final

from faultplane.classify import vocabulary as v
from faultplane.classify.classification import RETRY_AFTER_SECONDS_MAX, Classification, shared
from faultplane.classify.table import Row, Table

__all__ = ["STATUSES", "by_status", "parse_retry_after"]


def _status(kind: str, **fields: Any) -> Row:
    return kind, {"origin": "caller", **v.ANSWERED, **fields}


def _failed(kind: str, **fields: Any) -> Row:
    return _status(kind, **{"origin": "target", "counts_as": "failure", **fields})


def _make(code: int | str, row: Row) -> Classification:
    return shared(Classification(row[0], rule=f"http[{code}]", **row[1]))


STATUSES: Final = Table({
    400: _status("DataValidation"),
    401: _status("Permission"),
    402: _status("BusinessLogic"),
    403: _status("Permission"),
    404: _status("DataValidation", confidence=0.6),
    405: _status("DataValidation"),
    406: _status("VersionMismatch"),
    407: _status("Permission", origin="path", reached_server="no", counts_as="ignored"),
    408: _failed("Timeout", origin="path", **v.BACKOFF),
    409: _status("Concurrency", **v.LATER, origin="caller", **v.FIX),
    410: _status("DataValidation", confidence=0.6),
    412: _status("Concurrency", **v.LATER, **v.FIX),
    413: _status("DataValidation"),
    415: _status("VersionMismatch"),
    421: _status("Configuration", origin="path", counts_as="ignored"),
    422: _status("DataValidation"),
    423: _status("Concurrency", **v.AGAIN, origin="target"),
    424: _failed("DependencyService", **v.FINAL),
    425: _status("Concurrency", **v.AGAIN, origin="path"),
    426: _status("VersionMismatch"),
    429: _failed("RateLimit"),
    451: _status("Permission"),
    500: _failed("DependencyService", **v.FINAL),
    501: _failed("VersionMismatch", counts_as="success"),
    502: _failed("DependencyService", origin="path", reached_server="unknown"),
    503: _failed("DependencyService"),
    504: _failed("Timeout", category="Dependency", origin="path", reached_server="unknown"),
    505: _failed("VersionMismatch", counts_as="success"),
    507: _failed("ResourceExhausted", temporary=True),
    508: _failed("Configuration"),
    511: _failed("Permission", origin="path", reached_server="no"),
}, _make)  # fmt: skip
"""Statuses with an answer of their own."""

# RFC 9110, 15: a status that is not known is treated as x00 of its class.
_CLASSES: Final = Table({
    "3xx": _status("Configuration", confidence=0.6),
    "4xx": _status("DataValidation", confidence=0.6),
    "5xx": _failed("DependencyService", **v.FINAL, confidence=0.6),
    "?": _failed("DependencyService", **v.FINAL, reached_server="unknown", confidence=0.3),
}, _make)  # fmt: skip


def by_status(status: int, retry_after: float | None = None) -> Classification:
    """What a response that is taken for an error says.

    ``retry_after`` in seconds, as from `parse_retry_after`. A status outside 300 to 599 is no
    known error: the answer is a DependencyService failure of low confidence.
    """
    answer = STATUSES.get(status)
    if answer is None:
        answer = _CLASSES[f"{status // 100}xx" if 300 <= status <= 599 else "?"]
    return answer if retry_after is None else _waiting(answer, retry_after)


@lru_cache(maxsize=1024)
def _waiting(answer: Classification, retry_after: float) -> Classification:
    return shared(answer.replace(retry_after=retry_after))


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
_SECONDS: Final = r"[0-9]+(\.[0-9]*)?"
RETRY_AFTER_CHARACTERS_MAX: Final = 64


def parse_retry_after(value: str | bytes, now: float) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait, counted from ``now``.

    Takes seconds (a fraction is accepted, though RFC 9110 has whole ones) and the three forms of
    an HTTP-date. ``now`` is in seconds since the epoch. The answer is 0 for a date that is past,
    at most 86,400 (a longer wait is cut to it), and None for a value that is neither form or
    longer than 64 characters.

    >>> parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now=45.5)
    14.5
    >>> parse_retry_after("soon", now=0.0) is None
    True
    """
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    text = value.strip(" \t")
    if len(text) > RETRY_AFTER_CHARACTERS_MAX:
        return None
    if re.fullmatch(_SECONDS, text):
        return min(float(text), RETRY_AFTER_SECONDS_MAX)
    for form in _DATES:
        if match := re.fullmatch(form, text, re.ASCII | re.IGNORECASE):
            when = _epoch_seconds(match.groupdict(), now)
            return None if when is None else min(max(when - now, 0.0), RETRY_AFTER_SECONDS_MAX)
    return None


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
