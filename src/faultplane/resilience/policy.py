"""What is done about failures: values, checked when they are made, shared by every process.

Each is a few numbers. What processes share of them lies in the cell of the dependency
(`faultplane.control_schema`), which has them as integers: milliseconds, thousandths, millionths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import inf
from typing import Any, Final, Literal

from faultplane import control_schema as layout
from faultplane.classify.evidence import shown
from faultplane.errors import InvalidSetting
from faultplane.resilience.backoff import Backoff, full_jitter

ATTEMPTS_MAX: Final = 1000
SECONDS_MAX: Final = 86_400.0
TOKENS_MAX: Final = float(layout.BUDGET_TOKENS_MAX)

BACKOFF: Final = full_jitter(0.1, 5.0)
"""What is waited where nothing else is said."""

RetriedTypes = type[BaseException] | tuple[type[BaseException], ...]
On = RetriedTypes | Callable[[Exception], bool] | None


def number(name: str, value: object, low: float, high: float) -> float:
    """``value`` as a float from ``low`` to ``high``, or InvalidSetting that names both."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        plain = float(value) if abs(value) < 1e300 else inf
        if low <= plain <= high:  # NaN is refused as well
            return plain
    raise InvalidSetting(f"{name} must be {low:g} to {high:g}, got {shown(value)}")


