"""A file mapped whole, with the few atomic operations that maintenance in Python needs."""

from libc.stdint cimport uint8_t, uint64_t

cdef class Mapping:
    cdef uint8_t* base
    cdef readonly size_t size
    cdef readonly size_t reserve
    cdef readonly bint writable
    cdef int exports
    cdef int writing(self) except -1
    cdef uint8_t* at(self, Py_ssize_t offset, size_t width) except NULL
