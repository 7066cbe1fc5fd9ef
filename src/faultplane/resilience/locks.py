"""Locks that a forked child has anew: in the parent a thread may hold them, which it has not."""

from __future__ import annotations

import os
import threading
from weakref import WeakSet


class Locked:
    """Whoever has a lock of his own.

    The same thread may take it again: a signal handler or a finalizer may come in between.

    >>> one = Locked()
    >>> with one.lock, one.lock:
    ...     pass
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        _known.add(self)


_known: WeakSet[Locked] = WeakSet()


def _renew() -> None:
    for one in list(_known):
        one.lock = threading.RLock()


os.register_at_fork(after_in_child=_renew)
