"""What retries have come to, and what follows for the next: how long it waits, if it is made.

Both are off unless `Retry` asks for them: in the replay neither wins everywhere
(docs/calls/adaptive.md has the tables). The numbers come from the cell of the dependency, so all
processes of the host learn together; here is what they are made of, without a cell and without a
clock.

>>> delay_factor(helped=19, failed=1), delay_factor(helped=1, failed=19), delay_factor(1, 1)
(0.8, 1.5, 1.0)
>>> delay_factor(10, 10, recent_micros=90_000, usual_micros=30_000)
1.2
>>> is_worth_it(3, 9, random=lambda: 0.99), is_worth_it(0, 20, random=lambda: 0.99)
(True, False)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import comb
from typing import Final

__all__ = [
    "DELAY_FACTOR_MAX",
    "chance_of_worth",
    "delay_factor",
    "is_worth_it",
]

OUTCOMES_MIN: Final = 10
"""Retries of a kind that must have ended lately before they say something."""
MOST: Final = 0.8
"""Where more of them helped, the next comes sooner."""
FEW: Final = 0.3
"""Where fewer of them helped, the next comes later."""
SOONER: Final = 0.8
LATER: Final = 1.5
RISING: Final = 1.5
"""What retries took lately for what they usually take, from where on it counts as rising."""
LATER_RISING: Final = 1.2
DELAY_FACTOR_MAX: Final = LATER * LATER_RISING
"""A delay is at most so many times what the backoff says."""

WORTH: Final = 0.2
"""A retry is worth it where so many of them help: one in five."""
DOUBT: Final = 0.05
"""It is made unless it is less likely than this that it is worth it."""
EXPLORED: Final = 0.05
"""So many of those that are not worth it are made all the same, to find out when that changes."""
COUNTED_MAX: Final = 1024
"""More outcomes, which only a damaged file has, are scaled down to so many."""


def delay_factor(helped: int, failed: int, recent_micros: int = 0, usual_micros: int = 0) -> float:
    """What a delay is multiplied with, 0.8 to 1.8.

    ``helped`` and ``failed``: retries after errors of the kind that ended lately; the other two:
    how long retries take that end well.
    """
    n, factor = helped + failed, 1.0
    if n >= OUTCOMES_MIN:
        factor = SOONER if helped > MOST * n else LATER if helped < FEW * n else 1.0
    return factor * (LATER_RISING if recent_micros > RISING * usual_micros else 1.0)


@lru_cache(maxsize=4096)
def chance_of_worth(helped: int, failed: int) -> float:
    """How likely it is that more than one retry in five helps, if so many did and did not.

    The upper tail of the Beta posterior, from a uniform prior, summed exactly.

    >>> [round(chance_of_worth(0, n), 2) for n in (0, 5, 12, 13)]
    [0.8, 0.26, 0.05, 0.04]
    """
    n = helped + failed + 1
    return sum(comb(n, k) * WORTH**k * (1 - WORTH) ** (n - k) for k in range(helped + 1))


def is_worth_it(helped: int, failed: int, random: Callable[[], float]) -> bool:
    """Whether a retry is made, of a type of which so many helped and did not.

    ``random`` gives a number from 0 to below 1: one in twenty that are not worth it is made, too.
    """
    while helped + failed > COUNTED_MAX:
        helped, failed = helped >> 1, failed >> 1
    return chance_of_worth(helped, failed) >= DOUBT or random() < EXPLORED
