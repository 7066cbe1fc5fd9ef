/* Preloaded into a real process, refuses what it asks of the file system below one directory: the
   n-th of the calls that allocate or name something, or all from the n-th on; and sets its wall
   clock. What and when is in a file of words that the test writes (REFUSE_WORDS):

       0 armed   1 number of the first call refused   2 errno   3 1 = that call alone
       4 calls so far   5 calls refused   6 seconds added to the wall clock, signed
       7 1 = a signal interrupts every other reservation of space   8 how many it has

   REFUSE_DIRECTORY is the directory. Linux. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *words;
static char directory[4096];

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("REFUSE_WORDS"), *below = getenv("REFUSE_DIRECTORY");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
    if (fd < 0 || !below) return;
    void *base = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    snprintf(directory, sizeof directory, "%s", below);
    if (base != MAP_FAILED) words = base;
}

static int is_below(const char *path) {
    size_t n = strlen(directory);
    return n && strncmp(path, directory, n) == 0 && (path[n] == '/' || path[n] == 0);
}

static int fd_is_below(int fd) {
    char link[64], path[4096];
    if (fd < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return is_below(path);
}

static int at_is_below(int fd, const char *path) {
    return path[0] == '/' ? is_below(path) : fd == AT_FDCWD ? 0 : fd_is_below(fd);
}

/* The errno with which this call is refused, or 0. */
static int refusal(int concerned) {
    if (!words || !words[0] || !concerned) return 0;
    int64_t number = __atomic_add_fetch(&words[4], 1, __ATOMIC_SEQ_CST);
    if (words[3] ? number != words[1] : number < words[1]) return 0;
    __atomic_add_fetch(&words[5], 1, __ATOMIC_SEQ_CST);
    return (int)words[2];
}

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
#define REFUSE(concerned)            \
    do {                             \
        int saved = errno;           \
        int why = refusal(concerned); \
        errno = saved;               \
        if (why) {                   \
            errno = why;             \
            return -1;               \
        }                            \
    } while (0)

/* Opening is refused where it makes a file; for want of descriptors or rights, always. */
static int opening_concerns(int fd, const char *path, int flags) {
    int always = words && words[2] != ENOSPC && words[2] != EDQUOT && words[2] != EROFS;
    return ((flags & O_CREAT) || always) && at_is_below(fd, path);
}

#define OPENAT(name)                                               \
    int name(int fd, const char *path, int flags, ...) {           \
        va_list rest;                                              \
        va_start(rest, flags);                                     \
        mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                              \
        REFUSE(opening_concerns(fd, path, flags));                 \
        return (int)syscall(SYS_openat, fd, path, flags, mode);    \
    }
OPENAT(openat)
OPENAT(openat64)

#define OPEN(name)                                                   \
    int name(const char *path, int flags, ...) {                     \
        va_list rest;                                                \
        va_start(rest, flags);                                       \
        mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;   \
        va_end(rest);                                                \
        REFUSE(opening_concerns(AT_FDCWD, path, flags));             \
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

int mkdir(const char *path, mode_t mode) {
    REFUSE(is_below(path));
    return REAL(mkdir)(path, mode);
}

int mkdirat(int fd, const char *path, mode_t mode) {
    REFUSE(at_is_below(fd, path));
    return REAL(mkdirat)(fd, path, mode);
}

int linkat(int fd, const char *path, int other, const char *name, int flags) {
    REFUSE(at_is_below(other, name));
    return REAL(linkat)(fd, path, other, name, flags);
}

int renameat(int fd, const char *path, int other, const char *name) {
    REFUSE(at_is_below(other, name));
    return REAL(renameat)(fd, path, other, name);
}

ssize_t write(int fd, const void *data, size_t n) {
    REFUSE(fd_is_below(fd));
    return syscall(SYS_write, fd, data, n);
}

#define PWRITE(name)                                                \
    ssize_t name(int fd, const void *data, size_t n, off_t offset) { \
        REFUSE(fd_is_below(fd));                                    \
        return syscall(SYS_pwrite64, fd, data, n, offset);          \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define FTRUNCATE(name)              \
    int name(int fd, off_t size) {   \
        REFUSE(fd_is_below(fd));     \
        return (int)syscall(SYS_ftruncate, fd, size); \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

/* Gives an error instead of setting errno. */
#define FALLOCATE(name)                                                        \
    int name(int fd, off_t offset, off_t size) {                               \
        int why = refusal(fd_is_below(fd));                                    \
        if (why) return why;                                                   \
        if (words && words[7] && fd_is_below(fd) && ++words[8] % 2) return EINTR; \
        return syscall(SYS_fallocate, fd, 0, offset, size) == 0 ? 0 : errno;    \
    }
FALLOCATE(posix_fallocate)
FALLOCATE(posix_fallocate64)

/* Only of files: the interpreter's own memory is another matter. */
#define MMAP(name)                                                                   \
    void *name(void *at, size_t n, int rights, int flags, int fd, off_t offset) {     \
        int why = fd >= 0 ? refusal(fd_is_below(fd)) : 0;                            \
        if (why) {                                                                   \
            errno = why == ENOSPC || why == EDQUOT ? ENOMEM : why;                   \
            return MAP_FAILED;                                                       \
        }                                                                            \
        return (void *)syscall(SYS_mmap, at, n, rights, flags, fd, offset);          \
    }
MMAP(mmap)
MMAP(mmap64)

int clock_gettime(clockid_t clock, struct timespec *told) {
    int done = REAL(clock_gettime)(clock, told);
    if (!done && words && clock == CLOCK_REALTIME) told->tv_sec += words[6];
    return done;
}
