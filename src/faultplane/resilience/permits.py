"""A call begins: at once, or when a permit has come free, if its limit says that it may wait.

No process wakes another, so whoever waits looks again and again. A look that was in vain is no
rejection: a call that got no permit in time is counted once.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from faultplane import control_schema as layout
from faultplane.errors import LimitExceeded

if TYPE_CHECKING:
    from faultplane.resilience.dependency import Dependency

_FULL: Final = layout.TOTALS.index("full")
POLL_SECONDS: Final = 0.002
"""How often a call that waits for a permit looks for one."""


def begun(dependency: Dependency, sleep: Callable[[float], object] | None = None) -> Any:
    """A call of ``dependency`` that has begun; raises a rejection.

    ``sleep`` waits, where that is not the dependency's clock's.
    """
    if dependency.limit is None or not dependency.limit.wait_max:
        return dependency.guard.begin()
    sleep = sleep or dependency.clock.sleep
    wait = _Wait(dependency, dependency.limit.wait_max)
    while (call := wait.look()) is None:
        sleep(POLL_SECONDS)
    return call


async def begun_async(
    dependency: Dependency, sleep: Callable[[float], Awaitable[object]] | None = None
) -> Any:
    """The same without keeping other tasks from running."""
    if dependency.limit is None or not dependency.limit.wait_max:
        return dependency.guard.begin()
    sleep = sleep or dependency.clock.sleep_async
    wait = _Wait(dependency, dependency.limit.wait_max)
    while (call := wait.look()) is None:
        await sleep(POLL_SECONDS)
    return call


class _Wait:
    """The wait of one call for a permit."""

    def __init__(self, dependency: Dependency, seconds: float) -> None:
        self._dependency = dependency
        self._until = time.monotonic() + seconds

    def look(self) -> Any:
        """The call, or None where there is no permit yet; raises LimitExceeded in the end."""
        try:
            return self._dependency.guard.begin(look=True)
        except LimitExceeded:
            if time.monotonic() < self._until:
                return None
            self._dependency.cell.total(_FULL)
            raise
