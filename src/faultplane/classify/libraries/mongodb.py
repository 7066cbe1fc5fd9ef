"""MongoDB: the types of PyMongo, and an OperationFailure by its code and its labels.

The codes that are retryable are those of MongoDB's specification of retryable reads and writes;
an answer that has one of its labels (RetryableWriteError, TransientTransactionError) is retryable
whatever its code.

Decisions that could have gone another way:

* ServerSelectionTimeoutError is Transport and unsent: no server was found, and to wait longer for
  one is seldom what helps. WaitQueueTimeoutError is a pool without a free connection.
* WTimeoutError was written, though not yet where the write concern wants it: not to be repeated.
* A BulkWriteError has the code of its first write error, or of its first write concern error.
"""

from __future__ import annotations

from typing import Any, Final

from faultplane.classify import vocabulary as v
from faultplane.classify.judgement import keyed
from faultplane.classify.libraries import rows as r
from faultplane.classify.table import answers_by_word

__all__ = ["CODES", "GROUPS", "by_mongo_code"]

CODES: Final = answers_by_word(
    "mongodb",
    {
        "6 7 89 91 133 134 189 262 9001 10058 10107 11600 11602 13435 13436": r.UNAVAILABLE,
        "24 43 46 112 117 225 251": r.CONFLICT,
        "11601 237": r.INTERRUPTED,
        "50": r.SLOW_SERVER,
        "64": ("Timeout", {**v.TARGET, **v.LATER}),
        "13 31 8000": r.DENIED,
        "11 18": r.LOCKED_OUT,
        "26 27": r.ABSENT,
        "2 4 9 14 17 40 48 52 53 54 57 66 72 73 85 86 121 10334 11000 11001 12582 16755 16756 "
        "17280 17419": r.INVALID,
        "20 28 68 263 17287": r.MISTAKE,
        "59 115 238": r.UNSUPPORTED,
        "79 100": r.REFUSED_SETTING,
        "146 292": r.CROWDED,
        "39 14031": r.FULL,
        "462": r.THROTTLED,
        "1 8": r.BROKEN,
    },
)
"""Answers by error code."""

_WORDS: Final = {int(word): word for word in CODES}
_RETRY_LABELS: Final = ("RetryableWriteError", "TransientTransactionError")


def _code_of(exc: Any) -> object:
    code = getattr(exc, "code", None)
    details = getattr(exc, "details", None)
    if type(details) is dict and (code is None or code == 65):
        errors = [*details.get("writeErrors", ())[:1], *details.get("writeConcernErrors", ())[:1]]
        if errors and type(errors[0]) is dict:
            code = errors[0].get("code")
    return code


def _code_key(exc: Any) -> object:
    code = _code_of(exc)
    word = _WORDS.get(code, "") if type(code) is int else ""
    labelled = any(exc.has_error_label(label) is True for label in _RETRY_LABELS)
    return word + r.MAY_BE_MADE_AGAIN if labelled else word


by_mongo_code: Final = keyed(_code_key, r.by_word_or_again(CODES))
"""An OperationFailure by its code and its labels."""

GROUPS: Final[tuple[r.Group, ...]] = (
    (
        "pymongo.errors",
        {
            "PyMongoError": r.UNTOLD,
            "ConnectionFailure AutoReconnect": r.LOST,
            "NetworkTimeout": r.SLOW,
            "NotPrimaryError": r.UNAVAILABLE,
            "ServerSelectionTimeoutError": r.UNREACHED,
            "_OperationCancelled": r.STOPPED,
            "WaitQueueTimeoutError": r.POOL_EMPTY,
            "OperationFailure": ("DependencyService", {**r.BROKEN[1], **v.GUESS}, by_mongo_code),
            "ExecutionTimeout": (*r.SLOW_SERVER, by_mongo_code),
            "WTimeoutError": ("Timeout", {**v.TARGET, **v.LATER}),
            "DuplicateKeyError": (*r.INVALID, by_mongo_code),
            "CursorNotFound": (*r.CONFLICT, by_mongo_code),
            "ConfigurationError InvalidURI": r.SETTING,
            "InvalidName DocumentTooLarge CollectionInvalid": r.UNFIT,
            "InvalidOperation": r.MISUSE,
            "ProtocolError": ("Serialization", {"origin": "path"}),
            "EncryptionError": ("Serialization", {**v.UNSENT, **v.GUESS}),
        },
    ),
    (
        "gridfs.errors",
        {
            "GridFSError": ("DependencyService", {**r.BROKEN[1], **v.GUESS}),
            "NoFile": r.ABSENT,
            "FileExists": r.INVALID,
            "CorruptGridFile": r.DAMAGED,
        },
    ),
    (
        "bson.errors",
        {
            "BSONError InvalidBSON": ("Serialization", {}),
            "InvalidDocument InvalidStringData": ("Serialization", {**v.UNSENT}),
            "InvalidId": r.UNFIT,
        },
    ),
)  # fmt: skip
