/* Control cells: breaker, retry budget and permits that all processes of a host share.

   Every word changes by compare-and-swap. What a process holds, it says in a lease of its own,
   before the words that all share are looked at and until after they were changed: so a sum over
   the leases never misses what somebody holds, and what a dead process held ends when its lease is
   cleared.
   tests/verification/breaker.pml and budget.pml have each order of steps, and its controls. */
#ifndef FAULTPLANE_CONTROL_H
#define FAULTPLANE_CONTROL_H

#include "control_cell.h"
#include "control_rate.h"
#include "control_retried.h"
#include "posix.h"

/* Two who ask for the last place at once may refuse each other: then each asks again, so often. */
#define CONTROL_ATTEMPTS 4
#define CONTROL_REJECTED INT64_C(-1) /* open, forced open */
#define CONTROL_FULL INT64_C(-2)     /* half-open, and all probes are under way */
#define CONTROL_REOPENED_MAX 64

/* ------------------------------------------------------------------------------------ leases */

static inline uint64_t control_owners(const Control *c) {
    uint64_t high = fp_load_acquire(c->owners_high);
    high = high < c->slots ? high : c->slots; /* a word of a file may be anything */
    return high > c->slot ? high : c->slot + 1;
}

/* Whether the breaker is half-open in that generation. */
static inline int breaker_probes(const Control *c, uint64_t generation) {
    uint64_t word = fp_load_acquire(control_breaker(c));
    return breaker_state(word) == BREAKER_HALF_OPEN && breaker_generation(word) == generation;
}

/* One more probe of a generation in the own lease, or one less; whether the lease allowed it.
   What another thread took in a later generation is not written over: the breaker is looked at
   between reading the lease and changing it. */
static inline int lease_probe(const Control *c, uint64_t generation, int more) {
    uint64_t *word = &control_own(c)->probes;
    uint64_t tag = c->incarnation << LEASE_OWNER_SHIFT | generation << LEASE_GENERATION_SHIFT;
    for (;;) {
        uint64_t old = fp_load_acquire(word);
        if (old >> LEASE_OWNER_SHIFT > c->incarnation)
            return 0; /* declared dead: the slot has another owner, whose lease this is */
        int same = (old & ~LEASE_PROBES_MASK) == tag;
        uint64_t n = same ? old & LEASE_PROBES_MASK : 0;
        if (more ? n == LEASE_PROBES_MASK : n == 0)
            return 0;
        if (!same && !breaker_probes(c, generation))
            return 0;
        if (fp_cas_total(word, old, tag | (more ? n + 1 : n - 1)))
            return 1;
    }
}

static inline uint64_t leases_probes(const Control *c, uint64_t generation) {
    uint64_t sum = 0;
    for (uint64_t i = 0, n = control_owners(c); i < n; i++) {
        uint64_t word = fp_load_acquire(&c->leases[i].probes);
        if ((word >> LEASE_GENERATION_SHIFT & BREAKER_GENERATION_MASK) == generation)
            sum += word & LEASE_PROBES_MASK;
    }
    return sum;
}

/* The same for permits (shift 16) and tokens (shift 0). */
static inline int lease_hold(const Control *c, int shift, int more) {
    uint64_t *word = &control_own(c)->held;
    for (;;) {
        uint64_t old = fp_load_acquire(word);
        if (old >> LEASE_OWNER_SHIFT > c->incarnation)
            return 0;
        int same = old >> LEASE_OWNER_SHIFT == c->incarnation;
        uint64_t now = same ? old : c->incarnation << LEASE_OWNER_SHIFT;
        uint64_t n = now >> shift & LEASE_HELD_MASK;
        if (more ? n == LEASE_HELD_MASK : n == 0)
            return 0;
        uint64_t one = UINT64_C(1) << shift;
        if (fp_cas_total(word, old, more ? now + one : now - one))
            return 1;
    }
}

static inline uint64_t leases_held(const Control *c, int shift) {
    uint64_t sum = 0;
    for (uint64_t i = 0, n = control_owners(c); i < n; i++)
        sum += fp_load_acquire(&c->leases[i].held) >> shift & LEASE_HELD_MASK;
    return sum;
}