def whole(name: str, value: object, low: int, high: int) -> int:
    """``value`` as an int from ``low`` to ``high``, or InvalidSetting that names both."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidSetting(
            f"{name} must be a whole number from {low} to {high}, got {shown(value)}"
        )
    return value


def _instance(name: str, value: object, wanted: type) -> None:
    if value is not None and not isinstance(value, wanted):
        raise InvalidSetting(f"{name} must be a {wanted.__name__} or None, got {value!r}")


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """How many retries all processes of the host may make together: a token bucket.

    A call that is made for the first time brings ``ratio`` of a token (0 to 1), a second brings
    ``floor`` tokens (0 to 60,000), and ``capacity`` tokens are kept at most (1 to 60,000; default:
    what ``floor`` brings in ten seconds, at least 10). A retry takes one. So in any time at most
    ``capacity + floor * seconds + ratio * calls`` retries are sent, whatever the number of
    processes. A token is held while its retry waits, and comes back if its process dies.

    >>> RetryBudget(ratio=0.2, floor=10).capacity
    100.0
    """

    ratio: float = 0.2
    floor: float = 10.0
    capacity: float | None = None

    def __post_init__(self) -> None:
        """Refuse numbers out of bounds."""
        put = object.__setattr__
        put(self, "ratio", number("ratio", self.ratio, 0.0, 1.0))
        put(self, "floor", number("floor", self.floor, 0.0, TOKENS_MAX))
        capacity = self.capacity
        if capacity is None:
            capacity = min(max(10.0 * self.floor, 10.0), TOKENS_MAX)
        put(self, "capacity", number("capacity", capacity, 1.0, TOKENS_MAX))

    @classmethod
    def finagle(cls) -> RetryBudget:
        """Finagle's default: a fifth of the calls and ten a second, remembered for ten seconds."""
        return cls(ratio=0.2, floor=10.0, capacity=100.0)

    @classmethod
    def envoy(cls) -> RetryBudget:
        """Nearest to Envoy's default, a fifth of what is under way and at least three at once."""
        return cls(ratio=0.2, floor=3.0, capacity=3.0)

    @classmethod
    def grpc(cls) -> RetryBudget:
        """As gRPC's ``retryThrottling`` of ten tokens, half of them used, and a ratio of 0.1."""
        return cls(ratio=0.1, floor=0.0, capacity=5.0)

    @classmethod
    def aws(cls) -> RetryBudget:
        """As the AWS SDKs' standard mode: 500 tokens, five a retry, one brought by a success."""
        return cls(ratio=0.2, floor=0.0, capacity=100.0)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how late a call is tried again.

    ``attempts`` tries at most, the first one included (1 to 1,000). ``on``: types of exception, or
    a function that is given the exception and says so; None: those whose `classify` says
    ``retryable``. ``backoff`` says how long to wait (`faultplane.resilience.backoff`). What the
    other side asks for, as Retry-After does, is waited instead, ``wait_max`` seconds at most (0 to
    86,400); where it asks not to come back, as gRPC's pushback can, there is no other try.
    ``budget`` bounds the retries of all processes together.

    ``adaptive`` has the backoff follow what retries after errors of the kind have come to lately:
    0.8 to 1.8 times as long. ``learn`` has types of error tried again for as long as retries after
    them help: "unknown", those that no rule of classification knows; "all", those that it calls
    retryable as well. It may make a call again that nobody said may be made twice, so it is for
    calls that may. Both are off unless they are asked for, since neither wins everywhere.
    """

    attempts: int = 3
    on: On = None
    backoff: Backoff = BACKOFF
    budget: RetryBudget | None = None
    wait_max: float = 60.0
    adaptive: bool = False
    learn: Literal["unknown", "all"] | None = None

    def __post_init__(self) -> None:
        """Refuse what is out of bounds."""
        whole("attempts", self.attempts, 1, ATTEMPTS_MAX)
        _instance("budget", self.budget, RetryBudget)
        if not isinstance(self.backoff, Backoff):
            raise InvalidSetting(f"backoff must be a Backoff, got {self.backoff!r}")
        object.__setattr__(self, "wait_max", number("wait_max", self.wait_max, 0.0, SECONDS_MAX))
        types = self.on if isinstance(self.on, tuple) else (self.on,)
        known = all(isinstance(one, type) and issubclass(one, BaseException) for one in types)
        if not (self.on is None or known or (callable(self.on) and not isinstance(self.on, type))):
            raise InvalidSetting(f"on must be types of exception or a function, got {self.on!r}")
        if not isinstance(self.adaptive, bool):
            raise InvalidSetting(f"adaptive must be True or False, got {self.adaptive!r}")
        if self.learn not in (None, "unknown", "all"):
            raise InvalidSetting(f"learn must be unknown, all or None, got {self.learn!r}")
        if self.learn is not None and self.on is not None:
            raise InvalidSetting(
                f"on says what is tried again: learn must be None, got {self.learn!r}"
            )

    @property
    def caught(self) -> tuple[type[BaseException], ...] | None:
        """The types that may be tried again; None: what classification calls retryable."""
        if isinstance(self.on, tuple):
            return self.on
        if isinstance(self.on, type):
            return (self.on,)
        return None if self.on is None and self.learn is None else (Exception,)

    @property
    def asks(self) -> Callable[[Any], bool] | None:
        """The function that says whether an exception is tried again; None where there is none."""
        return None if self.on is None or isinstance(self.on, (tuple, type)) else self.on


_MAY_BE_NONE: Final = ("failure_rate", "slow_rate", "slow_call", "open_on_retry_after")


@dataclass(frozen=True, slots=True)
class Breaker:
    """When calls are not made for a while, by any process of the host.

    It opens when, of at least ``calls_min`` calls in the window, ``failure_rate`` failed (above 0
    to 1; None: never for that), or ``slow_rate`` took longer than ``slow_call`` seconds, or when
    ``consecutive`` calls in a row failed. The window is the last ``window`` seconds (0.1 to
    86,400) or the last ``window_calls`` calls (1 to 48). It stays open for ``open_for`` seconds,
    ``open_factor`` times as long each time that probes fail again, ``open_max`` at most (default:
    one and a half windows, or ``open_for`` if that is longer: what waits longer for probes takes
    more than two windows to recover). Then ``probes`` calls (1 to 31) are let through, which
    all processes share: if they succeed it closes, and one that fails opens it again. Probes that
    have not ended after ``probe_timeout`` seconds are not waited for. What classification counts as
    ignored or as a success is no failure.

    With ``open_on_retry_after`` (0.001 to 86,400 seconds; None: never) one failure is enough whose
    classification has a ``retry_after`` of so many seconds or more, as of an answer 429 or 503 with
    Retry-After: it stays open for as long as was asked, ``open_max`` at most.

    >>> Breaker(failure_rate=2.0)
    Traceback (most recent call last):
    faultplane.errors.InvalidSetting: failure_rate must be 1e-06 to 1, got 2.0
    """

    failure_rate: float | None = 0.5
    slow_call: float | None = None
    slow_rate: float | None = None
    window: float = 30.0
    window_calls: int | None = None
    calls_min: int = 20
    consecutive: int | None = None
    probes: int = 3
    probe_timeout: float = 30.0
    open_for: float = 30.0
    open_max: float | None = None
    open_factor: float = 2.0
    open_on_retry_after: float | None = None

    def __post_init__(self) -> None:
        """Refuse numbers out of bounds, and a breaker that nothing can open."""
        put = object.__setattr__
        least = 1 / layout.RATE_ONE
        for name, low, high in (
            ("failure_rate", least, 1.0),
            ("slow_rate", least, 1.0),
            ("slow_call", 0.000_001, SECONDS_MAX),
            ("open_on_retry_after", 0.001, SECONDS_MAX),
            ("window", layout.WINDOW_MS_MIN / 1000, layout.WINDOW_MS_MAX / 1000),
            ("probe_timeout", 0.01, SECONDS_MAX),
            ("open_for", 0.001, SECONDS_MAX),
            ("open_factor", 1.0, 10.0),
        ):
            value = getattr(self, name)
            if value is not None or name not in _MAY_BE_NONE:
                put(self, name, number(name, value, low, high))
        for name, most in (
            ("window_calls", layout.WINDOW_CALLS_MAX),
            ("consecutive", layout.STREAK_MAX),
        ):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), 1, most)
        whole("calls_min", self.calls_min, 1, layout.BUCKET_COUNT_MASK)
        whole("probes", self.probes, 1, layout.PROBES_MAX)
        if self.window_calls is not None and self.calls_min > self.window_calls:
            raise InvalidSetting(
                f"calls_min must be at most window_calls, {self.window_calls}, got {self.calls_min}"
            )
        longest = self.open_max
        if longest is None:
            longest = min(max(self.open_for, 1.5 * self.window), SECONDS_MAX)
        put(self, "open_max", number("open_max", longest, 0.001, SECONDS_MAX))
        if self.open_max is not None and self.open_max < self.open_for:
            raise InvalidSetting(
                f"open_max must be at least open_for, {self.open_for:g}, got {self.open_max!r}"
            )
        if (self.slow_rate is None) != (self.slow_call is None):
            raise InvalidSetting(
                f"slow_call and slow_rate go together, got {self.slow_call!r} and "
                f"{self.slow_rate!r}"
            )
        opens = (self.failure_rate, self.slow_rate, self.consecutive, self.open_on_retry_after)
        if all(one is None for one in opens):
            raise InvalidSetting(
                "a breaker needs a failure_rate, a slow_rate, consecutive or open_on_retry_after"
            )


@dataclass(frozen=True, slots=True)
class Bulkhead:
    """How many calls all processes of the host make at once: ``limit`` (1 to 65,535).

    One more is rejected, after ``wait_max`` seconds (default 0: at once) if no permit came free. A
    permit whose process died comes free.
    """

    limit: int
    wait_max: float = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers out of bounds."""
        whole("limit", self.limit, 1, layout.PERMITS_MAX)
        object.__setattr__(self, "wait_max", number("wait_max", self.wait_max, 0.0, SECONDS_MAX))


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many calls all processes of the host make in a time: a token bucket.

    ``rate`` calls a second (0.001 to 60,000), and ``burst`` at once after a pause (1 to 60,000;
    default: those of a second, at least 1). So in any time at most ``burst + rate * seconds`` calls
    are made, tries that are made again included. One more is rejected, after ``wait_max`` seconds
    (0 to 86,400; default 0: at once) if its turn does not come by then.

    >>> RateLimit(10.0).burst
    10.0
    """

    rate: float
    burst: float | None = None
    wait_max: float = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers out of bounds."""
        put = object.__setattr__
        put(self, "rate", number("rate", self.rate, 0.001, TOKENS_MAX))
        burst = max(self.rate, 1.0) if self.burst is None else self.burst
        put(self, "burst", number("burst", burst, 1.0, TOKENS_MAX))
        put(self, "wait_max", number("wait_max", self.wait_max, 0.0, SECONDS_MAX))


