"""What requests to a server are bounded by: how long one may take, and how many run at once.

>>> import faultplane as fp
>>> from faultplane.integrations.serving import Bounds
>>> requests = fp.Dependency("requests", limit=200)
>>> Bounds(seconds=10.0, limit=requests, spared=lambda scope: scope["path"] == "/health").seconds
10.0

It is for ``bounds=`` of the middleware for ASGI and WSGI.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import faultplane as fp

__all__ = ["BUSY", "LATE", "Bounds", "answer_headers"]

Request = MutableMapping[str, Any]

SECONDS_MIN: Final = 0.001
SECONDS_MAX: Final = 86_400.0
BUSY: Final = "503 Service Unavailable"
LATE: Final = "504 Gateway Timeout"
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SAID: Final = re.compile(r"([0-9]{1,8}(?:\.[0-9]{0,9})?)([HMSmun]?)")
_UNITS: Final = {"": 1.0, "H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What bounds the requests of a server; each of them is off where it is left out.

    Args:
        seconds: that a request may take (0.001 to 86,400). `faultplane.time_left` tells how many
            are left, and so the clients of dependencies wait no longer.
        header: name of a header by which a client says how many seconds it will wait, as
            ``X-Request-Timeout: 2.5``, or as gRPC does, ``2500m``. The shorter one holds. One that
            cannot be read is taken for none.
        limit: a dependency whose `limit` says how many requests all processes of the host serve at
            once. It has nothing else.
        retry_after: seconds after which a request that was one too many is told to come back (0 to
            86,400).
        spared: says of a scope or environ whether its request is bounded by none of these, as that
            for a health check is. One that raises says no.

    Raises InvalidSetting for what cannot be used.
    """

    seconds: float | None = None
    header: str | None = None
    limit: fp.Dependency | None = None
    retry_after: float = 1.0
    spared: Callable[[Any], object] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        if self.seconds is not None:
            _check("seconds", self.seconds, SECONDS_MIN)
        _check("retry_after", self.retry_after, 0.0)
        if self.header is not None and not _NAME.fullmatch(self.header):
            raise fp.errors.InvalidSetting(f"header must be a name, got {self.header!r}")
        limit: Any = self.limit
        if limit is None:
            return
        if not isinstance(limit, fp.Dependency) or limit.limit is None:
            raise fp.errors.InvalidSetting(
                f"limit must be a Dependency with a limit, got {limit!r}"
            )
        for what in ("retry", "breaker", "deadline", "timeout", "hedge", "fallback"):
            if getattr(limit, what) is not None:
                raise fp.errors.InvalidSetting(
                    f"limit must have a limit alone, and {limit.name} has a {what}"
                )

    def is_spared(self, request: Request) -> bool:
        """Whether a request is bounded by nothing."""
        try:
            return self.spared is not None and bool(self.spared(request))
        except Exception:  # noqa: BLE001 - whoever answers requests must not fail for it
            return False

    def seconds_of(self, said: str | None) -> float | None:
        """Seconds that a request has whose header says that; 0.0 where there are none."""
        found = None if said is None else _SAID.fullmatch(said.strip())
        if found is None:
            return self.seconds
        wanted = min(float(found[1]) * _UNITS[found[2]], SECONDS_MAX)
        return wanted if self.seconds is None else min(wanted, self.seconds)


def answer_headers(bounds: Bounds, status: str) -> list[tuple[str, str]]:
    """Headers of an answer without a body."""
    headers = [("Content-Length", "0")]
    if status == BUSY:
        headers.append(("Retry-After", str(math.ceil(bounds.retry_after))))
    return headers


def _check(name: str, value: Any, low: float) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= SECONDS_MAX:
        raise fp.errors.InvalidSetting(f"{name} must be {low:g} to {SECONDS_MAX:g}, got {value!r}")