/* Ends what an owner held that is dead; the number of probes, permits and tokens. */
static inline uint64_t control_reclaim(const Control *c, uint64_t slot, uint64_t incarnation) {
    uint64_t sum = 0;
    uint64_t *words[2] = {&c->leases[slot].probes, &c->leases[slot].held};
    for (int i = 0; i < 2; i++) {
        uint64_t old = fp_load_acquire(words[i]);
        if (old == 0 || old >> LEASE_OWNER_SHIFT != incarnation)
            continue;
        if (fp_cas_total(words[i], old, 0))
            sum += i == 0 ? old & LEASE_PROBES_MASK
                          : (old & LEASE_HELD_MASK) +
                                (old >> LEASE_PERMITS_SHIFT & LEASE_HELD_MASK);
    }
    if (sum)
        control_total(c, TOTAL_RECLAIMED, sum);
    return sum;
}

/* ------------------------------------------------------------------------------------ window */

/* What counts replaces what was left by another generation, unless that began after its own. Asked
   after the word was loaded: who left it there had seen the breaker as it then was. Eight bits of a
   generation do not say which of two came later, since hundreds pass while a breaker stays open. */
static inline int control_is_past(const Control *c, uint64_t generation) {
    return breaker_generation(fp_load_acquire(control_breaker(c))) != generation;
}

/* One more in a bucket; a bucket of an older time or another generation begins anew. */
static inline void bucket_add(
    const Control *c, uint64_t *word, uint32_t epoch, uint64_t generation
) {
    uint64_t of = generation & BUCKET_GENERATION_MASK;
    uint64_t first = (uint64_t)epoch << BUCKET_EPOCH_SHIFT | of << BUCKET_GENERATION_SHIFT | 1;
    for (;;) {
        uint64_t old = fp_load_acquire(word);
        int32_t ahead = (int32_t)((uint32_t)(old >> BUCKET_EPOCH_SHIFT) - epoch);
        int same = old && (old >> BUCKET_GENERATION_SHIFT & BUCKET_GENERATION_MASK) == of;
        if (same && ahead >= 0 && ahead < 1 << 28) {
            if ((old & BUCKET_COUNT_MASK) == BUCKET_COUNT_MASK ||
                fp_cas_relaxed(word, old, old + 1))
                return;
        } else if (control_is_past(c, generation) || fp_cas(word, old, first))
            return;
    }
}

/* Number of the bucket that it is time for; the division is made once a bucket. */
static inline uint32_t control_epoch(Control *c, uint64_t now_ms) {
    if (now_ms - (c->epoch_end_ms - c->bucket_ms) >= c->bucket_ms) {
        c->epoch = now_ms / c->bucket_ms;
        c->epoch_end_ms = (c->epoch + 1) * c->bucket_ms;
    }
    return (uint32_t)c->epoch;
}

static inline uint64_t bucket_read(uint64_t word, uint32_t epoch, uint64_t generation) {
    uint32_t age = epoch - (uint32_t)(word >> BUCKET_EPOCH_SHIFT);
    uint64_t of = word >> BUCKET_GENERATION_SHIFT & BUCKET_GENERATION_MASK;
    /* One that began a moment ahead of the reader's clock counts, too. */
    int recent = age < BUCKETS || age == UINT32_MAX;
    return recent && of == (generation & BUCKET_GENERATION_MASK) ? word & BUCKET_COUNT_MASK : 0;
}

/* Shifts an outcome into a count window. */
static inline void outcome_add(
    const Control *c, uint64_t *word, uint64_t window, uint64_t generation, int bad
) {
    uint64_t of = generation & BUCKET_GENERATION_MASK;
    uint64_t mask = (UINT64_C(1) << OUTCOMES_GENERATION_SHIFT) - 1;
    for (;;) {
        uint64_t old = fp_load_acquire(word);
        int same = old && old >> OUTCOMES_GENERATION_SHIFT == of;
        uint64_t bits = (same ? old & mask : 1) << 1 | (uint64_t)bad;
        if (bits >> (window + 1)) /* the one in front has reached the end of the window */
            bits = (bits & ((UINT64_C(1) << window) - 1)) | UINT64_C(1) << window;
        if ((!same && control_is_past(c, generation)) ||
            fp_cas(word, old, of << OUTCOMES_GENERATION_SHIFT | bits))
            return;
    }
}

