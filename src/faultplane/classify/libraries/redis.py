"""Redis: the types of redis-py, and the word that an error of the server starts with.

redis-py has types for some of the words and cuts the word from their text; what it does not know
stays a ResponseError with the whole text.

Decisions that could have gone another way:

* READONLY is DependencyService and retryable: it comes with a failover, and another connection
  leads to the new primary. MOVED and ASK are that a client which knows clusters goes elsewhere.
* OOM is temporary and not retryable: keys expire, but the next moment is as full as this one.
* NOSCRIPT has the strategy Fallback (send the script itself), WATCH and a lock that another holds
  are conflicts; a lock that was lost before it was released was held for too long, by the program.
* A connection that was refused or a pool that is empty has no type of its own, only a text.
"""

from __future__ import annotations

from typing import Final

from faultplane.classify import vocabulary as v
from faultplane.classify.judgement import keyed
from faultplane.classify.libraries import rows as r
from faultplane.classify.table import Row, answers_by_word

__all__ = ["GROUPS", "WORDS", "by_redis_text", "by_redis_word"]

_MEMORY: Final[Row] = ("ResourceExhausted", {**v.LATER, **v.TARGET, "severity": "High"})
_SCRIPT: Final[Row] = ("DataValidation", {**v.ANSWERED, **v.WITHOUT, **v.LIKELY})
_ELSEWHERE: Final[Row] = ("DependencyService", {**v.BACKOFF, **v.ANSWERED})

WORDS: Final = answers_by_word(
    "redis",
    {
        "LOADING READONLY CLUSTERDOWN MASTERDOWN BUSY NOREPLICAS NOMASTERLINK": r.UNAVAILABLE,
        "MISCONF IOERR UNKILLABLE": r.BROKEN,
        "MOVED ASK": _ELSEWHERE,
        "TRYAGAIN INPROG UNBLOCKED": r.CONFLICT,
        "OOM": _MEMORY,
        "NOSCRIPT": _SCRIPT,
        "WRONGTYPE CROSSSLOT EXECABORT NOTBUSY": r.MISTAKE,
        "BUSYKEY BUSYGROUP": r.INVALID,
        "NOGROUP": r.ABSENT,
        "NOAUTH WRONGPASS DENIED": r.LOCKED_OUT,
        "NOPERM": r.DENIED,
        "NOPROTO": r.UNSUPPORTED,
    },
)
"""Answers by the first word of an error of the server."""

_TEXTS: Final = answers_by_word(
    "redis",
    {
        "connect": r.UNREACHED,
        "connect-timeout": r.UNREACHED_IN_TIME,
        "pool": r.POOL_EMPTY,
        "clients": r.NO_PLACE,
    },
)
# What redis-py and the server say, in the order in which it is looked for.
_SAID: Final = {
    "Timeout connecting": "connect-timeout",
    " connecting to ": "connect",
    "Too many connections": "pool",
    "No connection available": "pool",
    "max number of clients": "clients",
}


def _word_key(exc: BaseException) -> object:
    text = exc.args[0] if exc.args else None
    word = text[:32].partition(" ")[0] if type(text) is str else ""
    return word if word in WORDS else ""


def _text_key(exc: BaseException) -> object:
    text = exc.args[0] if exc.args else None
    if type(text) is not str:
        return ""
    text = text[:512]
    return next((key for words, key in _SAID.items() if words in text), "")


by_redis_word: Final = keyed(_word_key, WORDS.get)
"""A ResponseError by its first word."""
by_redis_text: Final = keyed(_text_key, _TEXTS.get)
"""A ConnectionError or TimeoutError by what its text says of how far it came."""

_ABSENT_SENTINEL: Final[dict[str, r.Written]] = {
    "MasterNotFoundError SlaveNotFoundError": r.NOT_OPEN,
}

GROUPS: Final[tuple[r.Group, ...]] = (
    (
        "redis.exceptions",
        {
            "RedisError": r.UNTOLD,
            "ConnectionError": (*r.LOST, by_redis_text),
            "TimeoutError": (*r.SLOW, by_redis_text),
            "MaxConnectionsError": r.POOL_EMPTY,
            "AuthenticationError AuthorizationError": r.LOCKED_OUT,
            "BusyLoadingError ReadOnlyError ClusterDownError MasterDownError": r.UNAVAILABLE,
            "ClusterError SlotNotCoveredError": (
                "DependencyService", {**v.BACKOFF, "reached_server": "unknown", **v.LIKELY},
            ),
            "RedisClusterException": ("Configuration", {"origin": "path", **v.GUESS}),
            "AskError MovedError": _ELSEWHERE,
            "TryAgainError WatchError": r.CONFLICT,
            "LockError": ("Concurrency", {**r.CONFLICT[1], "confidence": 0.6}),
            "LockNotOwnedError": ("Concurrency", {**v.FINAL, **v.ANSWERED, **v.FIX}),
            "ResponseError": ("Internal", {**v.ANSWERED, "confidence": 0.6}, by_redis_word),
            "ExecAbortError ClusterCrossSlotError": r.MISTAKE,
            "OutOfMemoryError": _MEMORY,
            "NoScriptError": _SCRIPT,
            "NoPermissionError": r.DENIED,
            "AuthenticationWrongNumberOfArgsError ModuleError": r.REFUSED_SETTING,
            "DataError": r.UNFIT,
            "InvalidResponse": ("Serialization", {**v.TARGET}),
            "PubSubError ChildDeadlockedError IncorrectPolicyType": r.MISUSE,
        },
    ),
    ("redis.sentinel", _ABSENT_SENTINEL),
    ("redis.asyncio.sentinel", _ABSENT_SENTINEL),
    (
        "redis.auth.err",
        {"RequestTokenErr TokenRenewalErr": r.NOT_OPEN, "InvalidTokenSchemaErr": r.LOCKED_OUT},
    ),
)  # fmt: skip
