"""Hedges: another try of a coroutine that is slow, made while the first goes on.

Whichever answers first counts, and the others are cancelled. A hedge is a try like others: the
breaker and the limit have to let it through, and it takes a token of the retry budget, so that a
slow other side is not asked twice as much by everybody (Dean and Barroso, *The Tail at Scale*,
2013, whose hedged requests these are).
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from faultplane import control_schema as layout
from faultplane.errors import Rejected
from faultplane.resilience import testing_mode
from faultplane.resilience.deadline import late, time_left
from faultplane.resilience.guarded import without_frame
from faultplane.resilience.policy import SECONDS_MAX, number, whole

if TYPE_CHECKING:
    from faultplane.resilience.dependency import Dependency

_RETRIES: Final = layout.TOTALS.index("retries")
_FIRST: Final = asyncio.FIRST_COMPLETED
HEDGES_MAX: Final = 8
KEPT: Final = 256
"""Durations that a quantile is of: those of the last so many tries."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of how long tries take; made by `quantile`."""

    q: float
    least: float
    calls_min: int


def quantile(q: float, *, least: float = 0.005, calls_min: int = 20) -> Quantile:
    """How long ``q`` of the tries take (0.5 to 0.999), ``least`` seconds or longer.

    ``least`` is 0.001 to 86,400. Of the last 256 tries of this process: before there were
    ``calls_min`` (1 to 256), nothing is known, and there is no hedge. A try that was cancelled
    because another was faster counts as long as it had taken by then.

    >>> quantile(0.95).q
    0.95
    """
    return Quantile(
        number("q", q, 0.5, 0.999),
        number("least", least, 0.001, SECONDS_MAX),
        whole("calls_min", calls_min, 1, KEPT),
    )