static inline ControlWindow control_window(Control *c, uint64_t generation, uint64_t now_ms) {
    ControlWindow sums = {0, 0, 0};
    const control_cell_t *cell = c->cell;
    if (c->window_ms) {
        uint32_t epoch = control_epoch(c, now_ms);
        for (int i = 0; i < BUCKETS; i++) {
            const uint64_t *bucket = &cell->buckets[4 * i];
            sums.calls += bucket_read(fp_load_relaxed(&bucket[0]), epoch, generation);
            sums.failures += bucket_read(fp_load_relaxed(&bucket[1]), epoch, generation);
            sums.slow += bucket_read(fp_load_relaxed(&bucket[2]), epoch, generation);
        }
    } else if (c->window_calls) {
        uint64_t mask = (UINT64_C(1) << OUTCOMES_GENERATION_SHIFT) - 1;
        uint64_t found[2];
        for (int i = 0; i < 2; i++) {
            uint64_t word = fp_load_relaxed(&cell->outcomes[i]);
            uint64_t of = word >> OUTCOMES_GENERATION_SHIFT;
            found[i] = of == (generation & BUCKET_GENERATION_MASK) ? word & mask : 0;
            if (found[i]) {
                uint64_t valid = 63 - (uint64_t)__builtin_clzll(found[i]);
                if (i == 0)
                    sums.calls = valid;
                found[i] ^= UINT64_C(1) << valid;
            }
        }
        sums.failures = (uint64_t)__builtin_popcountll(found[0]);
        sums.slow = (uint64_t)__builtin_popcountll(found[1]);
    }
    return sums;
}

/* Failures in a row: generation << 56 | number. The number of them now. */
static inline uint64_t control_streak(const Control *c, uint64_t generation, int bad) {
    uint64_t *word = &c->cell->budget[CONTROL_CELL_STREAK];
    uint64_t tag = (generation & BUCKET_GENERATION_MASK) << OUTCOMES_GENERATION_SHIFT;
    for (;;) {
        uint64_t old = fp_load_acquire(word);
        if (!bad && (old & BUCKET_COUNT_MASK) == 0)
            return 0;
        uint64_t of = old >> OUTCOMES_GENERATION_SHIFT << OUTCOMES_GENERATION_SHIFT;
        if (of != tag && control_is_past(c, generation))
            return 0;
        uint64_t n = of == tag ? old & BUCKET_COUNT_MASK : 0;
        uint64_t next = !bad ? tag : tag | (n < BUCKET_COUNT_MASK ? n + 1 : n);
        if (fp_cas(word, old, next))
            return next & BUCKET_COUNT_MASK;
    }
}

static inline uint64_t control_count(
    Control *c, uint64_t generation, uint64_t now_ms, int failed, int slow
) {
    if (c->window_ms) {
        uint32_t epoch = control_epoch(c, now_ms);
        uint64_t *bucket = &c->cell->buckets[4 * (epoch % BUCKETS)];
        bucket_add(c, &bucket[0], epoch, generation);
        if (failed)
            bucket_add(c, &bucket[1], epoch, generation);
        if (slow)
            bucket_add(c, &bucket[2], epoch, generation);
    } else if (c->window_calls) {
        outcome_add(c, &c->cell->outcomes[0], c->window_calls, generation, failed);
        if (c->slow_rate)
            outcome_add(c, &c->cell->outcomes[1], c->window_calls, generation, slow);
    }
    return c->consecutive ? control_streak(c, generation, failed) : 0;
}

/* ----------------------------------------------------------------------------------- breaker */

/* Makes a transition if the word is what it was, and notes it. */
static inline int control_move(
    const Control *c, uint64_t word, uint64_t next, uint64_t cause, const ControlWindow *sums
) {
    if (!fp_cas(control_breaker(c), word, next))
        return 0;
    uint64_t state = breaker_state(next);
    uint64_t *reopened = &c->cell->breaker[CONTROL_CELL_REOPENED];
    if (state == BREAKER_OPEN) {
        control_total(c, TOTAL_OPENED, 1);
        uint64_t n = fp_load_relaxed(reopened);
        fp_store_relaxed(reopened, cause == CAUSE_PROBE_FAILED
                                       ? (n < CONTROL_REOPENED_MAX ? n + 1 : n)
                                       : 0);
    } else if (state == BREAKER_CLOSED) {
        control_total(c, TOTAL_CLOSED, 1);
        fp_store_relaxed(reopened, 0);
    }
    uint64_t at = breaker_generation(next) % TRANSITIONS;
    transition_t *note = (transition_t *)&c->cell->transitions[8 * at];
    fp_store_release(&note->word, 0);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    note->before = word;
    note->time_unix_nano = fp_clock_realtime();
    note->owner = c->incarnation;
    note->calls = sums ? sums->calls : 0;
    note->failures = sums ? sums->failures : 0;
    note->slow = sums ? sums->slow : 0;
    note->cause = cause;
    fp_store_release(&note->word, next);
    return 1;
}

