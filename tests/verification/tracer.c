/* Preloaded into a real process, writes down every change of the words that processes share and of
   the names in their directory, one store at a time, in the order in which they happen.

   Pages that hold such words are kept read-only. A store faults, is let through for the one
   instruction, compared with what was there, and the page is read-only again. x86-64 Linux.

       word <file> <offset> <old> <new>    name comes|goes <file>
       row <file> <lane> <row> <cells in hex>: after a commit, the row as it was just then

   TRACE_DIRECTORY is the store's, TRACE_FILE where the lines go. With TRACE_HOLD=n the process says
   "held" before its n-th access, load or store, to the registry, and goes on at the next byte.

   Or nothing is written down, and a process that called trace_watch and trace_arm is sent a signal
   right after its n-th step: a change of a shared word, or a call that makes, fills, renames or
   removes something below the directory. Half of what is written at once is a step of its own. In
   the finest grain, so is each instruction that stores into a mapped file. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "layout.h"

#define PAGE 4096UL
#define TRAP_FLAG 0x100
#define FILES_MAX 64
#define MAPS_MAX 256
#define OPEN_MAX 4 /* pages that one instruction may store to */

typedef struct {
    size_t offset, width, stride, count;
    uint64_t *seen;
} Words;

typedef struct {
    char name[64];
    uint64_t inode;
    const uint8_t *base; /* a mapping of our own, to read */
    size_t end;          /* no shared word lies behind */
    Words words[6];
    int groups;
} File;

typedef struct {
    uint8_t *base;
    size_t bytes;
    int closed; /* how its pages are protected */
    File *file;
} Map;

static File files[FILES_MAX];
static Map maps[MAPS_MAX];
static int file_count, map_count, out = -1;
static long hold, accesses;
static struct { uint8_t *page; const Map *map; } opened[OPEN_MAX]; /* for one instruction */
static int opened_count, every_store, all_named, armed, stop_with;
static long steps, stop_at, kinds_max;
static char *kinds; /* what each step was: a letter */
static char directory[256];

static void say(const char *line, int n) {
    if (out >= 0 && syscall(SYS_write, out, line, (size_t)n) != n) _exit(9);
}
#define SAY(...) do { char l_[256]; say(l_, snprintf(l_, sizeof l_, __VA_ARGS__)); } while (0)

/* One step more: whether it is the one to stop after. */
static int is_last(char kind) {
    if (!armed) return 0;
    if (steps < kinds_max) kinds[steps] = kind;
    return ++steps == stop_at;
}

static void stop(void) { syscall(SYS_kill, getpid(), stop_with); }

static void step(char kind) {
    if (is_last(kind)) stop();
}

static void *real_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    return (void *)syscall(SYS_mmap, at, n, protection, flags, fd, offset);
}

static uint64_t word_at(const File *f, const Words *w, size_t i) {
    const uint8_t *at = f->base + w->offset + i * w->stride;
    return w->width == 8 ? *(const volatile uint64_t *)at : *(const volatile uint32_t *)at;
}

static void watch(File *f, size_t offset, size_t width, size_t stride, size_t count) {
    Words *w = &f->words[f->groups++];
    *w = (Words){offset, width, stride, count, calloc(count, 8)};
    for (size_t i = 0; i < count; i++) w->seen[i] = word_at(f, w, i);
    if (offset + stride * (count - 1) + width > f->end)
        f->end = offset + stride * (count - 1) + width;
}

static int starts(const char *name, const char *prefix) {
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* The path of a descriptor, if it is of something below the directory. */
static const char *ours(int fd, char *path) {
    char link[64];
    size_t length = strlen(directory);
    if (!length) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n < (ssize_t)length) return NULL;
    path[n] = 0;
    return strncmp(path, directory, length) || (path[length] && path[length] != '/') ? NULL : path;
}

