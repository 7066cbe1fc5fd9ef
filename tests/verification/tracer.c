/* Preloaded into a real process, writes down every change of the words that processes share and of
   the names in their directory, one store at a time, in the order in which they happen.

   Pages that hold such words are kept read-only. A store faults, is let through for the one
   instruction, compared with what was there, and the page is read-only again. x86-64 Linux.

       word <file> <offset> <old> <new>    name comes|goes <file>
       row <file> <lane> <row> <cells in hex>: after a commit, the row as it was just then

   TRACE_DIRECTORY is the store's, TRACE_FILE where the lines go. With TRACE_HOLD=n the process says
   "held" before its n-th access, load or store, to the registry, and goes on at the next byte. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
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
static uint8_t *open_page; /* let through for one instruction */
static File *open_file;
static int open_closed;
static char directory[256];

static void say(const char *line, int n) {
    if (write(out, line, (size_t)n) != n) _exit(9);
}
#define SAY(...) do { char l_[256]; say(l_, snprintf(l_, sizeof l_, __VA_ARGS__)); } while (0)

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

static File *meet(int fd) {
    char link[64], path[512];
    struct stat status;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0 || fstat(fd, &status)) return NULL;
    path[n] = 0;
    char *name = strrchr(path, '/');
    if (!name || strlen(directory) != (size_t)(name - path)
        || strncmp(path, directory, (size_t)(name - path)))
        return NULL;
    name++;
    for (int i = 0; i < file_count; i++)
        if (files[i].inode == status.st_ino) return &files[i];
    if (!(starts(name, "seg-") || starts(name, "dict-") || starts(name, "agg-")
          || !strcmp(name, "registry") || !strcmp(name, "owners"))
        || strstr(name, " (deleted)") || file_count == FILES_MAX)
        return NULL;
    File *f = &files[file_count];
    void *alias = real_mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (alias == MAP_FAILED) return NULL;
    file_count++;
    snprintf(f->name, sizeof f->name, "%s", name);
    f->inode = status.st_ino, f->base = alias;
    if (!strcmp(name, "registry")) {
        watch(f, offsetof(registry_t, segment_newest), 8, 8, 1);
        watch(f, offsetof(registry_t, segment_oldest), 8, 8, 1);
        watch(f, offsetof(registry_t, incarnation_next), 8, 8, 1);
        watch(f, offsetof(registry_t, dictionary_generation), 8, 8, 1);
        watch(f, offsetof(registry_t, rows_retired), 8, 8, 3);
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
    } else {
        const dictionary_t *d = (const dictionary_t *)f->base;
        watch(f, offsetof(dictionary_t, next_entry), 8, 8, 1);
        watch(f, offsetof(dictionary_t, next_byte), 8, 8, 1);
        watch(f, d->entries_offset, 8, 8, 2 * d->entries_max);
        watch(f, d->buckets_offset, 4, 4, d->buckets);
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

static void look(File *f, size_t from, size_t to) {
    for (int g = 0; g < f->groups; g++) {
        Words *w = &f->words[g];
        for (size_t i = 0; i < w->count; i++) {
            size_t at = w->offset + i * w->stride;
            if (at < from || at >= to) continue;
            uint64_t now = word_at(f, w, i), before = w->seen[i];
            if (now == before) continue;
            w->seen[i] = now;
            SAY("word %s %zu %llu %llu\n", f->name, at, (unsigned long long)before,
                (unsigned long long)now);
            if (w->offset == LANE_WORDS_OFFSET && starts(f->name, "seg-") && now == before + 1)
                say_row(f, i, (size_t)(uint32_t)before);
        }
    }
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
        if (open_page) _exit(8); /* one instruction, two pages: not one of our words */
        open_page = page, open_file = m->file, open_closed = m->closed;
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
    if (!open_page) return;
    look(open_file, 0, open_file->end);
    mprotect(open_page, PAGE, open_closed);
    open_page = NULL;
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("TRACE_FILE");
    if (!path) return;
    hold = getenv("TRACE_HOLD") ? atol(getenv("TRACE_HOLD")) : 0;
    snprintf(directory, sizeof directory, "%s", getenv("TRACE_DIRECTORY"));
    out = fcntl(open(path, O_WRONLY | O_CREAT | O_APPEND, 0600), F_DUPFD_CLOEXEC, 900);
    struct sigaction store = {.sa_sigaction = on_store, .sa_flags = SA_SIGINFO};
    struct sigaction step = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &store, NULL);
    sigaction(SIGTRAP, &step, NULL);
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    void *base = real_mmap(at, n, protection, flags, fd, offset);
    if (base == MAP_FAILED || out < 0 || fd < 0 || !(flags & MAP_SHARED)
        || !(protection & PROT_WRITE))
        return base;
    File *f = meet(fd);
    if (!f) return base;
    look(f, 0, f->end);
    size_t bytes = n < f->end ? n : f->end;
    bytes = (bytes + PAGE - 1) & ~(PAGE - 1);
    int closed = hold && !strcmp(f->name, "registry") ? PROT_NONE : PROT_READ;
    mprotect(base, bytes, closed);
    if (map_count == MAPS_MAX) _exit(7);
    maps[map_count++] = (Map){base, bytes, closed, f};
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

int linkat(int from, const char *old, int to, const char *new, int flags) {
    int failed = (int)syscall(SYS_linkat, from, old, to, new, flags);
    if (!failed && out >= 0) SAY("name comes %s\n", new);
    return failed;
}

int renameat(int from, const char *old, int to, const char *new) {
    int failed = (int)syscall(SYS_renameat2, from, old, to, new, 0);
    if (!failed && out >= 0) SAY("name comes %s\n", new);
    return failed;
}

int unlinkat(int from, const char *name, int flags) {
    int failed = (int)syscall(SYS_unlinkat, from, name, flags);
    if (!failed && out >= 0) SAY("name goes %s\n", name);
    return failed;
}
