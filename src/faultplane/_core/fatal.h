/* The fatal slot: what a signal that ends the process says about it.

   One handler for SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT writes the head and the frames of
   the thread, then does exactly what would have happened without it: it calls the handler that was
   there, or restores the default and lets the signal come again, so that exit status and core dump
   stay what they were. It calls async-signal-safe functions only, faulthandler's way of printing
   frames aside, which is made for such handlers.

   Handlers that were installed later and call this one in their turn (faulthandler does) are
   recognised by thread: a handler that is entered again while it calls others goes to the handler
   of the beginning, so no two handlers call each other for ever. */
#ifndef FAULTPLANE_FATAL_H
#define FAULTPLANE_FATAL_H

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "breath.h"

#define FATAL_SIGNALS 5
#define FATAL_THREADS 8 /* threads that can be inside the handler at once; others only pass on */
#define FATAL_STACK_BYTES 65536
#define FATAL_WAIT_MILLI 1000
#define FATAL_FRAMES_MAX (FATAL_SIZE - FATAL_HEAD_BYTES)

enum { FATAL_NONE = 0, FATAL_WRITING = 1, FATAL_COMPLETE = 2 };

typedef struct {
    int number;
    int installed;
    int prints; /* previous is faulthandler's: when it comes back, it has been disabled since */
    struct sigaction original; /* before this handler was first installed */
    struct sigaction previous; /* before it was last installed: the one to call */
} fatal_signal_t;

static fatal_signal_t fatal_signals[FATAL_SIGNALS] = {
    {.number = SIGSEGV}, {.number = SIGBUS}, {.number = SIGFPE}, {.number = SIGILL},
    {.number = SIGABRT},
};

typedef void (*fatal_dump_t)(int fd, PyThreadState *state);

static fatal_t *fatal_slot;        /* NULL: no domain, nothing is written */
static int fatal_survived;         /* a SIGABRT was written that did not end the process */
static pid_t fatal_pid;            /* whose slot it is: a fork inherits handler and mapping */
static fatal_dump_t fatal_dump;    /* CPython's own, where the interpreter exports it */
static int fatal_fd = -1;          /* where faulthandler writes to, where it has to stand in */
static struct stat fatal_fd_status;
static uint64_t fatal_threads[FATAL_THREADS];

static uint64_t fatal_thread_id(void) {
#ifdef __linux__
    return (uint64_t)syscall(SYS_gettid);
#else
    uint64_t id = 0;
    pthread_threadid_np(NULL, &id);
    return id;
#endif
}

/* --------------------------------------------------------------------------------------- frames

   Frames are kept as faulthandler prints them, `  File "name", line 3 in function`, the innermost
   first, without its other lines. */

static size_t fatal_keep_frames(uint8_t *out, size_t room, int fd) {
    uint8_t chunk[512], line[640];
    size_t kept = 0, size = 0;
    off_t at = 0;
    for (;;) {
        ssize_t got = pread(fd, chunk, sizeof chunk, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return kept;
        at += got;
        for (ssize_t k = 0; k < got; k++) {
            if (size < sizeof line)
                line[size++] = chunk[k];
            if (chunk[k] != '\n')
                continue;
            if (size > 7 && memcmp(line, "  File ", 7) == 0) {
                if (size - 2 > room - kept)
                    return kept;
                memcpy(out + kept, line + 2, size - 2);
                kept += size - 2;
            }
            size = 0;
        }
    }
}

/* A file in memory, made when it is needed: nothing is kept open for it. Where there are none, one
   without a name among the temporary ones; FAULTPLANE_NO_MEMFD does so elsewhere, for tests. */
static int fatal_memory_file(void) {
#if defined(__linux__) && defined(SYS_memfd_create) && !defined(FAULTPLANE_NO_MEMFD)
    return (int)syscall(SYS_memfd_create, "faultplane-frames", 1u /* MFD_CLOEXEC */);
#else
    char path[] = "/tmp/faultplane-frames-0000000000000000";
    uint64_t id = (uint64_t)getpid() << 32 ^ fatal_thread_id();
    for (char *digit = path + sizeof path - 2; id != 0; id >>= 4)
        *digit-- = "0123456789abcdef"[id & 15];
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) unlink(path);
    return fd;
#endif
}

static size_t fatal_dump_frames(fatal_t *slot) {
    PyThreadState *state = PyGILState_GetThisThreadState();
    size_t kept = 0;
    if (fatal_dump == NULL || state == NULL)
        return 0;
    int fd = fatal_memory_file();
    if (fd < 0)
        return 0;
    fatal_dump(fd, state);
    kept = fatal_keep_frames((uint8_t *)slot + FATAL_HEAD_BYTES, FATAL_FRAMES_MAX, fd);
    close(fd);
    return kept;
}

/* Whether fatal_fd still is the file that was opened: an application may close all of them. */
static int fatal_fd_is_ours(void) {
    struct stat now;
    return fatal_fd >= 0 && fstat(fatal_fd, &now) == 0 && now.st_ino == fatal_fd_status.st_ino &&
           now.st_dev == fatal_fd_status.st_dev;
}

