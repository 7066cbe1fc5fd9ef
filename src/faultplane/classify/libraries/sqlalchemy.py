"""SQLAlchemy: what the driver raised answers, and what SQLAlchemy itself raises.

A DBAPIError has the driver's exception as ``orig``, and so have the errors of dialects that
imitate a driver's (``EmulatedDBAPIException``); that exception is classified, and where nobody
knows it, the class of PEP 249 answers.

Decisions that could have gone another way:

* A pool without a free connection is ResourceExhausted on this side, nothing was sent, and it is
  ``ignored``: the calls that hold the connections say how the database does.
* NoResultFound and MultipleResultsFound are DataValidation of low confidence, as a 404 is, and a
  success of the database. StaleDataError is a conflict: to make the transaction again reads anew.
* What is not about a database (arguments, mappings, sessions, compilation) is the program's own.
"""

from __future__ import annotations

from typing import Any, Final

from faultplane.classify import vocabulary as v
from faultplane.classify.classification import Classification
from faultplane.classify.judgement import BY_TYPE, NEVER, Inquiry, Judgement, Reader
from faultplane.classify.judges import UNKNOWN, by_cause, inner_answer
from faultplane.classify.libraries import rows as r

__all__ = ["GROUPS", "by_driver"]

READERS_MAX: Final = 64
"""Types of drivers' exceptions whose keys can be read."""
# How the answer for a driver's type is remembered, so that this one can be so as well.
_readers: Final[dict[type, Reader]] = {}


def _errno(exc: Any) -> object:
    """The number of an OSError, which is part of what its own answer rests on."""
    number = getattr(exc, "errno", None)
    return number if type(number) is int else 0


def _driver_key(exc: Any) -> object:
    orig = exc.orig
    kind = type(orig)
    if type(kind) is not type:
        return None  # its metaclass may compare as it likes
    read = _readers.get(kind)
    key = None if read is None else read(orig)
    return None if key is None else (kind, key)


def by_driver(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """An error around a driver's: that one answers, if it is known."""
    try:
        orig = getattr(exc, "orig", None)
    except Exception:  # noqa: BLE001 - a property may raise anything
        return answer, NEVER
    if orig is None:
        # Before 2.1 an imitated error had its driver's only as the cause.
        return by_cause(exc, answer, inquiry)
    found = inquiry.judge(orig)
    if found is None or found[0] is UNKNOWN:
        return answer, NEVER
    inner, remembered = found
    said = inner_answer("orig", inner)
    kind = type(orig)
    if type(kind) is not type or (kind not in _readers and len(_readers) >= READERS_MAX):
        return said, NEVER
    if type(remembered) is tuple:
        read, key = remembered
    elif remembered == BY_TYPE:
        read, key = _errno, _errno(orig)
    else:
        return said, NEVER
    _readers[kind] = read
    return said, (_driver_key, (kind, key))


GROUPS: Final[tuple[r.Group, ...]] = (
    (
        "sqlalchemy.exc",
        {
            "SQLAlchemyError InvalidRequestError ArgumentError CompileError "
            "CircularDependencyError IllegalStateChangeError PendingRollbackError "
            "ResourceClosedError MissingGreenlet AwaitRequired UnboundExecutionError "
            "NoInspectionAvailable ObjectNotExecutableError NoReferenceError IdentifierError": (
                r.MISUSE
            ),
            "NoSuchModuleError NoDBAPILoaded": r.SETTING,
            "NoSuchTableError UnreflectableTableError": r.REFUSED_SETTING,
            "NoResultFound MultipleResultsFound": r.ABSENT,
            "TimeoutError": r.POOL_EMPTY,
            "DisconnectionError InvalidatePoolError": r.LOST,
            "StatementError": ("Internal", {**v.LOCAL, "confidence": 0.6}, by_driver),
            # PEP 249, where the driver's exception is one that nobody knows.
            "DBAPIError DatabaseError OperationalError EmulatedDBAPIException": (
                *r.UNTOLD, by_driver,
            ),
            "InterfaceError ProgrammingError": ("Internal", {**v.IGNORED, **v.LIKELY}, by_driver),
            "IntegrityError DataError": (*r.INVALID, by_driver),
            "InternalError": (*r.BROKEN, by_driver),
            "NotSupportedError": (*r.UNSUPPORTED, by_driver),
            "SAWarning SATestSuiteWarning": r.WARNED,
            "SADeprecationWarning SAPendingDeprecationWarning": (
                "VersionMismatch", r.WARNED[1],
            ),
        },
    ),
    (
        "sqlalchemy.orm.exc",
        {
            "StaleDataError": ("Concurrency", {**r.CONFLICT[1], **v.LIKELY}),
            "ObjectDeletedError": r.ABSENT,
        },
    ),
    # The base of the imitated ones before 2.1.
    ("sqlalchemy.dialects.postgresql.asyncpg", {
        "AsyncAdapt_asyncpg_dbapi.Error": (*r.UNTOLD, by_driver),
    }),
)  # fmt: skip