def config(
    retry: Retry | None,
    breaker: Breaker | None,
    bulkhead: Bulkhead | None,
    rate: RateLimit | None = None,
) -> dict[str, int]:
    """The numbers of a cell."""
    budget = retry.budget if retry else None
    values = dict.fromkeys((field.name for field in layout.CONFIG_FIELDS), 0)
    if breaker is not None:
        values.update(
            window_ms=0 if breaker.window_calls else round(breaker.window * 1000),
            window_calls=breaker.window_calls or 0,
            calls_min=breaker.calls_min,
            failure_rate=round((breaker.failure_rate or 0.0) * layout.RATE_ONE),
            slow_rate=round((breaker.slow_rate or 0.0) * layout.RATE_ONE),
            slow_call_nano=round((breaker.slow_call or 0.0) * 1e9),
            consecutive=breaker.consecutive or 0,
            probes=breaker.probes,
            probe_ms=round(breaker.probe_timeout * 1000),
            open_ms=round(breaker.open_for * 1000),
            open_ms_max=round((breaker.open_max or breaker.open_for) * 1000),
            open_factor_milli=round(breaker.open_factor * 1000),
            asked_ms_min=round((breaker.open_on_retry_after or 0.0) * 1000),
        )
    if budget is not None:
        values.update(
            ratio_milli=round(budget.ratio * layout.MILLI),
            floor_milli=round(budget.floor * layout.MILLI),
            capacity_milli=round((budget.capacity or 1.0) * layout.MILLI),
        )
    if bulkhead is not None:
        values["limit"] = bulkhead.limit
    if rate is not None:
        values["rate_milli"] = round(rate.rate * layout.MILLI)
        values["burst_milli"] = round((rate.burst or 1.0) * layout.MILLI)
    return values


def described(value: Any) -> dict[str, Any] | None:
    """A policy as plain values by name, for a declaration; None for None."""
    if value is None:
        return None
    found = {}
    for field in fields(value):
        one = getattr(value, field.name)
        if isinstance(one, RetryBudget):
            one = described(one)
        elif not isinstance(one, (int, float, str, type(None))):
            one = _named(one)
        found[field.name] = one
    return found


def _named(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_named, value))
    name = getattr(value, "__qualname__", None)
    return f"{value.__module__}.{name}" if name else repr(value)
