"""In-flight slots: what each operation of this process is doing, readable after its death."""

from libc.stdint cimport int64_t, uint8_t, uint32_t


cdef extern from "breath.h" nogil:
    ctypedef struct Breath:
        pass
    # Fills a slot; its token, 0 when none is free. parent is the token of the enclosing operation.
    uint32_t breath_enter(
        Breath* b, const uint8_t* operation, size_t n, const uint8_t* trace_id, uint32_t parent
    ) noexcept
    # When the entry of a token began, on the monotonic clock; 0 when it is no entry of ours.
    int64_t breath_start_nano(const Breath* b, uint32_t token) noexcept
    # Frees the slot of a token; other tokens do nothing.
    void breath_leave(Breath* b, uint32_t token) noexcept
    # Frees every slot: what runs goes on, and ends, where nobody looks.
    void breath_leave_all(Breath* b) noexcept


cdef void breath_start(Breath* b, uint8_t* base) noexcept nogil
cdef void breath_clear(Breath* b) noexcept nogil
