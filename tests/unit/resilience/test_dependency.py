"""`Dependency`: what is tried again, what is not made, what users see, and what is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import threading
import time
import traceback
import types
from typing import Any

import pytest

import faultplane as fp
from faultplane import schema
from faultplane.errors import BreakerOpen, LimitExceeded
from faultplane.resilience.backoff import constant, full_jitter
from faultplane.resilience.clock import Clock
from faultplane.resilience.deadline import deadline, time_left
from faultplane.resilience.dependency import Dependency
from faultplane.resilience.policy import Breaker, Bulkhead, Retry, RetryBudget

NOW = constant(0)


class Recorded(Clock):
    """A clock that waits for nobody, and keeps what it was asked to."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def sleep_async(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)


def guarded_everywhere(dependency: Dependency, function: Any) -> dict[str, Any]:
    """Ways to call a plain function through a dependency, each without arguments."""

    async def coroutine() -> Any:
        return function()

    def with_attempts() -> Any:
        for attempt in dependency.attempts():
            with attempt:
                return function()
        return None

    async def with_attempts_async() -> Any:
        async for attempt in dependency.attempts():
            async with attempt:
                return function()
        return None

    return {
        "decorated": dependency(function),
        "call": lambda: dependency.call(function),
        "coroutine": lambda: asyncio.run(dependency(coroutine)()),
        "acall": lambda: asyncio.run(dependency.acall(coroutine)),
        "attempts": with_attempts,
        "attempts_async": lambda: asyncio.run(with_attempts_async()),
    }


WAYS = ("decorated", "call", "coroutine", "acall", "attempts", "attempts_async")


# -------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize("way", WAYS)
def test_a_failure_is_tried_again_until_it_succeeds(way, name, fails, seen):
    function = fails(TimeoutError("one"), ConnectionResetError("two"))
    dependency = Dependency(name, retry=Retry(attempts=3, backoff=NOW), breaker=Breaker())
    assert guarded_everywhere(dependency, function)[way]() == "answer"
    assert function.calls == 3
    totals = seen(dependency).totals
    assert (totals["failures"], totals["retries"], totals["recovered"]) == (2, 2, 1)


