"""How long to wait before the next try, by the number of the one that failed.

A `Backoff` is a value: immutable, hashable, picklable, and its text makes it again. All times are
seconds. Which one to take: `full_jitter`, unless there is a reason. Callers that failed together
must not come back together, which all three with jitter see to; full jitter asks the least of the
other side, equal jitter never comes back at once, decorrelated jitter grows by chance.

>>> backoff = full_jitter(0.5, 10.0)
>>> [backoff.bounds(attempt) for attempt in (1, 2, 3, 10**9)]
[(0.0, 0.5), (0.0, 1.0), (0.0, 2.0), (0.0, 10.0)]
>>> backoff.delay(3, 0.0, random=lambda: 0.25)
0.5
>>> backoff.total_max(attempts=4)
3.5
>>> backoff
full_jitter(0.5, 10.0)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Final, NoReturn

from faultplane.classify.classification import RETRY_AFTER_SECONDS_MAX
from faultplane.classify.evidence import shown
from faultplane.errors import InvalidSetting

__all__ = [
    "DELAY_SECONDS_MAX",
    "FACTOR_MAX",
    "MAKERS",
    "Backoff",
    "Random",
    "checked_number",
    "checked_seconds",
    "constant",
    "decorrelated_jitter",
    "equal_jitter",
    "exponential",
    "fibonacci",
    "full_jitter",
    "linear",
]

DELAY_SECONDS_MAX: Final = RETRY_AFTER_SECONDS_MAX
"""The longest delay that can be asked for: a day, as of what the other side may ask for."""
FACTOR_MAX: Final = 1000.0

_ENDLESS: Final = 1 << 60
"""A number of tries that nobody reaches, and up to which a power of a float is one."""
_SUMMED_MAX: Final = 4096
"""Delays that still grow which a total is summed from; the longest stands for those after it."""

Random = Callable[[], float]
"""Gives a number from 0 to below 1, as ``random.random`` does."""


def checked_number(name: str, value: Any, low: float, high: float, unit: str = "") -> float:
    """``value`` as a float, if it is an int or a float from ``low`` to ``high``.

    Raises:
        InvalidSetting: (a ``ValueError``) it is not, with its name, the bounds and the value.
    """
    if type(value) not in (int, float) or not low <= value <= high:  # NaN is refused as well
        raise InvalidSetting(f"{name} must be {low:g} to {high:g}{unit}, got {shown(value)}")
    return float(value) + 0.0  # a zero has no sign


def checked_seconds(name: str, value: Any) -> float:
    """``value`` as a float, if it is a time from 0 to a day.

    >>> checked_seconds("timeout", -1)
    Traceback (most recent call last):
    faultplane.errors.InvalidSetting: timeout must be 0 to 86400 seconds, got -1
    """
    return checked_number(name, value, 0.0, DELAY_SECONDS_MAX, " seconds")


class Backoff:
    """How long to wait after each failed try. Made by `constant`, `full_jitter` and the others.

    ``form`` is the name of what made it, ``parameters`` are the values it was made from, by name.
    Two are equal if both are.
    """

    __slots__ = ("_longest", "parameters")

    form: ClassVar[str] = ""
    parameters: tuple[tuple[str, float], ...]
    _longest: float

    def __init__(self, **parameters: float) -> None:
        object.__setattr__(self, "parameters", tuple(parameters.items()))
        for name, value in parameters.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_longest", self._ceiling(_ENDLESS))

    def delay(self, attempt: int, previous: float, random: Random) -> float:
        """Seconds to wait after try number ``attempt`` has failed.

        Args:
            attempt: the number of the try that failed, from 1; there is no largest.
            previous: the delay before it, 0.0 at the first.
            random: gives a number from 0 to below 1; not called where there is no choice.

        Within ``bounds(attempt)`` whatever ``previous`` and ``random`` give.

        Raises:
            InvalidSetting: (a ``ValueError``) ``attempt`` is no int from 1 on.
        """
        low, high = self.bounds(attempt)
        if low == high:
            return high
        # Zero first: a comparison with NaN is False, so it stands for what is no number.
        share = max(0.0, random())
        return min(low + (self._reach(high, previous) - low) * share, high)

    def bounds(self, attempt: int) -> tuple[float, float]:
        """The shortest and the longest delay after that try."""
        if type(attempt) is not int or attempt < 1:
            raise InvalidSetting(f"attempt must be 1 or more, got {attempt!r}")
        high = self._ceiling(min(attempt, _ENDLESS))
        return self._floor(high), high

    def total_max(self, attempts: int, wait_seconds_max: float = 0.0) -> float:
        """The bound of all delays of ``attempts`` tries together: no sum of them is above it.

        The other side may ask for other waits, each at most ``wait_seconds_max``: they are within
        the bound, too. It is the sum of the longest delays, rounded up to a float; where more than
        4,096 of them still grow, the longest that there is stands for those after it.

        >>> exponential(1.0, 60.0).total_max(4), exponential(1.0, 60.0).total_max(4, 5.0)
        (7.0, 15.0)
        """
        if type(attempts) is not int or attempts < 1:
            raise InvalidSetting(f"attempts must be 1 or more, got {attempts!r}")
        wait = checked_seconds("wait_seconds_max", wait_seconds_max)
        total, left = 0, attempts - 1
        for attempt in range(1, min(left, _SUMMED_MAX) + 1):
            high = self._ceiling(attempt)
            if high == self._longest:
                break
            total += _parts(max(high, wait))
            left -= 1
        return _at_least(total + left * _parts(max(self._longest, wait)))

    @property
    def is_zero(self) -> bool:
        """Whether no delay is ever asked for, so that there is nothing to sleep for."""
        return self._longest == 0.0

    def to_dict(self) -> dict[str, str | float]:
        """The form and the parameters by name.

        >>> constant(2).to_dict()
        {'form': 'constant', 'seconds': 2.0}
        """
        return {"form": self.form, **dict(self.parameters)}

    def _ceiling(self, attempt: int) -> float:
        """The longest delay after that try, of which there are at most ``_ENDLESS``."""
        raise NotImplementedError

    def _floor(self, high: float) -> float:
        """The shortest one where ``high`` is the longest."""
        return high

    def _reach(self, high: float, previous: float) -> float:
        """Up to where a delay is drawn, before it is cut to ``high``."""
        return high

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Backoff):
            return NotImplemented
        return self.form == other.form and self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash((self.form, self.parameters))

    def __repr__(self) -> str:
        return f"{self.form}({', '.join(repr(value) for _, value in self.parameters)})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Backoff is immutable; {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"Backoff is immutable; {name} cannot be deleted")

    def __reduce__(self) -> tuple[Callable[..., Backoff], tuple[float, ...]]:
        return MAKERS[self.form], tuple(value for _, value in self.parameters)


# ------------------------------------------------------------------------------ exact numbers

_PARTS: Final = 1 << 1074
"""Every float is a whole number of these parts of one: the smallest is one of them."""


def _parts(number: float) -> int:
    numerator, denominator = number.as_integer_ratio()
    return numerator * (_PARTS // denominator)


def _at_least(parts: int) -> float:
    """The smallest float that is not below so many parts; infinity beyond the largest."""
    try:
        nearest = parts / _PARTS
    except OverflowError:
        return math.inf
    return nearest if _parts(nearest) >= parts else math.nextafter(nearest, math.inf)


def _grown(first: float, factor: float, times: int, maximum: float) -> float:
    """``first`` after growing by ``factor`` so many times, at most ``maximum``."""
    try:
        return min(first * factor**times, maximum)
    except OverflowError:
        return maximum if first else 0.0


# -------------------------------------------------------------------------------------- forms


class _Constant(Backoff):
    __slots__ = ("seconds",)
    form = "constant"
    seconds: float

    def _ceiling(self, attempt: int) -> float:
        return self.seconds


class _Linear(Backoff):
    __slots__ = ("first", "maximum", "step")
    form = "linear"
    first: float
    step: float
    maximum: float

    def _ceiling(self, attempt: int) -> float:
        return min(self.first + self.step * (attempt - 1), self.maximum)


class _Exponential(Backoff):
    __slots__ = ("factor", "first", "maximum")
    form = "exponential"
    first: float
    maximum: float
    factor: float

    def _ceiling(self, attempt: int) -> float:
        return _grown(self.first, self.factor, attempt - 1, self.maximum)


class _Fibonacci(Backoff):
    __slots__ = ("first", "maximum")
    form = "fibonacci"
    first: float
    maximum: float

    def _ceiling(self, attempt: int) -> float:
        before, now = 0.0, self.first
        while attempt > 1 and 0.0 < now < self.maximum:
            before, now, attempt = now, before + now, attempt - 1
        return min(now, self.maximum)


class _FullJitter(Backoff):
    __slots__ = ("base", "maximum")
    form = "full_jitter"
    base: float
    maximum: float

    def _ceiling(self, attempt: int) -> float:
        return _grown(self.base, 2.0, attempt - 1, self.maximum)

    def _floor(self, high: float) -> float:
        return 0.0


class _EqualJitter(_FullJitter):
    __slots__ = ()
    form = "equal_jitter"

    def _floor(self, high: float) -> float:
        return high / 2


class _DecorrelatedJitter(Backoff):
    __slots__ = ("base", "maximum")
    form = "decorrelated_jitter"
    base: float
    maximum: float

    def _ceiling(self, attempt: int) -> float:
        return _grown(self.base, 3.0, attempt, self.maximum)

    def _floor(self, high: float) -> float:
        return self.base

    def _reach(self, high: float, previous: float) -> float:
        # The base first: a comparison with NaN is False, so it stands for what is no number.
        return 3.0 * min(max(self.base, previous), self.maximum)


# ------------------------------------------------------------------------------------- makers


def constant(seconds: float) -> Backoff:
    """The same delay after each try, from 0 to 86,400 seconds."""
    return _Constant(seconds=checked_seconds("seconds", seconds))


def linear(first: float, step: float, maximum: float) -> Backoff:
    """``first``, then ``step`` seconds more each time, at most ``maximum``.

    >>> [linear(1, 2, 6).bounds(attempt)[1] for attempt in (1, 2, 3, 4)]
    [1.0, 3.0, 5.0, 6.0]
    """
    first, maximum = _first_and_maximum("first", first, maximum)
    return _Linear(first=first, step=checked_seconds("step", step), maximum=maximum)


def exponential(first: float, maximum: float, factor: float = 2.0) -> Backoff:
    """``first``, then ``factor`` (1 to 1,000) times as much each time, at most ``maximum``.

    The delay after try n is ``min(first * factor**(n - 1), maximum)``, as in gRPC's proposal A6
    (initialBackoff, backoffMultiplier, maxBackoff) without its jitter.

    >>> [exponential(0.5, 3, 2).bounds(attempt)[1] for attempt in (1, 2, 3, 4)]
    [0.5, 1.0, 2.0, 3.0]
    """
    first, maximum = _first_and_maximum("first", first, maximum)
    factor = checked_number("factor", factor, 1.0, FACTOR_MAX)
    return _Exponential(first=first, maximum=maximum, factor=factor)


def fibonacci(first: float, maximum: float) -> Backoff:
    """``first`` times the Fibonacci numbers 1, 1, 2, 3, 5 (OEIS A000045), at most ``maximum``.

    Grows by 1.6 a try in the long run, and less at the beginning.

    >>> [fibonacci(1, 6).bounds(attempt)[1] for attempt in (1, 2, 3, 4, 5, 6)]
    [1.0, 1.0, 2.0, 3.0, 5.0, 6.0]
    """
    first, maximum = _first_and_maximum("first", first, maximum)
    return _Fibonacci(first=first, maximum=maximum)


def full_jitter(base: float, maximum: float) -> Backoff:
    """Anything from 0 to ``base``, twice as much each time, at most ``maximum``.

    The "Full Jitter" of Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog,
    2015): ``random_between(0, min(cap, base * 2 ** attempt))``, where tries count from 0.
    """
    base, maximum = _first_and_maximum("base", base, maximum)
    return _FullJitter(base=base, maximum=maximum)


def equal_jitter(base: float, maximum: float) -> Backoff:
    """Half of what `full_jitter` may be at most, and anything up to the other half.

    The "Equal Jitter" of the same article: ``temp / 2 + random_between(0, temp / 2)`` with
    ``temp = min(cap, base * 2 ** attempt)``.

    >>> equal_jitter(1, 8).bounds(3)
    (2.0, 4.0)
    """
    base, maximum = _first_and_maximum("base", base, maximum)
    return _EqualJitter(base=base, maximum=maximum)


def decorrelated_jitter(base: float, maximum: float) -> Backoff:
    """Anything from ``base`` to three times the delay before, at most ``maximum``.

    The "Decorrelated Jitter" of the same article: ``min(cap, random_between(base, sleep * 3))``,
    where ``sleep`` is the delay before, and ``base`` at the first. Once it has reached the cap, two
    draws in three are the cap itself: where many callers wait for long, `full_jitter` keeps them
    further apart.

    >>> [decorrelated_jitter(1, 20).bounds(attempt) for attempt in (1, 2, 3)]
    [(1.0, 3.0), (1.0, 9.0), (1.0, 20.0)]
    """
    base, maximum = _first_and_maximum("base", base, maximum)
    return _DecorrelatedJitter(base=base, maximum=maximum)


def _first_and_maximum(name: str, first: float, maximum: float) -> tuple[float, float]:
    first, maximum = checked_seconds(name, first), checked_seconds("maximum", maximum)
    if first > maximum:
        raise InvalidSetting(f"{name} must be at most maximum ({maximum!r}), got {first!r}")
    return first, maximum


MAKERS: Final[dict[str, Callable[..., Backoff]]] = {
    maker.__name__: maker
    for maker in (
        constant,
        linear,
        exponential,
        fibonacci,
        full_jitter,
        equal_jitter,
        decorrelated_jitter,
    )
}
"""What makes each form, by its name."""
