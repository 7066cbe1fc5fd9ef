"""Timing of small calls: blocks of each case in turn, so that a noisy moment hits all alike."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple

from faultplane import _backend
from faultplane.errors import FaultplaneError

BLOCK_NANO: Final = 1_000_000
"""Longest block aimed at: shorter than a slice of the scheduler, so that most run undisturbed."""
CALLS_MAX: Final = 400
"""Fewer than the rows of a lane, so that many blocks claim none: the price in a warm lane."""

Block = Callable[[int], int]
"""Takes a number of calls, gives the nanoseconds they took."""


def refuse_debug_build() -> None:
    """Raise FaultplaneError when this process's core was built checked: its figures mislead."""
    module = getattr(_backend.core, "record", None)
    path = getattr(sys.modules.get(f"{_backend.core.__name__}.record", module), "__file__", "")
    if not path or not path.endswith(".so"):
        return
    with open(path, "rb") as file:
        # Release builds carry no debugging sections, checked ones do.
        if b"\0.debug_info\0" in file.read():
            raise FaultplaneError(f"a benchmark needs a release build, {path} is a checked one")


class Timing(NamedTuple):
    """Nanoseconds of one call: minimum and median over rounds, and what a block's calls were."""

    minimum: float
    median: float
    calls: int


def calling(function: Callable[[Any], Any], argument: Any) -> Block:
    """A block that calls ``function(argument)``."""

    def block(calls: int) -> int:
        times = repeat(None, calls)
        start = time.perf_counter_ns()
        for _ in times:
            function(argument)
        return time.perf_counter_ns() - start

    return block


def calling_nothing(function: Callable[[], Any]) -> Block:
    """A block that calls ``function()``."""

    def block(calls: int) -> int:
        times = repeat(None, calls)
        start = time.perf_counter_ns()
        for _ in times:
            function()
        return time.perf_counter_ns() - start

    return block


def empty_loop(calls: int) -> int:
    """A block that calls nothing: what the loop itself costs."""
    times = repeat(None, calls)
    start = time.perf_counter_ns()
    for _ in times:
        pass
    return time.perf_counter_ns() - start


def measure(cases: dict[str, Block], rounds: int) -> dict[str, Timing]:
    """Timing of every case, net of the loop, over ``rounds`` interleaved rounds."""
    calls = {name: _calls(block) for name, block in cases.items()}
    found: dict[str, list[float]] = {name: [] for name in cases}
    loops = []
    gc.collect()
    for _ in range(rounds):
        loops.append(empty_loop(CALLS_MAX) / CALLS_MAX)
        for name, block in cases.items():
            found[name].append(block(calls[name]) / calls[name])
    net = min(loops)
    return {
        name: Timing(max(min(times) - net, 0.0), max(middle(times) - net, 0.0), calls[name])
        for name, times in found.items()
    }


def _calls(block: Block) -> int:
    """How many calls make a block; calls a case a few times to warm it."""
    block(3)
    one = block(10) / 10
    return int(min(max(BLOCK_NANO / max(one, 1.0), 1), CALLS_MAX))


def middle(values: Sequence[float]) -> float:
    """The median."""
    return sorted(values)[len(values) // 2]


def quantile(values: Sequence[int], share: float) -> int:
    """The smallest value that at least ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
