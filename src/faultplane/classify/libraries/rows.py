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

from collections.abc import Callable, Iterator
from typing import Any, Final

from faultplane.classify import vocabulary as v
from faultplane.classify.classification import Classification, shared
from faultplane.classify.judgement import Judge
from faultplane.classify.table import Answers, Row, Table

__all__ = [
    "MAY_BE_MADE_AGAIN",
    "Group",
    "Written",
    "by_answer",
    "by_word_or_again",
    "names_of",
    "table_of",
]

Written = tuple[str, dict[str, Any]] | tuple[str, dict[str, Any], Judge]
"""Kind, what differs from what it implies, and who refines it."""
Group = tuple[str, dict[str, Written]]
"""A module, and the rows of its types by their names."""

# The way there.
LOST: Final[Row] = ("Transport", {})
UNREACHED: Final[Row] = ("Transport", {**v.UNSENT})
SLOW: Final[Row] = ("Timeout", {})
UNREACHED_IN_TIME: Final[Row] = ("Timeout", {**v.UNSENT})
# The connection was closed because nobody used it: the next call finds it so.
IDLED_OUT: Final[Row] = ("Transport", {**v.LOCAL, "origin": "caller"})
# The server.
SLOW_SERVER: Final[Row] = ("Timeout", {**v.TARGET})
UNAVAILABLE: Final[Row] = ("DependencyService", {**v.BACKOFF})
NOT_OPEN: Final[Row] = ("DependencyService", {**v.BACKOFF, **v.UNSENT})
BROKEN: Final[Row] = ("DependencyService", {**v.FINAL, **v.BY_HAND})
# The base of a library's errors, of which nothing more is known.
UNTOLD: Final[Row] = ("DependencyService", {**v.FINAL, **v.BY_HAND, **v.UNCLEAR})
DAMAGED: Final[Row] = (
    "DependencyService",
    {**v.FINAL, **v.BY_HAND, "category": "Data", "severity": "Critical"},
)
FULL: Final[Row] = ("ResourceExhausted", {**v.FINAL, **v.TARGET, "severity": "High"})
CROWDED: Final[Row] = ("ResourceExhausted", {**v.AGAIN, **v.TARGET, "severity": "High"})
NO_PLACE: Final[Row] = ("ResourceExhausted", {**CROWDED[1], **v.UNSENT})
THROTTLED: Final[Row] = ("RateLimit", {})
# It leads to a replica, or to what was the primary until a moment ago.
READ_ONLY: Final[Row] = (
    "Configuration",
    {**v.LATER, "origin": "path", "reached_server": "yes", "confidence": 0.6},
)
# What the server says of the call.
CONFLICT: Final[Row] = ("Concurrency", {**v.TARGET, **v.ANSWERED})
OUTDATED: Final[Row] = (
    "Concurrency",
    {**v.LATER, **v.ANSWERED, **v.FIX},
)
INTERRUPTED: Final[Row] = (
    "Concurrency",
    {**v.FINAL, **v.WITHOUT, **v.IGNORED, "reached_server": "yes", "severity": "Low"},
)
INVALID: Final[Row] = ("DataValidation", {**v.ANSWERED})
ABSENT: Final[Row] = ("DataValidation", {**v.ANSWERED, "confidence": 0.6})
MISTAKE: Final[Row] = ("Internal", {**v.ANSWERED})
DENIED: Final[Row] = ("Permission", {**v.ANSWERED})
LOCKED_OUT: Final[Row] = ("Permission", {**v.UNSENT, "counts_as": "success"})
UNSUPPORTED: Final[Row] = ("VersionMismatch", {**v.ANSWERED})
REFUSED_SETTING: Final[Row] = ("Configuration", {**v.ANSWERED, **v.LIKELY})
# This side, before anything was sent.
SETTING: Final[Row] = ("Configuration", {})
UNFIT: Final[Row] = ("DataValidation", {**v.UNSENT})
MISUSE: Final[Row] = ("Internal", {**v.LOCAL, "confidence": 0.9})
STOPPED: Final[Row] = (
    "Concurrency",
    {**v.FINAL, **v.WITHOUT, **v.LOCAL, "severity": "Low"},
)
# Each connection of a pool of ours is in use, which says little of the server.
POOL_EMPTY: Final[Row] = (
    "ResourceExhausted",
    {**v.AGAIN, **v.LOCAL, "severity": "High", "confidence": 0.8},
)
WARNED: Final[Row] = (
    "Processing",
    {**v.FINAL, **v.IGNORED, "severity": "Low", **v.FIX},
)


MAY_BE_MADE_AGAIN: Final = " again"
"""Behind a word in a key: the client says of this very call that it may be made again."""


def by_word_or_again(answers: Answers[str]) -> Callable[[str, Classification], Classification]:
    """What answers a key that is a word of ``answers``, or one with `MAY_BE_MADE_AGAIN` behind."""

    def answer_to(key: str, answer: Classification) -> Classification:
        word, again, _ = key.partition(MAY_BE_MADE_AGAIN)
        answer = answers.get(word, answer)
        if not again or answer.retryable:
            return answer
        return shared(answer.replace(**{**v.AGAIN, **v.BACKOFF}))

    return answer_to


def table_of(groups: tuple[Group, ...]) -> Table[str, Any, v.Entry]:
    """The rows of all groups by the full name of the type."""
    return Table(
        {
            f"{module}.{name}": row
            for module, rows in groups
            for names, row in rows.items()
            for name in names.split()
        },
        lambda name, row: v.entry_of(name, *row),
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


def by_answer(*written: v.Said) -> tuple[Group, ...]:
    """Groups of rows that are written answer by answer: where many libraries give the same."""
    groups: list[Group] = []
    for row in written:
        said: Written = (row.kind, row.fields)
        if row.judge is not None:
            said = (row.kind, row.fields, row.judge)
        groups += [(module, {name: said}) for module, name in names_of(row.names)]
    return tuple(groups)
