"""Counters that all processes of a domain share, exact."""

cimport cython
from libc.stdint cimport uint64_t

from .aggregate cimport aggregate_series, cell_at, cell_count
from .layout cimport OVERFLOW_CELLS, SERIES_COUNTER
from .message cimport utf8_of
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
        cdef bytes text = utf8_of(self.name)
        if not 1 <= len(text) <= 255:
            raise ValueError(f"name must be 1 to 255 bytes, got {len(text)}")
        notice_fork()
        self.offset = aggregate_series(
            &R.aggregate, SERIES_COUNTER, 0, 0, b"", 0, b"", 0, <const char*>text, len(text)
        )

    @cython.binding(False)
    def add(self, n=1):
        """Add ``n``, 0 to 2**63 - 1. Exact; raises ValueError or TypeError and adds nothing."""
        if n is not ONE or fp_unlikely(not awake(R)) or fp_unlikely(self.offset == 0):
            add_any(self, 1 if n is ONE else bounded(n, "n", 2**63 - 1))
        elif fp_unlikely(cell_count(cell_at(&R.aggregate, self.offset), 1) & LOOK_MASK == 0):
            look_by_count()

    def __repr__(self):
        return f"Counter({self.name!r})"


cdef void add_any(Counter counter, uint64_t amount) noexcept:
    """Add whatever it is, awake or not; nothing in a process that is switched off."""
    if not awake(R) and wake() == INACTIVE:
        return
    if counter.offset == 0:
        overflow(COUNTER_OVERFLOW, amount)
    elif cell_count(cell_at(&R.aggregate, counter.offset), amount) & LOOK_MASK < amount:
        look_by_count()
