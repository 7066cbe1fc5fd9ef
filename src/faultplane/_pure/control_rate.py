"""The rate limit of a cell: one bucket, of which each call takes a token for good."""

from __future__ import annotations

from typing import Final

from faultplane.control_schema import BUDGET_REFILL_SHIFT, BUDGET_TOKENS_MASK, MILLI

from .control_memory import BUDGET
from .control_words import Numbers, add_to, rated

_RATE: Final = BUDGET + 2


def take(words: memoryview, numbers: Numbers, now_ms: int) -> bool:
    """Take a token; whether there was one. Whoever calls has the lock of the cells."""
    if not numbers.rate_milli:
        return True  # what governs has no rate
    word = rated(words[_RATE], numbers, now_ms)
    if word & BUDGET_TOKENS_MASK < MILLI:
        return False
    words[_RATE] = word - MILLI
    return True


def give(words: memoryview, numbers: Numbers) -> None:
    """Put a token back. Whoever calls has the lock of the cells."""
    word = words[_RATE]
    if word and (word & BUDGET_TOKENS_MASK) + MILLI <= numbers.burst_milli:
        add_to(words, _RATE, MILLI)


def wait_ms(words: memoryview, numbers: Numbers, now_ms: int) -> int:
    """Until there is a token; 0 where there is one."""
    word = rated(words[_RATE], numbers, now_ms)
    tokens = word & BUDGET_TOKENS_MASK
    if not numbers.rate_step_milli or tokens >= MILLI:
        return 0
    steps = -(-(MILLI - tokens) // numbers.rate_step_milli)
    return max((word >> BUDGET_REFILL_SHIFT) + steps * numbers.rate_step_ms - now_ms, 0)
