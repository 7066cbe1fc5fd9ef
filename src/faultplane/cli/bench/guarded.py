"""What a guarded call costs: one that succeeds, one that is rejected, and one that is tried again.

A function that is guarded gives the next number of an iterator, so that the number at the end says
how many calls, or tries, came through to it; of those that are tried again each third succeeds, and
a rejected one must be rejected each time. Afterwards what was measured is given failures: it has to
try them again, and to open where it has a breaker. Whoever guards functions can be measured:
``benchmarks/peers/guarded.py`` has what users would pick instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import count, repeat
from time import perf_counter_ns
from typing import Any, Final, NamedTuple, NoReturn, Self

import faultplane as fp
from faultplane import _backend
from faultplane.cli.bench.measure import (
    Block,
    Calls,
    Case,
    calling,
    looping,
    measure,
    with_own_code,
)
from faultplane.resilience.backoff import constant

SUCCEEDS: Final = "guarded call"
AWAITED: Final = "guarded call, awaited"
REJECTED: Final = "guarded call, rejected"
RETRIED: Final = "guarded call, two failures"
CASES: Final = (SUCCEEDS, AWAITED, REJECTED, RETRIED)
ATTEMPTS: Final = 3
FAILING_CALLS_MAX: Final = 3_000_000
"""So many failing calls must open a breaker whose window is full of calls that succeeded."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Guards(NamedTuple):
    """How somebody guards a function, in each way that he has; None where he has none.

    A call that fails is tried ``attempts`` times. One that is ``awaited`` and one that is
    ``retried`` is tried again at once, without any wait. What ``rejects`` opens for a long time
    with the first failures; each then raises ``rejection``, which is None where there is no
    breaker.
    """

    succeeds: Decorator | None
    awaited: Decorator | None
    rejects: Decorator | None
    retried: Decorator | None
    rejection: type[Exception] | None
    attempts: int = ATTEMPTS


class Failing:
    """An iterator that fails; ``tries`` counts how often."""

    def __init__(self) -> None:
        self.tries = 0

    def __next__(self) -> NoReturn:
        self.tries += 1
        raise ConnectionResetError(104, "Connection reset by peer")


# ----------------------------------------------------------------------- the functions, the blocks


def charge(numbers: Any) -> Any:
    """What is guarded: it gives the number of the call."""
    return next(numbers)


async def charge_awaited(numbers: Any) -> Any:
    """The same as a coroutine, which waits for nothing."""
    return next(numbers)


def charge_at_third(numbers: Any) -> Any:
    """What fails two times of three."""
    number = next(numbers)
    if number % ATTEMPTS != ATTEMPTS - 1:
        raise ConnectionResetError(104, "Connection reset by peer")
    return number


def _awaiting(
    loop: asyncio.AbstractEventLoop, function: Callable[..., Any], argument: Any
) -> Block:
    """A block that awaits ``function(argument)``; entering and leaving the loop are not timed."""

    async def calls_of(calls: int) -> int:
        times = repeat(None, calls)
        start = perf_counter_ns()
        for _ in times:
            await function(argument)
        return perf_counter_ns() - start

    run = with_own_code(calls_of)
    return lambda calls: int(loop.run_until_complete(run(calls)))


def _rejected(function: Callable[..., Any], argument: Any, rejection: type[Exception]) -> Block:
    """A block each call of which must be rejected; raising and catching that belongs to it."""

    def block(calls: int) -> int:
        times = repeat(None, calls)
        start = perf_counter_ns()
        for _ in times:
            try:
                function(argument)
            except rejection:
                pass
            else:
                raise AssertionError("a call was not rejected")
        return perf_counter_ns() - start

    checked: Block = with_own_code(block)
    return checked


# --------------------------------------------------------------------------------- the measured


