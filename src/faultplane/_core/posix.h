/* The few POSIX calls of the core, with Linux's extras guarded. */
#ifndef FAULTPLANE_POSIX_H
#define FAULTPLANE_POSIX_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static inline int64_t fp_clock(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t fp_clock_monotonic(void) { return fp_clock(CLOCK_MONOTONIC); }
static inline int64_t fp_clock_realtime(void) { return fp_clock(CLOCK_REALTIME); }

/* Milliseconds of the monotonic clock as the last tick left it: 7 ns in place of 24, 10 ms behind
   at most, and the same in every process. */
static inline uint64_t fp_clock_coarse_ms(void) {
#ifdef CLOCK_MONOTONIC_COARSE
    return (uint64_t)(fp_clock(CLOCK_MONOTONIC_COARSE) / 1000000);
#else
    return (uint64_t)(fp_clock_monotonic() / 1000000);
#endif
}

#define FP_INTERRUPTED_MAX 1000
#define FP_PIECE_BYTES_MIN 65536

static const uint8_t fp_zeros[65536];

/* Reserve the bytes: a write through the mapping must never meet a full disk as SIGBUS.
   A signal ends the call on the tmpfs of older kernels, and undoes it: where a timer is fast,
   smaller pieces get through. macOS does not have the call: there zeros are written behind the end
   of the file. FAULTPLANE_NO_FALLOCATE does so elsewhere, for tests. */
static inline int fp_reserve(int fd, int64_t offset, int64_t bytes) {
#if defined(__APPLE__) || defined(FAULTPLANE_NO_FALLOCATE)
    struct stat s;
    int64_t end = offset + bytes;
    int interrupted = 0;
    if (fstat(fd, &s)) return errno;
    int64_t at = (int64_t)s.st_size;
    while (at < end) {
        size_t piece = end - at < (int64_t)sizeof fp_zeros ? (size_t)(end - at) : sizeof fp_zeros;
        ssize_t written = pwrite(fd, fp_zeros, piece, (off_t)at);
        if (written >= 0)
            at += written;
        else if (errno != EINTR || ++interrupted == FP_INTERRUPTED_MAX)
            return errno;
    }
    return 0;
#else
    int64_t end = offset + bytes, piece = bytes;
    int failed, interrupted = 0;
    do {
        if (piece > end - offset) piece = end - offset;
        failed = posix_fallocate(fd, offset, piece);
        if (failed == 0)
            offset += piece;
        else if (failed != EINTR || ++interrupted == FP_INTERRUPTED_MAX)
            return failed;
        else if (piece > FP_PIECE_BYTES_MIN)
            piece = (piece / 2 + 4095) & ~INT64_C(4095);
    } while (offset < end);
    return 0;
#endif
}

/* One byte of a lock file, never waiting. 0, or -1 when somebody else holds it. */
static inline int fp_try_lock(int fd, int64_t byte) {
    struct flock lock;
    memset(&lock, 0, sizeof lock);
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = (off_t)byte;
    lock.l_len = 1;
    return fcntl(fd, F_SETLK, &lock);
}

static inline void fp_unlock(int fd, int64_t byte) {
    struct flock lock;
    memset(&lock, 0, sizeof lock);
    lock.l_type = F_UNLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = (off_t)byte;
    lock.l_len = 1;
    (void)fcntl(fd, F_SETLK, &lock);
}

static inline int64_t fp_file_bytes(int fd) {
    struct stat s;
    return fstat(fd, &s) ? -1 : (int64_t)s.st_size;
}

/* Whether a file has no other name: what is written to it is in nobody else's file. */
static inline int fp_is_alone(int fd) {
    struct stat s;
    return fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && s.st_nlink == 1;
}

