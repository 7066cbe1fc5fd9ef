"""Words of a control cell, read and made: what changes, before it is written."""

from __future__ import annotations

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
    CONFIG_FIELDS,
    OUTCOMES_GENERATION_SHIFT,
)

OUTCOMES: Final = (1 << OUTCOMES_GENERATION_SHIFT) - 1
"""Outcomes in the word of a count window."""


class Numbers:
    """A declaration as a process uses it: the fields of `CONFIG_FIELDS`."""

    __slots__ = ("bucket_ms", *(field.name for field in CONFIG_FIELDS))

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
    ratio_milli: int
    floor_milli: int
    capacity_milli: int
    limit: int

    def __init__(self, values: list[int]) -> None:
        for field, value in zip(CONFIG_FIELDS, values, strict=True):
            setattr(self, field.name, value)
        self.bucket_ms = -(-self.window_ms // BUCKETS)


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
