"""Counters that all processes of a domain share, exact."""

cimport cython
from libc.stdint cimport uint64_t

from .aggregate cimport aggregate_series, cell_at, cell_count
from .layout cimport OVERFLOW_CELLS, SERIES_COUNTER, cell_t
from .recorder cimport (
    INACTIVE,
    Recorder,
    awake,
    bounded,
    fp_unlikely,
    look_by_count,
    notice_fork,
    overflow,
    recorder,
    wake,
)

cdef enum:
    COUNTER_OVERFLOW = OVERFLOW_CELLS - 1
    # Who only counts looks for its store whenever a counter passes so many more.
    LOOK_MASK = 1023

cdef Recorder* R = recorder()
cdef object ONE = 1


cdef class Counter:
    """An exact count that all processes of a domain share.

    ``name`` is 1 to 255 bytes of UTF-8. Counters of the same name are one, in every process.
    """

    def __init__(self, name):
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, got {type(name).__name__}")
        self.name = str.__str__(name)
        cdef bytes text = self.name.encode("utf-8", "replace")
        if not 1 <= len(text) <= 255:
            raise ValueError(f"name must be 1 to 255 bytes, got {len(text)}")
        notice_fork()
        self.offset = aggregate_series(
            &R.aggregate, SERIES_COUNTER, 0, 0, b"", 0, b"", 0, <const char*>text, len(text)
        )

    @cython.binding(False)
    def add(self, n=1):
        """Add ``n``, 0 to 2**63 - 1. Exact; raises ValueError or TypeError and adds nothing."""
        cdef uint64_t amount = 1
        cdef cell_t* cell
        if n is not ONE:
            amount = bounded(n, "n", 2**63 - 1)
        if fp_unlikely(not awake(R)):
            if wake() == INACTIVE:
                return
        if fp_unlikely(self.offset == 0):
            overflow(COUNTER_OVERFLOW, amount)
        else:
            cell = cell_at(&R.aggregate, self.offset)
            cell_count(cell, amount)
            if fp_unlikely((cell.count & LOOK_MASK) < amount):
                look_by_count()

    def __repr__(self):
        return f"Counter({self.name!r})"
