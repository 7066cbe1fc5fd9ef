"""Lanes: claim, commit, close; and the ring of segments they lie in."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from .atomics cimport fp_cas_release
from .fingerprint cimport Site
from .layout cimport (
    ARENA_BYTES_PER_LANE,
    COLUMN_ATTEMPT,
    COLUMN_ATTRIBUTES,
    COLUMN_CATEGORY,
    COLUMN_COUNT,
    COLUMN_DURATION_NANO,
    COLUMN_FINGERPRINT,
    COLUMN_FLAGS,
    COLUMN_KIND,
    COLUMN_MESSAGE,
    COLUMN_MONO_NANO,
    COLUMN_OPERATION,
    COLUMN_OWNER,
    COLUMN_RESOURCE,
    COLUMN_SEQ,
    COLUMN_SEVERITY_NUMBER,
    COLUMN_SITE,
    COLUMN_SPAN_ID,
    COLUMN_TIME_UNIX_NANO,
    COLUMN_TRACE_ID,
    COLUMN_TYPE,
    COLUMN_USER,
)
from .segment cimport Files


cdef enum:
    CHUNK_ROWS = 64
    CLAIM_OK = 0
    CLAIM_NEW_DICTIONARY = -1


cdef struct Writer:
    # What every record touches.
    uint64_t* word
    uint64_t expected
    uint32_t row
    uint32_t limit
    uint32_t arena_used
    uint32_t arena_base
    uint8_t* arena
    uint64_t seq
    uint32_t incarnation
    int32_t resource
    uint8_t* column[COLUMN_COUNT]
    # What a claim touches.
    Files files
    uint8_t* segment
    uint64_t segment_number
    uint64_t dictionary_generation
    uint64_t lane_tag
    uint64_t* mapped_segment_low  # in the owner's slot: what it keeps in memory
    int64_t retry_mono_nano
    int refusal
    bint prepared
    bint retire_due
    int retire_tries
    bint prepare_due
    uint64_t lanes_claimed
    uint64_t segments_mapped
    uint64_t rehomed


cdef struct Row:
    # What differs from one record of an error to the next; the rest is read from its site.
    int64_t time_unix_nano
    int64_t mono_nano
    int64_t duration_nano
    uint64_t user
    const uint8_t* ids
    const uint8_t* message
    const uint8_t* attributes
    uint32_t message_bytes
    uint32_t attributes_bytes
    uint16_t attempt
    uint8_t flags


cdef inline void put_view(
    Writer* w, uint8_t* view, const uint8_t* text, uint32_t n
) noexcept nogil:
    """Store an Arrow string view: short strings in place, longer ones in the arena."""
    cdef uint32_t* words = <uint32_t*>view
    words[0] = n
    if n <= 12:
        memcpy(words + 1, text, n)
        return
    memcpy(words + 1, text, 4)
    words[2] = 0
    words[3] = w.arena_base + w.arena_used
    memcpy(w.arena + w.arena_used, text, n)
    w.arena_used += n


cdef inline bint writer_fits(Writer* w, uint32_t n) noexcept nogil:
    return w.arena_used + n <= ARENA_BYTES_PER_LANE


cdef inline bint writer_put(Writer* w, const Row* row, const Site* site) noexcept nogil:
    """Write and publish one row; False when the lane was closed under its owner.

    The caller has made sure of a free row and of room in the arena. Cells of the row are zero
    before the first store, so what is absent is not stored.
    """
    cdef uint32_t r = w.row
    (<uint64_t*>w.column[COLUMN_SEQ])[r] = w.seq + 1
    (<int64_t*>w.column[COLUMN_TIME_UNIX_NANO])[r] = row.time_unix_nano
    (<int64_t*>w.column[COLUMN_MONO_NANO])[r] = row.mono_nano
    (<uint64_t*>w.column[COLUMN_FINGERPRINT])[r] = site.fingerprint
    put_view(w, w.column[COLUMN_MESSAGE] + 16 * r, row.message, row.message_bytes)
    (<int32_t*>w.column[COLUMN_TYPE])[r] = site.type
    (<int32_t*>w.column[COLUMN_SITE])[r] = site.site
    (<int32_t*>w.column[COLUMN_OPERATION])[r] = site.operation
    (<int32_t*>w.column[COLUMN_RESOURCE])[r] = w.resource
    (<uint32_t*>w.column[COLUMN_OWNER])[r] = w.incarnation
    w.column[COLUMN_SEVERITY_NUMBER][r] = site.severity
    w.column[COLUMN_KIND][r] = site.kind
    w.column[COLUMN_CATEGORY][r] = site.category
    w.column[COLUMN_FLAGS][r] = row.flags
    (<int64_t*>w.column[COLUMN_DURATION_NANO])[r] = row.duration_nano
    (<uint16_t*>w.column[COLUMN_ATTEMPT])[r] = row.attempt
    if row.attributes_bytes:
        put_view(w, w.column[COLUMN_ATTRIBUTES] + 16 * r, row.attributes, row.attributes_bytes)
    if row.ids != NULL:
        memcpy(w.column[COLUMN_TRACE_ID] + 16 * r, row.ids, 16)
        memcpy(w.column[COLUMN_SPAN_ID] + 8 * r, row.ids + 16, 8)
    if row.user:
        (<uint64_t*>w.column[COLUMN_USER])[r] = row.user
    # Published last: a reader that sees the count sees the row. A failure means that somebody
    # closed the lane; the row was never visible.
    if not fp_cas_release(w.word, w.expected, w.expected + 1):
        return False
    w.expected += 1
    w.row = r + 1
    w.seq += 1
    return True


cdef void writer_clear(Writer* w) noexcept nogil
cdef int writer_advance(Writer* w) noexcept nogil
cdef void writer_leave_lane(Writer* w) noexcept nogil
cdef void writer_stop(Writer* w) noexcept nogil
cdef void writer_forget(Writer* w) noexcept nogil


cdef class Ring:
    cdef Files files
    cdef object registry
    cdef readonly bint writable
