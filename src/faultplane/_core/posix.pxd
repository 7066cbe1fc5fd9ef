"""The POSIX calls of posix.h."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef extern from "posix.h" nogil:
    int64_t fp_clock_monotonic() noexcept
    uint64_t fp_clock_coarse_ms() noexcept
    int64_t fp_clock_realtime() noexcept
    int fp_reserve(int fd, int64_t offset, int64_t bytes) noexcept
    int fp_try_lock(int fd, int64_t byte) noexcept
    void fp_unlock(int fd, int64_t byte) noexcept
    int64_t fp_file_bytes(int fd) noexcept
    bint fp_is_alone(int fd) noexcept
    bint fp_exists(int directory, const char* name) noexcept
    int fp_open(int directory, const char* name) noexcept
    int fp_create(int directory, const char* name) noexcept
    int fp_create_unnamed(int directory) noexcept
    int fp_name(int fd, int directory, const char* name) noexcept
    uint8_t* fp_map(int fd, size_t bytes) noexcept
    const uint8_t fp_zeros[65536]
    ctypedef struct fp_identity_t:
        uint64_t device
        uint64_t inode
    fp_identity_t fp_identify(int fd) noexcept
    bint fp_is_still(int fd, fp_identity_t known) noexcept
    fp_identity_t fp_identify_with(int fd, int names_min) noexcept
    bint fp_is_still_with(int fd, fp_identity_t known, int names_min) noexcept
    fp_identity_t fp_identify_root() noexcept
    bint fp_is_in_place(const char* path, fp_identity_t known, fp_identity_t root) noexcept
    uint64_t* fp_page_wiped_on_fork() noexcept
    void fp_touch(const uint8_t* start, size_t bytes) noexcept
    int munmap(void* address, size_t size) noexcept
    int madvise(void* address, size_t size, int advice) noexcept
    const int MADV_DONTNEED
    int close(int fd) noexcept
    int ftruncate(int fd, int64_t size) noexcept
    Py_ssize_t pwrite(int fd, const void* data, size_t n, int64_t offset) noexcept
    Py_ssize_t pread(int fd, void* data, size_t n, int64_t offset) noexcept
    int unlinkat(int directory, const char* name, int flags) noexcept
    int renameat(int from_directory, const char* old, int to_directory, const char* new) noexcept
    int linkat(
        int from_directory, const char* old, int to_directory, const char* new, int flags
    ) noexcept
    int snprintf(char* out, size_t n, const char* format, ...) noexcept
    int errno
    int EBADF, EDQUOT, EEXIST, EMFILE, ENFILE, ENOENT, ENOMEM, ENOSPC
