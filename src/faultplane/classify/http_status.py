"""What an HTTP status says.

The table follows RFC 9110 and 6585 for the meaning of a status. Only statuses that say "later"
(408, 423, 425, 429, 502, 503, 504) are retryable; 500 is not, because it says nothing about
whether the work was done. A 4xx other than 408 and 429 counts as a success of the server: it
answered, and it judged the request, so it must not open a breaker that every caller shares.

>>> by_status(503, retry_after=2.0).retry_after
2.0
>>> by_status(404).counts_as.value
'success'
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from faultplane.classify import vocabulary as v
from faultplane.classify.classification import Classification, shared
from faultplane.classify.table import Row, Table

__all__ = ["STATUSES", "by_status"]


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

    ``retry_after`` is in seconds, as `faultplane.classify.retry_after` reads it. A status outside
    300 to 599 is no known error: the answer is a DependencyService failure of low confidence.
    """
    answer = STATUSES.get(status)
    if answer is None:
        answer = _CLASSES[f"{status // 100}xx" if 300 <= status <= 599 else "?"]
    return answer if retry_after is None else _waiting(answer, retry_after)


@lru_cache(maxsize=1024)
def _waiting(answer: Classification, retry_after: float) -> Classification:
    return shared(answer.replace(retry_after=retry_after))
