"""What this library raises.

Everything derives from `FaultplaneError`. Where a built-in exception says the same (a bad value is
a `ValueError`, a missing file a `FileNotFoundError`), the class derives from that too, so callers
who never heard of this module still catch what they expect.

``record()``, ``init()`` and the hooks raise none of these into an application because of storage:
they count inside the process and say so through ``faultplane doctor``.
"""

from __future__ import annotations

from typing import Any, Final, Self

__all__ = [
    "BreakerOpen",
    "BudgetExhausted",
    "CoreNotFound",
    "CorruptFile",
    "DependencyNotFound",
    "DomainBusy",
    "DomainNotFound",
    "FaultplaneError",
    "InvalidName",
    "InvalidSetting",
    "LayoutMismatch",
    "LimitExceeded",
    "MissingExtra",
    "NativeMismatch",
    "QueryError",
    "RateLimited",
    "Rejected",
    "StackNotFound",
    "StorageError",
    "StorageFull",
    "UnsafeDirectory",
    "WrongInterpreter",
]

DISTRIBUTION: Final = "faultplane"


class FaultplaneError(Exception):
    """Base of every exception of this library. Each can be pickled, whatever its parameters."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from the finished arguments: ``__init__`` made them from others."""
        return self._rebuilt, (self.args, vars(self))

    @classmethod
    def _rebuilt(cls, arguments: tuple[object, ...], state: dict[str, object]) -> Self:
        error = cls.__new__(cls, *arguments)
        error.args = arguments
        vars(error).update(state)
        return error


class StorageError(FaultplaneError):
    """A domain's files could not be made, mapped or read."""


class StorageFull(StorageError):
    """The file system has no room for the next file of the domain."""


class UnsafeDirectory(StorageError, PermissionError):
    """A directory belongs to another user, is a link, or is writable by others."""


class CorruptFile(StorageError):
    """A file of a domain is torn, cut short, or not what its name says."""


class DomainNotFound(StorageError, FileNotFoundError):
    """No domain of that name in that directory."""


class DomainBusy(StorageError):
    """The domain has live owners and was asked to go away."""


class LayoutMismatch(StorageError):
    """Files of another layout version or schema than this library writes."""

    def __init__(self, what: str, expected: object, got: object, path: str = "") -> None:
        """Name the field ``what`` with its ``expected`` and actual value.

        ``path`` is the directory to remove when nothing uses it.
        """
        advice = (
            f": another version of faultplane made it; use another domain, or rm -r {path} when "
            "no process uses it"
        )
        super().__init__(f"{what} must be {expected}, got {got}{advice if path else ''}")
        self.what = what
        self.expected = expected
        self.got = got


class CoreNotFound(FaultplaneError, ImportError):
    """The core that ``FAULTPLANE_CORE`` asks for is not installed, or cannot run here."""


class WrongInterpreter(FaultplaneError, ImportError):
    """Another interpreter of this process has the recorder, or could have it.

    >>> print(WrongInterpreter("the main one"))  # doctest: +ELLIPSIS
    faultplane records in one interpreter of a process, the main one, and this is another: run ...
    """

    def __init__(self, which: str) -> None:
        """Say ``which`` interpreter records."""
        super().__init__(
            f"faultplane records in one interpreter of a process, {which}, and this is another: "
            "run the application there (mod_wsgi: WSGIApplicationGroup %{GLOBAL}), or in a process "
            "of its own"
        )


class MissingExtra(FaultplaneError, ImportError):
    """A feature needs a package that is an optional extra of this distribution.

    >>> print(MissingExtra("Records.to_polars()", package="polars", extra="query"))
    Records.to_polars() needs polars: pip install 'faultplane[query]'
    """

    def __init__(self, feature: str, *, package: str, extra: str) -> None:
        """Name the ``feature``, the ``package`` it needs and the ``extra`` that brings it."""
        super().__init__(f"{feature} needs {package}: pip install '{DISTRIBUTION}[{extra}]'")
        self.feature = feature
        self.package = package
        self.extra = extra


class NativeMismatch(FaultplaneError, ImportError):
    """``faultplane-native`` is installed in another version than this one is pinned to.

    >>> print(NativeMismatch(expected="0.1.0", got="0.0.9"))
    faultplane-native must be 0.1.0, got 0.0.9: pip install 'faultplane-native==0.1.0'
    """

    def __init__(self, *, expected: str, got: str) -> None:
        """Name the version this library is pinned to and the one that was found."""
        super().__init__(
            f"faultplane-native must be {expected}, got {got}: "
            f"pip install 'faultplane-native=={expected}'"
        )
        self.expected = expected
        self.got = got


class InvalidName(FaultplaneError, ValueError):
    """A domain, service, operation or counter name that cannot be used."""


class InvalidSetting(FaultplaneError, ValueError):
    """A setting given in code has a value outside its bounds."""


class StackNotFound(FaultplaneError, LookupError):
    """No stack is kept under that fingerprint."""


class DependencyNotFound(FaultplaneError, LookupError):
    """No process of the domain has used a dependency of that name."""


class QueryError(FaultplaneError):
    """A query over a domain was refused by the query engine."""


class Rejected(FaultplaneError):
    """A guarded call was not made, for the sake of the other side or of this one.

    ``dependency`` is its name, ``retry_after`` the seconds until it may be worth a try, 0.0 where
    nothing is known. A rejection is never an attempt, and says nothing about the other side.

    >>> rejected = BreakerOpen("payments", 2.5)
    >>> print(rejected, rejected.retry_after)
    payments: the breaker is open, for another 2.5 s 2.5
    """

    _why = "rejected"

    @property
    def dependency(self) -> str:
        """Name of the dependency."""
        return str(self.args[0])

    @property
    def retry_after(self) -> float:
        """Seconds until it may be worth a try; 0.0 = not known."""
        return float(self.args[1])

    def __str__(self) -> str:
        wait = f", for another {self.retry_after:g} s" if self.retry_after else ""
        return f"{self.dependency}: {self._why}{wait}"


class BreakerOpen(Rejected):
    """The circuit breaker is open, or half-open and its probes are under way."""

    _why = "the breaker is open"


class BudgetExhausted(Rejected):
    """A retry was not made, because all processes together have made as many as they may.

    Only who makes the tries of a call himself meets it: else what the last try raised is raised.
    """

    _why = "the retry budget is exhausted"


class RateLimited(Rejected):
    """As many calls were made of late as may be; ``retry_after`` is when there may be another."""

    _why = "as many calls were made as may be"


class LimitExceeded(Rejected):
    """As many calls are under way as may be at once."""

    _why = "as many calls are under way as may be at once"
