"""In-flight slots: what each operation of this process is doing, readable after its death."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from .layout cimport INFLIGHT_SLOTS, inflight_t


cdef struct Breath:
    uint8_t* base
    inflight_t* slots
    uint64_t entered
    uint32_t free_count
    uint16_t free[INFLIGHT_SLOTS]


cdef void breath_start(Breath* b, uint8_t* base) noexcept nogil
cdef void breath_clear(Breath* b) noexcept nogil
cdef uint32_t breath_enter(
    Breath* b, const uint8_t* operation, size_t n, const uint8_t* trace_id, uint32_t parent
) noexcept nogil
cdef void breath_leave(Breath* b, uint32_t token) noexcept nogil
