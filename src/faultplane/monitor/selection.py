"""Which series are told apart, so that there are at most so many, and no counter goes down.

The largest are told apart and the rest is one series. That needs no memory of what was shown
before: sorted by size, the n-th largest of sums that only grow never gets smaller, whichever of
them it is, and so neither does the sum of all behind it. A series that comes among the largest,
leaves and comes back has the sum that it would have if it had stayed.
"""

from __future__ import annotations

from typing import Final, Generic, NamedTuple, TypeVar

OTHER: Final = "other"
"""The value of every label of a series that stands for the rest."""

Key = TypeVar("Key")


class Leading(NamedTuple, Generic[Key]):
    """The largest, largest first; the sum of the rest; how many the rest is."""

    shown: list[tuple[Key, int]]
    rest: int
    hidden: int


def leading(keys: list[Key], sums: list[int], most: int) -> Leading[Key]:
    """The ``most`` keys of the largest ``sums``; of those of one size, whose text comes first.

    >>> leading(["a", "b", "c", "d"], [3, 9, 3, 1], 2)
    Leading(shown=[('b', 9), ('a', 3)], rest=4, hidden=2)
    """
    pairs = list(zip(keys, sums, strict=True))
    if len(pairs) > most:
        # Sizes are compared before texts: there are few ties, and a text takes longer.
        least = sorted(sums)[-most]
        pairs = [pair for pair in pairs if pair[1] >= least]
    pairs.sort(key=lambda pair: (-pair[1], str(pair[0])))
    shown = pairs[:most]
    rest = sum(sums) - sum(value for _, value in shown)
    return Leading(shown, rest, len(keys) - len(shown))