/* How long it stays open: longer each time that probes failed, up to a bound. */
static inline uint64_t control_open_ms(const Control *c, int again) {
    uint64_t ms = c->open_ms;
    if (again && c->open_factor_milli > MILLI) {
        uint64_t n = fp_load_relaxed(&c->cell->breaker[CONTROL_CELL_REOPENED]);
        n = n < CONTROL_REOPENED_MAX ? n + 1 : CONTROL_REOPENED_MAX;
        for (; n && ms < c->open_ms_max; n--)
            ms = ms * c->open_factor_milli / MILLI;
    }
    return ms < c->open_ms_max ? ms : c->open_ms_max;
}

static inline int64_t control_probe(const Control *c, uint64_t generation) {
    for (int attempt = 0; attempt < CONTROL_ATTEMPTS; attempt++) {
        /* Looked at first: who is refused in any case does not stand in another's way. */
        uint64_t under_way = leases_probes(c, generation);
        uint64_t word = fp_load_acquire(control_breaker(c));
        if (under_way + breaker_successes(word) >= c->probes)
            return breaker_probes(c, generation) ? CONTROL_FULL : 0;
        if (!lease_probe(c, generation, 1))
            return breaker_probes(c, generation) ? CONTROL_FULL : 0;
        under_way = leases_probes(c, generation);
        word = fp_load_acquire(control_breaker(c)); /* after the sum: what has left it is there */
        int changed = breaker_state(word) != BREAKER_HALF_OPEN ||
                      breaker_generation(word) != generation;
        if (!changed && under_way + breaker_successes(word) <= c->probes) {
            control_total(c, TOTAL_PROBES, 1);
            return (int64_t)(generation | TICKET_PROBE);
        }
        lease_probe(c, generation, 0);
        if (changed)
            return 0; /* look again */
    }
    return CONTROL_FULL;
}

/* Whether a call may go ahead: its ticket, or why not. */
static inline int64_t control_admit(const Control *c, uint64_t now_ms) {
    for (;;) {
        uint64_t word = fp_load_acquire(control_breaker(c));
        uint64_t generation = breaker_generation(word), state = breaker_state(word);
        /* What governs has no breaker any more: nobody ends what the one before it began. */
        if (!c->probes && (state == BREAKER_OPEN || state == BREAKER_HALF_OPEN))
            return (int64_t)(generation | TICKET_UNCOUNTED);
        switch (state) {
        case BREAKER_CLOSED:
        case BREAKER_METRICS_ONLY:
            return (int64_t)generation;
        case BREAKER_DISABLED:
            return (int64_t)(generation | TICKET_UNCOUNTED);
        case BREAKER_FORCED_OPEN:
            return CONTROL_REJECTED;
        case BREAKER_OPEN:
            if (now_ms < breaker_until(word))
                return CONTROL_REJECTED;
            control_move(c, word, breaker_next(word, BREAKER_HALF_OPEN, now_ms + c->probe_ms),
                         CAUSE_OPEN_TIME, NULL);
            continue;
        case BREAKER_HALF_OPEN:
            if (now_ms >= breaker_until(word)) {
                /* Whoever has not answered by now is not waited for; what it says is late. */
                control_move(c, word, breaker_next(word, BREAKER_HALF_OPEN, now_ms + c->probe_ms),
                             CAUSE_PROBES_TIMED_OUT, NULL);
                continue;
            }
            int64_t ticket = control_probe(c, generation);
            if (ticket)
                return ticket;
            continue;
        default:
            return (int64_t)(generation | TICKET_UNCOUNTED); /* no state of ours: let through */
        }
    }
}

/* How long the other side asked to be left alone, as far as that opens the breaker; 0 = not. */
static inline uint64_t control_asked(const Control *c, uint64_t ms) {
    if (c->asked_ms_min == 0 || ms < c->asked_ms_min)
        return 0;
    return ms < c->open_ms_max ? ms : c->open_ms_max;
}

