"""What an operating-system error number says, for `OSError` and its subclasses.

By the symbol's name, so that a number which a platform does not have drops out. Two symbols with
one number (EAGAIN and EWOULDBLOCK) keep the first.

>>> import errno
>>> BY_ERRNO[errno.ECONNREFUSED].reached_server.value
'no'
"""

from __future__ import annotations

import errno
from typing import Any, Final

from faultplane.classify.classification import Classification, shared
from faultplane.classify.table import Row, Table

__all__ = ["BY_ERRNO", "SYMBOLS"]

_NEVER: Final[dict[str, Any]] = {"retryable": False, "temporary": False}
_WAIT: Final[dict[str, Any]] = {"retryable": False, "temporary": True}
_LATER: Final[dict[str, Any]] = {"retryable": True, "temporary": True}
_UNSENT: Final[dict[str, Any]] = {"reached_server": "no"}
_LOCAL: Final[dict[str, Any]] = {**_UNSENT, "counts_as": "ignored"}
_UNSURE: Final[dict[str, Any]] = {"confidence": 0.5}
_BY_HAND: Final[dict[str, Any]] = {"recovery_strategy": "ManualIntervention"}
_FIX: Final[dict[str, Any]] = {"recovery_strategy": "FixCode"}

_ROWS: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    # Sockets. Nothing arrived where no connection came about; else nobody knows.
    ("ECONNREFUSED", "Transport", {**_UNSENT, "origin": "target"}),
    ("ECONNRESET ECONNABORTED EPIPE ESHUTDOWN ENETRESET", "Transport", {}),
    ("EHOSTUNREACH EHOSTDOWN ENETUNREACH ENETDOWN ENONET ENOLINK", "Transport", _UNSENT),
    ("ENOTCONN", "Transport", {**_UNSENT, "confidence": 0.7}),
    ("EPROTO ECOMM", "Transport", {"confidence": 0.7}),
    # The kernel gave up after its own limit: a longer one of ours would not have helped.
    ("ETIMEDOUT", "Timeout", {"category": "Network", "recovery_strategy": "RetryWithBackoff"}),
    ("ETIME", "Timeout", {"category": "System"}),
    # The port is held by somebody, perhaps by the instance that is being replaced.
    ("EADDRINUSE", "Configuration", _WAIT),
    # bind() to an address that is not ours, connect() without a free port or without IPv6.
    ("EADDRNOTAVAIL", "Configuration", {**_WAIT, **_UNSURE, "category": "Network"}),
    ("EMSGSIZE EDESTADDRREQ", "DataValidation", _UNSENT),
    ("EISCONN ENOTSOCK EBADF EFAULT EBADFD", "Internal", {**_FIX, **_LOCAL}),
    # Finite things.
    ("EMFILE ENFILE", "ResourceExhausted", {**_LATER, **_UNSENT}),
    ("ENOSPC EDQUOT", "ResourceExhausted", {**_NEVER, **_UNSENT}),
    ("ENOMEM ENOBUFS ENOLCK", "ResourceExhausted", {**_LATER, **_UNSENT}),
    ("EMLINK EUSERS ETOOMANYREFS EFBIG", "ResourceExhausted",
        {**_NEVER, **_UNSENT, "severity": "High"}),
    # In each other's way.
    ("EAGAIN EWOULDBLOCK", "Concurrency", {**_UNSENT, "confidence": 0.8}),
    ("EINPROGRESS EALREADY EINTR ERESTART", "Concurrency",
        {"severity": "Low", "counts_as": "ignored"}),
    ("EDEADLK EDEADLOCK EBUSY ETXTBSY", "Concurrency", _UNSENT),
    ("EOWNERDEAD ENOTRECOVERABLE", "Concurrency", {**_NEVER, **_BY_HAND, **_LOCAL}),
    ("ECANCELED", "Concurrency",
        {**_NEVER, "severity": "Low", "recovery_strategy": "Fallback", "counts_as": "ignored"}),
    ("ECHILD ESRCH", "Concurrency", {**_NEVER, **_FIX, **_LOCAL, "confidence": 0.7}),
    # Who may do what.
    ("EACCES EPERM EKEYREJECTED EKEYREVOKED EKEYEXPIRED ENOKEY", "Permission", _UNSENT),
    # Files. Whether a missing file is a wrong setting or a wrong program cannot be told.
    ("ENOENT", "Configuration", {"severity": "Medium", "confidence": 0.6}),
    ("ENOTDIR EISDIR ELOOP ENODEV ENXIO ENOTBLK ENOEXEC", "Configuration",
        {"severity": "Medium", "confidence": 0.7}),
    ("EEXIST ENOTEMPTY EXDEV", "Processing", {**_LOCAL, "severity": "Medium", "confidence": 0.6}),
    ("EROFS", "Configuration", _BY_HAND),
    ("EIO EREMOTEIO EUCLEAN EMEDIUMTYPE ENOMEDIUM", "Internal",
        {**_BY_HAND, "severity": "Critical", "origin": "target"}),
    ("ESTALE", "DependencyService",
        {"reached_server": "unknown", "recovery_strategy": "RetryWithBackoff"}),
    # Arguments.
    ("EINVAL EDOM ERANGE EILSEQ EOVERFLOW ENAMETOOLONG E2BIG ENOTTY ESPIPE", "DataValidation",
        {**_UNSENT, "confidence": 0.7}),
    ("ENODATA ENOMSG ENOTUNIQ", "Processing", {"severity": "Medium", "confidence": 0.6}),
    # The platform cannot.
    ("ENOSYS EOPNOTSUPP ENOTSUP ENOPROTOOPT ELIBBAD ELIBACC ELIBSCN", "VersionMismatch", _LOCAL),
    ("EPROTONOSUPPORT ESOCKTNOSUPPORT EAFNOSUPPORT EPFNOSUPPORT EPROTOTYPE", "VersionMismatch",
        _LOCAL),
)  # fmt: skip

SYMBOLS: Final = tuple(symbol for names, _, _ in _ROWS for symbol in names.split())
"""Every symbol in the table, also those that this platform does not have."""


def _numbers() -> dict[int, tuple[str, Row]]:
    """(Symbol, row) by number, for the numbers this platform has."""
    found: dict[int, tuple[str, Row]] = {}
    for names, kind, fields in _ROWS:
        for symbol in names.split():
            number = getattr(errno, symbol, None)
            if number is not None:
                found.setdefault(number, (symbol, (kind, fields)))
    return found


def _make(_: int, written: tuple[str, Row]) -> Classification:
    symbol, (kind, fields) = written
    return shared(Classification(kind, rule=f"OSError[{symbol}]", **fields))


BY_ERRNO: Final = Table(_numbers(), _make)
"""Answer by number, for the numbers this platform has."""
