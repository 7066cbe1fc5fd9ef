"""A call that waits for a permit: how often it is counted, and how often its function is called."""

from __future__ import annotations

import asyncio

import pytest

from faultplane.errors import LimitExceeded
from faultplane.resilience.backoff import constant
from faultplane.resilience.clock import Clock
from faultplane.resilience.dependency import Dependency
from faultplane.resilience.exchange import Exchange
from faultplane.resilience.policy import Bulkhead, Retry


class Looking(Clock):
    """Counts the looks for a permit, and may do something at one of them."""

    def __init__(self, at_look=None) -> None:
        self.looks, self.at_look = 0, at_look or (lambda looks: None)

    def sleep(self, seconds):
        self.looks += 1
        self.at_look(self.looks)
        Clock.sleep(self, seconds)

    async def sleep_async(self, seconds):
        self.looks += 1
        self.at_look(self.looks)
        await asyncio.sleep(seconds)


def ways(dependency):
    """Ways to call it, each for an answer."""

    async def answer():
        return "answer"

    exchange = Exchange(lambda request: "answer")
    exchange_async = Exchange(lambda request: answer())

    def exchanged():
        answer, call = exchange.run(dependency, "GET /", repeatable=True)
        call.succeeded()
        return answer

    async def exchanged_async():
        answer, call = await exchange_async.run_async(dependency, "GET /", repeatable=True)
        call.succeeded()
        return answer

    def in_block():
        with dependency:
            return "answer"

    async def in_block_async():
        async with dependency:
            return "answer"

    def in_attempts():
        for attempt in dependency.attempts():
            with attempt:
                return "answer"
        return None

    async def in_attempts_async():
        async for attempt in dependency.attempts():
            async with attempt:
                return "answer"
        return None

    @dependency
    def generator():
        yield "answer"

    @dependency
    async def generator_async():
        yield "answer"

    async def collected():
        (found,) = [value async for value in generator_async()]
        return found

    return {
        "block": in_block,
        "block_async": lambda: asyncio.run(in_block_async()),
        "attempts": in_attempts,
        "attempts_async": lambda: asyncio.run(in_attempts_async()),
        "generator": lambda: next(iter(generator())),
        "generator_async": lambda: asyncio.run(collected()),
        "decorated": dependency(lambda: "answer"),
        "coroutine": lambda: asyncio.run(dependency(answer)()),
        "exchange": exchanged,
        "exchange_async": lambda: asyncio.run(exchanged_async()),
    }


WAYS = (
    "decorated", "coroutine", "exchange", "exchange_async", "block", "block_async", "attempts",
    "attempts_async", "generator", "generator_async",
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_gets_no_permit_is_full_once_however_often_it_looked(way, name, seen):
    clock = Looking()
    dependency = Dependency(name, limit=Bulkhead(1, wait_max=0.02), clock=clock)
    held = dependency.guard.begin()
    for calls in (1, 2):
        with pytest.raises(LimitExceeded) as raised:
            ways(dependency)[way]()
        assert raised.value.dependency == name
        assert clock.looks >= 2 * calls
        assert seen(dependency).totals["full"] == calls
    held.succeeded()


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_gets_one_in_the_end_is_not_full(way, name, seen):
    dependency = Dependency(name, limit=Bulkhead(1, wait_max=60))
    held = dependency.guard.begin()
    clock = dependency.clock = Looking(lambda looks: held.succeeded() if looks == 3 else None)
    assert ways(dependency)[way]() == "answer"
    assert clock.looks == 3
    state = seen(dependency)
    assert (state.totals["full"], state.permits) == (0, 0)


def test_who_does_not_wait_and_a_retry_are_full_at_once(name, seen):
    at_once = Dependency(name, limit=1)
    with at_once, pytest.raises(LimitExceeded):
        at_once.call(str)
    assert seen(at_once).totals["full"] == 1

    elsewhere = Dependency(f"{name}-elsewhere", limit=Bulkhead(1, wait_max=60))
    with elsewhere, pytest.raises(LimitExceeded):
        elsewhere.guard.begin()  # by who does not look again
    assert seen(elsewhere).totals["full"] == 1

    others = []
    waiting = Dependency(
        f"{name}-waiting",
        limit=Bulkhead(1, wait_max=60),
        retry=Retry(attempts=2, backoff=constant(1)),
        clock=Looking(lambda looks: others.append(waiting.guard.begin())),
    )
    # Another call takes the permit while the retry waits.
    with pytest.raises(TimeoutError):
        waiting.call(_fail)
    assert seen(waiting).totals["full"] == 1
    others.pop().succeeded()


def _fail():
    raise TimeoutError("no answer")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_rejection_from_inside_is_raised_and_the_function_called_once(is_async, name):
    """The permit that is missing is asked for by the function itself, which holds the only one."""
    dependency = Dependency(name, limit=Bulkhead(1, wait_max=0.01))
    calls = []

    @dependency
    def inside():
        calls.append(1)
        dependency.call(str)

    @dependency
    async def inside_async():
        calls.append(1)
        await dependency.acall(asyncio.sleep, 0)

    with pytest.raises(LimitExceeded):
        asyncio.run(inside_async()) if is_async else inside()
    assert len(calls) == 1
