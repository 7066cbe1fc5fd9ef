/* Buckets of tokens: what time brings, and the rate limit, of which each call takes one. */
#ifndef FAULTPLANE_CONTROL_RATE_H
#define FAULTPLANE_CONTROL_RATE_H

#include "control_cell.h"

/* A bucket's word as it is now: what time brought is put in. */
static inline uint64_t bucket_filled(
    uint64_t old, uint64_t now_ms, uint64_t capacity, uint64_t step_ms, uint64_t step_milli
) {
    uint64_t since = old >> BUDGET_REFILL_SHIFT, tokens = old & BUDGET_TOKENS_MASK;
    if (old == 0) /* the first: it begins with what it can hold */
        since = now_ms, tokens = capacity;
    uint64_t elapsed = now_ms > since ? now_ms - since : 0;
    uint64_t missing = capacity > tokens ? capacity - tokens : 0;
    uint64_t steps = step_milli ? elapsed / step_ms : 0;
    uint64_t brought = steps * step_milli;
    if (step_milli) /* what is left of a step stays in the time */
        since += brought >= missing ? elapsed : steps * step_ms;
    tokens += brought < missing ? brought : missing;
    return since << BUDGET_REFILL_SHIFT | tokens;
}

static inline uint64_t rate_word(const Control *c, uint64_t now_ms) {
    return bucket_filled(fp_load_acquire(control_rate(c)), now_ms, c->burst_milli, c->rate_step_ms,
                         c->rate_step_milli);
}

/* Takes a token of the rate; whether there was one. One swap: there is nothing to give back. */
static inline int control_rate_take(const Control *c, uint64_t now_ms) {
    if (c->rate_milli == 0)
        return 1; /* what governs has no rate */
    uint64_t *word = control_rate(c);
    for (;;) {
        uint64_t old = fp_load_acquire(word);
        uint64_t next =
            bucket_filled(old, now_ms, c->burst_milli, c->rate_step_ms, c->rate_step_milli);
        if ((next & BUDGET_TOKENS_MASK) < MILLI)
            return 0;
        if (fp_cas(word, old, next - MILLI))
            return 1;
    }
}

/* Puts a token back: the call was not made. */
static inline void control_rate_give(const Control *c) {
    uint64_t *word = control_rate(c);
    for (;;) {
        uint64_t old = fp_load_acquire(word);
        if (old == 0 || (old & BUDGET_TOKENS_MASK) + MILLI > c->burst_milli ||
            fp_cas(word, old, old + MILLI))
            return;
    }
}

/* Until there is a token; 0 where there is one. */
static inline uint64_t control_rate_wait_ms(const Control *c, uint64_t now_ms) {
    uint64_t word = rate_word(c, now_ms), tokens = word & BUDGET_TOKENS_MASK;
    if (c->rate_step_milli == 0 || tokens >= MILLI)
        return 0;
    uint64_t steps = (MILLI - tokens + c->rate_step_milli - 1) / c->rate_step_milli;
    uint64_t at = (word >> BUDGET_REFILL_SHIFT) + steps * c->rate_step_ms;
    return at > now_ms ? at - now_ms : 0;
}

#endif