static File *meet(int fd) {
    char path[PATH_MAX];
    struct stat status;
    if (!ours(fd, path) || fstat(fd, &status) || strstr(path, " (deleted)")) return NULL;
    const char *name = strrchr(path, '/') + 1;
    for (int i = 0; i < file_count; i++)
        if (files[i].inode == status.st_ino) return &files[i];
    if (file_count == FILES_MAX) _exit(7);
    File *f = &files[file_count];
    void *alias = real_mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (alias == MAP_FAILED) return NULL;
    file_count++;
    snprintf(f->name, sizeof f->name, "%s", name);
    f->inode = status.st_ino, f->base = alias;
    if (!strcmp(name, "registry")) {
        watch(f, offsetof(registry_t, segment_newest), 8, 8, 2);
        watch(f, offsetof(registry_t, segment_oldest), 8, 8, 1);
        watch(f, offsetof(registry_t, incarnation_next), 8, 8, 1);
        watch(f, offsetof(registry_t, dictionary_generation), 8, 8, 1);
        watch(f, offsetof(registry_t, retired), 8, 8, 2);
        watch(f, SEGMENT_TABLE_OFFSET, 8, 8, SEGMENT_TABLE_SIZE);
    } else if (!strcmp(name, "owners")) {
        watch(f, 0, 8, OWNER_SIZE, 8);
        watch(f, OWNER_FENCE_OFFSET, 4, OWNER_SIZE, 8);
    } else if (starts(name, "seg-")) {
        watch(f, offsetof(segment_t, state), 8, 8, 1);
        watch(f, offsetof(segment_t, next_lane), 8, 8, 1);
        watch(f, LANE_WORDS_OFFSET, 8, LANE_WORD_STRIDE, ((const segment_t *)f->base)->lanes);
    } else if (starts(name, "agg-")) {
        watch(f, offsetof(aggregate_t, used), 8, 8, 1);
    } else if (starts(name, "dict-") || starts(name, "stacks-")) {
        const dictionary_t *d = (const dictionary_t *)f->base;
        watch(f, offsetof(dictionary_t, next_entry), 8, 8, 1);
        watch(f, offsetof(dictionary_t, next_byte), 8, 8, 1);
        watch(f, d->entries_offset, 8, 8, 2 * d->entries_max);
        watch(f, d->buckets_offset, 4, 4, d->buckets);
    } else if (!strcmp(name, "control")) {
        const control_t *c = (const control_t *)f->base;
        size_t row = (c->owner_slots * LEASE_SIZE + PAGE - 1) / PAGE * PAGE;
        watch(f, CONTROL_SIZE + offsetof(control_cell_t, breaker), 8, CONTROL_CELL_SIZE, 2);
        watch(f, CONTROL_SIZE + offsetof(control_cell_t, budget), 8, CONTROL_CELL_SIZE, 2);
        for (size_t cell = 0; cell < 2; cell++) /* of the first owners: probes, held */
            watch(f, c->leases_offset + cell * row, 8, 8, 2 * 8);
    }
    return f;
}

static void say_row(const File *f, size_t lane, size_t row) {
    const segment_t *s = (const segment_t *)f->base;
    char cells[512];
    int n = 0;
    for (size_t c = 0; c < COLUMN_COUNT; c++)
        for (size_t i = 0; i < COLUMN_WIDTHS[c]; i++)
            n += snprintf(cells + n, 3, "%02x",
                          f->base[s->column_offsets[c] + (lane * LANE_ROWS + row) * COLUMN_WIDTHS[c]
                                  + i]);
    char line[640];
    say(line, snprintf(line, sizeof line, "row %s %zu %zu %s\n", f->name, lane, row, cells));
}