class Guarded:
    """Every way of somebody's that is there, as ``cases``; `check` says whether it guarded.

    The floor of a call that succeeds is the bare one; of the others it is the loop around them, so
    that what a rejection or a failure costs by itself is theirs. A context manager, because it has
    an event loop for what is awaited.
    """

    def __init__(self, guards: Guards) -> None:
        self._guards = guards
        self._loop = asyncio.new_event_loop()
        self._numbers: dict[str, Iterator[int]] = {}
        self._calls: dict[str, Calls] = {}
        self._functions: dict[str, Callable[..., Any]] = {}
        self.cases: dict[str, Case] = {}
        if guards.succeeds is not None:
            function = self._guarded(SUCCEEDS, guards.succeeds, charge)
            block = calling(function, self._numbers[SUCCEEDS])
            self._add(SUCCEEDS, block, calling(with_own_code(charge), count()))
        if guards.awaited is not None:
            function = self._guarded(AWAITED, guards.awaited, charge_awaited)
            block = _awaiting(self._loop, function, self._numbers[AWAITED])
            floor = _awaiting(self._loop, with_own_code(charge_awaited), count())
            self._add(AWAITED, block, floor)
        if guards.rejects is not None and guards.rejection is not None:
            function = self._guarded(REJECTED, guards.rejects, charge)
            self._open(function)
            block = _rejected(function, self._numbers[REJECTED], guards.rejection)
            self._add(REJECTED, block, looping)
        if guards.retried is not None:
            function = self._guarded(RETRIED, guards.retried, charge_at_third)
            self._add(RETRIED, calling(function, self._numbers[RETRIED]), looping)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.close()

    def _guarded(self, name: str, guard: Decorator, function: Callable[..., Any]) -> Any:
        self._numbers[name] = count()
        self._functions[name] = guard(with_own_code(function))
        return self._functions[name]

    def _add(self, name: str, block: Block, floor: Block) -> None:
        self._calls[name] = Calls()
        self.cases[name] = Case(self._calls[name].counted(block), floor)

    def check(self) -> dict[str, int]:
        """Calls of each case; AssertionError unless what was measured is guarded."""
        tries = {SUCCEEDS: 1, AWAITED: 1, REJECTED: 0, RETRIED: ATTEMPTS}
        for name, calls in self._calls.items():
            came = next(self._numbers[name])
            if came != tries[name] * calls.made:
                raise AssertionError(f"{name}: {calls.made} calls, {came} tries")
        for name in (SUCCEEDS, AWAITED):
            if name in self._functions:
                self._fail(self._plain(name))
        return {name: calls.made for name, calls in self._calls.items()}

    def _plain(self, name: str) -> Callable[..., Any]:
        function = self._functions[name]
        if name != AWAITED:
            return function
        return lambda argument: self._loop.run_until_complete(function(argument))

    def _fail(self, function: Callable[..., Any]) -> None:
        """Have a call fail: it is tried as often as it says; then others, until it rejects."""
        failing, attempts = Failing(), self._guards.attempts
        self._is_rejected(function, failing)
        if failing.tries != attempts:
            raise AssertionError(f"a failure was tried {failing.tries} times, not {attempts}")
        if self._guards.rejection is not None:
            self._open(function)

    def _open(self, function: Callable[..., Any]) -> None:
        failing = Failing()
        for _ in range(FAILING_CALLS_MAX):
            if self._is_rejected(function, failing):
                return
        raise AssertionError(f"it did not open in {FAILING_CALLS_MAX:,} calls that failed")

    def _is_rejected(self, function: Callable[..., Any], failing: Failing) -> bool:
        """Whether a call is rejected without a try; it must fail in any case."""
        tries, rejection = failing.tries, self._guards.rejection
        expected = (ConnectionResetError, rejection) if rejection else (ConnectionResetError,)
        try:
            function(failing)
        except expected:
            return failing.tries == tries
        raise AssertionError("a call that failed gave an answer")


# -------------------------------------------------------------------------------------- our own


def guards() -> Guards:
    """Ours: a `Dependency` with retry, budget and breaker, each with its defaults where it may.

    What is retried without end has a budget that is never used up, and opens only if all fail.
    """
    retry = fp.Retry(attempts=ATTEMPTS, budget=fp.RetryBudget(), backoff=constant(0))
    endless = fp.RetryBudget(ratio=1.0, floor=60_000, capacity=60_000)
    at_once = fp.Retry(attempts=ATTEMPTS, budget=endless, backoff=constant(0))
    opens = fp.Breaker(failure_rate=None, consecutive=ATTEMPTS, open_for=86_400, open_max=86_400)
    long, never = fp.Breaker(window=86_400), fp.Breaker(failure_rate=1.0, window=86_400)
    return Guards(
        succeeds=fp.Dependency("bench.succeeds", retry=retry, breaker=long),
        awaited=fp.Dependency("bench.awaited", retry=retry, breaker=long),
        rejects=fp.Dependency("bench.rejects", retry=retry, breaker=opens),
        retried=fp.Dependency("bench.retried", retry=at_once, breaker=never),
        rejection=fp.errors.BreakerOpen,
    )


def run(rounds: int, *, domain: bool) -> dict[str, Any]:
    """What ours cost with the core of this process, in a ``domain`` or in the process alone."""
    if domain:
        fp.init(service="bench", domain="bench")
    with Guarded(guards()) as measured:
        timings = measure(measured.cases, rounds)
        calls = measured.check()
    if domain:
        check_shared(calls)
    return {
        "core": fp.core,
        "cases": {name: timing._asdict() for name, timing in timings.items()},
        "calls": calls,
    }


def check_shared(calls: dict[str, int]) -> None:
    """AssertionError unless other processes can read of every retry, rejection and failure."""
    with fp.attach("bench") as domain:
        rows = {row["name"]: row for row in domain.dependencies_rows()}
    retried, made = rows["bench.retried"], calls[RETRIED]
    told = {
        name: retried[name]
        for name in ("failures", "retries", "recovered", "budget_exhausted", "opened")
    }
    if list(told.values()) != [2 * made, 2 * made, made, 0, 0]:
        raise AssertionError(f"{made} calls were retried, and their totals are {told}")
    rejected = rows["bench.rejects"]["rejected"]
    if rejected != calls[REJECTED] + 1:  # and the one that it was found to reject by
        raise AssertionError(f"{calls[REJECTED]} calls were rejected, and the total is {rejected}")
    opened = [rows[f"bench.{name}"]["opened"] for name in ("succeeds", "awaited", "rejects")]
    if opened != [1, 1, 1]:
        raise AssertionError(f"each breaker opened once, and the totals are {opened}")
    failures, written = sum(row["failures"] for row in rows.values()), _written()
    if failures != written:
        raise AssertionError(f"{failures} failures, and {written} rows")


def _written() -> int:
    written: int = _backend.core.writer_state()["seq"]
    return written
