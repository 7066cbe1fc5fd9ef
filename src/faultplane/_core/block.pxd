"""Operations in flight, for guarded calls."""

from libc.stdint cimport uint32_t

cdef uint32_t take_inside(str operation) noexcept
cdef void give_back(uint32_t token) noexcept
