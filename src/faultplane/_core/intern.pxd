"""Strings interned for every process of a domain: append-only, wait-free."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from .layout cimport dictionary_entry_t, dictionary_t


cdef struct Dictionary:
    uint8_t* base
    dictionary_t* header
    dictionary_entry_t* entries
    uint32_t* buckets
    uint8_t* text
    uint64_t text_bytes
    uint64_t file_bytes
    uint32_t entries_max
    uint32_t mask


cdef int dictionary_create(
    int directory, const char* prefix, uint64_t generation, uint64_t file_bytes, const char* tag
) noexcept nogil
cdef int dictionary_open(
    Dictionary* d, int directory, const char* prefix, uint64_t generation
) noexcept nogil
cdef void dictionary_close(Dictionary* d) noexcept nogil
cdef int32_t dictionary_intern(
    Dictionary* d, uint64_t hash, const uint8_t* text, uint32_t n, bint by_hash
) noexcept nogil
cdef bint dictionary_nearly_full(Dictionary* d) noexcept nogil
