"""Timing of small calls: blocks of each case in turn, so that a noisy moment hits all alike.

Every case has a floor, the same loop without what is measured, timed in the same rounds: what is
left of their difference is the call, as it stands in an application's handler.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from itertools import repeat
from types import FunctionType
from typing import Any, Final, NamedTuple, TypeVar, cast

from faultplane import _backend
from faultplane.cli.bench.failures import Fail
from faultplane.errors import FaultplaneError

BLOCK_NANO: Final = 1_000_000
"""Longest block aimed at: shorter than a slice of the scheduler, so that most run undisturbed."""
CALLS_MAX: Final = 200
"""Fewer than the rows of a lane, so that many blocks claim none: the price in a warm lane."""

Function = TypeVar("Function", bound=Callable[..., Any])
Block = Callable[[int], int]
"""Takes a number of calls, gives the nanoseconds they took."""


class Case(NamedTuple):
    """What is measured, and the same loop without it."""

    block: Block
    floor: Block


class Timing(NamedTuple):
    """Nanoseconds of one call.

    ``minimum`` is ``whole``, the least of all blocks, less ``floor``, the least of all floors;
    ``median`` is that of the differences of each round. ``calls`` are those of a block.
    """

    minimum: float
    median: float
    whole: float
    floor: float
    calls: int


class Calls:
    """Counts the calls of blocks, so that they can be held against what was recorded."""

    def __init__(self) -> None:
        self.made = 0

    def counted(self, block: Block) -> Block:
        """The same block, its calls counted."""

        def counting(calls: int) -> int:
            self.made += calls
            return block(calls)

        return counting


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


def with_own_code(block: Function) -> Function:
    """The function with byte code of its own.

    The interpreter specializes each call for what it calls. Blocks that shared their code would
    undo that for each other, and a call in an application's handler has a place of its own.
    """
    function = cast("FunctionType", block)
    code = function.__code__.replace()
    copied = FunctionType(code, function.__globals__, code.co_name, None, function.__closure__)
    return cast("Function", copied)


def handling(fail: Fail, record: Callable[[Exception], Any]) -> Block:
    """A block that calls ``fail`` and hands what it raises to ``record``."""
    first = 0

    def block(calls: int) -> int:
        nonlocal first
        first += calls
        start = time.perf_counter_ns()
        for number in range(first, first + calls):
            try:
                fail(number)
            except Exception as error:  # noqa: BLE001 - what ``fail`` raises
                record(error)
        return time.perf_counter_ns() - start

    return with_own_code(block)


def catching(fail: Fail) -> Block:
    """The floor of `handling`: a block that calls ``fail`` and catches what it raises."""
    first = 0

    def block(calls: int) -> int:
        nonlocal first
        first += calls
        start = time.perf_counter_ns()
        for number in range(first, first + calls):
            try:
                fail(number)
            except Exception as error:  # noqa: BLE001, F841, S110 - bound as for a call
                pass
        return time.perf_counter_ns() - start

    return with_own_code(block)


def calling(function: Callable[[Any], Any], argument: Any) -> Block:
    """A block that calls ``function(argument)``."""

    def block(calls: int) -> int:
        times = repeat(None, calls)
        start = time.perf_counter_ns()
        for _ in times:
            function(argument)
        return time.perf_counter_ns() - start

    return with_own_code(block)


def calling_nothing(function: Callable[[], Any]) -> Block:
    """A block that calls ``function()``."""

    def block(calls: int) -> int:
        times = repeat(None, calls)
        start = time.perf_counter_ns()
        for _ in times:
            function()
        return time.perf_counter_ns() - start

    return with_own_code(block)


def looping(calls: int) -> int:
    """The floor of a block that raises nothing: what the loop itself costs."""
    times = repeat(None, calls)
    start = time.perf_counter_ns()
    for _ in times:
        pass
    return time.perf_counter_ns() - start


class Rounds:
    """Rounds of cases, a block of each in turn, and what they took so far."""

    def __init__(self, cases: dict[str, Case]) -> None:
        self._cases = cases
        self._calls = {name: _calls(case.block) for name, case in cases.items()}
        self._spent: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        gc.collect()

    def one_more(self) -> dict[str, tuple[float, float]]:
        """Nanoseconds of a call of each case and of its floor, in one more round."""
        for name, (block, floor) in self._cases.items():
            number = self._calls[name]
            empty = floor(number) / number
            block(number // 10)  # not timed: brings back what the other cases put out of caches
            self._spent[name].append((block(number) / number, empty))
        return {name: pairs[-1] for name, pairs in self._spent.items()}

    def timings(self) -> dict[str, Timing]:
        """Timing of every case over the rounds so far, at least one."""
        return {name: timing(pairs, self._calls[name]) for name, pairs in self._spent.items()}


def measure(cases: dict[str, Case], rounds: int) -> dict[str, Timing]:
    """Timing of every case, over ``rounds`` interleaved rounds."""
    found = Rounds(cases)
    for _ in range(rounds):
        found.one_more()
    return found.timings()


def timing(pairs: Sequence[tuple[float, float]], calls: int) -> Timing:
    """The timing of a case, of (block, floor) a call in each round."""
    whole, floor = (min(values) for values in zip(*pairs, strict=True))
    median = middle([block - empty for block, empty in pairs])
    return Timing(max(whole - floor, 0.0), max(median, 0.0), whole, floor, calls)


def better(known: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """One timing of two turns: the lesser block and the lesser floor, whichever turn had them.

    The difference of a single turn would be least where its floor was disturbed most.
    """
    whole, floor = min(known["whole"], other["whole"]), min(known["floor"], other["floor"])
    lesser = min(known, other, key=lambda timing: timing["median"])
    return {**lesser, "minimum": max(whole - floor, 0.0), "whole": whole, "floor": floor}


def _calls(block: Block) -> int:
    """How many calls make a block; calls a case a few times to warm it."""
    block(3)
    one = min(block(10) for _ in range(5)) / 10
    return int(min(max(BLOCK_NANO / max(one, 1.0), 1), CALLS_MAX))


def middle(values: Sequence[float]) -> float:
    """The median."""
    return sorted(values)[len(values) // 2]


def quantile(ordered: Sequence[int], share: float) -> int:
    """The smallest of the sorted values that at least ``share`` of them do not exceed."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def spread(spent: Sequence[int], own: float = 0) -> dict[str, float]:
    """Quantiles and maximum of single calls, net of what the clock took (``own``)."""
    ordered = sorted(spent)
    shares = (50, 99, 99.9, 99.99)
    return {
        **{f"p{share:g}": quantile(ordered, share / 100) - own for share in shares},
        "maximum": ordered[-1] - own,
    }
