"""PostgreSQL by SQLSTATE, and what psycopg, psycopg2 and asyncpg add to it.

The codes are those of PostgreSQL's appendix A: a code with a row of its own, else its class
(``23xxx``). The drivers have them as ``sqlstate`` or ``pgcode``.

Decisions that could have gone another way:

* A statement is not what is to be made again after 40001, 40P01 or 55P03 but its transaction.
* 57014 is a statement that was cancelled, by ``statement_timeout`` far more often than by hand;
  the code does not say which. Timeout.
* 08007 and 40003 leave open whether a transaction was committed: it is not to be made again
  before somebody has looked.
* 25006 is Configuration: the connection leads to a standby, or the transaction was declared so.
* What is refused before there is a session (28xxx, 3D000, 53300, 57P03) has not reached the
  server: no statement can have been run.
* A program's own text (42xxx, 25xxx, cursors, savepoints) is Internal, and a success of the server.
* libpq has no code for what fails while it connects; the words of the server are then looked for
  in its text, which is in English unless the operator chose otherwise.
"""

from __future__ import annotations

from typing import Any, Final

from faultplane.classify import vocabulary as v
from faultplane.classify.judgement import keyed
from faultplane.classify.libraries import rows as r
from faultplane.classify.table import answers_by_word

__all__ = ["GROUPS", "SQLSTATES", "by_sqlstate"]

SQLSTATES: Final = answers_by_word(
    "sqlstate",
    {
        "01xxx": r.WARNED,
        "02xxx P0002 P0003 21xxx": r.ABSENT,
        "03xxx 0Bxxx 0Fxxx 0Zxxx 20xxx 24xxx 25xxx 26xxx 27xxx 2Bxxx 2Dxxx 2Fxxx 34xxx 38xxx "
        "39xxx 3Bxxx 3Fxxx 42xxx 42601 42703 42883 42P01 25P01 25P02 55000 55P04 P0xxx "
        "09xxx": r.MISTAKE,
        "08xxx 08000 08003 08006": r.LOST,
        "08001": r.UNREACHED,
        "08004": ("Transport", {**v.UNSENT, "origin": "target"}),
        "08007 40003": ("Transport", {**v.LATER, **v.BY_HAND}),
        # PgBouncer has this code for whatever it refuses.
        "08P01": ("VersionMismatch", {"origin": "path", **v.GUESS}),
        "0Axxx": r.UNSUPPORTED,
        "0Lxxx 0Pxxx 42501": r.DENIED,
        "10xxx 22xxx 23xxx 23001 23502 23503 23505 23514 23P01 40002 44xxx 54xxx": r.INVALID,
        "25006": r.READ_ONLY,
        "25P03": ("Timeout", {"origin": "caller", "reached_server": "yes", **v.IGNORED,
                              **v.FIX}),
        "25P04 57014": r.SLOW_SERVER,
        "28xxx 28000 28P01": r.LOCKED_OUT,
        "3Dxxx 3D000 57P04": r.SETTING,
        "40xxx 40001 40P01 55006 55P03 72xxx": r.CONFLICT,
        "53xxx 53000 53200": r.CROWDED,
        "53100 53400": r.FULL,
        "53300": r.NO_PLACE,
        "55xxx": ("Concurrency", {**v.ANSWERED, **v.LATER, **v.GUESS}),
        "55P02": r.REFUSED_SETTING,
        "57xxx 57P01 57P02": r.UNAVAILABLE,
        "57P03": r.NOT_OPEN,
        "57P05": r.IDLED_OUT,
        "58xxx F0xxx XXxxx XX000 HVxxx": r.BROKEN,
        "58030": ("DependencyService", {**r.BROKEN[1], "severity": "Critical"}),
        "HV00N": r.UNAVAILABLE,
        "XX001 XX002": r.DAMAGED,
        "P0001": ("BusinessLogic", {**v.LIKELY}),
        # libpq and psycopg have no code for these.
        "connect": r.UNREACHED,
    },
)  # fmt: skip
"""Answers by SQLSTATE and by its class."""

