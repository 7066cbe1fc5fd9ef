"""A call begins: at once, or when a permit has come free or its turn has come, if it may wait.

No process wakes another, so whoever waits looks again and again. A look that was in vain is no
rejection: a call that got no permit in time is counted once.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from faultplane import control_schema as layout
from faultplane.errors import LimitExceeded, RateLimited

if TYPE_CHECKING:
    from faultplane.resilience.dependency import Dependency
    from faultplane.resilience.policy import Bulkhead, RateLimit

_FULL: Final = layout.TOTALS.index("full")
_RATE_LIMITED: Final = layout.TOTALS.index("rate_limited")
POLL_SECONDS: Final = 0.002
"""How often a call that waits for a permit looks for one."""


def waits(dependency: Dependency) -> bool:
    """Whether a call may wait for a permit, or for its turn."""
    return any(one is not None and one.wait_max for one in (dependency.limit, dependency.rate))


def begun(dependency: Dependency, sleep: Callable[[float], object] | None = None) -> Any:
    """A call of ``dependency`` that has begun; raises a rejection.

    ``sleep`` waits, where that is not the dependency's clock's.
    """
    if not waits(dependency):
        return dependency.guard.begin()
    sleep = sleep or dependency.clock.sleep
    wait = _Wait(dependency)
    while (call := wait.look()) is None:
        sleep(wait.seconds)
    return call


async def begun_async(
    dependency: Dependency, sleep: Callable[[float], Awaitable[object]] | None = None
) -> Any:
    """The same without keeping other tasks from running."""
    if not waits(dependency):
        return dependency.guard.begin()
    sleep = sleep or dependency.clock.sleep_async
    wait = _Wait(dependency)
    while (call := wait.look()) is None:
        await sleep(wait.seconds)
    return call


class _Wait:
    """The wait of one call for a permit, or for its turn; ``seconds`` until it looks again."""

    def __init__(self, dependency: Dependency) -> None:
        self._dependency = dependency
        self._began = time.monotonic()
        self.seconds = 0.0

    def look(self) -> Any:
        """The call, or None where there is none yet; raises a rejection in the end."""
        try:
            return self._dependency.guard.begin(look=True)
        except LimitExceeded:
            if self._goes_on(self._dependency.limit, 0.0, POLL_SECONDS, _FULL):
                return None
            raise
        except RateLimited as rejected:
            left = rejected.retry_after
            if self._goes_on(self._dependency.rate, left, max(left, POLL_SECONDS), _RATE_LIMITED):
                return None
            raise

    def _goes_on(
        self, bound: Bulkhead | RateLimit | None, left: float, pause: float, total: int
    ) -> bool:
        """Whether it is worth the wait; else the rejection is counted."""
        wait_max = 0.0 if bound is None else bound.wait_max
        self.seconds = pause
        if time.monotonic() + left < self._began + wait_max:
            return True
        self._dependency.cell.total(total)
        return False