static inline int fp_exists(int directory, const char *name) {
    struct stat s;
    return fstatat(directory, name, &s, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline int fp_open(int directory, const char *name) {
    return openat(directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
}

/* The mode is the directory's, without its search bits: a group-readable domain stays one. */
static inline int fp_create(int directory, const char *name) {
    struct stat s;
    mode_t mode = 0600;
    if (fstat(directory, &s) == 0 && (s.st_mode & 0040)) mode = 0640;
    int fd = openat(directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_CREAT | O_EXCL, mode);
    if (fd >= 0 && mode != 0600) (void)fchmod(fd, mode);
    return fd;
}

/* Give a file a name that has none, unless there is a file of that name. */
static inline int fp_name(int fd, int directory, const char *name) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, path, directory, name, AT_SYMLINK_FOLLOW);
}

/* A file that has no name yet, which takes no time of those who are at the names. -1 where the
   system or the file system has none, or where /proc is not there to give it one later. */
static inline int fp_create_unnamed(int directory) {
#ifdef O_TMPFILE
    struct stat s;
    char path[32];
    mode_t mode = 0600;
    if (fstat(directory, &s) == 0 && (s.st_mode & 0040)) mode = 0640;
    int fd = openat(directory, ".", O_RDWR | O_CLOEXEC | O_TMPFILE, mode);
    if (fd < 0) return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (stat(path, &s) == 0 && (mode == 0600 || fchmod(fd, mode) == 0)) return fd;
    close(fd);
#else
    (void)directory;
#endif
    return -1;
}

static inline uint8_t *fp_map(int fd, size_t bytes) {
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return base == MAP_FAILED ? NULL : (uint8_t *)base;
}

/* Which file a descriptor stands for. An application may close every descriptor that it finds, and
   get their numbers back for files of its own: what is kept open is used after a look at this.
   None for what was removed, where nobody will look for anything. */
typedef struct {
    uint64_t device, inode;
} fp_identity_t;

static inline fp_identity_t fp_identify_with(int fd, int names_min) {
    struct stat s;
    fp_identity_t none = {0, 0};
    if (fd < 0 || fstat(fd, &s) || (int)s.st_nlink < names_min) return none;
    return (fp_identity_t){(uint64_t)s.st_dev, (uint64_t)s.st_ino};
}

static inline fp_identity_t fp_identify(int fd) { return fp_identify_with(fd, 1); }

static inline int fp_is_still_with(int fd, fp_identity_t known, int names_min) {
    fp_identity_t now = fp_identify_with(fd, names_min);
    return now.inode != 0 && now.inode == known.inode && now.device == known.device;
}

static inline int fp_is_still(int fd, fp_identity_t known) {
    return fp_is_still_with(fd, known, 1);
}

static inline fp_identity_t fp_identify_root(void) {
    struct stat s;
    fp_identity_t none = {0, 0};
    if (stat("/", &s)) return none;
    return (fp_identity_t){(uint64_t)s.st_dev, (uint64_t)s.st_ino};
}

/* Whether `path` still names the file `known`. Where the kernel does not tell, and where the root
   is not `root` any more, nothing says that it does not. */
static inline int fp_is_in_place(const char *path, fp_identity_t known, fp_identity_t root) {
    struct stat s;
    fp_identity_t now;
    if (fstatat(AT_FDCWD, path, &s, AT_SYMLINK_NOFOLLOW) == 0) {
        if (s.st_ino == known.inode && (uint64_t)s.st_dev == known.device) return 1;
    } else if (errno != ENOENT && errno != ENOTDIR) {
        return 1;
    }
    now = fp_identify_root();
    return now.inode != root.inode || now.device != root.device;
}

/* A private page that reads as zero in every forked child, however it was forked. */
static inline uint64_t *fp_page_wiped_on_fork(void) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return NULL;
#ifdef MADV_WIPEONFORK
    (void)madvise(page, 4096, MADV_WIPEONFORK);
#endif
    return (uint64_t *)page;
}

/* Map the pages of a range by reading a byte of each: they were zeroed when the segment was
   prepared, so this is a minor fault of some 200 ns and not a record's business later. */
static inline void fp_touch(const uint8_t *start, size_t bytes) {
    const uint8_t *last = start + bytes - 1;
    const volatile uint8_t *p = start;
    for (;;) {
        (void)*p;
        if (((uintptr_t)p | 4095) >= (uintptr_t)last) break;
        p = (const volatile uint8_t *)(((uintptr_t)p | 4095) + 1);
    }
}

#endif
