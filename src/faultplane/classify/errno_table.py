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

from faultplane.classify import vocabulary as v
from faultplane.classify.classification import Classification, shared
from faultplane.classify.table import Row, Table

__all__ = ["BY_ERRNO", "SYMBOLS"]

_ROWS: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    # Sockets. Nothing arrived where no connection came about; else nobody knows.
    ("ECONNREFUSED", "Transport", {**v.UNSENT, "origin": "target"}),
    ("ECONNRESET ECONNABORTED EPIPE ESHUTDOWN ENETRESET", "Transport", {}),
    ("EHOSTUNREACH EHOSTDOWN ENETUNREACH ENETDOWN ENONET ENOLINK", "Transport", v.UNSENT),
    ("ENOTCONN", "Transport", {**v.UNSENT, **v.LIKELY}),
    ("EPROTO ECOMM", "Transport", v.LIKELY),
    # The kernel gave up after its own limit: a longer one of ours would not have helped.
    ("ETIMEDOUT", "Timeout", {"category": "Network", **v.BACKOFF}),
    ("ETIME", "Timeout", {"category": "System"}),
    # The port is held by somebody, perhaps by the instance that is being replaced.
    ("EADDRINUSE", "Configuration", v.LATER),
    # bind() to an address that is not ours, connect() without a free port or without IPv6.
    ("EADDRNOTAVAIL", "Configuration", {**v.LATER, **v.GUESS, "category": "Network"}),
    ("EMSGSIZE EDESTADDRREQ", "DataValidation", v.UNSENT),
    ("EISCONN ENOTSOCK EBADF EFAULT EBADFD", "Internal", {**v.FIX, **v.LOCAL}),
    # Finite things.
    ("EMFILE ENFILE", "ResourceExhausted", {**v.AGAIN, **v.UNSENT}),
    ("ENOSPC EDQUOT", "ResourceExhausted", {**v.FINAL, **v.UNSENT}),
    ("ENOMEM ENOBUFS ENOLCK", "ResourceExhausted", {**v.AGAIN, **v.UNSENT}),
    ("EMLINK EUSERS ETOOMANYREFS EFBIG", "ResourceExhausted",
        {**v.FINAL, **v.UNSENT, "severity": "High"}),
    # In each other's way.
    ("EAGAIN EWOULDBLOCK", "Concurrency", {**v.UNSENT, "confidence": 0.8}),
    ("EINPROGRESS EALREADY EINTR ERESTART", "Concurrency", v.FLOW),
    ("EDEADLK EDEADLOCK EBUSY ETXTBSY", "Concurrency", v.UNSENT),
    ("EOWNERDEAD ENOTRECOVERABLE", "Concurrency", {**v.FINAL, **v.BY_HAND, **v.LOCAL}),
    ("ECANCELED", "Concurrency", {**v.FINAL, **v.FLOW, **v.WITHOUT}),
    ("ECHILD ESRCH", "Concurrency", {**v.FINAL, **v.FIX, **v.LOCAL, **v.LIKELY}),
    # Who may do what.
    ("EACCES EPERM EKEYREJECTED EKEYREVOKED EKEYEXPIRED ENOKEY", "Permission", v.UNSENT),
    # Files. Whether a missing file is a wrong setting or a wrong program cannot be told.
    ("ENOENT", "Configuration", {**v.MEDIUM, "confidence": 0.6}),
    ("ENOTDIR EISDIR ELOOP ENODEV ENXIO ENOTBLK ENOEXEC", "Configuration",
        {**v.MEDIUM, **v.LIKELY}),
    ("EEXIST ENOTEMPTY EXDEV", "Processing", {**v.LOCAL, **v.MEDIUM, "confidence": 0.6}),
    ("EROFS", "Configuration", v.BY_HAND),
    ("EIO EREMOTEIO EUCLEAN EMEDIUMTYPE ENOMEDIUM", "Internal",
        {**v.BY_HAND, "severity": "Critical", "origin": "target"}),
    ("ESTALE", "DependencyService", {"reached_server": "unknown", **v.BACKOFF}),
    # Arguments.
    ("EINVAL EDOM ERANGE EILSEQ EOVERFLOW ENAMETOOLONG E2BIG ENOTTY ESPIPE", "DataValidation",
        {**v.UNSENT, **v.LIKELY}),
    ("ENODATA ENOMSG ENOTUNIQ", "Processing", {**v.MEDIUM, "confidence": 0.6}),
    # The platform cannot.
    ("ENOSYS EOPNOTSUPP ENOTSUP ENOPROTOOPT ELIBBAD ELIBACC ELIBSCN", "VersionMismatch", v.LOCAL),
    ("EPROTONOSUPPORT ESOCKTNOSUPPORT EAFNOSUPPORT EPFNOSUPPORT EPROTOTYPE", "VersionMismatch",
        v.LOCAL),
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
