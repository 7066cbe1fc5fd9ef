"""How the tables of libraries are written, and answers that several of them give.

A table is a tuple of groups: the name of a module, and its rows. A row has the names of one or
more types, relative to the module, and their answer: a kind and what differs from what the kind
implies; then, for types that have more to say, who refines it for an instance.

What is the same whoever says it, is one of the answers below: a transaction that was rolled back
because of another is a `CONFLICT` in each database, and a login that was refused a `LOCKED_OUT`.
A server that answered and judged the call counts as a success, since it must not open a breaker
that all callers share; one that had no place for it, or was about to stop, counts as a failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from faultplane.classify.classification import Classification, shared
from faultplane.classify.judgement import Judge
from faultplane.classify.stdlib import Entry, _Written
from faultplane.classify.table import Row, Table

__all__ = ["Group", "Written", "by_answer", "names_of", "table_of"]

Written = tuple[str, dict[str, Any]] | tuple[str, dict[str, Any], Judge]
"""Kind, what differs from what it implies, and who refines it."""
Group = tuple[str, dict[str, Written]]
"""A module, and the rows of its types by their names."""

FINAL: Final[dict[str, Any]] = {"retryable": False, "temporary": False}
AGAIN: Final[dict[str, Any]] = {"retryable": True, "temporary": True}
LATER: Final[dict[str, Any]] = {"retryable": False, "temporary": True}
UNSENT: Final[dict[str, Any]] = {"reached_server": "no"}
ANSWERED: Final[dict[str, Any]] = {"reached_server": "yes", "counts_as": "success"}
TARGET: Final[dict[str, Any]] = {"origin": "target", "reached_server": "yes"}
IGNORED: Final[dict[str, Any]] = {"counts_as": "ignored"}
GUESS: Final[dict[str, Any]] = {"confidence": 0.5}
LIKELY: Final[dict[str, Any]] = {"confidence": 0.7}
BACKOFF: Final[dict[str, Any]] = {"recovery_strategy": "RetryWithBackoff"}
BY_HAND: Final[dict[str, Any]] = {"recovery_strategy": "ManualIntervention"}
WITHOUT: Final[dict[str, Any]] = {"recovery_strategy": "Fallback"}

# The way there.
LOST: Final[Row] = ("Transport", {})
UNREACHED: Final[Row] = ("Transport", {**UNSENT})
SLOW: Final[Row] = ("Timeout", {})
UNREACHED_IN_TIME: Final[Row] = ("Timeout", {**UNSENT})
# The connection was closed because nobody used it: the next call finds it so.
IDLED_OUT: Final[Row] = ("Transport", {**UNSENT, **IGNORED, "origin": "caller"})
# The server.
SLOW_SERVER: Final[Row] = ("Timeout", {**TARGET})
UNAVAILABLE: Final[Row] = ("DependencyService", {**BACKOFF})
NOT_OPEN: Final[Row] = ("DependencyService", {**BACKOFF, **UNSENT})
BROKEN: Final[Row] = ("DependencyService", {**FINAL, **BY_HAND})
DAMAGED: Final[Row] = (
    "DependencyService",
    {**FINAL, **BY_HAND, "category": "Data", "severity": "Critical"},
)
FULL: Final[Row] = ("ResourceExhausted", {**FINAL, **TARGET, "severity": "High"})
CROWDED: Final[Row] = ("ResourceExhausted", {**AGAIN, **TARGET, "severity": "High"})
NO_PLACE: Final[Row] = ("ResourceExhausted", {**CROWDED[1], **UNSENT})
THROTTLED: Final[Row] = ("RateLimit", {})
# It leads to a replica, or to what was the primary until a moment ago.
READ_ONLY: Final[Row] = (
    "Configuration",
    {**LATER, "origin": "path", "reached_server": "yes", "confidence": 0.6},
)
# What the server says of the call.
CONFLICT: Final[Row] = ("Concurrency", {**TARGET, **ANSWERED})
OUTDATED: Final[Row] = (
    "Concurrency",
    {**LATER, **ANSWERED, "recovery_strategy": "FixCode"},
)
INTERRUPTED: Final[Row] = (
    "Concurrency",
    {**FINAL, **WITHOUT, **IGNORED, "reached_server": "yes", "severity": "Low"},
)
INVALID: Final[Row] = ("DataValidation", {**ANSWERED})
ABSENT: Final[Row] = ("DataValidation", {**ANSWERED, "confidence": 0.6})
MISTAKE: Final[Row] = ("Internal", {**ANSWERED})
DENIED: Final[Row] = ("Permission", {**ANSWERED})
LOCKED_OUT: Final[Row] = ("Permission", {**UNSENT, "counts_as": "success"})
UNSUPPORTED: Final[Row] = ("VersionMismatch", {**ANSWERED})
REFUSED_SETTING: Final[Row] = ("Configuration", {**ANSWERED, "confidence": 0.7})
# This side, before anything was sent.
SETTING: Final[Row] = ("Configuration", {})
UNFIT: Final[Row] = ("DataValidation", {**UNSENT})
MISUSE: Final[Row] = ("Internal", {**UNSENT, **IGNORED, "confidence": 0.9})
STOPPED: Final[Row] = (
    "Concurrency",
    {**FINAL, **WITHOUT, **UNSENT, **IGNORED, "severity": "Low"},
)
# Each connection of a pool of ours is in use, which says little of the server.
POOL_EMPTY: Final[Row] = (
    "ResourceExhausted",
    {**AGAIN, **UNSENT, **IGNORED, "severity": "High", "confidence": 0.8},
)
WARNED: Final[Row] = (
    "Processing",
    {**FINAL, **IGNORED, "severity": "Low", "recovery_strategy": "FixCode"},
)


def _make(name: str, row: Written) -> Entry:
    fields = {"confidence": 0.8, **row[1]}
    answer = shared(Classification(row[0], rule=name, **fields))
    return Entry(answer, row[2] if len(row) == 3 else None)


def table_of(groups: tuple[Group, ...]) -> Table[str, Any, Entry]:
    """The rows of all groups by the full name of the type."""
    return Table(
        {
            f"{module}.{name}": row
            for module, rows in groups
            for names, row in rows.items()
            for name in names.split()
        },
        _make,
    )


def names_of(written: str) -> Iterator[tuple[str, str]]:
    """Modules and names in them; a word that ends with a colon is the module of those after it.

    >>> list(names_of("rq.timeouts: JobTimeoutException rq.exceptions: NoSuchJobError"))
    [('rq.timeouts', 'JobTimeoutException'), ('rq.exceptions', 'NoSuchJobError')]
    """
    module = ""
    for word in written.split():
        if word.endswith(":"):
            module = word[:-1]
        else:
            yield module, word


def by_answer(*written: _Written) -> tuple[Group, ...]:
    """Groups of rows that are written answer by answer: where many libraries give the same."""
    groups: list[Group] = []
    for row in written:
        said: Written = (row.kind, row.fields)
        if row.judge is not None:
            said = (row.kind, row.fields, row.judge)
        groups += [(module, {name: said}) for module, name in names_of(row.names)]
    return tuple(groups)
