"""What a process says at its end of counts that no storage took: two lines on standard error."""

from __future__ import annotations

import sys
from typing import Final

from faultplane.store import counts
from faultplane.store.aggregate import Tallies

LISTED_MAX: Final = 5
NAME_CHARS_MAX: Final = 60
REASON_CHARS_MAX: Final = 200


def tell(tallies: Tallies, reason: str) -> None:
    """Say what was counted and is kept nowhere, if anything was; never raises."""
    try:
        said = "".join(f"{line}\n" for line in lines(tallies, reason))
        if said:
            sys.stderr.write(said)
            sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        return  # no standard error, or a closed one: nobody is there to be told


def lines(tallies: Tallies, reason: str) -> list[str]:
    r"""How much there is and why it is kept nowhere; then what there is most of.

    >>> from faultplane import schema
    >>> from faultplane.store.aggregate import Series, Tally
    >>> errors = Series(schema.SERIES_ERROR, 1, 7, b"shop", b"charge", b"TimeoutError")
    >>> hits = Series(schema.SERIES_COUNTER, 0, 0, b"shop", b"", b"hits")
    >>> print(*lines({errors: Tally(3), hits: Tally(12)}, "the disk is full"), sep="\n")
    faultplane: counted and kept nowhere: 3 errors, 12 in 1 counter (the disk is full)
    faultplane: 12 hits, 3 TimeoutError in charge (0000000000000007)
    """
    errors = counts.count_rows(tallies)
    counters = [row for row in counts.counter_rows(tallies) if row.value]
    if not errors and not counters:
        return []
    amounts = []
    if errors:
        amounts.append(_number(sum(row.count for row in errors), "error"))
    if counters:
        total = sum(row.value for row in counters)
        amounts.append(f"{total:,} in {_number(len(counters), 'counter')}")
    told = [
        (row.count, f"{row.count:,} {_error(row)} ({row.fingerprint:016x})") for row in errors
    ] + [(row.value, f"{row.value:,} {_plain(row.name) or 'more'}") for row in counters]
    told.sort(key=lambda pair: -pair[0])
    listed = [text for _, text in told[:LISTED_MAX]]
    if len(told) > LISTED_MAX:
        listed.append(f"and {_number(len(told) - LISTED_MAX, 'other')}")
    why = _plain(reason, REASON_CHARS_MAX) or "no storage"
    return [
        f"faultplane: counted and kept nowhere: {', '.join(amounts)} ({why})",
        f"faultplane: {', '.join(listed)}",
    ]


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _error(row: counts.CountRow) -> str:
    name = _plain(row.type or row.kind) or "error"
    return f"{name} in {_plain(row.operation)}" if row.operation else name


def _plain(text: str, chars_max: int = NAME_CHARS_MAX) -> str:
    """One line without control characters, of bounded length."""
    if not text.isprintable():
        text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"
