/* A control cell as one process has it: where it lies, and a copy of what was declared. */
#ifndef FAULTPLANE_CONTROL_CELL_H
#define FAULTPLANE_CONTROL_CELL_H

#include "atomics.h"
#include "layout.h"

/* A declaration that is being written is looked at again so often. */
#define CONTROL_COPIES 4

typedef struct {
    control_cell_t *cell;
    lease_t *leases;
    const uint64_t *owners_high;
    uint64_t slots; /* there is room for */
    uint64_t slot;
    uint64_t incarnation;
    uint64_t config_version; /* of the copy below */
    uint64_t bucket_ms, epoch, epoch_end_ms; /* what of the time window is worked out already */
    uint64_t refill_ms, refill_milli; /* the least time that brings whole thousandths, and these */
    uint64_t rate_step_ms, rate_step_milli; /* the same of the rate */
    uint64_t window_ms, window_calls, calls_min, failure_rate, slow_rate, slow_call_nano,
        consecutive, probes, probe_ms, open_ms, open_ms_max, open_factor_milli, asked_ms_min,
        ratio_milli, floor_milli, capacity_milli, limit, rate_milli, burst_milli;
} Control;

typedef struct {
    uint64_t calls, failures, slow;
} ControlWindow;

static inline uint64_t breaker_state(uint64_t word) { return word >> BREAKER_STATE_SHIFT; }
static inline uint64_t breaker_generation(uint64_t word) {
    return word >> BREAKER_GENERATION_SHIFT & BREAKER_GENERATION_MASK;
}
static inline uint64_t breaker_successes(uint64_t word) {
    return word >> BREAKER_SUCCESSES_SHIFT & BREAKER_SUCCESSES_MASK;
}
static inline uint64_t breaker_until(uint64_t word) { return word & BREAKER_UNTIL_MASK; }

/* The word of the state that follows `word`: each transition begins a generation. */
static inline uint64_t breaker_next(uint64_t word, uint64_t state, uint64_t until_ms) {
    uint64_t generation = (breaker_generation(word) + 1) & BREAKER_GENERATION_MASK;
    return state << BREAKER_STATE_SHIFT | generation << BREAKER_GENERATION_SHIFT |
           (until_ms & BREAKER_UNTIL_MASK);
}

static inline uint64_t *control_breaker(const Control *c) {
    return &c->cell->breaker[CONTROL_CELL_BREAKER];
}
static inline uint64_t *control_tokens(const Control *c) {
    return &c->cell->budget[CONTROL_CELL_TOKENS];
}
static inline uint64_t *control_rate(const Control *c) {
    return &c->cell->budget[CONTROL_CELL_RATE];
}
static inline lease_t *control_own(const Control *c) { return &c->leases[c->slot]; }

static inline void control_total(const Control *c, int total, uint64_t n) {
    fp_add(&c->cell->totals[total], n);
}

static inline uint64_t common_divisor(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t rest = a % b;
        a = b, b = rest;
    }
    return a;
}

/* Copies the declaration if it changed. A writer that died in the middle leaves an odd version:
   what was copied before goes on to hold until somebody declares again. */
static inline void control_configure(Control *c) {
    for (int attempt = 0; attempt < CONTROL_COPIES; attempt++) {
        const uint64_t *version = &c->cell->breaker[CONTROL_CELL_CONFIG_VERSION];
        uint64_t begun = fp_load_acquire(version);
        if (begun & 1)
            return;
        Control copy = *c;
        const uint64_t *from = &c->cell->window_ms;
        uint64_t *to = &copy.window_ms;
        for (int i = 0; i < CONFIG_WORDS; i++) {
            uint64_t word = fp_load_relaxed(&from[i]);
            to[i] = word < CONFIG_MAX[i] ? word : CONFIG_MAX[i];
        }
        if (fp_load_again(version) == begun) {
            copy.config_version = begun;
            copy.probe_ms += copy.probe_ms == 0; /* or half-open would be over as it begins */
            copy.bucket_ms = (copy.window_ms + BUCKETS - 1) / BUCKETS;
            copy.epoch = copy.epoch_end_ms = 0;
            uint64_t step = common_divisor(copy.floor_milli, MILLI);
            copy.refill_ms = MILLI / step, copy.refill_milli = copy.floor_milli / step;
            step = common_divisor(copy.rate_milli, MILLI);
            copy.rate_step_ms = MILLI / step, copy.rate_step_milli = copy.rate_milli / step;
            *c = copy;
            return;
        }
    }
}

static inline int control_is_current(const Control *c) {
    return fp_load_relaxed(&c->cell->breaker[CONTROL_CELL_CONFIG_VERSION]) == c->config_version;
}

#endif
