"""Words of a control cell, read and made: what changes, before it is written."""

from __future__ import annotations

import time
from typing import Final

from faultplane.control_schema import (
    BREAKER_GENERATION_MASK,
    BREAKER_GENERATION_SHIFT,
    BREAKER_STATE_SHIFT,
    BREAKER_UNTIL_MASK,
    BUCKET_COUNT_MASK,
    BUCKET_EPOCH_SHIFT,
    BUCKET_GENERATION_MASK,
    BUCKET_GENERATION_SHIFT,
    BUCKETS,
    BUDGET_REFILL_SHIFT,
    BUDGET_TOKENS_MASK,
    CAUSE_CONSECUTIVE,
    CAUSE_FAILURE_RATE,
    CAUSE_SLOW_RATE,
    CONFIG_FIELDS,
    CONFIG_MAX,
    LEASE_GENERATION_SHIFT,
    LEASE_PROBES_MASK,
    MILLI,
    OUTCOMES_GENERATION_SHIFT,
    RATE_ONE,
)

OUTCOMES: Final = (1 << OUTCOMES_GENERATION_SHIFT) - 1
"""Outcomes in the word of a count window."""
_WORD_MASK: Final = (1 << 64) - 1
REOPENED_MAX: Final = 64


def now(now_ms: int | None) -> int:
    """``now_ms``, or milliseconds of the monotonic clock."""
    return time.monotonic_ns() // 1_000_000 if now_ms is None else now_ms