static inline void control_trip(
    Control *c, uint64_t generation, uint64_t now_ms, uint64_t streak, uint64_t asked_ms
) {
    uint64_t word = fp_load_acquire(control_breaker(c));
    if (breaker_state(word) != BREAKER_CLOSED || breaker_generation(word) != generation)
        return;
    ControlWindow sums = control_window(c, generation, now_ms);
    uint64_t cause = 0, open_ms = 0;
    if (c->consecutive && streak >= c->consecutive)
        cause = CAUSE_CONSECUTIVE;
    else if (sums.calls >= c->calls_min && sums.calls) {
        if (c->failure_rate && sums.failures * RATE_ONE >= c->failure_rate * sums.calls)
            cause = CAUSE_FAILURE_RATE;
        else if (c->slow_rate && sums.slow * RATE_ONE >= c->slow_rate * sums.calls)
            cause = CAUSE_SLOW_RATE;
    }
    if (cause)
        open_ms = control_open_ms(c, 0);
    if (asked_ms > open_ms)
        cause = CAUSE_ASKED, open_ms = asked_ms;
    if (cause)
        control_move(c, word, breaker_next(word, BREAKER_OPEN, now_ms + open_ms), cause, &sums);
}

/* A probe has an answer. The lease is given back after the word says so. */
static inline void control_probed(
    const Control *c, uint64_t generation, uint64_t now_ms, int failed, uint64_t asked_ms
) {
    for (;;) {
        uint64_t word = fp_load_acquire(control_breaker(c));
        if (breaker_state(word) != BREAKER_HALF_OPEN || breaker_generation(word) != generation) {
            control_total(c, TOTAL_LATE, 1);
            break;
        }
        int done;
        if (failed) {
            uint64_t open_ms = control_open_ms(c, 1);
            open_ms = asked_ms > open_ms ? asked_ms : open_ms;
            done = control_move(c, word, breaker_next(word, BREAKER_OPEN, now_ms + open_ms),
                                CAUSE_PROBE_FAILED, NULL);
        } else if (breaker_successes(word) + 1 >= c->probes)
            done = control_move(c, word, breaker_next(word, BREAKER_CLOSED, 0),
                                CAUSE_PROBES_SUCCEEDED, NULL);
        else
            done = fp_cas(control_breaker(c), word,
                          word + (UINT64_C(1) << BREAKER_SUCCESSES_SHIFT));
        if (done)
            break;
    }
    lease_probe(c, generation, 0);
}

/* How a call ended that was let through; the wait that the other side asked for, 0 = none. */
static inline void control_ended(
    Control *c, int64_t ticket, uint64_t now_ms, int failed, int slow, uint64_t asked_ms
) {
    uint64_t generation = (uint64_t)ticket & BREAKER_GENERATION_MASK;
    asked_ms = failed ? control_asked(c, asked_ms) : 0;
    if (failed)
        control_total(c, TOTAL_FAILURES, 1);
    if (slow)
        control_total(c, TOTAL_SLOW, 1);
    if (ticket & TICKET_UNCOUNTED)
        return;
    if (ticket & TICKET_PROBE) {
        control_probed(c, generation, now_ms, failed || (slow && c->slow_rate), asked_ms);
        return;
    }
    if (breaker_generation(fp_load_acquire(control_breaker(c))) != generation) {
        control_total(c, TOTAL_LATE, 1);
        return;
    }
    uint64_t streak = control_count(c, generation, now_ms, failed, slow);
    if (failed || slow)
        control_trip(c, generation, now_ms, streak, asked_ms);
}

/* The call was not made after all. */
static inline void control_unmade(const Control *c, int64_t ticket) {
    if (ticket & TICKET_PROBE)
        lease_probe(c, (uint64_t)ticket & BREAKER_GENERATION_MASK, 0);
}

/* It said nothing about the other side: cancelled, or not its failure. */
static inline void control_ignored(const Control *c, int64_t ticket) {
    control_total(c, TOTAL_IGNORED, 1);
    control_unmade(c, ticket);
}

