"""The words in which rules are written: what an answer says beyond its kind.

A word is a few fields of a `Classification` under one name (their values are those of
`faultplane.classify.kinds`), so that the same is said in the same way in every table; a row spreads
the words it needs, and a later one overrules an earlier. `says` is the sentence of the tables that
have an answer first and the types that give it after; `entry_of` is what comes of a row.
"""

# Annotations that are text become code objects in a NamedTuple: none from __future__ here.
from typing import Any, Final, NamedTuple

from faultplane.classify.classification import Classification, shared
from faultplane.classify.judgement import Judge

__all__ = [
    "AGAIN",
    "ANSWERED",
    "BACKOFF",
    "BUG",
    "BY_HAND",
    "CERTAIN",
    "FINAL",
    "FIX",
    "FLOW",
    "GUESS",
    "IGNORED",
    "LATER",
    "LIKELY",
    "LOCAL",
    "MEDIUM",
    "QUIET",
    "STOPPED",
    "TARGET",
    "UNCLEAR",
    "UNSENT",
    "VALIDATE",
    "WITHOUT",
    "Entry",
    "Said",
    "Word",
    "entry_of",
    "says",
]

Word = dict[str, Any]

# Whether the same call may be made again; LATER: not it, but what it is a part of.
FINAL: Final[Word] = {"retryable": False, "temporary": False}
AGAIN: Final[Word] = {"retryable": True, "temporary": True}
LATER: Final[Word] = {"retryable": False, "temporary": True}
# What helps.
BACKOFF: Final[Word] = {"recovery_strategy": "RetryWithBackoff"}
BY_HAND: Final[Word] = {"recovery_strategy": "ManualIntervention"}
FIX: Final[Word] = {"recovery_strategy": "FixCode"}
VALIDATE: Final[Word] = {"recovery_strategy": "ValidateConfig"}
WITHOUT: Final[Word] = {"recovery_strategy": "Fallback"}
# How far the call came, and what it says of who was called.
UNSENT: Final[Word] = {"reached_server": "no"}
TARGET: Final[Word] = {"origin": "target", "reached_server": "yes"}
ANSWERED: Final[Word] = {"reached_server": "yes", "counts_as": "success"}
IGNORED: Final[Word] = {"counts_as": "ignored"}
LOCAL: Final[Word] = {**UNSENT, **IGNORED}
# How sure the answer is; 0.8 where a row of a type says nothing.
CERTAIN: Final[Word] = {"confidence": 1.0}
LIKELY: Final[Word] = {"confidence": 0.7}
GUESS: Final[Word] = {"confidence": 0.5}
UNCLEAR: Final[Word] = {**GUESS, "reached_server": "unknown"}
# How bad it is, and what is no failure at all.
MEDIUM: Final[Word] = {"severity": "Medium"}
FLOW: Final[Word] = {**IGNORED, "severity": "Low"}
QUIET: Final[Word] = {**FINAL, **FLOW, **CERTAIN}
STOPPED: Final[Word] = {**QUIET, **WITHOUT}
BUG: Final[Word] = {**IGNORED, "confidence": 0.9}


class Said(NamedTuple):
    """The answer of some types, as it is written; an empty kind is the unknown one."""

    names: str
    kind: str
    fields: Word
    judge: Judge | None


def says(kind: str, names: str, *, judge: Judge | None = None, **fields: Any) -> Said:
    """Rows for the types in ``names``; what is not said follows from the kind."""
    return Said(names, kind, fields, judge)


class Entry(NamedTuple):
    """What a table of types has: the answer for a type, and who refines it for an instance."""

    answer: Classification
    judge: Judge | None


def entry_of(name: str, kind: str, fields: Word, judge: Judge | None = None) -> Entry:
    """What the row of the type ``name`` comes to; the confidence is 0.8 if it does not say one.

    >>> entry_of("shop.Declined", "BusinessLogic", MEDIUM).answer.confidence
    0.8
    """
    said = {"confidence": 0.8, **fields}
    return Entry(shared(Classification(kind, rule=name, **said)), judge)