/* ----------------------------------------------------------------------------------- writing */

/* Writes the head; the slot when it is ours to complete, else NULL. */
static fatal_t *fatal_begin(int number, const siginfo_t *info, uint64_t thread) {
    fatal_t *slot = __atomic_load_n(&fatal_slot, __ATOMIC_ACQUIRE);
    if (slot == NULL || getpid() != fatal_pid)
        return NULL;
    if (!fp_cas(&slot->word, FATAL_NONE, FATAL_WRITING) &&
        !(fatal_survived && fp_cas(&slot->word, FATAL_COMPLETE, FATAL_WRITING)))
        return NULL; /* another thread was first */
    fatal_survived = 0;
    slot->signal = (uint32_t)number;
    slot->code = info->si_code;
    slot->time_unix_nano = fp_clock_realtime();
    slot->thread_id = thread;
    slot->address = info->si_code > 0 ? (uint64_t)(uintptr_t)info->si_addr : 0;
    slot->frames_bytes = 0;
    return slot;
}

/* While another thread writes, a signal of this one must not end the process: a moment's wait. */
static void fatal_await(void) {
    fatal_t *slot = __atomic_load_n(&fatal_slot, __ATOMIC_ACQUIRE);
    if (slot == NULL || getpid() != fatal_pid)
        return;
    for (int k = 0; k < FATAL_WAIT_MILLI && fp_load_acquire(&slot->word) == FATAL_WRITING; k++)
        poll(NULL, 0, 1);
}

static void fatal_complete(fatal_t *slot, size_t frames_bytes) {
    slot->frames_bytes = frames_bytes;
    /* Published last: whoever sees it sees the head and all frames. */
    fp_store_release(&slot->word, FATAL_COMPLETE);
}

/* -------------------------------------------------------------------------------- passing on */

/* After a handler that came back the process goes on, and what it dies of is yet to come. SIGABRT
   stays: abort() ends the process even so, and a supervisor that asks a hanging worker to abort
   kills it next, when the frames are what one wants to know. A later signal overwrites it. */
static void fatal_withdraw(fatal_t *slot) {
    if (slot->signal == SIGABRT) {
        fatal_survived = 1;
        return;
    }
    *((uint8_t *)slot + FATAL_HEAD_BYTES) = 0;
    fp_store_release(&slot->word, FATAL_NONE);
}

/* Does what the signal does where nobody handles it. Returns whether the process lives on. */
static int fatal_default(int number, const siginfo_t *info, const struct sigaction *action) {
    struct sigaction plain;
    memset(&plain, 0, sizeof plain);
    plain.sa_handler = action->sa_handler;
    sigemptyset(&plain.sa_mask);
    sigaction(number, &plain, NULL);
    /* What failed fails again when we return, and its registers are in the core dump. */
    if (info->si_code > 0 && number != SIGABRT) {
#ifdef BUS_MCEERR_AO
        if (number != SIGBUS || info->si_code != BUS_MCEERR_AO)
#endif
            return 0;
    }
    if (plain.sa_handler == SIG_IGN)
        return 1;
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, number);
    raise(number);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    return 0;
}

/* Calls a handler as the kernel would have. Returns whether the process lives on. */
static int fatal_call(int number, siginfo_t *info, void *context, const struct sigaction *action) {
    sigset_t blocked, before;
    if (!(action->sa_flags & SA_SIGINFO) &&
        (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN))
        return fatal_default(number, info, action);
    blocked = action->sa_mask;
    if (!(action->sa_flags & SA_NODEFER))
        sigaddset(&blocked, number);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    if (action->sa_flags & (int)SA_RESETHAND)
        signal(number, SIG_DFL);
    if (action->sa_flags & SA_SIGINFO)
        action->sa_sigaction(number, info, context);
    else
        action->sa_handler(number);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return 1;
}

static uint64_t *fatal_find_thread(uint64_t thread) {
    for (int k = 0; k < FATAL_THREADS; k++)
        if (__atomic_load_n(&fatal_threads[k], __ATOMIC_RELAXED) == thread)
            return &fatal_threads[k];
    return NULL;
}

static uint64_t *fatal_add_thread(uint64_t thread) {
    for (int k = 0; k < FATAL_THREADS; k++)
        if (fp_cas(&fatal_threads[k], 0, thread))
            return &fatal_threads[k];
    return NULL;
}

/* Entered again by this thread: from a handler that we called, or by a fault of our own. */
static void fatal_nested(fatal_signal_t *entry, siginfo_t *info, void *context) {
    fatal_t *slot = __atomic_load_n(&fatal_slot, __ATOMIC_ACQUIRE);
    if (slot && getpid() == fatal_pid && fp_load_acquire(&slot->word) == FATAL_WRITING) {
        size_t kept = 0;
        if (fatal_fd_is_ours())
            kept = fatal_keep_frames((uint8_t *)slot + FATAL_HEAD_BYTES, FATAL_FRAMES_MAX,
                                     fatal_fd);
        fatal_complete(slot, kept);
    }
    fatal_call(entry->number, info, context, &entry->original);
}

