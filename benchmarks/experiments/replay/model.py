"""What is replayed: other sides in trouble, and the policies that are compared on each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import faultplane as fp
from benchmarks.experiments.replay import trace
from benchmarks.experiments.replay.server import WELL, Mood, Server
from benchmarks.experiments.replay.trace import Answer

BACKOFF = fp.full_jitter(0.1, 5.0)
ATTEMPTS = 3
BUDGET = fp.RetryBudget(ratio=0.2, floor=1.0, capacity=20.0)
"""To the scale of twenty calls a second; without one overload does not end by itself."""


def retry(**changes) -> fp.Retry:
    """The defaults of the library, written out, with changes."""
    return fp.Retry(**{"attempts": ATTEMPTS, "backoff": BACKOFF, **changes})


STATIC = "static"
"""What the others are compared with: the library's defaults."""
ALWAYS = "always"
"""Unknown types are tried again without learning, as `on=Exception` has it."""

DELAYS: Mapping[str, fp.Retry] = {STATIC: retry(), "adaptive": retry(adaptive=True)}
DELAYS_PAID: Mapping[str, fp.Retry] = {
    STATIC: retry(budget=BUDGET),
    "adaptive": retry(budget=BUDGET, adaptive=True),
}
TYPES: Mapping[str, fp.Retry] = {
    STATIC: retry(),
    ALWAYS: retry(on=Exception),
    "learn": retry(learn="unknown"),
}
KNOWN: Mapping[str, fp.Retry] = {STATIC: retry(), "learn": retry(learn="all")}
KNOWN_PAID: Mapping[str, fp.Retry] = {
    STATIC: retry(budget=BUDGET),
    "learn": retry(budget=BUDGET, learn="all"),
}


class OtherSide(Protocol):
    """Who is asked."""

    def answer(self, at: float) -> Answer:
        """What a request at that time gets."""


@dataclass(frozen=True)
class Scenario:
    """An other side, and the policies on it. ``over`` is when the last trouble ends, if ever.

    ``rate`` calls a second, ``burst(at)`` times as many at some time.
    """

    name: str
    title: str
    what: str
    policies: Mapping[str, fp.Retry]
    other_side: Callable[[int], OtherSide]
    seconds: float = 60.0
    over: float | None = None
    rate: float = 20.0
    burst: Callable[[float], float] = lambda at: 1.0


WHATS = {
    "delay": "delays: full jitter, and the same times what `adaptive=True` makes of it",
    "unknown": 'types that no rule knows: not tried again, always, and with `learn="unknown"`',
    "known": 'types that are tried again: always, and with `learn="all"`',
}


@cache
def _traces() -> dict[str, trace.Trace]:
    return trace.stored()


def _of_trace(name: str, title: str, what: str, policies: Mapping[str, fp.Retry]) -> Scenario:
    found = _traces()[name]
    return Scenario(
        f"{what}-{name}", f"{title} (recorded)", what, policies, lambda seed: found,
        seconds=found.seconds, over=found.over,
    )  # fmt: skip


def _simulated(
    name: str, title: str, what: str, policies: Mapping[str, fp.Retry],
    mood: Callable[[float], Mood], capacity: float = 40.0, **more,
) -> Scenario:  # fmt: skip
    def server(seed: int) -> Server:
        return Server(mood, seed, capacity)

    return Scenario(f"{what}-{name}", f"{title} (simulated)", what, policies, server, **more)


def during(begin: float, end: float, bad: Mood, then: Mood = WELL) -> Callable[[float], Mood]:
    """A mood for some time."""
    return lambda at: bad if begin <= at < end else then


def turns(length: float, one: Mood, other: Mood = WELL) -> Callable[[float], Mood]:
    """Two moods that take turns."""
    return lambda at: other if at // length % 2 else one


