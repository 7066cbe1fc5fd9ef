"""A dependency for each host or tenant: children by key, so many at most."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from faultplane.resilience.locks import Locked

if TYPE_CHECKING:
    from faultplane.resilience.dependency import Dependency

KEYS_MAX: Final = 1024
"""Children that a process keeps of one dependency; that which was asked for longest ago goes."""


class Children(Locked):
    """Children of a dependency by key. ``dropped`` counts those that went to make room."""

    def __init__(self, make: Callable[[str], Dependency], keys_max: int = KEYS_MAX) -> None:
        super().__init__()
        self._make, self._keys_max = make, keys_max
        self._kept: OrderedDict[str, Dependency] = OrderedDict()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> Dependency:
        """The child of ``key``, made where there is none."""
        with self.lock:
            found = self._kept.get(key)
            if found is None:
                # What came in between in this thread, as a signal handler does, may have made it.
                found = self._kept.setdefault(key, self._make(key))
                if len(self._kept) > self._keys_max:
                    self._kept.popitem(last=False)
                    self.dropped += 1
            else:
                self._kept.move_to_end(key)
            return found
