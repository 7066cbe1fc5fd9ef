"""The atomic operations of atomics.h, for the other modules of the core."""

from libc.stdint cimport uint32_t, uint64_t

cdef extern from "atomics.h" nogil:
    uint64_t fp_load_acquire(const uint64_t* word) noexcept
    uint64_t fp_load_again(const uint64_t* word) noexcept
    uint64_t fp_load_relaxed(const uint64_t* word) noexcept
    uint32_t fp_load32_acquire(const uint32_t* word) noexcept
    uint32_t fp_load32_relaxed(const uint32_t* word) noexcept
    void fp_store_release(uint64_t* word, uint64_t value) noexcept
    void fp_store_relaxed(uint64_t* word, uint64_t value) noexcept
    void fp_store32_release(uint32_t* word, uint32_t value) noexcept
    bint fp_cas_release(uint64_t* word, uint64_t expected, uint64_t value) noexcept
    bint fp_cas(uint64_t* word, uint64_t expected, uint64_t value) noexcept
    bint fp_cas32(uint32_t* word, uint32_t expected, uint32_t value) noexcept
    bint fp_cas_relaxed(uint64_t* word, uint64_t expected, uint64_t value) noexcept
    bint fp_cas_total(uint64_t* word, uint64_t expected, uint64_t value) noexcept
    uint64_t fp_add(uint64_t* word, uint64_t value) noexcept