# What the server says to one that connects, and the code that it would have said it with.
_SAID: Final = {
    "authentication failed": "28P01",
    "no pg_hba.conf entry": "28000",
    "no password supplied": "28P01",
    "too many clients": "53300",
    "too many connections": "53300",
    "remaining connection slots": "53300",
    "the database system is": "57P03",
    "the database system was": "57P03",
    "does not exist": "3D000",
}


_KNOWN: Final = frozenset(SQLSTATES)


def _text_key(exc: BaseException) -> str:
    """What the text of an error without a code says of a connection that could not be had."""
    text = exc.args[0] if exc.args else None
    if type(text) is not str or not text.startswith(("connection failed", "connection to server")):
        return ""
    text = text[:2048]
    return next((code for words, code in _SAID.items() if words in text), "connect")


def _sqlstate_key(exc: Any) -> object:
    code = getattr(exc, "sqlstate", None)
    if code is None:
        code = getattr(exc, "pgcode", None)
    if type(code) is not str or len(code) != 5:
        return _text_key(exc)
    if code in _KNOWN:
        return code
    code = f"{code[:2]}xxx"
    return code if code in _KNOWN else ""


by_sqlstate: Final = keyed(_sqlstate_key, SQLSTATES.get)
"""An error by its SQLSTATE, else by what its text says of the connection."""

# PEP 249, and what each says where the server gave no code.
_DATABASE: Final[dict[str, r.Written]] = {
    "Error DatabaseError NotSupportedError": (*r.UNTOLD, by_sqlstate),
    "OperationalError": ("Transport", {"confidence": 0.6}, by_sqlstate),
    "InternalError": (*r.BROKEN, by_sqlstate),
    "IntegrityError DataError": (*r.INVALID, by_sqlstate),
    "ProgrammingError": (*r.MISUSE, by_sqlstate),
    "InterfaceError": r.MISUSE,
    "Warning": r.WARNED,
}  # fmt: skip

GROUPS: Final[tuple[r.Group, ...]] = (
    ("psycopg", {**_DATABASE, "Rollback": r.STOPPED}),
    ("psycopg2", _DATABASE),
    (
        "psycopg.errors",
        {
            "ConnectionTimeout": r.UNREACHED_IN_TIME,
            "CancellationTimeout _WaitTimeout": r.SLOW,
            "PipelineAborted": ("Internal", {**v.ANSWERED, **v.LIKELY}),
        },
    ),
    # psycopg2 has only these apart from the classes of the codes.
    ("psycopg2.extensions", {"QueryCanceledError": r.SLOW_SERVER, "TransactionRollbackError": (
        *r.CONFLICT, by_sqlstate)}),
    ("psycopg_pool", {
        "PoolTimeout TooManyRequests": r.POOL_EMPTY,
        "PoolClosed": r.MISUSE,
    }),
    (
        "asyncpg.exceptions",
        {
            "PostgresWarning": r.WARNED,
            # The plan is made anew where the statement is: outside of a transaction asyncpg does.
            "InvalidCachedStatementError": (
                "VersionMismatch", {**v.AGAIN, **v.BACKOFF, **v.ANSWERED},
            ),
        },
    ),
    (
        "asyncpg.exceptions._base",
        {
            "PostgresError": (
                "DependencyService", {**r.BROKEN[1], **v.GUESS}, by_sqlstate,
            ),
            "InterfaceError InternalClientError": r.MISUSE,
            "DataError": r.UNFIT,
            "ClientConfigurationError": r.SETTING,
            "UnsupportedClientFeatureError UnsupportedServerFeatureError": (
                "VersionMismatch", {**v.LOCAL},
            ),
            "ProtocolError": ("Serialization", {"origin": "path", **v.GUESS}),
            "OutdatedSchemaCacheError": (
                "VersionMismatch", {**v.AGAIN, **v.BACKOFF, **v.ANSWERED},
            ),
            "TargetServerAttributeNotMatched": r.NOT_OPEN,
            "InterfaceWarning": r.WARNED,
        },
    ),
)  # fmt: skip
