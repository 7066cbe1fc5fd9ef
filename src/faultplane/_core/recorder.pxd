"""The state of this process's recorder: one structure, one instance."""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from .aggregate cimport Aggregate, cell_at, cell_count
from .atomics cimport fp_load32_relaxed
from .breath cimport Breath
from .fingerprint cimport Tables
from .intern cimport Dictionary
from .layout cimport AGGREGATE_SIZE, OVERFLOW_CELLS
from .posix cimport fp_clock_monotonic, fp_clock_realtime, fp_identity_t
from .ring cimport Writer
from .trace cimport Trace

cdef extern from *:
    """
    #define fp_unlikely(x) __builtin_expect(!!(x), 0)
    """
    bint fp_unlikely(bint condition) noexcept nogil


cdef enum Mode:
    WRITING
    COUNTING   # no domain at hand: exact counts in the process, no rows
    INACTIVE   # switched off

cdef enum Messages:
    RAW
    REDACT
    TEMPLATE

cdef enum:
    DROP_CELL_BYTES = 128
    OPERATIONS_RECENT = 4
    CLOCK_SYNC_NANO = 50_000_000
    SPENT_PLACES = 4096
    SPENT_PROBES = 16


cdef struct Spent:
    # Rows that a fingerprint had in a second, where these are bounded.
    uint64_t fingerprint
    uint32_t second
    uint32_t rows


cdef struct Recorder:
    # Read by every record: a word on a page that forks wipe, and the incarnation that may write.
    uint64_t* live
    uint32_t* fence
    int64_t wall_offset
    int64_t clock_sync_mono
    uint32_t detail_per_second
    Messages messages
    bint more_redaction
    PyObject* recent[OPERATIONS_RECENT]  # strong: operation names used last
    uint32_t recent_serial[OPERATIONS_RECENT]
    Writer writer
    Trace trace
    Breath breath
    # Read where something changes.
    bint active
    bint bound
    bint rebinding
    int64_t rebind_mono
    uint32_t epoch                   # grows with each domain bound or let go, and each fork
    uint64_t* page
    uint8_t* registry
    Dictionary names
    Dictionary stacks
    uint64_t overflow[OVERFLOW_CELLS]
    uint64_t handed[OVERFLOW_CELLS]  # what this process has added to the cells of the domain
    const char* place                # where others look for its counts
    fp_identity_t root
    int64_t look_mono
    Aggregate aggregate
    Tables tables
    Spent spent[SPENT_PLACES]


cdef Recorder* recorder() noexcept
cdef Mode wake() noexcept
cdef void notice_fork() noexcept
cdef void try_storage() noexcept
cdef int why_unbound() noexcept
cdef bint within_budget(uint64_t fingerprint, int64_t mono_nano) noexcept nogil
cdef void overflow(int cell, uint64_t n) noexcept nogil
cdef void look(int64_t mono) noexcept nogil
cdef void look_by_count() noexcept nogil
cdef void renew_dictionary() noexcept
cdef object bounded(object value, str name, object high)


cdef inline bint awake(Recorder* r) noexcept nogil:
    """Whether this process may write; otherwise wake() says what it may do."""
    return r.live[0] == 1 and fp_load32_relaxed(r.fence) == r.writer.incarnation


cdef inline void drop(Recorder* r, int reason) noexcept nogil:
    """Count a detail that is not written."""
    cell_count(
        cell_at(&r.aggregate, AGGREGATE_SIZE + <uint32_t>(reason - 1) * DROP_CELL_BYTES), 1
    )


cdef inline void clocks(Recorder* r, int64_t* wall, int64_t* mono) noexcept nogil:
    """Both clocks for one call: the distance between them is measured anew every 50 ms."""
    cdef int64_t after
    mono[0] = fp_clock_monotonic()
    if fp_unlikely(mono[0] >= r.clock_sync_mono):
        wall[0] = fp_clock_realtime()
        after = fp_clock_monotonic()
        r.wall_offset = wall[0] - (mono[0] + after) // 2
        r.clock_sync_mono = after + CLOCK_SYNC_NANO
        if mono[0] >= r.look_mono:
            look(mono[0])
    wall[0] = mono[0] + r.wall_offset
