/* In-flight slots: what each operation of this process is doing, readable after its death.

   The slots lie in the owner's breath file; which of them are free is known in process memory only.
   The word of a slot is stored last on entry and first on leaving, so whoever sees it sees the
   slot. It is the running number of the entry: a token is that number and the slot, so that the
   token of an earlier entry, or of the process that this one was forked from, frees nothing. */
#ifndef FAULTPLANE_BREATH_H
#define FAULTPLANE_BREATH_H

#include "atomics.h"
#include "layout.h"
#include "posix.h"

#ifdef __linux__
#include <sys/syscall.h>
#else
#include <pthread.h>
#endif

#define BREATH_SLOT_BITS 9 /* of a token: slot + 1, 1 to 256; above it 23 bits of the number */
#define BREATH_SLOT_MASK ((UINT32_C(1) << BREATH_SLOT_BITS) - 1)
#define BREATH_CLOCK_SYNC_NANO INT64_C(50000000)

typedef struct {
    inflight_t *slots;
    uint64_t entered; /* goes on across bindings and forks, so numbers do not come back */
    int64_t wall_offset, clock_sync_mono;
    uint32_t epoch; /* of this binding: thread ids are asked for again after a fork */
    uint32_t free_count;
    uint32_t lock; /* without the GIL only */
    void (*new_thread)(void); /* NULL, or called once in each thread that enters a slot */
    uint16_t free[INFLIGHT_SLOTS];
} Breath;

/* The native id of this thread; a system call the first time in each binding. */
static inline uint64_t breath_thread_id(const Breath *b) {
    static __thread uint64_t known;
    static __thread uint32_t known_epoch;
    if (known_epoch != b->epoch) {
        if (b->new_thread)
            b->new_thread();
#ifdef __linux__
        known = (uint64_t)syscall(SYS_gettid);
#else
        pthread_threadid_np(NULL, &known);
#endif
        known_epoch = b->epoch;
    }
    return known;
}

#ifdef Py_GIL_DISABLED
static inline void breath_lock(Breath *b) {
    while (__atomic_exchange_n(&b->lock, 1, __ATOMIC_ACQUIRE))
        ;
}
static inline void breath_unlock(Breath *b) { __atomic_store_n(&b->lock, 0, __ATOMIC_RELEASE); }
#else /* the GIL is held by whoever enters and leaves */
static inline void breath_lock(Breath *b) { (void)b; }
static inline void breath_unlock(Breath *b) { (void)b; }
#endif

/* The slot that a token stands for, or NULL when it was left or is not this process's. */
static inline inflight_t *breath_slot(const Breath *b, uint32_t token) {
    uint32_t index = (token & BREATH_SLOT_MASK) - 1;
    if (index >= INFLIGHT_SLOTS || b->slots == NULL)
        return NULL;
    uint32_t number = (uint32_t)fp_load_relaxed(&b->slots[index].word) << BREATH_SLOT_BITS;
    return number == (token & ~BREATH_SLOT_MASK) && number ? &b->slots[index] : NULL;
}

/* When the entry of a token began, on the monotonic clock; 0 when it was left or is not ours. */
static inline int64_t breath_start_nano(const Breath *b, uint32_t token) {
    const inflight_t *slot = breath_slot(b, token);
    return slot ? (int64_t)slot->start_mono_nano : 0;
}

/* Fills a slot; its token, 0 when none is free. trace_id: 16 bytes or NULL. parent: a token. */
static inline uint32_t breath_enter(Breath *b, const uint8_t *operation, size_t n,
                                    const uint8_t *trace_id, uint32_t parent) {
    breath_lock(b);
    if (b->free_count == 0) {
        breath_unlock(b);
        return 0;
    }
    uint32_t index = b->free[--b->free_count];
    uint64_t number = ++b->entered;
    if ((uint32_t)number << BREATH_SLOT_BITS == 0)
        number = ++b->entered; /* a word and the number in a token are never 0 */
    int64_t mono = fp_clock_monotonic();
    if (mono >= b->clock_sync_mono) {
        b->wall_offset = fp_clock_realtime() - mono;
        b->clock_sync_mono = mono + BREATH_CLOCK_SYNC_NANO;
    }
    int64_t wall = mono + b->wall_offset;
    breath_unlock(b);
    inflight_t *slot = &b->slots[index];
    /* A reader that still sees the word of the last entry must not see the fields of this one. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    if (n > sizeof slot->operation) {
        n = sizeof slot->operation;
        while (n && (operation[n] & 0xC0) == 0x80)
            n--;
    }
    slot->start_unix_nano = wall;
    slot->start_mono_nano = mono;
    slot->thread_id = breath_thread_id(b);
    slot->parent = breath_slot(b, parent) ? parent & BREATH_SLOT_MASK : 0;
    slot->operation_bytes = (uint32_t)n;
    memcpy(slot->operation, operation, n);
    if (trace_id)
        memcpy(slot->trace_id, trace_id, sizeof slot->trace_id);
    else
        memset(slot->trace_id, 0, sizeof slot->trace_id);
    fp_store_release(&slot->word, number);
    return (uint32_t)number << BREATH_SLOT_BITS | (index + 1);
}

/* Frees the slot of a token; other tokens do nothing. */
static inline void breath_leave(Breath *b, uint32_t token) {
    breath_lock(b);
    inflight_t *slot = breath_slot(b, token);
    if (slot) {
        fp_store_release(&slot->word, 0);
        b->free[b->free_count++] = (uint16_t)(slot - b->slots);
    }
    breath_unlock(b);
}

/* Frees every slot: what runs goes on, and ends, where nobody looks. */
static inline void breath_leave_all(Breath *b) {
    if (b->slots == NULL)
        return;
    breath_lock(b);
    for (uint32_t i = 0; b->free_count < INFLIGHT_SLOTS && i < INFLIGHT_SLOTS; i++) {
        if (fp_load_relaxed(&b->slots[i].word)) {
            fp_store_release(&b->slots[i].word, 0);
            b->free[b->free_count++] = (uint16_t)i;
        }
    }
    breath_unlock(b);
}

#endif