FLAKY = Mood(error_rate=0.3)
DOWN = Mood(is_down=True)
QUARTER = Mood(capacity_factor=0.25)
BUSY = Mood(error_rate=0.5, error="Busy")
DENIED = Mood(error_rate=0.5, error="Denied", of_request=True)
BUSY_OF_REQUEST = Mood(error_rate=0.5, error="Busy", of_request=True)
AMPLE = 400.0
"""A capacity that no retries use up: what they come to is of the errors alone."""
LATE = Mood(error_rate=0.2, error="TimeoutError", of_request=True)

SCENARIOS: dict[str, Scenario] = {
    one.name: one
    for one in (
        _of_trace("blips", "0.3 s of resets every 4 s", "delay", DELAYS),
        _of_trace("outage", "20 s of resets, then well at once", "delay", DELAYS),
        _of_trace("flaky", "three of ten answers are 503", "delay", DELAYS),
        _of_trace("brownout", "85 % are 503, later and later", "delay", DELAYS),
        _of_trace("alternation", "6 s of resets, 6 s well, in turn", "delay", DELAYS),
        _simulated("down", "10 s down, then well at once", "delay", DELAYS_PAID,
                   during(20, 30, DOWN), over=30.0),
        _simulated("capacity", "a quarter of the capacity for 15 s", "delay", DELAYS_PAID,
                   during(20, 35, QUARTER), over=35.0),
        _simulated("burst", "four times the calls for 10 s", "delay", DELAYS_PAID, lambda at: WELL,
                   over=30.0, burst=lambda at: 4.0 if 20 <= at < 30 else 1.0),
        _simulated("capacity-unpaid", "the same as capacity, without a budget", "delay", DELAYS,
                   during(20, 35, QUARTER), over=35.0),
        _simulated("errors", "three of ten fail", "delay", DELAYS_PAID, lambda at: FLAKY),
        _simulated("against", "10 s down and 10 s flaky, in turn", "delay", DELAYS_PAID,
                   turns(10.0, DOWN, FLAKY)),
        _of_trace("busy", "three of ten fail, a retry helps", "unknown", TYPES),
        _of_trace("denied", "two of ten fail each time", "unknown", TYPES),
        _of_trace("busy-and-denied", "two types, one of each sort", "unknown", TYPES),
        _of_trace("busy-down-then-flaky", "20 s down, then a retry helps", "unknown", TYPES,),
        _simulated("no-longer", "a retry helps for 60 s, then never", "unknown", TYPES,
                   during(0, 60, BUSY, BUSY_OF_REQUEST), AMPLE, seconds=120.0),
        _simulated("by-now", "a retry never helps for 60 s, then does", "unknown", TYPES,
                   during(0, 60, BUSY_OF_REQUEST, BUSY), AMPLE, seconds=120.0),
        _simulated("against", "the same, in turn every 20 s", "unknown", TYPES,
                   turns(20.0, BUSY_OF_REQUEST, BUSY), AMPLE, seconds=120.0),
        _of_trace("late", "15 % of the requests time out each time", "known", KNOWN),
        _of_trace("flaky", "three of ten answers are 503", "known", KNOWN),
        _of_trace("outage", "20 s of resets, then well at once", "known", KNOWN),
        _of_trace("alternation", "6 s of resets, 6 s well, in turn", "known", KNOWN),
        _simulated("late-paid", "20 % time out each time, and cost their time", "known", KNOWN_PAID,
                   lambda at: LATE),
        _simulated("down-then-flaky", "20 s down, then three of ten fail", "known", KNOWN_PAID,
                   during(0, 20, DOWN, FLAKY), over=20.0),
        _simulated("capacity", "a quarter of the capacity for 15 s", "known", KNOWN_PAID,
                   during(20, 35, QUARTER), over=35.0),
        _simulated("capacity-unpaid", "the same, without a budget", "known", KNOWN,
                   during(20, 35, QUARTER), over=35.0),
    )
}  # fmt: skip
