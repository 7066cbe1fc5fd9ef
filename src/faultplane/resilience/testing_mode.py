"""What a test changes for every dependency of the process: tries, waits, whether there is a guard.

Who wants it uses `faultplane.testing`; here is where dependencies look it up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakSet


class Mode(NamedTuple):
    """``active``: calls are guarded. ``attempts``: so many tries at most, None = as declared.

    ``waits``: retries wait as long as their policy says.
    """

    active: bool = True
    attempts: int | None = None
    waits: bool = True


current = Mode()
_configures: WeakSet[Configured] = WeakSet()


class Configured:
    """Whoever is to be configured anew with each change of the mode."""

    def __init__(self, configure: Callable[[], None]) -> None:
        self.configure = configure
        _configures.add(self)


def change(mode: Mode) -> Mode:
    """Have every dependency follow ``mode``; the mode before."""
    global current
    before, current = current, mode
    for one in list(_configures):
        one.configure()
    return before
