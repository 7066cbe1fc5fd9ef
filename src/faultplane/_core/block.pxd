"""Operations in flight, for guarded calls."""

from libc.stdint cimport int64_t, uint32_t

cdef uint32_t take_inside(str operation, int64_t* start_nano) noexcept
cdef void give_back(uint32_t token) noexcept