@pytest.mark.parametrize("way", WAYS)
def test_the_last_error_is_raised_with_its_traceback(way, name, fails, seen):
    errors = [TimeoutError(str(n)) for n in range(3)]
    function = fails(*errors)
    dependency = Dependency(name, retry=Retry(attempts=3, backoff=NOW))
    with pytest.raises(TimeoutError) as raised:
        guarded_everywhere(dependency, function)[way]()
    assert raised.value is errors[-1]
    assert function.calls == 3
    assert raised.value.__context__ is None and raised.value.__cause__ is None
    assert seen(dependency).totals["gave_up"] == 1
    names = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert names[-1] == "call"
    ours = os.sep + "faultplane" + os.sep
    files = [frame.filename for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert not [file for file in files if ours in file and "tests" not in file]


@pytest.mark.parametrize("way", WAYS)
def test_what_classification_does_not_call_retryable_is_raised_at_once(way, name, fails):
    function = fails(ValueError("wrong"))
    dependency = Dependency(name, retry=Retry(attempts=3, backoff=NOW))
    with pytest.raises(ValueError, match="wrong"):
        guarded_everywhere(dependency, function)[way]()
    assert function.calls == 1


@pytest.mark.parametrize("on", [ValueError, (KeyError, ValueError), lambda e: "again" in str(e)])
@pytest.mark.parametrize("way", WAYS)
def test_on_says_what_is_tried_again(way, on, name, fails):
    function = fails(ValueError("again"))
    dependency = Dependency(name, retry=Retry(attempts=2, backoff=NOW, on=on))
    assert guarded_everywhere(dependency, function)[way]() == "answer"
    other = fails(TimeoutError("once"))
    with pytest.raises(TimeoutError):
        guarded_everywhere(dependency, other)[way]()
    assert other.calls == 1


@pytest.mark.parametrize("way", WAYS)
def test_waits_are_the_backoffs_and_a_zero_delay_never_sleeps(way, name, fails):
    clock = Recorded()
    slow = Dependency(name, retry=Retry(attempts=3, backoff=constant(1.5)), clock=clock)
    guarded_everywhere(slow, fails(TimeoutError(), TimeoutError()))[way]()
    assert clock.waits == [1.5, 1.5]
    clock.waits.clear()
    fast = Dependency(f"{name}-fast", retry=Retry(attempts=3, backoff=NOW), clock=clock)
    guarded_everywhere(fast, fails(TimeoutError(), TimeoutError()))[way]()
    assert clock.waits == []


@pytest.mark.parametrize("way", WAYS)
def test_what_the_other_side_asks_for_is_waited_up_to_a_bound(way, name, fails):
    class Throttled(Exception):
        pass

    @fp.rule(Throttled)
    def throttled(error):
        return fp.Classification("RateLimit", retryable=True, retry_after=float(error.args[0]))

    clock = Recorded()
    retry = Retry(attempts=2, backoff=constant(1), wait_max=10)
    dependency = Dependency(name, retry=retry, clock=clock)
    try:
        guarded_everywhere(dependency, fails(Throttled(3)))[way]()
        assert clock.waits == [3.0]
        guarded_everywhere(dependency, fails(Throttled(11)))[way]()
        assert clock.waits == [3.0, 10.0]
        with pytest.raises(Throttled), deadline(5):
            guarded_everywhere(dependency, fails(Throttled(11)))[way]()
        assert clock.waits == [3.0, 10.0]
    finally:
        fp.unregister_rule(throttled)


@pytest.mark.parametrize("way", WAYS)
def test_no_retry_begins_past_the_deadline(way, name, fails):
    clock = Recorded()
    dependency = Dependency(name, retry=Retry(attempts=3, backoff=constant(5)), clock=clock)
    function = fails(TimeoutError("late"))
    ways = guarded_everywhere(dependency, function)
    with pytest.raises(TimeoutError, match="late"), deadline(2):
        ways[way]()
    assert function.calls == 1 and clock.waits == []


def test_a_deadline_of_a_dependency_is_seen_inside_and_ends_with_the_call(name):
    @Dependency(name, deadline=5.0)
    def left():
        return time_left()

    assert 4 < left() <= 5
    assert time_left() is None


def test_a_coroutine_is_cancelled_at_its_deadline_and_at_its_timeout(name, seen):
    async def hang():
        await asyncio.sleep(60)

    late = Dependency(name, deadline=0.02, breaker=Breaker())
    with pytest.raises(TimeoutError):
        asyncio.run(late(hang)())
    slow = Dependency(f"{name}-slow", timeout=0.01, retry=Retry(attempts=2, backoff=NOW))
    with pytest.raises(TimeoutError):
        asyncio.run(slow(hang)())
    totals = seen(slow).totals
    assert (totals["timeouts"], totals["failures"], totals["retries"]) == (2, 2, 1)


def test_each_failure_is_recorded_once_with_the_number_of_its_try(name, fails):
    dependency = Dependency(name, retry=Retry(attempts=3, backoff=NOW))
    with pytest.raises(TimeoutError):
        dependency(fails(TimeoutError("a"), TimeoutError("b"), TimeoutError("c")))()
    with fp.init() as domain:
        table = domain.records().to_pyarrow()
        rows = table.select(["operation", "attempt", "flags"]).to_pylist()
    mine = [row for row in rows if row["operation"] == name]
    assert [row["attempt"] for row in mine] == [0, 1, 2]
    assert [bool(row["flags"] & 1) for row in mine] == [True, True, False]


def test_an_error_that_leaves_a_block_is_recorded_as_what_nobody_handled(name, seen):
    """Though the policy would have tried it again: a block is tried once."""
    dependency = Dependency(name, retry=Retry(attempts=3, backoff=NOW, budget=RetryBudget()))
    with pytest.raises(TimeoutError), dependency:
        raise TimeoutError("a")

    @dependency
    def numbers():
        yield 1
        raise TimeoutError("b")

    with pytest.raises(TimeoutError):
        list(numbers())
    with fp.init() as domain:
        rows = domain.records().to_pyarrow().select(["operation", "flags"]).to_pylist()
    handled = [row["flags"] & schema.FLAG_HANDLED for row in rows if row["operation"] == name]
    assert handled == [0, 0]
    state = seen(dependency)
    assert (state.totals["failures"], state.totals["retries"], state.totals["gave_up"]) == (2, 0, 0)
    assert state.tokens_held == 0


# ---------------------------------------------------------------------------- control flow


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("way", ["decorated", "call", "attempts"])
def test_what_ends_a_program_passes_untouched(way, kind, name, fails, seen):
    error = kind()
    function = fails(error)
    retry = Retry(attempts=3, backoff=NOW, on=BaseException)
    dependency = Dependency(name, retry=retry, breaker=Breaker(consecutive=1), limit=5)
    with pytest.raises(kind) as raised:
        guarded_everywhere(dependency, function)[way]()
    assert raised.value is error and function.calls == 1
    state = seen(dependency)
    assert (state.totals["ignored"], state.totals["failures"], state.permits) == (1, 0, 0)


def steps_in_a_task(make: Any, at: int) -> int | None:
    """The same as a part of a task: what bounds time asks for one."""

    async def within() -> int | None:
        return steps(make, at)

    return asyncio.run(within())


def steps(make: Any, at: int) -> int | None:
    """Drive a coroutine, and cancel it at its ``at``-th await; None when it ended before."""
    coroutine = make()
    try:
        for step in range(10_000):
            if step == at:
                coroutine.throw(asyncio.CancelledError())
            else:
                coroutine.send(None)
    except StopIteration:
        return None
    except asyncio.CancelledError:
        return at
    raise AssertionError("it never ends")


@types.coroutine
def pause():
    yield


class Pausing(Clock):
    """Waits are one step of a coroutine."""

    async def sleep_async(self, seconds: float) -> None:
        await pause()


class Freeing(Pausing):
    """The third wait is for a permit, which comes free then."""

    def __init__(self) -> None:
        self.waits, self.held = 0, None

    async def sleep_async(self, seconds: float) -> None:
        await pause()
        self.waits += 1
        if self.waits == 3 and self.held is not None:
            self.held.succeeded()


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("shape", ["coroutine", "attempts", "block", "generator"])
def test_cancellation_at_every_await_leaves_nothing_behind(shape, bounded, name, seen):
    """Bounded: also while it waits for a permit, with a deadline and a timeout around it."""
    budget = RetryBudget(ratio=0, floor=0, capacity=1000)
    clock = Freeing()
    bounds: dict[str, Any] = {"limit": Bulkhead(10)}
    if bounded:
        bounds = {"limit": Bulkhead(1, wait_max=60), "deadline": 60.0}
        bounds |= {} if shape == "generator" else {"timeout": 30.0}
    dependency = Dependency(
        name,
        retry=Retry(attempts=4, backoff=full_jitter(1, 2), budget=budget),
        breaker=Breaker(failure_rate=1.0, probe_timeout=100),
        clock=clock,
        **bounds,
    )

    def answers():
        return iter([TimeoutError(), TimeoutError(), None])

    async def once(left):
        await pause()
        await pause()
        if (error := next(left)) is not None:
            raise error

    async def with_attempts(left):
        async for attempt in dependency.attempts():
            async with attempt:
                await once(left)

    async def with_block(_left):
        async with dependency:
            await pause()

    async def values(_left):
        yield 1
        await pause()
        yield 2

    async def with_generator(left):
        async for _ in dependency(values)(left):
            await pause()

    made = {
        "coroutine": dependency(once),
        "attempts": with_attempts,
        "block": with_block,
        "generator": with_generator,
    }[shape]
    drive = steps_in_a_task if bounded else steps
    cancelled, is_over = 0, False
    while not is_over:
        if bounded:
            clock.waits, clock.held = 0, dependency.guard.begin()
        is_over = drive(lambda: made(answers()), cancelled) is None
        cancelled += not is_over
        gc.collect()  # an asynchronous generator that nobody closes any more
        if bounded:
            clock.held.succeeded()
        state = seen(dependency)
        assert (state.permits, state.probes, state.tokens_held) == (0, 0, 0), cancelled
    assert cancelled >= (1 if shape == "block" else 3) + 3 * bounded
    assert time_left() is None


# ------------------------------------------------------------------------------------ rejection


def opened(name: str, **options: Any) -> Dependency:
    dependency = Dependency(name, breaker=Breaker(consecutive=1, open_for=60), **options)
    with pytest.raises(TimeoutError):
        dependency.call(_time_out)
    return dependency


def _time_out(*_: Any) -> None:
    raise TimeoutError("no answer")


@pytest.mark.parametrize("way", WAYS)
def test_an_open_breaker_makes_no_call(way, name, fails, seen):
    dependency = opened(name)
    function = fails()
    with pytest.raises(BreakerOpen) as raised:
        guarded_everywhere(dependency, function)[way]()
    assert function.calls == 0 and dependency.state == "open"
    assert raised.value.dependency == name and 0 < raised.value.retry_after <= 60
    assert name in str(raised.value)
    assert seen(dependency).totals["rejected"] == 1
    assert isinstance(pickle.loads(pickle.dumps(raised.value)), BreakerOpen)


@pytest.mark.parametrize("way", WAYS)
def test_a_retry_that_is_rejected_raises_what_came_before(way, name, fails, seen):
    dependency = Dependency(
        name, retry=Retry(attempts=5, backoff=NOW), breaker=Breaker(consecutive=2, open_for=60)
    )
    errors = [TimeoutError("one"), TimeoutError("two"), TimeoutError("three")]
    errors[1].__context__ = KeyError("as it was")
    function = fails(*errors)
    with pytest.raises(TimeoutError, match="two") as raised:
        guarded_everywhere(dependency, function)[way]()
    assert function.calls == 2
    assert isinstance(raised.value.__context__, KeyError)
    assert not raised.value.__suppress_context__
    assert seen(dependency).totals["retries"] == 1  # what was rejected went nowhere


@pytest.mark.parametrize("way", WAYS)
def test_an_exhausted_budget_ends_the_tries(way, name, fails, seen):
    budget = RetryBudget(ratio=0, floor=0, capacity=2)
    dependency = Dependency(name, retry=Retry(attempts=10, backoff=NOW, budget=budget))
    function = fails(*[TimeoutError(str(n)) for n in range(5)])
    with pytest.raises(TimeoutError, match="2"):
        guarded_everywhere(dependency, function)[way]()
    assert function.calls == 3
    state = seen(dependency)
    assert (state.totals["retries"], state.totals["budget_exhausted"]) == (2, 1)
    assert state.tokens == 0 and state.tokens_held == 0


def test_a_limit_holds_over_threads_and_permits_come_back(name, seen):
    dependency = Dependency(name, limit=2)
    inside, leave = threading.Semaphore(0), threading.Event()

    @dependency
    def hold():
        inside.release()
        leave.wait(20)

    threads = [threading.Thread(target=hold) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert inside.acquire(timeout=20)
    assert seen(dependency).permits == 2
    with pytest.raises(LimitExceeded, match="under way"):
        hold()
    leave.set()
    for thread in threads:
        thread.join()
    hold()
    assert seen(dependency).permits == 0


def test_a_call_waits_for_a_permit_as_long_as_it_may(name):
    dependency = Dependency(name, limit=Bulkhead(1, wait_max=20))
    with dependency:
        other = threading.Thread(target=dependency(lambda: None))
        other.start()
        time.sleep(0)
    other.join(20)
    assert not other.is_alive()
    short = Dependency(f"{name}-short", limit=Bulkhead(1, wait_max=0.01))
    with short, pytest.raises(LimitExceeded):
        short.call(lambda: None)

    async def waits():
        async with dependency:
            later = asyncio.create_task(dependency.acall(asyncio.sleep, 0))
            await asyncio.sleep(0.01)
        await later

    asyncio.run(waits())


def test_a_fallback_answers_for_failures_and_rejections(name, seen):
    def stale(error, order):
        return f"{type(error).__name__} {order}"

    dependency = Dependency(name, breaker=Breaker(consecutive=1, open_for=60), fallback=stale)
    assert dependency.call(_time_out, "A-1") == "TimeoutError A-1"
    assert dependency.call(_time_out, "A-2") == "BreakerOpen A-2"

    async def fail(order):
        raise TimeoutError

    async def later(error, order):
        return f"later {order}"

    waiting = Dependency(f"{name}-async", fallback=later)
    assert asyncio.run(waiting(fail)("A-3")) == "later A-3"
    assert seen(dependency).totals["fallbacks"] == 2

    def refused(order):
        raise ValueError("not the other side's failure")

    plain = Dependency(f"{name}-refused", fallback=stale)
    fp.classify(ValueError())
    if fp.classify(ValueError()).counts_as != "failure":
        with pytest.raises(ValueError, match="not the other"):
            plain.call(refused, "A-4")


# ----------------------------------------------------------------------------------- recovering


def test_probes_close_it_and_a_failed_one_opens_it_for_longer(name, seen):
    breaker = Breaker(consecutive=1, probes=2, open_for=0.01, open_factor=2.0)
    dependency = Dependency(name, breaker=breaker)
    with pytest.raises(TimeoutError):
        dependency.call(_time_out)

    def when_half_open(function):
        deadline_at = time.monotonic() + 20
        while time.monotonic() < deadline_at:
            try:
                return function()
            except BreakerOpen:
                time.sleep(0.002)
        raise AssertionError("it stays open")

    with pytest.raises(TimeoutError):
        when_half_open(lambda: dependency.call(_time_out))
    assert dependency.state == "open"
    when_half_open(lambda: dependency.call(lambda: None))
    assert dependency.state == "half-open"
    dependency.call(lambda: None)
    assert dependency.state == "closed"
    moves = [(one.before, one.after, one.cause) for one in seen(dependency).transitions]
    assert moves == [
        ("closed", "open", "failures in a row"),
        ("open", "half-open", "open time over"),
        ("half-open", "open", "probe failed"),
        ("open", "half-open", "open time over"),
        ("half-open", "closed", "probes succeeded"),
    ]


def test_slow_calls_open_it(name, seen):
    breaker = Breaker(
        failure_rate=None, slow_call=0.000_001, slow_rate=0.5, calls_min=3, open_for=60
    )
    dependency = Dependency(name, breaker=breaker)
    for _ in range(3):
        dependency.call(time.sleep, 0.001)
    assert dependency.state == "open"
    assert seen(dependency).transitions[-1].cause == "slow call rate"


@pytest.mark.parametrize("window", [{"window": 60.0}, {"window_calls": 10}])
def test_the_failure_rate_counts_from_a_number_of_calls_on(name, window):
    breaker = Breaker(failure_rate=0.5, calls_min=4, open_for=60, **window)
    dependency = Dependency(name, breaker=breaker)
    for function in (_time_out, lambda: None, lambda: None):
        try:
            dependency.call(function)
        except TimeoutError:
            assert dependency.state == "closed"
    assert dependency.state == "closed"
    with pytest.raises(TimeoutError):
        dependency.call(_time_out)
    assert dependency.state == "open"


# -------------------------------------------------------------------------------- many threads


def test_sixty_four_threads_leave_exact_counts(name, seen):
    dependency = Dependency(
        name,
        retry=Retry(attempts=2, backoff=NOW),
        breaker=Breaker(failure_rate=1.0, calls_min=1_000_000),
        limit=1000,
    )
    each = 50

    @dependency
    def sometimes(n):
        if n % 5 == 0:
            raise TimeoutError
        return n

    def work():
        for n in range(each):
            try:
                sometimes(n)
            except TimeoutError:
                continue

    threads = [threading.Thread(target=work) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = seen(dependency)
    failures = 64 * (each // 5) * 2
    assert state.totals["failures"] == failures == state.failures
    assert state.calls == failures + 64 * (each - each // 5)
    assert (state.permits, state.totals["retries"]) == (0, failures // 2)
