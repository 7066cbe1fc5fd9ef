"""BLAKE2b-64 and CRC-32 of digest.h."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "digest.h" nogil:
    ctypedef struct fp_digest:
        pass
    void fp_digest_start(fp_digest* state) noexcept
    void fp_digest_update(fp_digest* state, const void* data, size_t n) noexcept
    uint64_t fp_digest_end(fp_digest* state) noexcept
    uint64_t fp_digest_of(const void* data, size_t n) noexcept
    uint32_t fp_crc32(const uint8_t* data, size_t n) noexcept
