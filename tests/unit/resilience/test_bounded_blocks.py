"""Deadline and timeout of what is no function: blocks, attempts and generators."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import traceback

import pytest

from faultplane.errors import InvalidSetting
from faultplane.resilience.backoff import constant
from faultplane.resilience.deadline import deadline, time_left
from faultplane.resilience.dependency import Dependency, _blocks
from faultplane.resilience.policy import Breaker, Bulkhead, Retry
from faultplane.testing import FakeClock

NOW = constant(0)
OURS = f"{os.sep}faultplane{os.sep}"


async def forever():
    await asyncio.Event().wait()


async def in_block(dependency, made=forever):
    async with dependency:
        return await made()


async def in_attempts(dependency, made=forever):
    async for attempt in dependency.attempts():
        async with attempt:
            return await made()
    return None


async def in_generator(dependency, made=forever):
    @dependency
    async def values():
        yield await made()

    return [value async for value in values()]


SHAPES = {"block": in_block, "attempts": in_attempts, "generator": in_generator}


# ---------------------------------------------------------------------------------- deadlines


async def in_call(dependency):
    return await dependency.acall(forever)


@pytest.mark.parametrize("shape", [*SHAPES.values(), in_call])
def test_what_is_cancelled_at_its_deadline_says_so(shape, name):
    with pytest.raises(TimeoutError, match=r"^cancelled at its deadline$"):
        asyncio.run(shape(Dependency(name, deadline=0.01)))


@pytest.mark.parametrize(
    ("shape", "hedge"), [(in_block, None), (in_attempts, None), (in_call, None), (in_call, 0.001)]
)
def test_what_is_cancelled_at_its_timeout_says_how_long_that_is(shape, hedge, name):
    with pytest.raises(TimeoutError, match=r"^no answer within its timeout of 0\.01 s$"):
        asyncio.run(shape(Dependency(name, timeout=0.01, hedge=hedge)))


def test_a_timeout_error_of_the_function_itself_keeps_what_it_says(name):
    async def own():
        raise TimeoutError("of the client")

    with pytest.raises(TimeoutError, match=r"^of the client$"):
        asyncio.run(Dependency(name, timeout=9.0, deadline=9.0).acall(own))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_block_that_is_awaited_is_cancelled_at_its_deadline_and_has_failed(shape, name, seen):
    dependency = Dependency(
        name,
        retry=Retry(attempts=5, backoff=NOW),
        breaker=Breaker(failure_rate=None, consecutive=9),
        limit=3,
        deadline=0.02,
    )
    ended = []

    async def made():
        try:
            await forever()
        finally:
            ended.append(time_left() <= 0)

    with pytest.raises(TimeoutError):
        asyncio.run(SHAPES[shape](dependency, made))
    state = seen(dependency)
    assert ended == [True]  # once: no try begins past it
    assert (state.totals["failures"], state.streak, state.permits) == (1, 1, 0)
    assert time_left() is None


@pytest.mark.parametrize("shape", SHAPES)
def test_a_deadline_ends_the_wait_for_a_permit(shape, name, seen):
    dependency = Dependency(name, limit=Bulkhead(1, wait_max=60), deadline=0.02)
    held = dependency.guard.begin()
    with pytest.raises(TimeoutError):
        asyncio.run(SHAPES[shape](dependency))
    held.succeeded()
    state = seen(dependency)
    assert (state.permits, state.totals["full"], state.totals["ignored"]) == (0, 0, 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cancellation_from_outside_passes_as_one(shape, name, seen):
    bounds = {} if shape == "generator" else {"timeout": 30}
    dependency = Dependency(
        name, breaker=Breaker(failure_rate=None, consecutive=1, probe_timeout=100), deadline=60,
        **bounds,
    )  # fmt: skip

    async def main():
        began = asyncio.Event()

        async def made():
            began.set()
            await forever()

        task = asyncio.create_task(SHAPES[shape](dependency, made))
        await began.wait()
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert seen(dependency).totals["ignored"] == 1 and dependency.state == "closed"


def test_what_cannot_be_interrupted_sees_how_much_is_left(name):
    dependency = Dependency(name, deadline=5.0)
    with dependency:
        assert 4 < time_left() <= 5
        with deadline(1.0), dependency:
            assert time_left() <= 1
    with pytest.raises(KeyError), dependency:
        raise KeyError
    assert time_left() is None
    for attempt in dependency.attempts():
        with attempt:
            assert 4 < time_left() <= 5
    assert time_left() is None


def test_the_deadline_of_attempts_is_of_all_of_them_together(name):
    clock = FakeClock()
    retry = Retry(attempts=9, backoff=constant(0.5))
    dependency = Dependency(name, retry=retry, deadline=0.9, clock=clock)
    left = []
    with pytest.raises(TimeoutError, match="none"):
        for attempt in dependency.attempts():
            with attempt:
                left.append(time_left())
                clock.waits or _wait_until_less_is_left(0.5)
                raise TimeoutError("none")
    # The wait of the second try would not end before the deadline.
    assert clock.waits == [] and len(left) == 1


def _wait_until_less_is_left(seconds):
    while time_left() >= seconds:
        pass


def test_steps_of_a_generator_see_what_is_left_and_who_reads_it_does_not(name):
    dependency = Dependency(name, deadline=5.0)

    @dependency
    def values():
        sent = yield time_left()
        try:
            yield (sent, time_left())
        except KeyError as thrown:
            yield (thrown.args, time_left())
        return "the end"

    def reads():
        return (yield from values())

    reading = reads()
    first = next(reading)
    assert time_left() is None and 4 < first <= 5
    sent, second = reading.send("sent")
    assert (sent, time_left()) == ("sent", None) and second < first
    thrown, third = reading.throw(KeyError("thrown"))
    assert (thrown, time_left()) == (("thrown",), None) and third < second
    with pytest.raises(StopIteration) as end:
        next(reading)
    assert end.value.value == "the end"


def test_steps_of_an_asynchronous_generator_see_it_too(name, seen):
    dependency = Dependency(name, deadline=5.0, limit=1)

    @dependency
    async def values():
        sent = yield time_left()
        try:
            yield (sent, time_left())
        except KeyError as thrown:
            yield (thrown.args, time_left())

    async def main():
        reading = values()
        first = await anext(reading)
        assert time_left() is None and 4 < first <= 5
        sent, second = await reading.asend("sent")
        assert (sent, time_left()) == ("sent", None) and second < first
        thrown, third = await reading.athrow(KeyError("thrown"))
        assert (thrown, time_left()) == (("thrown",), None) and third < second
        await reading.aclose()

    asyncio.run(main())
    assert seen(dependency).permits == 0


# ----------------------------------------------------------------------------------- timeouts


def test_a_block_that_takes_too_long_has_failed(name, seen):
    dependency = Dependency(name, timeout=0.01, breaker=Breaker(failure_rate=None, consecutive=1))
    with pytest.raises(TimeoutError):
        asyncio.run(in_block(dependency))
    totals = seen(dependency).totals
    assert (totals["timeouts"], totals["failures"], dependency.state) == (1, 1, "open")


def test_a_try_of_attempts_that_takes_too_long_is_followed_by_another(name, seen):
    retry = Retry(attempts=3, backoff=NOW)
    dependency = Dependency(name, timeout=0.01, retry=retry, deadline=20)
    tries = []

    async def made():
        tries.append(time_left())
        if len(tries) < 3:
            await forever()
        return "answer"

    assert asyncio.run(in_attempts(dependency, made)) == "answer"
    totals = seen(dependency).totals
    assert (totals["timeouts"], totals["failures"], totals["recovered"]) == (2, 2, 1)
    assert tries == sorted(tries, reverse=True) and 19 < tries[-1] <= tries[0] <= 20


def test_the_last_timeout_is_raised(name, seen):
    dependency = Dependency(name, timeout=0.01, retry=Retry(attempts=2, backoff=NOW))
    with pytest.raises(TimeoutError):
        asyncio.run(in_attempts(dependency))
    totals = seen(dependency).totals
    assert (totals["timeouts"], totals["gave_up"]) == (2, 1)


def test_a_timeout_is_refused_where_nobody_can_interrupt(name, seen):
    dependency = Dependency(name, timeout=1.0, limit=1)
    with pytest.raises(InvalidSetting, match="async with"), dependency:
        raise AssertionError
    with pytest.raises(InvalidSetting, match="async for"):
        iter(dependency.attempts())

    async def mixed():
        async for attempt in dependency.attempts():
            with attempt:
                raise AssertionError

    with pytest.raises(InvalidSetting, match="async with"):
        asyncio.run(mixed())

    def values():
        yield

    async def values_async():
        yield

    for function in (values, values_async):
        with pytest.raises(InvalidSetting, match="deadline"):
            dependency(function)
    state = seen(dependency)
    assert state.permits == 0


# ------------------------------------------------------------------------------- what is seen


@pytest.mark.parametrize("shape", SHAPES)
def test_a_block_that_is_bounded_adds_no_frame_of_ours_and_no_context(shape, name):
    bounds = {} if shape == "generator" else {"timeout": 20}
    dependency = Dependency(name, deadline=20, **bounds)

    async def fail():
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is") as raised:
        asyncio.run(SHAPES[shape](dependency, fail))
    frames = traceback.extract_tb(raised.value.__traceback__)
    assert frames[-1].name == "fail"
    assert not [f for f in frames if OURS in f.filename and "tests" not in f.filename]
    assert raised.value.__context__ is None


def test_a_generator_with_a_deadline_adds_no_frame_of_ours(name):
    @Dependency(name, deadline=20)
    def values():
        yield 1
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is") as raised:
        list(values())
    frames = traceback.extract_tb(raised.value.__traceback__)
    assert not [f for f in frames if OURS in f.filename and "tests" not in f.filename]
    assert frames[-1].name == "values" and raised.value.__context__ is None


@pytest.mark.parametrize("shape", SHAPES)
def test_a_fallback_does_not_answer_for_a_block(shape, name, seen):
    dependency = Dependency(name, fallback=lambda error: "instead")

    async def fail():
        raise TimeoutError("no answer")

    with pytest.raises(TimeoutError):
        asyncio.run(SHAPES[shape](dependency, fail))
    assert seen(dependency).totals["fallbacks"] == 0


# ----------------------------------------------------------------------- contexts of their own


def in_a_context(function, *args):
    return contextvars.copy_context().run(function, *args)


@pytest.mark.parametrize("seconds", [None, 5.0])
def test_a_block_that_is_left_in_another_context_than_it_was_entered_ends(name, seen, seconds):
    """As in a generator that a server reads step by step, each in a context of its own."""
    dependency = Dependency(name, limit=3, breaker=Breaker(), deadline=seconds)

    def values():
        with dependency:
            yield "value"

    for error in (None, TimeoutError()):
        read = values()
        assert in_a_context(next, read) == "value"
        with pytest.raises(StopIteration if error is None else TimeoutError):
            in_a_context(next, read) if error is None else in_a_context(read.throw, error)
    cell = seen(dependency)
    assert (cell.permits, cell.calls, cell.failures) == (0, 2, 1)
    assert time_left() is None


@pytest.mark.parametrize("seconds", [None, 5.0])
def test_a_block_that_is_left_by_another_task_than_entered_it_ends(name, seen, seconds):
    dependency = Dependency(name, limit=3, breaker=Breaker(), deadline=seconds)

    async def main():
        await asyncio.create_task(dependency.__aenter__())
        await asyncio.create_task(dependency.__aexit__(None, None, None))

    asyncio.run(main())
    assert (seen(dependency).permits, seen(dependency).calls) == (0, 1)


def test_an_attempt_that_is_left_in_another_context_ends(name, seen):
    dependency = Dependency(name, limit=3, retry=Retry(), deadline=5.0)

    def values():
        for attempt in dependency.attempts():
            with attempt:
                yield "value"

    read = values()
    assert in_a_context(next, read) == "value"
    with pytest.raises(StopIteration):
        in_a_context(next, read)
    assert seen(dependency).permits == 0


def test_blocks_of_generators_that_take_turns_end_each_with_its_own_error(name, seen):
    first, second = (Dependency(f"{name}-{n}", breaker=Breaker()) for n in (1, 2))

    def values(dependency):
        with dependency:
            yield "value"

    reading, other = values(first), values(second)
    assert (next(reading), next(other)) == ("value", "value")
    with pytest.raises(TimeoutError):
        reading.throw(TimeoutError())
    with pytest.raises(StopIteration):
        next(other)
    assert [(cell.calls, cell.failures) for cell in map(seen, (first, second))] == [(1, 1), (1, 0)]


def test_a_context_keeps_nothing_of_blocks_that_others_have_left(name):
    dependency = Dependency(name)

    def values():
        with dependency:
            yield "value"

    for _ in range(9):
        read = values()
        assert next(read) == "value"
        with pytest.raises(StopIteration):
            in_a_context(next, read)
    with dependency:
        assert len(_blocks.get()) == 1


def test_a_block_that_was_never_entered_cannot_be_left(name):
    with pytest.raises(RuntimeError, match="not entered"):
        Dependency(name).__exit__(None, None, None)


# ----------------------------------------------------------------------------- signal handlers


class Signalled(Exception):
    """What a signal handler raises."""


MOMENTS = ("call", "c_call", "c_return")  # when CPython looks for signals


def signalled_at(moment, function):
    """Call ``function``, with an error at that moment in this package's own Python; is there one?

    The core sees to itself, and as ``__exit__`` is entered nobody can do anything yet.
    """
    left = [moment]

    def look(frame, event, _):
        code = frame.f_code
        if (event, code.co_name) == ("call", "__exit__"):
            return
        if event in MOMENTS and f"{OURS}resilience" in code.co_filename:
            left[0] -= 1
            if left[0] < 0:
                raise Signalled  # which ends the profile as well

    sys.setprofile(look)
    try:
        function()
    except (Signalled, TimeoutError):
        pass
    finally:
        sys.setprofile(None)
    return left[0] < 0


@pytest.mark.parametrize("fails", [False, True])
def test_a_signal_handler_that_raises_in_a_block_leaves_nothing_held(name, seen, fails):
    dependency = Dependency(name, limit=100)
    dependency.call(int)  # which finds its cell

    def block():
        with dependency:
            if fails:
                raise TimeoutError

    def attempts():
        for attempt in dependency.attempts():
            with attempt:
                block()

    moment = 0
    while signalled_at(moment, attempts):
        still_open = [one for one in _blocks.get() if one.is_open]
        assert (seen(dependency).permits, still_open) == (0, []), moment
        moment += 1
    assert moment > 20


def test_a_signal_handler_that_raises_as_a_deadline_begins_leaves_none():
    def begin():
        deadline(5.0).__enter__()

    def left_by(moment):
        return signalled_at(moment, begin), time_left()

    moment, found = 0, (True, None)
    while found[0]:
        assert found[1] is None, moment
        moment += 1
        found = in_a_context(left_by, moment)
    assert moment > 4
    assert found[1] > 0


# --------------------------------------------------------------------- bodies without their try


@pytest.mark.parametrize(("retry", "bodies"), [(None, 1), (Retry(attempts=3, backoff=NOW), 3)])
def test_a_loop_whose_bodies_make_no_try_ends_and_holds_nothing(name, seen, retry, bodies):
    dependency = Dependency(name, retry=retry, limit=2)
    assert len([attempt.number for attempt in dependency.attempts()]) == bodies
    cell = seen(dependency)
    assert (cell.permits, cell.totals["ignored"], cell.totals["full"]) == (0, bodies, 0)

    async def loop():
        return [attempt.number async for attempt in dependency.attempts()]

    assert len(asyncio.run(loop())) == bodies
    assert seen(dependency).permits == 0


def test_a_loop_goes_on_after_a_body_without_its_try(name, seen):
    dependency = Dependency(name, retry=Retry(attempts=3, backoff=NOW), limit=1)
    made = []
    for attempt in dependency.attempts():
        if attempt.number == 1:
            continue
        with attempt:
            made.append(attempt.number)
    assert made == [2]
    assert (seen(dependency).permits, seen(dependency).totals["full"]) == (0, 0)


def test_a_call_that_begins_again_while_it_is_under_way_gives_back_what_it_held(name, seen):
    dependency = Dependency(name, limit=1)
    call = dependency.guard.begin()
    call.again()
    assert seen(dependency).permits == 1
    call.succeeded()
    assert (seen(dependency).permits, seen(dependency).totals["ignored"]) == (0, 1)
