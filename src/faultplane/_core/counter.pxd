"""Counters that all processes of a domain share."""

from libc.stdint cimport uint32_t


cdef class Counter:
    cdef readonly str name
    cdef uint32_t offset