@dataclass(frozen=True, slots=True)
class Hedge:
    """When a coroutine that has not answered is asked once more, and how often.

    ``after`` so many seconds (0.001 to 86,400), or a `quantile` of how long tries take, each time
    that nobody has answered for so long, ``most`` times at most (1 to 8). For calls that may be
    made twice. Which try answered first is what the call comes to: if it succeeded, others are
    cancelled; a failure waits for those under way.

    >>> Hedge(after=quantile(0.95)).most
    1
    """

    after: float | Quantile
    most: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers out of bounds."""
        if not isinstance(self.after, Quantile):
            object.__setattr__(self, "after", number("after", self.after, 0.001, SECONDS_MAX))
        whole("most", self.most, 1, HEDGES_MAX)


class Durations:
    """How long the last tries took, seconds."""

    __slots__ = ("_last", "_sorted")

    def __init__(self) -> None:
        self._last: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """One more; the one before the last 256 is forgotten."""
        if len(self._last) == KEPT:
            del self._sorted[bisect_left(self._sorted, self._last.popleft())]
        self._last.append(seconds)
        insort(self._sorted, seconds)

    def quantile(self, wanted: Quantile) -> float | None:
        """The quantile, by nearest rank; None where too few are known."""
        known = len(self._sorted)
        if known < wanted.calls_min:
            return None
        return max(self._sorted[min(int(wanted.q * known), known - 1)], wanted.least)


@dataclass(slots=True)
class _Try:
    """One of the tries that run at the same time. The first is told of by who began the call."""

    call: Any
    began: float
    error: BaseException | None = None


class Race:
    """The tries of a coroutine of one dependency: the first, and its hedges."""

    def __init__(self, dependency: Dependency, hedge: Hedge) -> None:
        self._dependency, self._hedge = dependency, hedge
        self._durations = Durations()

    async def run(
        self, call: Any, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """Run a try that was let through as ``call``, and hedges of it where it is slow.

        What it returns or raises is what the try comes to. Where a hedge was faster, ``call`` has
        been told so.
        """
        delay, hedges = self._delay(), self._most()
        began = time.monotonic()
        try:
            if delay is None or hedges == 0:
                answer = await function(*args, **kwargs)
                self._durations.add(time.monotonic() - began)
                return answer
            return await self._raced(call, lambda: function(*args, **kwargs), delay, hedges)
        except BaseException as error:
            without_frame(error)
            raise

    async def _raced(
        self, call: Any, function: Callable[[], Any], delay: float, hedges: int
    ) -> Any:
        first = _Try(call, time.monotonic())
        tries = {asyncio.ensure_future(function()): first}
        try:
            while tries:
                wait = delay if hedges else None
                done, _ = await asyncio.wait(tries, timeout=wait, return_when=_FIRST)
                if not done:
                    extra = self._begin(call.attempt + 1)
                    hedges = 0 if extra is None else hedges - 1
                    if extra is not None:
                        tries[_started(extra, function)] = _Try(extra, time.monotonic())
                for task in sorted(done, key=lambda one: tries[one] is not first):
                    if await self._ended(task, tries, first):
                        return task.result()
            assert first.error is not None
            raise first.error
        except GeneratorExit:
            _abandon(tries, first)  # whoever is closed can wait for nothing
            raise
        except BaseException as error:
            without_frame(error)
            raise
        finally:
            await _cancel(tries, first)

    async def _ended(
        self, task: asyncio.Future[Any], tries: dict[asyncio.Future[Any], _Try], first: _Try
    ) -> bool:
        """Whether a try that is over has answered; all is told then, and nothing under way."""
        its = tries.pop(task)
        its.error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if its.error is not None:
            if its is not first:
                its.call.failed(late(its.error), last=True)
            return False
        self._durations.add(time.monotonic() - its.began)
        if its is first:
            return True
        its.call.succeeded()
        if first.error is not None:
            first.call.failed(late(first.error), last=True)
            return True
        self._durations.add(time.monotonic() - first.began)
        await _cancel(tries, first)
        first.call.ignored()
        return True

    def _delay(self) -> float | None:
        after = self._hedge.after
        return self._durations.quantile(after) if isinstance(after, Quantile) else after

    def _most(self) -> int:
        """Hedges that there may be, as far as tests leave them."""
        mode = testing_mode.current
        return self._hedge.most if mode.active and mode.attempts is None else 0

    def _begin(self, attempt: int) -> Any:
        """A hedge that was let through and is paid for; None where there is none."""
        left = time_left()
        if left is not None and left <= 0:
            return None
        cell, retry = self._dependency.cell, self._dependency.retry
        has_budget = retry is not None and retry.budget is not None
        if has_budget and not cell.hold():
            return None
        try:
            extra = self._dependency.guard.begin(attempt)
        except BaseException as error:
            if has_budget:
                cell.let_go()
            if isinstance(error, Rejected):
                return None
            raise
        if has_budget:
            if not cell.send():
                extra.ignored()
                return None
        else:
            cell.total(_RETRIES)
        return extra


def _started(call: Any, function: Callable[[], Any]) -> asyncio.Future[Any]:
    """A hedge, which runs, or has failed where the function raises before there is a coroutine."""
    try:
        task: asyncio.Future[Any] = asyncio.ensure_future(function())
    except Exception as error:  # noqa: BLE001 - whatever it is, the first try may still answer
        task = asyncio.get_running_loop().create_future()
        task.set_exception(error)
    except BaseException:
        call.ignored()
        raise
    return task


def _abandon(tries: dict[asyncio.Future[Any], _Try], first: _Try) -> None:
    """Cancel what is under way without waiting for it."""
    for task, its in tries.items():
        task.cancel()
        if its is not first:
            its.call.ignored()
    tries.clear()


async def _cancel(tries: dict[asyncio.Future[Any], _Try], first: _Try) -> None:
    """Cancel what is under way, and wait for it: nothing of a call goes on behind it."""
    for task in tries:
        task.cancel()
    again: BaseException | None = None
    while tries:
        try:
            done, _ = await asyncio.wait(tries)
        except asyncio.CancelledError as error:
            again = error  # they are being cancelled already
            continue
        except GeneratorExit:
            _abandon(tries, first)
            raise
        for task in done:
            its = tries.pop(task)
            failed = task.cancelled() or task.exception() is not None
            if its is not first:
                its.call.ignored() if failed else its.call.succeeded()
    if again is not None:
        raise again
