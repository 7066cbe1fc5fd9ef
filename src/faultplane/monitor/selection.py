"""Which series are told apart, so that there are at most so many, and no counter goes down.

The largest are told apart and the rest is one series. That needs no memory of what was shown
before: sorted by size, the n-th largest of sums that only grow never gets smaller, whichever of
them it is, and so neither does the sum of all behind it. A series that comes among the largest,
leaves and comes back has the sum that it would have if it had stayed.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import Final, Generic, NamedTuple, TypeVar

OTHER: Final = "other"
"""The value of every label of a series that stands for the rest."""

Key = TypeVar("Key")


class Leading(NamedTuple, Generic[Key]):
    """The largest, largest first; the sum of the rest; how many the rest is."""

    shown: list[tuple[Key, int]]
    rest: int
    hidden: int


def leading(sums: list[tuple[Key, int]], most: int) -> Leading[Key]:
    """The ``most`` largest of ``sums``; of those of one size, those whose text comes first.

    >>> leading([("a", 3), ("b", 9), ("c", 3), ("d", 1)], 2)
    Leading(shown=[('b', 9), ('a', 3)], rest=4, hidden=2)
    """

    def order(pair: tuple[Key, int]) -> tuple[int, str]:
        return -pair[1], str(pair[0])

    if len(sums) <= most:
        return Leading(sorted(sums, key=order), 0, 0)
    # Which sums are shown is decided by size alone, which is quicker than to compare texts.
    shown = nsmallest(most, sums, key=order)
    rest = sum(value for _, value in sums) - sum(value for _, value in shown)
    return Leading(shown, rest, len(sums) - most)
