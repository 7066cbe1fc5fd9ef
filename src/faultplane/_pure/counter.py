"""Counters that all processes of a domain share, exact."""

from __future__ import annotations

import time
from functools import partial

from faultplane.schema import OVERFLOW_CELLS, SERIES_COUNTER

from . import memory
from .message import utf8_of
from .recorder import bounded, state

__all__ = ["Counter"]

INT64_MAX = 2**63 - 1
LOOK_MASK = 1023
"""A process that only counts looks for its store whenever a counter passes so many more."""

_ONE = 1


class Counter:
    """An exact count that all processes of a domain share.

    ``name`` is 1 to 255 bytes of UTF-8. Counters of the same name are one, in every process.
    """

    __slots__ = ("_name", "_offset")

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, got {type(name).__name__}")
        self._name = str.__str__(name)
        text = utf8_of(self._name)
        if not 1 <= len(text) <= 255:
            raise ValueError(f"name must be 1 to 255 bytes, got {len(text)}")
        state.notice_fork()
        with memory.process_lock, state.busy():
            state.notice_fork()
            self._offset = state.aggregate.series(SERIES_COUNTER, 0, 0, b"", text)

    @property
    def name(self) -> str:
        """What is counted."""
        return self._name

    def add(self, n: int = 1) -> None:
        """Add ``n``, 0 to 2**63 - 1. Exact; raises ValueError or TypeError and adds nothing."""
        if n is not _ONE:
            bounded(n, "n", INT64_MAX)
        if not state.live[0] or state.fence[0] != state.incarnation:
            state.wake()
            if not state.active:
                return
        with memory.process_lock:
            if state.inside:
                state.deferred.append(partial(self._add, n))
            else:
                self._add(n)

    def _add(self, n: int) -> None:
        if self._offset:
            if state.aggregate.count(self._offset, n) & LOOK_MASK < n:
                mono_nano = time.monotonic_ns()
                if mono_nano >= state.look_mono_nano:
                    state.look(mono_nano)
        else:
            state.count_overflow(OVERFLOW_CELLS - 1, n)

    def __repr__(self) -> str:
        return f"Counter({self.name!r})"
