/* Every atomic operation on shared memory goes through these few names, so that the memory order
   of each can be read in one place. Words are naturally aligned and never straddle a line. */
#ifndef FAULTPLANE_ATOMICS_H
#define FAULTPLANE_ATOMICS_H

#include <stdint.h>

/* Pairs with fp_store_release and with the release of a compare-and-swap. */
static inline uint64_t fp_load_acquire(const uint64_t *word) {
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* After all that was read before, whatever that is: whether it still is what it was. */
static inline uint64_t fp_load_again(const uint64_t *word) {
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline uint64_t fp_load_relaxed(const uint64_t *word) {
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline uint32_t fp_load32_acquire(const uint32_t *word) {
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline uint32_t fp_load32_relaxed(const uint32_t *word) {
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline void fp_store_release(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline void fp_store_relaxed(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static inline void fp_store32_release(uint32_t *word, uint32_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* Publishes: everything stored before it is visible to whoever loads the new value with acquire. */
static inline int fp_cas_release(uint64_t *word, uint64_t expected, uint64_t value) {
    return __atomic_compare_exchange_n(word, &expected, value, 0, __ATOMIC_RELEASE,
                                       __ATOMIC_RELAXED);
}

/* Takes and publishes: for ownership words, where both directions matter. */
static inline int fp_cas(uint64_t *word, uint64_t expected, uint64_t value) {
    return __atomic_compare_exchange_n(word, &expected, value, 0, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

static inline int fp_cas32(uint32_t *word, uint32_t expected, uint32_t value) {
    return __atomic_compare_exchange_n(word, &expected, value, 0, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

/* Counts only: what is around it is ordered by nothing. */
static inline int fp_cas_relaxed(uint64_t *word, uint64_t expected, uint64_t value) {
    return __atomic_compare_exchange_n(word, &expected, value, 0, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED);
}

/* In one order with all others of its kind, and before every load that follows it: who says what it
   holds, and then looks at what others hold, sees them or is seen by them. */
static inline int fp_cas_total(uint64_t *word, uint64_t expected, uint64_t value) {
    int done = __atomic_compare_exchange_n(word, &expected, value, 0, __ATOMIC_SEQ_CST,
                                           __ATOMIC_ACQUIRE);
#if !defined(__x86_64__) && !defined(__i386__) /* where the instruction itself is a fence */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
    return done;
}

/* Hands out numbers; what is done with them is published by a later release. */
static inline uint64_t fp_add(uint64_t *word, uint64_t value) {
    return __atomic_fetch_add(word, value, __ATOMIC_ACQ_REL);
}

#endif
