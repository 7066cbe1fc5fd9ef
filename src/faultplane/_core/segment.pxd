"""Segments as files: prepared, published, retired."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .layout cimport LANE_WORD_STRIDE, LANE_WORDS_OFFSET, registry_t
from .memory cimport Mapping
from .posix cimport fp_identity_t


cdef struct Files:
    int directory
    int locks
    registry_t* registry
    uint32_t lanes
    uint32_t segments_max
    uint64_t dictionary_bytes
    uint64_t segment_bytes
    char tag[32]
    fp_identity_t directory_identity
    # The segment this process prepares while it holds LOCK_PREPARE.
    int prepare_fd
    bint prepare_named  # tmp-next-<tag>, where files cannot go without a name
    fp_identity_t prepare_identity
    uint64_t prepared_bytes
    # The segment it left behind, and how much of it, at its end, still has pages mapped.
    uint8_t* unmap_base
    size_t unmap_bytes


cdef inline uint64_t* lane_word(uint8_t* segment, uint64_t lane) noexcept nogil:
    return <uint64_t*>(segment + LANE_WORDS_OFFSET + lane * LANE_WORD_STRIDE)


cdef uint64_t shape(
    uint32_t lanes, uint64_t* column_offsets, uint64_t* arena_offset
) noexcept nogil
cdef void files_clear(Files* f) noexcept nogil
cdef int files_start(
    Files* f, int directory, int locks, Mapping registry, uint32_t lanes, uint32_t segments_max,
    uint64_t dictionary_bytes, bytes tag
) except -1
cdef bint names_try(Files* f) noexcept nogil
cdef void names_done(Files* f) noexcept nogil
cdef bint prepare_begin(Files* f) noexcept nogil
cdef int prepare_up_to(Files* f, uint64_t bytes_wanted, uint64_t step) noexcept nogil
cdef void prepare_finish(Files* f) noexcept nogil
cdef void publish_ahead(Files* f) noexcept nogil
cdef bint is_ahead(Files* f, uint64_t number) noexcept nogil
cdef bint is_published(Files* f, uint64_t number) noexcept nogil
cdef void prepare_abandon(Files* f) noexcept nogil
cdef void prepare_forget(Files* f) noexcept nogil
cdef bint files_are_open(Files* f) noexcept nogil
cdef int publish(Files* f, uint64_t number) noexcept nogil
cdef bint raise_newest(Files* f, uint64_t number) noexcept nogil
cdef bint is_over_budget(Files* f) noexcept nogil
cdef int retire_over_budget(Files* f) noexcept nogil
cdef uint64_t close_owner_lanes(Files* f, uint64_t tag) noexcept nogil
