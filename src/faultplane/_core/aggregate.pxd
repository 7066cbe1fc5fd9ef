"""Exact counts: one cell a series, one writer a cell."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from .atomics cimport fp_store_relaxed
from .layout cimport cell_t
from .posix cimport fp_identity_t


cdef enum:
    INDEX_SLOTS = 16384
    AGGREGATE_RESERVE_BYTES = 1 << 20


cdef struct Aggregate:
    uint8_t* base
    uint64_t used
    uint64_t allocated
    int fd
    fp_identity_t identity
    uint8_t* spare  # private memory at hand, so that letting go of a file needs none
    uint32_t series
    uint32_t index[INDEX_SLOTS]


cdef inline cell_t* cell_at(Aggregate* a, uint32_t offset) noexcept nogil:
    return <cell_t*>(a.base + offset)


cdef inline uint64_t cell_count(cell_t* cell, uint64_t n) noexcept nogil:
    """Add to a cell that only this process writes: a load, an add and a store. Gives the sum."""
    cdef uint64_t sum = cell.count + n
    fp_store_relaxed(&cell.count, sum)
    return sum


cdef inline void cell_count_at(cell_t* cell, int64_t time_unix_nano) noexcept nogil:
    """Count one and keep the times."""
    fp_store_relaxed(&cell.count, cell.count + 1)
    fp_store_relaxed(<uint64_t*>&cell.last_seen_unix_nano, <uint64_t>time_unix_nano)
    if cell.first_seen_unix_nano == 0:
        fp_store_relaxed(<uint64_t*>&cell.first_seen_unix_nano, <uint64_t>time_unix_nano)


cdef int aggregate_local(Aggregate* a) noexcept nogil
cdef int aggregate_move(
    Aggregate* a, uint8_t* base, uint64_t allocated, int fd, bint keep
) noexcept nogil
cdef void aggregate_clear(uint8_t* base, uint64_t used) noexcept nogil
cdef uint32_t aggregate_series(
    Aggregate* a, uint8_t series, uint8_t kind, uint64_t fingerprint,
    const char* service, size_t service_bytes, const char* operation, size_t operation_bytes,
    const char* name, size_t name_bytes
) noexcept nogil