/* What has changed since the last look: a word, a lane word by a row, or nothing. */
static char look(File *f) {
    char changed = 0;
    for (int g = 0; g < f->groups; g++) {
        Words *w = &f->words[g];
        for (size_t i = 0; i < w->count; i++) {
            size_t at = w->offset + i * w->stride;
            uint64_t now = word_at(f, w, i), before = w->seen[i];
            if (now == before) continue;
            w->seen[i] = now;
            int is_lane = w->offset == LANE_WORDS_OFFSET && starts(f->name, "seg-");
            changed = is_lane && now == before + 1 ? 'r' : 'w';
            if (out < 0) continue;
            SAY("word %s %zu %llu %llu\n", f->name, at, (unsigned long long)before,
                (unsigned long long)now);
            if (changed == 'r')
                say_row(f, i, (size_t)(uint32_t)before);
        }
    }
    return changed;
}

static void on_store(int signal, siginfo_t *info, void *context) {
    uint8_t *page = (uint8_t *)((uintptr_t)info->si_addr & ~(PAGE - 1));
    for (int i = map_count - 1; i >= 0; i--) {
        Map *m = &maps[i];
        if (!m->base || page < m->base || page >= m->base + m->bytes) continue;
        if (m->closed == PROT_NONE && ++accesses == hold) {
            char byte;
            if (write(1, "held\n", 5) != 5 || read(0, &byte, 1) != 1) _exit(6);
        }
        if (opened_count == OPEN_MAX) _exit(8);
        opened[opened_count].page = page;
        opened[opened_count++].map = m;
        mprotect(page, PAGE, PROT_READ | PROT_WRITE);
        /* What others stored meanwhile is not this instruction's. */
        ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
        return;
    }
    struct sigaction whole = {.sa_handler = SIG_DFL};
    sigaction(signal, &whole, NULL);
}

static void on_step(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
    char changed = every_store && opened_count ? 's' : 0, found;
    for (; opened_count; opened_count--) {
        const Map *m = opened[opened_count - 1].map;
        if ((found = look(m->file))) changed = found;
        mprotect(opened[opened_count - 1].page, PAGE, m->closed);
    }
    if (changed) step(changed);
}

static void catch_stores(void) {
    struct sigaction store = {.sa_sigaction = on_store, .sa_flags = SA_SIGINFO};
    struct sigaction stepped = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &store, NULL);
    sigaction(SIGTRAP, &stepped, NULL);
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("TRACE_FILE");
    if (!path) return;
    hold = getenv("TRACE_HOLD") ? atol(getenv("TRACE_HOLD")) : 0;
    snprintf(directory, sizeof directory, "%s", getenv("TRACE_DIRECTORY"));
    out = fcntl(open(path, O_WRONLY | O_CREAT | O_APPEND, 0600), F_DUPFD_CLOEXEC, 900);
    armed = 1;
    catch_stores();
}

/* From here on the files below a directory that get mapped are known. With `named`, the file system
   has no files without a name. */
void trace_watch(const char *path, int finest, int named) {
    snprintf(directory, sizeof directory, "%s", path);
    every_store = finest, all_named = named;
    catch_stores();
}

/* From here on steps are counted; the signal comes right after the n-th, never for n = 0. */
void trace_arm(long n, int signal) {
    for (int i = 0; i < file_count; i++) look(&files[i]);
    for (int i = 0; i < map_count; i++)
        if (maps[i].base) mprotect(maps[i].base, maps[i].bytes, maps[i].closed);
    steps = 0, stop_at = n, stop_with = signal, armed = 1;
}

long trace_steps(void) { return steps; }

/* Where to say what each step was: w, a word; r, a row that became visible; n, a name that came or
   went; h, half of what is written; c, another call; s, a store that nobody may see yet. */
void trace_kinds(char *letters, long most) { kinds = letters, kinds_max = most; }

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    void *base = real_mmap(at, n, protection, flags, fd, offset);
    if (base == MAP_FAILED || !directory[0] || fd < 0 || !(flags & MAP_SHARED)
        || !(protection & PROT_WRITE))
        return base;
    File *f = meet(fd);
    if (!f) return base;
    look(f);
    size_t bytes = n < f->end || every_store ? n : f->end;
    int i = 0;
    while (i < map_count && maps[i].base) i++;
    if (i == MAPS_MAX) _exit(7);
    if (i == map_count) map_count++;
    maps[i] = (Map){base, (bytes + PAGE - 1) & ~(PAGE - 1), PROT_READ, f};
    if (hold && !strcmp(f->name, "registry")) maps[i].closed = PROT_NONE;
    if (armed && bytes) mprotect(base, maps[i].bytes, maps[i].closed);
    return base;
}