/* How long it stays open yet; 0 where it is not open. */
static inline uint64_t control_wait_ms(const Control *c, uint64_t now_ms) {
    uint64_t word = fp_load_acquire(control_breaker(c)), until = breaker_until(word);
    return breaker_state(word) == BREAKER_OPEN && until > now_ms ? until - now_ms : 0;
}

/* Opens for so long where it is closed; whether it was. */
static inline int control_open_for(
    const Control *c, uint64_t now_ms, uint64_t ms, uint64_t cause
) {
    uint64_t word = fp_load_acquire(control_breaker(c));
    return breaker_state(word) == BREAKER_CLOSED &&
           control_move(c, word, breaker_next(word, BREAKER_OPEN, now_ms + ms), cause, NULL);
}

/* ------------------------------------------------------------------------------------ budget */

/* The bucket as it is now. */
static inline uint64_t budget_refill(const Control *c, uint64_t now_ms) {
    uint64_t *word = control_tokens(c);
    for (;;) {
        uint64_t old = fp_load_acquire(word);
        uint64_t next =
            bucket_filled(old, now_ms, c->capacity_milli, c->refill_ms, c->refill_milli);
        if (next == old || fp_cas(word, old, next))
            return next & BUDGET_TOKENS_MASK;
    }
}

/* Puts in what a first try brings; 0 where the bucket has not begun, which takes the time. */
static inline int budget_bring(const Control *c) {
    uint64_t *word = control_tokens(c);
    for (;;) {
        uint64_t old = fp_load_relaxed(word);
        uint64_t tokens = old & BUDGET_TOKENS_MASK;
        if (old == 0)
            return 0;
        if (tokens >= c->capacity_milli)
            return 1;
        uint64_t more = c->capacity_milli - tokens;
        more = c->ratio_milli < more ? c->ratio_milli : more;
        if (more == 0 || fp_cas(word, old, old + more))
            return 1;
    }
}

static inline void budget_deposit(const Control *c, uint64_t now_ms) {
    while (!budget_bring(c))
        budget_refill(c, now_ms);
}

/* Holds a token for a retry that waits; whether there was one. */
static inline int budget_hold(const Control *c, uint64_t now_ms) {
    for (int attempt = 0; attempt < CONTROL_ATTEMPTS; attempt++) {
        uint64_t held = leases_held(c, 0);
        uint64_t tokens = budget_refill(c, now_ms);
        /* Where what governs has no budget, nobody waits for tokens that do not come. */
        if ((held + 1) * MILLI > tokens && c->capacity_milli)
            break;
        if (!lease_hold(c, 0, 1))
            break;
        held = leases_held(c, 0);
        tokens = budget_refill(c, now_ms); /* after the sum: what was sent is paid for */
        if (held * MILLI <= tokens || !c->capacity_milli)
            return 1;
        lease_hold(c, 0, 0);
    }
    return 0;
}

/* Pays for a retry that goes out, then lets go of what was held for it; whether it was there. It is
   not where this owner was taken for dead, and what it held was given to another. */
static inline int budget_send(const Control *c) {
    uint64_t *word = control_tokens(c);
    int paid = 0;
    for (;;) {
        uint64_t old = fp_load_acquire(word);
        if (c->capacity_milli && (old & BUDGET_TOKENS_MASK) < MILLI)
            break;
        paid = !c->capacity_milli || fp_cas(word, old, old - MILLI);
        if (paid)
            break;
    }
    control_total(c, paid ? TOTAL_RETRIES : TOTAL_BUDGET_EXHAUSTED, 1);
    lease_hold(c, 0, 0);
    return paid;
}

static inline void budget_let_go(const Control *c) { lease_hold(c, 0, 0); }

/* ---------------------------------------------------------------------------------- bulkhead */

static inline int control_take(const Control *c) {
    for (int attempt = 0; attempt < CONTROL_ATTEMPTS; attempt++) {
        if (c->limit && leases_held(c, LEASE_PERMITS_SHIFT) >= c->limit)
            return 0;
        if (!lease_hold(c, LEASE_PERMITS_SHIFT, 1))
            return 0;
        uint64_t taken = leases_held(c, LEASE_PERMITS_SHIFT);
        if (taken <= c->limit || !c->limit)
            return 1;
        lease_hold(c, LEASE_PERMITS_SHIFT, 0);
    }
    return 0;
}

static inline void control_give(const Control *c) { lease_hold(c, LEASE_PERMITS_SHIFT, 0); }

#endif