class Numbers:
    """A declaration as a process uses it: the fields of `CONFIG_FIELDS`."""

    __slots__ = (
        "bucket_ms", "rate_step_milli", "rate_step_ms", "refill_milli", "refill_ms",
        *(field.name for field in CONFIG_FIELDS),
    )  # fmt: skip

    window_ms: int
    window_calls: int
    calls_min: int
    failure_rate: int
    slow_rate: int
    slow_call_nano: int
    consecutive: int
    probes: int
    probe_ms: int
    open_ms: int
    open_ms_max: int
    open_factor_milli: int
    asked_ms_min: int
    ratio_milli: int
    floor_milli: int
    capacity_milli: int
    limit: int
    rate_milli: int
    burst_milli: int

    def __init__(self, values: list[int]) -> None:
        for field, value in zip(CONFIG_FIELDS, values, strict=True):
            setattr(self, field.name, min(value, CONFIG_MAX[field.name]))
        self.probe_ms = max(self.probe_ms, 1)  # or half-open would be over as it begins
        self.bucket_ms = -(-self.window_ms // BUCKETS)
        self.refill_ms, self.refill_milli = steps_of(self.floor_milli)
        self.rate_step_ms, self.rate_step_milli = steps_of(self.rate_milli)


def steps_of(per_second_milli: int) -> tuple[int, int]:
    """The least milliseconds that bring whole thousandths of a token, and these."""
    step, rest = per_second_milli, MILLI
    while rest:  # their greatest common divisor; `math` is not there yet when this is imported
        step, rest = rest, step % rest
    return MILLI // step, per_second_milli // step


def add_to(words: memoryview, at: int, n: int) -> None:
    """Add to a total, which wraps: a damaged file may say anything."""
    words[at] = words[at] + n & _WORD_MASK


def generation_of(word: int) -> int:
    """Generation of a breaker's word."""
    return word >> BREAKER_GENERATION_SHIFT & BREAKER_GENERATION_MASK


def following(word: int, state: int, until_ms: int) -> int:
    """The word of the state that follows ``word``: each transition begins a generation."""
    generation = generation_of(word) + 1 & BREAKER_GENERATION_MASK
    return (
        state << BREAKER_STATE_SHIFT
        | generation << BREAKER_GENERATION_SHIFT
        | until_ms & BREAKER_UNTIL_MASK
    )


def in_bucket(old: int, epoch: int, generation: int, n: int) -> int:
    """A bucket's word with ``n`` more; one of an older time or another generation begins anew."""
    of = generation & BUCKET_GENERATION_MASK
    known = old >> BUCKET_GENERATION_SHIFT & BUCKET_GENERATION_MASK
    ahead = (old >> BUCKET_EPOCH_SHIFT) - epoch & 0xFFFF_FFFF
    if old and known == of and ahead < 1 << 28:
        return old + min(n, BUCKET_COUNT_MASK - (old & BUCKET_COUNT_MASK))
    return epoch << BUCKET_EPOCH_SHIFT | of << BUCKET_GENERATION_SHIFT | n


def sums_of_buckets(words: list[int], epoch: int, generation: int) -> tuple[int, int, int]:
    """(Calls, failures, slow calls) of a generation in the buckets of a window up to ``epoch``."""
    of = generation & BUCKET_GENERATION_MASK
    sums = [0, 0, 0, 0]
    for index, word in enumerate(words):
        if not word:
            continue
        age = epoch - (word >> BUCKET_EPOCH_SHIFT) & 0xFFFF_FFFF
        # One that began a moment ahead of the reader's clock counts, too.
        recent = age < BUCKETS or age == 0xFFFF_FFFF
        if recent and word >> BUCKET_GENERATION_SHIFT & BUCKET_GENERATION_MASK == of:
            sums[index % 4] += word & BUCKET_COUNT_MASK
    return sums[0], sums[1], sums[2]


def shifted(old: int, window: int, generation: int, bad: bool) -> int:
    """A count window's word with one more outcome."""
    of = generation & BUCKET_GENERATION_MASK
    same = old and old >> OUTCOMES_GENERATION_SHIFT == of
    bits = (old & OUTCOMES if same else 1) << 1 | bad
    if bits >> window + 1:  # the one in front has reached the end of the window
        bits = bits & (1 << window) - 1 | 1 << window
    return of << OUTCOMES_GENERATION_SHIFT | bits


def sums_of_outcomes(words: list[int], generation: int) -> tuple[int, int, int]:
    """The same of a count window's two words: failures, slow calls."""
    calls, bad = [0, 0], [0, 0]
    for index, word in enumerate(words):
        outcomes = word & OUTCOMES
        if outcomes and word >> OUTCOMES_GENERATION_SHIFT == generation & BUCKET_GENERATION_MASK:
            calls[index] = outcomes.bit_length() - 1
            bad[index] = (outcomes ^ 1 << calls[index]).bit_count()
    return calls[0], bad[0], bad[1]


def streak(old: int, generation: int, bad: bool) -> int:
    """Failures in a row, with their generation in front."""
    of = generation & BUCKET_GENERATION_MASK
    if not bad and old & BUCKET_COUNT_MASK == 0:
        return old
    n = old & BUCKET_COUNT_MASK if old >> OUTCOMES_GENERATION_SHIFT == of else 0
    return of << OUTCOMES_GENERATION_SHIFT | (min(n + 1, BUCKET_COUNT_MASK) if bad else 0)


def cause_to_open(numbers: Numbers, sums: tuple[int, int, int], in_a_row: int) -> int:
    """Why a breaker is to open, one of ``CAUSES``; 0 where it is not."""
    calls, failures, slow = sums
    if numbers.consecutive and in_a_row >= numbers.consecutive:
        return CAUSE_CONSECUTIVE
    if calls and calls >= numbers.calls_min:
        if numbers.failure_rate and failures * RATE_ONE >= numbers.failure_rate * calls:
            return CAUSE_FAILURE_RATE
        if numbers.slow_rate and slow * RATE_ONE >= numbers.slow_rate * calls:
            return CAUSE_SLOW_RATE
    return 0


def open_ms(numbers: Numbers, again: int) -> int:
    """How long it stays open: longer each time that probes failed, up to a bound."""
    ms = numbers.open_ms
    if numbers.open_factor_milli > MILLI:
        for _ in range(min(again, REOPENED_MAX)):
            if ms >= numbers.open_ms_max:
                break
            ms = ms * numbers.open_factor_milli // MILLI
    return min(ms, numbers.open_ms_max)


def asked_for(numbers: Numbers, ms: int) -> int:
    """How long the other side asked to be left, as far as that opens a breaker; 0 = not."""
    if not numbers.asked_ms_min or ms < numbers.asked_ms_min:
        return 0
    return min(ms, numbers.open_ms_max)


def probes_of(leases: list[int], generation: int) -> int:
    """Probes of a generation that are under way."""
    return sum(
        lease & LEASE_PROBES_MASK
        for lease in leases
        if lease >> LEASE_GENERATION_SHIFT & BREAKER_GENERATION_MASK == generation
    )


def filled(old: int, now_ms: int, capacity: int, step_ms: int, step_milli: int) -> int:
    """A bucket's word as it is by now: what time brought is put in."""
    since, tokens = old >> BUDGET_REFILL_SHIFT, old & BUDGET_TOKENS_MASK
    if old == 0:  # the first: it begins with what it can hold
        since, tokens = now_ms, capacity
    elapsed, missing = max(now_ms - since, 0), max(capacity - tokens, 0)
    steps = elapsed // step_ms
    brought = steps * step_milli
    if step_milli:
        # What is left of a step stays in the time.
        since += elapsed if brought >= missing else steps * step_ms
    # Past the 38 bits of the time, as in C.
    return since << BUDGET_REFILL_SHIFT & _WORD_MASK | tokens + min(brought, missing)


def refilled(old: int, numbers: Numbers, now_ms: int) -> int:
    """A budget's word as it is by now."""
    return filled(old, now_ms, numbers.capacity_milli, numbers.refill_ms, numbers.refill_milli)


def rated(old: int, numbers: Numbers, now_ms: int) -> int:
    """The word of a rate limit as it is by now."""
    return filled(old, now_ms, numbers.burst_milli, numbers.rate_step_ms, numbers.rate_step_milli)
