"""Calls that go out: which requests may be repeated, which answers are failures, how long is left.

An answer is a failure where `classify` says so of the error that it stands for, which is the one
that its library raises for a status when it is asked to: 408, 429 and all of 5xx but 501 and 505.
What is tried again are those that it calls retryable: 408, 423, 425, 429, 502, 503 and 504.
"""

from __future__ import annotations

from collections.abc import Collection
from types import TracebackType
from typing import Final, Literal, TypeVar, get_args

import faultplane as fp

__all__ = [
    "IDEMPOTENT",
    "KEY_HEADER",
    "NO_FALLBACK",
    "NO_HEDGE",
    "SHORT_BODY_BYTES",
    "Until",
    "checked",
    "failure_or_none",
    "is_short",
    "refuse",
    "seconds_left",
    "without_our_frames",
]

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""Methods that may be repeated (RFC 9110, 9.2.2)."""
KEY_HEADER: Final = "Idempotency-Key"
"""A request with this header may be repeated, whatever its method: the server keeps the key."""
SHORT_BODY_BYTES: Final = 65_536
"""An answer that nobody gets is read to its end up to here, so that its connection is kept."""

NO_FALLBACK: Final = "a fallback answers for a function: guard that with it"
NO_HEDGE: Final = "a hedge calls a coroutine function once more: guard that with it"
"""Why a dependency that guards a client may not have these."""

Until = Literal["body", "headers"]
Error = TypeVar("Error", bound=Exception)


def checked(dependency: object, methods: Collection[str], until: str) -> frozenset[str]:
    """``methods`` in capitals; InvalidSetting where one of the three cannot be used."""
    refuse(dependency, hedge=NO_HEDGE)
    assert isinstance(dependency, fp.Dependency)
    if dependency.fallback is not None and dependency.fallback.remembers:
        raise fp.errors.InvalidSetting(
            f"{dependency.name}: Fallback.stale keeps answers, and a response is read once: guard "
            "the function that reads it"
        )
    if until not in get_args(Until):
        raise fp.errors.InvalidSetting(f"until must be body or headers, got {until!r}")
    if isinstance(methods, str):
        raise fp.errors.InvalidSetting(f"methods must be several, got {methods!r}")
    return frozenset(method.upper() for method in methods)


def refuse(dependency: object, **policies: str) -> None:
    """Raise InvalidSetting for what is no `Dependency`, or has one of ``policies``, and say why."""
    if not isinstance(dependency, fp.Dependency):
        raise fp.errors.InvalidSetting(f"dependency must be a Dependency, got {dependency!r}")
    for policy, why in policies.items():
        if getattr(dependency, policy) is not None:
            raise fp.errors.InvalidSetting(f"{dependency.name}: {why}")


def failure_or_none(error: Error) -> Error | None:
    """``error``, for which an answer stands, if it is a failure of the other side or may pass."""
    answer = fp.classify(error)
    return error if answer.retryable or answer.counts_as == "failure" else None


def seconds_left(dependency: fp.Dependency) -> float | None:
    """The most that a client may wait for anything; None where nothing bounds it.

    No less than a millisecond: for some clients 0 stands for no bound.
    """
    left, timeout = fp.time_left(), dependency.timeout
    if left is None:
        return timeout
    left = max(left, 0.001)
    return left if timeout is None else min(left, timeout)


def is_short(length: str | None) -> bool:
    """Whether a Content-Length says that a body is worth reading to keep its connection."""
    return length is not None and length.isdecimal() and int(length[:9]) <= SHORT_BODY_BYTES


def without_our_frames(error: BaseException) -> None:
    """Take the entries of this package off the beginning of a traceback.

    Whoever calls a client sees the client's own then, as it would be without us.
    """
    # As of the base class, which no property of a subclass stands in front of.
    traceback: TracebackType | None = BaseException.__dict__["__traceback__"].__get__(error)
    while traceback is not None and traceback.tb_next is not None:
        if not str(traceback.tb_frame.f_globals.get("__name__")).startswith("faultplane."):
            break
        traceback = traceback.tb_next
    # Through the base class: an exception may forbid assignment, as frozen dataclasses do.
    BaseException.with_traceback(error, traceback)
