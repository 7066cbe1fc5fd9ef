"""How long the records take that pay for more than themselves.

Of the rows that one process writes, every 64th does a slice of upkeep (unmaps, retires or prepares
a little), every 512th claims a lane, and every 36th lane or so is in a new segment; the upkeep that
follows a new segment unlinks the oldest. Those records are timed one by one, and an ordinary record
in 64 to hold them against. The writer's counters tell which is which. After every lane claim, a
loop that does nothing for about as long is timed alike: what is longer there is the machine's
doing.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from itertools import repeat
from typing import Any, Final

import faultplane as fp
from faultplane import _backend
from faultplane.cli.bench import failures, ours
from faultplane.cli.bench.measure import Calls, middle, spread
from faultplane.schema import LANE_ROWS

CHUNK_ROWS: Final = 64
ORDINARY: Final = "ordinary record"
UPKEEP: Final = "slice of upkeep"
CLAIM: Final = "lane claim"
SWITCH: Final = "segment switch"
AFTER_SWITCH: Final = "upkeep after a switch"
NOTHING: Final = "nothing, for 8 µs"
NOTHING_NANO: Final = 8_000
GOALS_NANO: Final = {CLAIM: 50_000, SWITCH: 1_000_000, AFTER_SWITCH: 1_000_000}
"""What no record of the compiled core is to exceed."""
# A scheduler speaks of single threads where it can.
_WHOSE: Final = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


class _Writer:
    """What the writer of this process did since it was last looked at."""

    def __init__(self) -> None:
        self._known = self._counters()

    def did(self) -> str | None:
        lanes, segments = self._known
        self._known = self._counters()
        if self._known[1] != segments:
            return SWITCH
        return CLAIM if self._known[0] != lanes else None

    @staticmethod
    def _counters() -> tuple[int, int]:
        state = _backend.core.writer_state()
        return state["lanes_claimed"], state["segments_mapped"]


def run(records: int) -> dict[str, Any]:
    """Stalls by their place, in nanoseconds; asserts that rows and counts are the calls."""
    fp.init(service="bench", domain="bench")
    record, known = fp.record, failures.caught(failures.pay)
    writer = _Writer()
    calls = Calls()
    found: dict[str, list[tuple[int, int, int]]] = {
        place: [] for place in (ORDINARY, UPKEEP, CLAIM, NOTHING, SWITCH, AFTER_SWITCH)
    }
    for _ in range(LANE_ROWS):
        record(known)
        calls.made += 1
        if writer.did():
            break
    # The lane has one row now, so each turn ends with the record that finds a chunk used up.
    after_switch = False
    for _ in range(records // CHUNK_ROWS):
        for _ in repeat(None, CHUNK_ROWS - 2):
            record(known)
        found[ORDINARY].append(_timed(calls.made))
        sample = _timed(calls.made)
        calls.made += CHUNK_ROWS
        place = writer.did() or (AFTER_SWITCH if after_switch else UPKEEP)
        found[place].append(sample)
        after_switch = place == SWITCH
        if place == CLAIM:
            found[NOTHING].append(_timed_nothing())
    claimed = len(found[CLAIM]) + len(found[SWITCH])
    if claimed != records // CHUNK_ROWS * CHUNK_ROWS // LANE_ROWS:
        raise AssertionError(f"{claimed} lanes were claimed at chunks in {records} records")
    goals = GOALS_NANO if fp.core == "cython" else {}
    places = {
        place: {"goal": goals.get(place), **told(samples)}
        for place, samples in found.items()
        if samples
    }
    return {"core": fp.core, "places": places, **ours.check(calls)}


def _timed(number: int) -> tuple[int, int, int]:
    """One record of an error that was raised for it, as `timed` has it."""
    try:
        failures.pay(number)
    except failures.PaymentError as error:
        return timed(fp.record, error)
    raise AssertionError


def timed(record: Callable[[Exception], Any], error: Exception) -> tuple[int, int, int]:
    """One record: nanoseconds on the wall and of the processor, and how often preempted."""
    wall, own = time.perf_counter_ns, time.thread_time_ns
    before = resource.getrusage(_WHOSE).ru_nivcsw
    own_start, start = own(), wall()
    record(error)
    end, own_end = wall(), own()
    after = resource.getrusage(_WHOSE).ru_nivcsw
    return end - start, own_end - own_start, after - before


def _timed_nothing() -> tuple[int, int, int]:
    """What `timed` gives, of a loop that reads the clock until its time is over."""
    wall, own = time.perf_counter_ns, time.thread_time_ns
    before = resource.getrusage(_WHOSE).ru_nivcsw
    own_start, start = own(), wall()
    due = start + NOTHING_NANO
    while wall() < due:
        pass
    end, own_end = wall(), own()
    after = resource.getrusage(_WHOSE).ru_nivcsw
    return end - start, own_end - own_start, after - before


def told(samples: list[tuple[int, int, int]]) -> dict[str, Any]:
    """Quantiles of the wall, of records that were not preempted, and of the processor's time."""
    alone = [wall for wall, _, preempted in samples if not preempted]
    clocks = _clock_cost()
    return {
        "samples": len(samples),
        "preempted": len(samples) - len(alone),
        "wall": spread([wall for wall, _, _ in samples], clocks[0]),
        "not_preempted": spread(alone, clocks[0]) if alone else None,
        "own": spread([own for _, own, _ in samples], clocks[1]),
    }


def _clock_cost() -> tuple[float, float]:
    """What the two clocks, read as `timed` reads them, show of themselves."""
    wall, own = time.perf_counter_ns, time.thread_time_ns
    walls, owns = [], []
    for _ in range(1_000):
        own_start, start = own(), wall()
        end, own_end = wall(), own()
        walls.append(end - start)
        owns.append(own_end - own_start)
    return middle(walls), middle(owns)