void *mmap64(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    return mmap(at, n, protection, flags, fd, offset);
}

int munmap(void *base, size_t n) {
    for (int i = 0; i < map_count; i++)
        if (maps[i].base == base) maps[i].base = NULL;
    return (int)syscall(SYS_munmap, base, n);
}

static void named(int fd, const char *what, const char *name) {
    char path[PATH_MAX];
    if (armed && ours(fd, path)) {
        SAY("name %s %s\n", what, name);
        step('n');
    }
}

int linkat(int from, const char *old, int to, const char *new, int flags) {
    int failed = (int)syscall(SYS_linkat, from, old, to, new, flags);
    if (!failed) named(to, "comes", new);
    return failed;
}

int renameat(int from, const char *old, int to, const char *new) {
    int failed = (int)syscall(SYS_renameat2, from, old, to, new, 0);
    if (!failed) named(to, "comes", new);
    return failed;
}

int unlinkat(int from, const char *name, int flags) {
    int failed = (int)syscall(SYS_unlinkat, from, name, flags);
    if (!failed) named(from, "goes", name);
    return failed;
}

/* What is not seen by others until it gets its name, or grows: a step to stop after, not a line. */
static void changed(int fd) {
    char path[PATH_MAX];
    if (armed && ours(fd, path)) step('c');
}

int mkdirat(int fd, const char *name, mode_t mode) {
    int failed = (int)syscall(SYS_mkdirat, fd, name, mode);
    if (!failed) changed(fd);
    return failed;
}

int openat(int from, const char *name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    int is_nameless = (flags & O_TMPFILE) == O_TMPFILE;
    if (is_nameless && all_named) return errno = EOPNOTSUPP, -1;
    int fd = (int)syscall(SYS_openat, from, name, flags, mode);
    if (fd >= 0 && (flags & O_CREAT || is_nameless)) changed(fd);
    return fd;
}

int openat64(int from, const char *name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return openat(from, name, flags, mode);
}

int ftruncate(int fd, off_t bytes) {
    int failed = (int)syscall(SYS_ftruncate, fd, bytes);
    if (!failed) changed(fd);
    return failed;
}

int ftruncate64(int fd, off_t bytes) { return ftruncate(fd, bytes); }

int posix_fallocate(int fd, off_t offset, off_t bytes) {
    int error = syscall(SYS_fallocate, fd, 0, offset, bytes) ? errno : 0;
    if (!error) changed(fd);
    return error;
}

int posix_fallocate64(int fd, off_t offset, off_t bytes) {
    return posix_fallocate(fd, offset, bytes);
}

/* A kill in the middle of a write leaves a part of it. */
static ssize_t put(int fd, const void *data, size_t n, off_t offset) {
    if (offset < 0) return syscall(SYS_write, fd, data, n);
    return syscall(SYS_pwrite64, fd, data, n, offset);
}

static ssize_t put_in_steps(int fd, const void *data, size_t n, off_t offset) {
    char path[PATH_MAX];
    if (!armed || n < 2 || !ours(fd, path)) return put(fd, data, n, offset);
    ssize_t half = 0;
    if (is_last('h')) {
        half = put(fd, data, n / 2, offset);
        stop();
        if (half < 0) return half;
    }
    ssize_t rest = put(fd, (const char *)data + half, n - (size_t)half,
                       offset < 0 ? offset : offset + half);
    step('c');
    return rest < 0 ? rest : half + rest;
}

ssize_t write(int fd, const void *data, size_t n) { return put_in_steps(fd, data, n, -1); }

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset) {
    return put_in_steps(fd, data, n, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off_t offset) {
    return put_in_steps(fd, data, n, offset);
}
