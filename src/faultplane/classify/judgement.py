"""What a judge says of an exception: the answer, and what the answer may be remembered by.

* `NEVER` (0): ask again for each exception.
* `BY_TYPE` (1): by the type, and by the errno of an OSError. A core tells errnos apart that are
  from 1 to 999,999; all others, and none, are one to it.
* `BY_CAUSES` (2): by those of the exception and of each exception along its ``__cause__`` chain.
  A core may keep such an answer for exceptions without a cause and ask again for those with one.
* ``(read, key)``: by the type and by what ``read(exc)`` gives, which is ``key`` for this one. A
  core then reads the key of each exception of the type, and asks only for a key that is new to it.
  Where ``read`` gives None, or raises, it asks.

A key is what the answer was made from and nothing less, so that it holds for whatever has the same
key, and an exception that is changed gets another answer. It is an int or a str out of a table, a
type, or a tuple of those: hashing and comparing it runs nothing of the application's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from faultplane.classify.classification import Classification

__all__ = [
    "BY_CAUSES",
    "BY_TYPE",
    "NEVER",
    "Inquiry",
    "Judge",
    "Judgement",
    "Reader",
    "Remembered",
    "keyed",
    "narrower",
]

NEVER: Final = 0
BY_TYPE: Final = 1
BY_CAUSES: Final = 2

Reader = Callable[[Any], object]
Remembered = int | tuple[Reader, object]
Judgement = tuple[Classification, Remembered]


class Inquiry(Protocol):
    """What a judge may ask for while one exception is being classified."""

    def judge(self, inner: object) -> Judgement | None:
        """Judgement on ``inner``; None if it is no exception, or a cycle, or nested too deep."""

    def now(self) -> float:
        """Seconds since the epoch."""


Judge = Callable[[BaseException, Classification, Inquiry], Judgement]


def narrower(first: Remembered, second: Remembered) -> Remembered:
    """What an answer may be remembered by that rests on both.

    >>> narrower(BY_TYPE, BY_CAUSES), narrower(BY_CAUSES, NEVER)
    (2, 0)
    """
    if first == BY_TYPE:
        return second
    return first if second == BY_TYPE or first == second == BY_CAUSES else NEVER


def keyed(read: Reader, answer_to: Callable[[Any, Classification], Classification]) -> Judge:
    """A judge whose answer follows from a key, and from what the type alone would say.

    ``read`` takes the exception and gives the key, None where it has none.
    """

    def judge(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
        try:
            key = read(exc)
        except Exception:  # noqa: BLE001 - attributes are the application's
            return answer, NEVER
        return (answer, NEVER) if key is None else (answer_to(key, answer), (read, key))

    return judge
