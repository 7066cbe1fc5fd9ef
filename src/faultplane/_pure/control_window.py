"""The window of a breaker: outcomes of its calls, by time or by number."""

from __future__ import annotations

from faultplane.control_schema import BUCKETS

from .control_memory import AT
from .control_words import Numbers, in_bucket, shifted, sums_of_buckets, sums_of_outcomes


def sums(words: memoryview, numbers: Numbers, generation: int, now_ms: int) -> tuple[int, int, int]:
    """(Calls, failures, slow calls) of a generation."""
    if numbers.window_ms:
        buckets = words[AT["buckets"] : AT["buckets"] + 4 * BUCKETS].tolist()
        return sums_of_buckets(buckets, now_ms // numbers.bucket_ms, generation)
    if numbers.window_calls:
        outcomes = words[AT["outcomes"] : AT["outcomes"] + 2].tolist()
        return sums_of_outcomes(outcomes, generation)
    return 0, 0, 0


def count(
    words: memoryview,
    numbers: Numbers,
    generation: int,
    now_ms: int,
    n: int,
    failed: bool,
    slow: bool,
) -> None:
    """Count ``n`` outcomes. Whoever calls has the lock of the cells."""
    if numbers.window_ms:
        epoch = now_ms // numbers.bucket_ms & 0xFFFF_FFFF
        at = AT["buckets"] + 4 * (epoch % BUCKETS)
        for index, wanted in enumerate((True, failed, slow)):
            if wanted:
                words[at + index] = in_bucket(words[at + index], epoch, generation, n)
    elif numbers.window_calls:
        at = AT["outcomes"]
        words[at] = shifted(words[at], numbers.window_calls, generation, failed)
        if numbers.slow_rate:
            words[at + 1] = shifted(words[at + 1], numbers.window_calls, generation, slow)