static void fatal_handler(int number, siginfo_t *info, void *context) {
    int saved = errno;
    uint64_t thread = fatal_thread_id();
    fatal_signal_t *entry = fatal_signals;
    while (entry->number != number)
        entry++;
    if (fatal_find_thread(thread)) {
        fatal_nested(entry, info, context);
        errno = saved;
        return;
    }
    uint64_t *inside = fatal_add_thread(thread);
    const struct sigaction *next = inside ? &entry->previous : &entry->original;
    fatal_t *slot = inside ? fatal_begin(number, info, thread) : NULL;
    if (slot) {
        if (fatal_fd < 0) {
            fatal_complete(slot, fatal_dump_frames(slot));
        } else if (fatal_fd_is_ours()) {
            /* faulthandler comes next, writes the frames there and enters this handler again. */
            if (ftruncate(fatal_fd, 0) == 0)
                lseek(fatal_fd, 0, SEEK_SET);
        } else {
            next = &entry->original;
            fatal_complete(slot, 0);
        }
    } else {
        fatal_await();
    }
    int survived = fatal_call(number, info, context, next);
    if (slot && fp_load_acquire(&slot->word) == FATAL_WRITING)
        fatal_complete(slot, 0);
    if (survived && entry->prints && info->si_code > 0)
        survived = fatal_call(number, info, context, &entry->original);
    if (slot && survived)
        fatal_withdraw(slot);
    if (inside)
        __atomic_store_n(inside, 0, __ATOMIC_RELEASE);
    errno = saved;
}

/* -------------------------------------------------------------------------------- installing */

/* Where to write from now on; NULL: nowhere. */
static void fatal_target(uint8_t *base) {
    fatal_pid = getpid();
    __atomic_store_n(&fatal_slot, base ? (fatal_t *)(void *)(base + BREATH_FATAL_OFFSET) : NULL,
                     __ATOMIC_RELEASE);
}

static pthread_key_t fatal_stack_key;
static int fatal_stack_has_key;

/* The thread ends: the kernel forgets its stack before it is unmapped. */
static void fatal_stack_free(void *base) {
    stack_t now, none;
    memset(&none, 0, sizeof none);
    none.ss_flags = SS_DISABLE;
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == base)
        sigaltstack(&none, NULL);
    munmap(base, FATAL_STACK_BYTES);
}

/* A stack for this thread's handlers, unless it has one: a stack overflow leaves none. */
static void fatal_stack(void) {
    stack_t now, fresh;
    if (!fatal_stack_has_key || sigaltstack(NULL, &now) != 0 || !(now.ss_flags & SS_DISABLE))
        return;
    memset(&fresh, 0, sizeof fresh);
    fresh.ss_size = FATAL_STACK_BYTES;
    fresh.ss_sp = mmap(NULL, fresh.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                       0);
    if (fresh.ss_sp == MAP_FAILED)
        return;
    if (pthread_setspecific(fatal_stack_key, fresh.ss_sp) != 0 || sigaltstack(&fresh, NULL) != 0)
        munmap(fresh.ss_sp, fresh.ss_size);
}

/* From now on threads get a stack: this one here, others as they enter their first slot. */
static void fatal_stacks(void) {
    if (!fatal_stack_has_key)
        fatal_stack_has_key = pthread_key_create(&fatal_stack_key, fatal_stack_free) == 0;
    fatal_stack();
}

/* Puts the handler in front of what is installed now. Where it already is, nothing changes. */
static void fatal_install(int faulthandler_enabled) {
    for (int k = 0; k < FATAL_SIGNALS; k++) {
        fatal_signal_t *entry = &fatal_signals[k];
        struct sigaction now, ours;
        if (sigaction(entry->number, NULL, &now) != 0 ||
            ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == fatal_handler))
            continue;
        memset(&ours, 0, sizeof ours);
        ours.sa_sigaction = fatal_handler;
        /* Not deferred: a fault of our own comes back to us and is passed on. */
        ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        ours.sa_mask = now.sa_mask;
        sigdelset(&ours.sa_mask, entry->number);
        if (!entry->installed)
            entry->original = now;
        entry->previous = now;
        entry->prints = faulthandler_enabled && (now.sa_flags & SA_NODEFER) != 0;
        entry->installed = 1;
        sigaction(entry->number, &ours, NULL);
    }
}

/* Whether the interpreter prints frames for us; otherwise faulthandler has to stand in. */
static int fatal_finds_frames(void) {
    *(void **)(&fatal_dump) = dlsym(RTLD_DEFAULT, "_Py_DumpTraceback");
    return fatal_dump != NULL;
}

/* The file that faulthandler shall write to; -1 where there is none. */
static int fatal_frames_file(void) {
    if (!fatal_fd_is_ours()) {
        fatal_fd = fatal_memory_file();
        if (fatal_fd >= 0 && fstat(fatal_fd, &fatal_fd_status) != 0)
            fatal_fd = -1;
    }
    return fatal_fd;
}

#endif
