/* What came of retries, so that the next may be decided by it: of each kind of error, of some
   types, and how long those took that ended well.

   Each word says all of one thing, and changes by compare-and-swap: no order of steps matters, a
   process that is killed leaves the word as it was or as it is to be, and any word at all can be
   read. Written when a retry has ended, and never by a call that is tried once. */
#ifndef FAULTPLANE_CONTROL_RETRIED_H
#define FAULTPLANE_CONTROL_RETRIED_H

#include "control_cell.h"
#include "posix.h"

typedef struct {
    uint64_t helped, failed;
} RetriedCounts;

static inline uint32_t retried_epoch(uint64_t now_ms) {
    return (uint32_t)(now_ms / RETRIED_EPOCH_MS) & RETRIED_EPOCH_MASK;
}

/* How long ago a word was changed, in epochs. One that was a moment ahead of this clock is new. */
static inline int retried_age(uint64_t word, uint32_t epoch) {
    uint32_t age = (epoch - (uint32_t)(word >> RETRIED_EPOCH_SHIFT)) & RETRIED_EPOCH_MASK;
    return age == RETRIED_EPOCH_MASK ? -1 : age < 8 ? (int)age : 8;
}

/* What a word says in an epoch: half as much after each. */
static inline RetriedCounts retried_by(uint64_t word, uint32_t epoch) {
    int age = retried_age(word, epoch), shift = age > 0 ? age : 0;
    RetriedCounts n = {(word >> RETRIED_HELPED_SHIFT & RETRIED_COUNT_MASK) >> shift,
                       (word & RETRIED_COUNT_MASK) >> shift};
    return n;
}

static inline uint64_t retried_word(uint64_t of, uint32_t epoch, RetriedCounts n) {
    return of << RETRIED_OF_SHIFT | (uint64_t)epoch << RETRIED_EPOCH_SHIFT |
           n.helped << RETRIED_HELPED_SHIFT | n.failed;
}

/* The word with one outcome more; both counts are halved first where there is no room. */
static inline uint64_t retried_more(uint64_t word, uint64_t of, uint32_t epoch, int helped) {
    RetriedCounts n = retried_by(word, epoch);
    if (n.helped + n.failed >= RETRIED_MAX)
        n.helped >>= 1, n.failed >>= 1;
    if (helped)
        n.helped++;
    else
        n.failed++;
    return retried_word(of, (epoch + (retried_age(word, epoch) < 0)) & RETRIED_EPOCH_MASK, n);
}

static inline void retried_kind(uint64_t *word, uint64_t kind, uint32_t epoch, int helped) {
    for (;;) {
        uint64_t old = fp_load_relaxed(word);
        if (fp_cas_relaxed(word, old, retried_more(old, kind, epoch, helped)))
            return;
    }
}

/* One more of a type, in the first place that is its own or free. Where there is none, the place it
   would have is worn down: what is there loses half of its counts, and with the last its place. */
static inline void retried_type(uint64_t *places, uint32_t tag, uint32_t epoch, int helped) {
    for (uint32_t i = 0; i < RETRIED_TYPES; i++) {
        uint64_t *word = &places[(tag + (uint64_t)i) % RETRIED_TYPES];
        uint64_t old = fp_load_relaxed(word);
        while (old == 0 || old >> RETRIED_OF_SHIFT == tag) {
            if (fp_cas_relaxed(word, old, retried_more(old, tag, epoch, helped)))
                return;
            old = fp_load_relaxed(word);
        }
    }
    uint64_t *word = &places[tag % RETRIED_TYPES];
    uint64_t old = fp_load_relaxed(word);
    RetriedCounts n = retried_by(old, epoch);
    n.helped >>= 1, n.failed >>= 1;
    /* Where another was faster, that has worn it down, or it is in use. */
    fp_cas_relaxed(word, old, n.helped + n.failed
                                  ? retried_word(old >> RETRIED_OF_SHIFT, epoch, n)
                                  : retried_more(0, tag, epoch, helped));
}

/* All there is of a type: two who came at once may have taken a place each. */
static inline RetriedCounts retried_of_type(
    const uint64_t *places, uint32_t tag, uint64_t now_ms
) {
    RetriedCounts sum = {0, 0};
    for (int i = 0; i < RETRIED_TYPES; i++) {
        uint64_t word = fp_load_relaxed(&places[i]);
        if (word >> RETRIED_OF_SHIFT == tag) {
            RetriedCounts n = retried_by(word, retried_epoch(now_ms));
            sum.helped += n.helped, sum.failed += n.failed;
        }
    }
    return sum;
}

static inline RetriedCounts retried_of_kind(const uint64_t *word, uint64_t now_ms) {
    return retried_by(fp_load_relaxed(word), retried_epoch(now_ms));
}

/* -------------------------------------------------------------------------------------- time */

/* Towards a value, by a part of what is missing. */
static inline uint64_t retried_towards(uint64_t from, uint64_t to, int shift) {
    return from + (uint64_t)(((int64_t)to - (int64_t)from) >> shift);
}

static inline void retried_took(uint64_t *word, uint64_t micros) {
    micros = micros < UINT32_MAX ? micros : UINT32_MAX;
    for (;;) {
        uint64_t old = fp_load_relaxed(word);
        uint64_t recent = old >> 32, usual = old & UINT32_MAX;
        uint64_t next = old == 0 ? micros << 32 | micros
                                 : retried_towards(recent, micros, RETRIED_RECENT_SHIFT) << 32 |
                                       retried_towards(usual, micros, RETRIED_USUAL_SHIFT);
        if (fp_cas_relaxed(word, old, next))
            return;
    }
}

/* A retry has ended that was made for `reason`; `micros` 0 = not to be counted. */
static inline void control_retried(
    const Control *c, uint64_t reason, int helped, uint64_t micros, uint64_t now_ms
) {
    uint64_t kind = reason & REASON_KIND_MASK;
    uint32_t tag = (uint32_t)(reason >> REASON_TYPE_SHIFT), epoch = retried_epoch(now_ms);
    if (kind && kind < RETRIED_KINDS)
        retried_kind(&c->cell->retried_kinds[kind], kind, epoch, helped);
    if (tag)
        retried_type(c->cell->retried_types, tag, epoch, helped);
    if (micros)
        retried_took(&c->cell->retried_micros, micros);
}

/* The same of a retry that began then, by the clock of calls; 0 = nobody looked at it. */
static inline void control_learn(
    const Control *c, uint64_t reason, int helped, int64_t start_nano
) {
    uint64_t micros = 0;
    if (reason && helped && start_nano)
        micros = (uint64_t)(fp_clock_monotonic() - start_nano) / 1000 + 1;
    if (reason)
        control_retried(c, reason, helped, micros, fp_clock_coarse_ms());
}

static inline void control_forget(const Control *c) {
    for (int i = 0; i < RETRIED_TYPES; i++)
        fp_store_relaxed(&c->cell->retried_types[i], 0);
    for (int i = 0; i < RETRIED_KINDS; i++)
        fp_store_relaxed(&c->cell->retried_kinds[i], 0);
    fp_store_relaxed(&c->cell->retried_micros, 0);
}

#endif
